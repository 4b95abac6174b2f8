"""``POST /v1/peers``: how cachefleets that are each other's regions speak (``CACHEFLEET_PEERS``).

Nobody else can: what is said is sealed with the secret that both sides have, and a request that is
not is refused, whoever signed it. Each question is answered from the records, or files what the
provisioner then does; each can come twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cachefleet.api.actions.global_shards import plan_same_shards
from cachefleet.api.auth.identity import Identity
from cachefleet.api.faults import Fault, state_fault
from cachefleet.api.front_end import FrontEnd
from cachefleet.api.rest.requests import request_id_of
from cachefleet.api.stages import Services, call_handler, make_context
from cachefleet.api.validation import global_groups as checks
from cachefleet.api.validation.refusals import wrong_value
from cachefleet.provisioner.peering.client import ANSWER, BODY, FAULT, ID, KIND
from cachefleet.provisioner.peering.seal import NotSealed
from cachefleet.provisioner.state import global_groups, peered
from cachefleet.provisioner.state.errors import StateError
from cachefleet.provisioner.state.global_tables import GlobalGroup, GlobalMember
from cachefleet.provisioner.state.ids import new_uid
from cachefleet.provisioner.state.peer_records import SHARDS_MAX, Joined
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.tables import ReplicationGroup

log = structlog.get_logger(__name__)

Name = Annotated[str, Field(min_length=1, max_length=255)]
Account = Annotated[str, Field(pattern=r"^[0-9]{12}$")]
Region = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")]


class SealedText(BaseModel):
    """A sealed document."""

    sealed: str = Field(max_length=1 << 20, description="Readable with the peer secret only.")


class _Asked(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Look(_Asked):
    account: Account
    name: Name


class _Join(_Look):
    region: Region
    group_name: Name
    fleet: Annotated[str, Field(min_length=1, max_length=32)]


class _Letting(_Join):
    only_ask: bool


class _Shards(_Look):
    region: Region
    group_name: Name
    node_group_ids: Annotated[list[Name], Field(min_length=1, max_length=SHARDS_MAX)]
    configuration: Annotated[list[dict[str, Any]], Field(max_length=SHARDS_MAX)]


class _Call(_Asked):
    account: Account
    region: Region
    operation: Name
    params: dict[str, Any]
    request_id: Name


def router(front_end: FrontEnd) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["Peers"])
    services = front_end.services

    @routes.post(
        "/v1/peers",
        operation_id="AskPeer",
        summary="What another cachefleet asks; sealed with the peer secret.",
    )
    async def ask(request: Request, told: SealedText) -> SealedText:
        """Open the question, answer it, and seal the answer."""
        seal = services.peers.seal
        if seal is None:
            raise Fault("NotFound", "This cachefleet has no peers.")
        try:
            question = seal.open(told.sealed)
            question_id, kind, body = question[ID], question[KIND], question[BODY]
            seal.take_once(str(question_id))
        except (NotSealed, KeyError):
            log.warning("peer_refused", request_id=request_id_of(request))
            raise Fault(
                "AccessDenied", "This was not sealed with the peer secret of this cachefleet."
            ) from None
        try:
            answer = await KINDS.get(str(kind), _unknown)(services, body)
        except ValidationError as error:
            log.warning("peer_not_understood", kind=kind, mistakes=error.error_count())
            refusal = Fault("MalformedRequest", "The question is not understood.")
            return SealedText(sealed=seal.close({ID: question_id, FAULT: _said(refusal)}))
        except Fault as fault:
            return SealedText(sealed=seal.close({ID: question_id, FAULT: _said(fault)}))
        except StateError as error:
            refusal = state_fault(error) or Fault("ServiceUnavailable", "Try again.")
            return SealedText(sealed=seal.close({ID: question_id, FAULT: _said(refusal)}))
        return SealedText(sealed=seal.close({ID: question_id, ANSWER: answer}))

    return routes


def _said(fault: Fault) -> dict[str, str]:
    return {"name": fault.name, "message": fault.message}


async def _look(services: Services, body: Any) -> Any:
    """Say what we know of a global datastore."""
    asked = _Look.model_validate(body)
    async with services.store.read(Scope(asked.account, global_groups.NOWHERE)) as tx:
        return (await peered.told_of(tx, asked.name)).model_dump(mode="json")


async def _poke(services: Services, _: Any) -> Any:
    """Have whoever asks others do so now."""
    services.peers.news.set()
    return {}


async def _join(services: Services, body: Any) -> Any:
    """Let in a group that another cachefleet is about to create, and say what it takes over.

    With ``only_ask`` nothing is changed: it is asked whether it could be let in.
    """
    asked = _Letting.model_validate(body)
    async with services.store.begin(Scope(asked.account, global_groups.NOWHERE)) as tx:
        row = await global_groups.get(tx, asked.name, lock=True)
        if not peered.is_led_here(row):
            raise Fault(
                "InvalidGlobalReplicationGroupStateFault",
                f"Global replication group {row.name} is changing its primary region.",
            )
        if asked.region not in services.peers.regions:
            raise wrong_value(f"The region {asked.region} is no peer of the primary's cachefleet.")
        again = next((m for m in row.members if _is_same(m, asked)), None)
        if again is None:
            checks.require_at_rest(row, "join")
            checks.check_room(services.catalog, row, asked.region)
        groups = await global_groups.groups_of(tx, row)
        primary = groups[global_groups.primary_of(row).group_uid]
        lead = await peered.lead_of(tx, services.catalog, primary)
        if not lead.is_reachable:
            raise Fault(
                "InvalidGlobalReplicationGroupStateFault", f"{primary.name} has no endpoint yet."
            )
        if not asked.only_ask:
            if again is None:
                again = _let_in(row, asked)
                row.members.append(again)
            again.joined_at = tx.now
            row.status, row.pending = global_groups.MODIFYING, {}
            peered.file_settling(tx, row)
            await tx.session.flush()
        joined = Joined(
            told=await peered.told_of(tx, row.name), created_at=row.created_at, lead=lead
        )
        return joined.model_dump(mode="json")


def _let_in(row: GlobalGroup, asked: _Join) -> GlobalMember:
    return GlobalMember(
        uid=new_uid(),
        account=row.account,
        global_uid=row.uid,
        group_uid=new_uid(),  # of nothing here
        group_name=asked.group_name.lower(),
        region=asked.region,
        role=global_groups.SECONDARY,
        status=global_groups.ASSOCIATING,
        fleet=asked.fleet,
    )


def _is_same(member: GlobalMember, asked: _Join) -> bool:
    """Tell whether a member is this one, let in before and not there yet."""
    return (
        (member.region, member.fleet, member.group_name)
        == (asked.region, asked.fleet, asked.group_name.lower())
        and member.status == global_groups.ASSOCIATING
        and member.card is None
    )


async def _shards(services: Services, body: Any) -> Any:
    """Say what new shards of a group of ours are to be made of; nothing is changed by it."""
    asked = _Shards.model_validate(body)
    async with services.store.read(Scope(asked.account, asked.region)) as tx:
        group = await tx.get(ReplicationGroup, asked.group_name)
        if group.global_name != asked.name.lower():
            raise wrong_value(f"{group.name} is not associated with {asked.name}.")
        plans = await plan_same_shards(tx, group, asked.node_group_ids, asked.configuration)
    return {"plans": plans}


async def _leave(services: Services, body: Any) -> Any:
    """Take back what was let in and will not come."""
    asked = _Join.model_validate(body)
    async with services.store.begin(Scope(asked.account, global_groups.NOWHERE)) as tx:
        row = await global_groups.get(tx, asked.name, lock=True)
        for member in list(row.members):
            if _is_same(member, asked) and peered.is_led_here(row):
                row.members.remove(member)
                peered.file_settling(tx, row)
    return {}


async def _call(services: Services, body: Any) -> Any:
    """Handle a request that another cachefleet got, which has checked whose it is."""
    asked = _Call.model_validate(body)
    operation = services.model.operations.get(asked.operation)
    if operation is None:
        raise Fault("InvalidAction", "Could not find the operation.")
    identity = Identity(
        account=asked.account,
        region=asked.region,
        principal_arn=f"arn:aws:iam::{asked.account}:user/peer",
        access_key_id=None,
        is_verified=True,
    )
    context = make_context(
        services,
        operation=operation,
        identity=identity,
        request_id=asked.request_id,
        now=services.clock.now(),
        is_forwarded=True,
    )
    return await call_handler(services, context, asked.params)


async def _unknown(_: Services, __: Any) -> Any:
    raise Fault("InvalidAction", "This cachefleet knows no such question.")


KINDS: Mapping[str, Callable[[Services, Any], Awaitable[Any]]] = MappingProxyType(
    {"look": _look, "poke": _poke, "join": _join, "shards": _shards, "leave": _leave, "call": _call}
)
