"""Clusters of real engines, formed from files as the fleet writes them."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack
from typing import Any

from cachefleet.engine.types import EngineBinary, NodeRole
from cachefleet.engine.valkey.cluster import even_slots
from cachefleet.engine.valkey.config import (
    CLUSTER_NODE_TIMEOUT_MS,
    PLACEHOLDER_TIMEOUT_MS,
    ClusterSeat,
    render_nodes_conf,
)
from tests.conformance.engines import (
    DEADLINE_S,
    Node,
    endpoint,
    eventually,
    linked,
)


def seats_of(shards: int, replicas: int, *, hostnames: bool = False) -> list[ClusterSeat]:
    seats = []
    numbers = itertools.count(1)
    for shard, slots in enumerate(even_slots(shards), start=1):
        primary_id = f"{shard:02x}" * 20
        for member in range(replicas + 1):
            number = next(numbers)
            seats.append(
                ClusterSeat(
                    id=primary_id if member == 0 else f"{shard:02x}e{member:x}" * 10,
                    endpoint=endpoint(number),
                    bus_port=16379,
                    primary_id=None if member == 0 else primary_id,
                    slots=(slots,) if member == 0 else (),
                    shard_id=f"f{shard:x}" * 20,
                    epoch=shard if member == 0 else 0,
                    hostname=f"n{number}.cache.test" if hostnames else None,
                )
            )
    return seats


async def start_cluster(
    stack: AsyncExitStack,
    kind: tuple[EngineBinary, str],
    seats: list[ClusterSeat],
    *,
    placeholder: bool = False,
    **fields: Any,
) -> list[Node]:
    binary, family = kind
    nodes = {
        seat.id: Node(
            binary,
            int(seat.endpoint.host.rpartition(".")[2]),
            family=family,
            cluster_enabled=True,
            cluster_bus_port=seat.bus_port,
            cluster_node_timeout_ms=PLACEHOLDER_TIMEOUT_MS
            if placeholder and seat.primary_id is None
            else CLUSTER_NODE_TIMEOUT_MS,
            announce_hostname=seat.hostname,
            nodes_conf=render_nodes_conf(seats, seat.id, binary=binary, placeholder=placeholder),
            **fields,
        )
        for seat in seats
    }

    async def start(seat: ClusterSeat) -> None:
        await stack.enter_async_context(nodes[seat.id])
        if placeholder and seat.primary_id is None:
            await nodes[seat.id].adapter.cluster_begin(seat)

    await asyncio.gather(*(start(seat) for seat in seats if seat.primary_id is None))
    await asyncio.gather(*(start(seat) for seat in seats if seat.primary_id is not None))
    return list(nodes.values())


async def assert_converges(
    nodes: list[Node], seats: list[ClusterSeat], *, within_s: float = DEADLINE_S
) -> None:
    wanted = {
        (
            seat.id,
            seat.endpoint,
            NodeRole.PRIMARY if seat.primary_id is None else NodeRole.REPLICA,
            seat.primary_id,
            seat.slots,
            seat.hostname,
        )
        for seat in seats
    }

    async def check() -> bool:
        for node in nodes:
            info = await node.adapter.cluster_info()
            rows = await node.adapter.cluster_nodes()
            seen = {
                (row.id, row.endpoint, row.role, row.primary_id, row.slots, row.hostname)
                for row in rows
            }
            if (info.state, info.slots_ok, info.known_nodes) != ("ok", 16384, len(seats)):
                return False
            if seen != wanted:
                return False
        return True

    await eventually(check, within_s=within_s)
    replicas = [node for node in nodes if not await is_role(node, NodeRole.PRIMARY)]
    await linked(replicas)


async def knows(node: Node, node_id: str) -> bool:
    rows = await node.adapter.cluster_nodes()
    return any(row.id == node_id and "handshake" not in row.flags for row in rows)


async def is_role(node: Node, role: NodeRole) -> bool:
    return (await node.adapter.replication()).role is role
