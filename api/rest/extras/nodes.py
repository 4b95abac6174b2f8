"""What people do at one node: list its keys, run a command, watch a failover as it happens.

These ask running nodes, through a port that the composition root fills; where the API runs apart
from the nodes they answer ``NotImplemented``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import selectinload

from cachefleet.api.auth.identity import may_call
from cachefleet.api.faults import Fault
from cachefleet.api.front_end import Frame, FrontEnd
from cachefleet.api.rest.requests import identity_of, scope_of
from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import Endpoint, Engine
from cachefleet.engine.valkey.command_line import COMMAND_BYTES_MAX, WORDS_MAX
from cachefleet.provisioner.state.errors import NotFound
from cachefleet.provisioner.state.tables import (
    CacheCluster,
    CacheNode,
    EndpointAddress,
    ReplicationGroup,
)

KEYS_MAX = 200
PATTERN_CHARS_MAX = 512
FILM_S_MAX = 120
FILM_S_DEFAULT = 30
APART: Final = "This process runs no nodes, so it cannot ask them."
# What the access key has to be good for: data is more than keys that only describe may see.
DATA: Final = "ModifyReplicationGroup"
LOOKING: Final = "DescribeReplicationGroups"


class CommandRequest(BaseModel):
    """A command, word for word."""

    model_config = ConfigDict(extra="forbid")

    Words: Annotated[list[str], Field(min_length=1, max_length=WORDS_MAX)]
    AllowWrites: bool = Field(default=False, description="Whether commands that write are run.")


class CommandResult(BaseModel):
    """What the node answered: text, number, null, a list, or `{"Error": "..."}`.

    A memcached node's answer is its lines, as text.
    """

    Reply: Any


class KeyView(BaseModel):
    """One key."""

    Key: str
    Type: str
    TtlMs: int | None = Field(description="Milliseconds until it expires; null where it does not")
    MemoryBytes: int | None


class KeyPage(BaseModel):
    """Some keys of one node."""

    Cursor: str = Field(description="Where to go on; 0 where these were the last")
    Keys: list[KeyView]


def router(front_end: FrontEnd) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["Nodes"])

    @routes.post(
        "/v1/cache-clusters/{CacheClusterId}/nodes/{CacheNodeId}/commands",
        operation_id="RunCommand",
        summary="Run one command on one node; read-only unless writing is allowed.",
    )
    async def run_command(
        request: Request,
        CacheClusterId: str,  # noqa: N803 - the wire's names
        CacheNodeId: str,  # noqa: N803
        body: CommandRequest,
    ) -> CommandResult:
        """Refuse what blocks, administers, scripts or floods; run the rest within a deadline."""
        _require_key_for(request, DATA)
        visits = front_end.ports.node_visits
        if sum(len(word.encode()) for word in body.Words) > COMMAND_BYTES_MAX:
            raise Fault(
                "InvalidParameterValueException",
                f"A command has at most {COMMAND_BYTES_MAX} bytes here.",
            )
        uid, engine = await _visitable(front_end, request, CacheClusterId, CacheNodeId)
        if visits is None:
            raise Fault("NotImplemented", APART)
        try:
            return CommandResult(
                Reply=await visits.command(uid, body.Words, engine=engine, writes=body.AllowWrites)
            )
        except CommandRefused as error:
            raise Fault("InvalidParameterValueException", str(error)) from error
        except NodeUnreachable as error:
            raise Fault("ServiceUnavailable", str(error)) from error

    @routes.get(
        "/v1/cache-clusters/{CacheClusterId}/nodes/{CacheNodeId}/keys",
        operation_id="ListKeys",
        summary="Some keys of one node with type, time to live and size.",
    )
    async def list_keys(
        request: Request,
        CacheClusterId: str,  # noqa: N803
        CacheNodeId: str,  # noqa: N803
        Cursor: Annotated[str, Query(pattern=r"^[0-9]{1,20}$")] = "0",  # noqa: N803
        Match: Annotated[str, Query(max_length=PATTERN_CHARS_MAX)] = "*",  # noqa: N803
        Count: Annotated[int, Query(ge=1, le=KEYS_MAX)] = 50,  # noqa: N803
        Type: Annotated[str | None, Query(pattern=r"^[a-z]{1,20}$")] = None,  # noqa: N803
    ) -> KeyPage:
        """Scan a bounded part of the keyspace; of memcached, what the crawler tells of items."""
        _require_key_for(request, DATA)
        visits = front_end.ports.node_visits
        uid, engine = await _visitable(front_end, request, CacheClusterId, CacheNodeId)
        if visits is None:
            raise Fault("NotImplemented", APART)
        try:
            cursor, keys = await visits.keys(
                uid, engine=engine, cursor=Cursor, match=Match, count=Count, kind=Type
            )
        except CommandRefused as error:
            raise Fault("InvalidParameterValueException", str(error)) from error
        except NodeUnreachable as error:
            raise Fault("ServiceUnavailable", str(error)) from error
        return KeyPage(Cursor=cursor, Keys=[KeyView(**key) for key in keys])

    @routes.get(
        "/v1/replication-groups/{ReplicationGroupId}/film:stream",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
        operation_id="FilmShard",
        summary="What the nodes of a shard and a client see, to the millisecond, as it happens.",
    )
    async def film(
        request: Request,
        ReplicationGroupId: str,  # noqa: N803
        NodeGroupId: Annotated[str, Query(max_length=4)] = "0001",  # noqa: N803
        Seconds: Annotated[int, Query(ge=1, le=FILM_S_MAX)] = FILM_S_DEFAULT,  # noqa: N803
    ) -> StreamingResponse:
        """Send `began`, then a `frame` for each change, until the time is over."""
        _require_key_for(request, LOOKING)
        camera = front_end.ports.camera
        nodes, endpoints, tls = await _shard(front_end, request, ReplicationGroupId, NodeGroupId)
        if camera is None:
            raise Fault("NotImplemented", APART)
        if camera.is_busy:
            raise Fault("ServiceUnavailable", "Too many films are being taken.")

        async def body() -> AsyncIterator[str]:
            began = front_end.services.clock.now().isoformat(timespec="milliseconds")
            yield _message("began", {"At": began, "Nodes": [node.member_name for node in nodes]})
            taken = camera.film(nodes, endpoints, tls=tls, duration_s=Seconds)
            closing = asyncio.ensure_future(front_end.closing.wait())
            following: asyncio.Future[Frame | None] = asyncio.ensure_future(anext(taken, None))
            try:
                while not closing.done():
                    first: set[asyncio.Future[Any]] = {following, closing}
                    await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
                    if not following.done():
                        break
                    frame = following.result()
                    if frame is None:
                        yield _message("ended", {})
                        break
                    yield _message(
                        "frame",
                        {
                            "AtMs": frame.at_ms,
                            "Kind": frame.kind,
                            "Name": frame.name,
                            "State": frame.state,
                            "Offset": frame.offset,
                            "Detail": frame.detail,
                        },
                    )
                    following = asyncio.ensure_future(anext(taken, None))
            finally:
                # Whoever watched may leave at any time: the film cannot be closed while it runs.
                closing.cancel()
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                await taken.aclose()

        return StreamingResponse(
            body(),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    return routes


def _message(kind: str, payload: dict[str, object]) -> str:
    return f"event: {kind}\ndata: {json.dumps(payload, separators=(',', ':'))}\n\n"


def _require_key_for(request: Request, operation: str) -> None:
    if not may_call(identity_of(request), operation):
        raise Fault("AccessDenied", "The access key is not for this.")


async def _visitable(
    front_end: FrontEnd, request: Request, cluster_id: str, node_id: str
) -> tuple[str, Engine]:
    async with front_end.services.store.read(scope_of(request)) as tx:
        cluster = await tx.get(CacheCluster, cluster_id)
    for node in cluster.nodes:
        if node.cache_node_id == node_id:
            return node.uid, Engine(cluster.engine)
    raise Fault("CacheClusterNotFoundFault", f"{cluster_id} has no node {node_id[:40]}.")


async def _shard(
    front_end: FrontEnd, request: Request, group_id: str, shard_id: str
) -> tuple[list[CacheNode], list[Endpoint], bool]:
    """Return a shard's nodes, where its clients look for the primary, and whether by TLS."""
    scope = scope_of(request)
    async with front_end.services.store.read(scope) as tx:
        query = (
            select(ReplicationGroup)
            .where(
                ReplicationGroup.account == scope.account,
                ReplicationGroup.region == scope.region,
                ReplicationGroup.name == group_id.lower(),
            )
            .options(selectinload(ReplicationGroup.members))
        )
        group = (await tx.session.scalars(query)).one_or_none()
        if group is None:
            raise NotFound(ReplicationGroup.resource, group_id)
        addresses = (
            await tx.session.scalars(
                select(EndpointAddress).where(
                    EndpointAddress.subject_uid == group.uid, EndpointAddress.kind == "primary"
                )
            )
        ).all()
    shard = next((one for one in group.node_groups if one.node_group_id == shard_id), None)
    if shard is None:
        raise Fault("NodeGroupNotFoundFault", f"{group_id} has no shard {shard_id}.")
    nodes = [
        node
        for member in group.members
        for node in member.nodes
        if node.node_group_uid == shard.uid and node.host is not None
    ]
    if group.cluster_enabled or not addresses:
        endpoints = [
            Endpoint(node.host, node.port)
            for node in nodes
            if node.host is not None and node.port is not None
        ]
    else:
        endpoints = [Endpoint(addresses[0].host, addresses[0].port)]
    if not endpoints:
        raise Fault("InvalidReplicationGroupStateFault", f"{group_id} has no nodes yet.")
    return nodes, endpoints, bool(group.transit_encryption_enabled)
