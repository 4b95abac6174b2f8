"""Cluster mode of real engines by the adapter: forming, taking over, moving slots."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack

import pytest

from cachefleet.engine.types import ClusterNodeView, Engine, EngineBinary, NodeRole, SlotRange
from cachefleet.engine.valkey.config import (
    CLUSTER_NODE_TIMEOUT_MS,
    PLACEHOLDER_TIMEOUT_MS,
    ClusterSeat,
    render_nodes_conf,
)
from tests.conformance.clusters import assert_converges, is_role, knows, seats_of, start_cluster
from tests.conformance.engines import (
    ADMIN,
    DEADLINE_S,
    PASSWORD,
    Node,
    endpoint,
    eventually,
    linked,
    need,
)

pytestmark = pytest.mark.engine

# Two seconds from a node's start; starting took some of them already.
ENGINES_DELAY_S = 1.5
TRIES_MAX = 3


@pytest.mark.parametrize("hostnames", [False, True], ids=["addresses", "hostnames"])
async def test_a_cluster_forms_from_its_files_alone(
    kind: tuple[EngineBinary, str], hostnames: bool
) -> None:
    seats = seats_of(3, 1, hostnames=hostnames)
    async with AsyncExitStack() as stack:
        nodes = await start_cluster(stack, kind, seats)
        await assert_converges(nodes, seats)


async def test_a_cluster_on_placeholders_serves_before_the_engines_delay_is_over(
    kind: tuple[EngineBinary, str],
) -> None:
    seats = seats_of(2, 1)
    took_s: list[float] = []
    # A busy machine may take longer now and then; an engine that waits does so each time.
    while not took_s or (took_s[-1] > ENGINES_DELAY_S and len(took_s) < TRIES_MAX):
        async with AsyncExitStack() as stack:
            nodes = await start_cluster(stack, kind, seats, placeholder=True)
            started_s = time.monotonic()
            await assert_converges(nodes, seats)
            took_s.append(time.monotonic() - started_s)
            for seat, node in zip(seats, nodes, strict=True):
                if seat.primary_id is None:
                    await node.adapter.cluster_begin(seat)
            await assert_converges(nodes, seats)
    assert took_s[-1] < ENGINES_DELAY_S, took_s


async def test_placeholders_outlive_the_node_timeout_until_they_are_taken_over_from(
    kind: tuple[EngineBinary, str],
) -> None:
    seats = seats_of(2, 0)
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(beginner(kind, seat, seats)) for seat in seats]
        last = nodes[-1]
        await eventually(lambda: has_run_s(last, CLUSTER_NODE_TIMEOUT_MS / 1000 + 1))
        for seat, node in zip(seats, nodes, strict=True):
            assert any("handshake" in row.flags for row in await node.adapter.cluster_nodes())
            await node.adapter.cluster_begin(seat)
            assert await node.adapter.config_get("cluster-node-timeout") == {
                "cluster-node-timeout": str(CLUSTER_NODE_TIMEOUT_MS)
            }
        await assert_converges(nodes, seats)


async def test_a_process_without_its_placeholder_is_ended_and_another_begins_on_a_new_one(
    kind: tuple[EngineBinary, str],
) -> None:
    [seat] = seats_of(1, 0)
    async with beginner(kind, seat, [seat], timeout_ms=CLUSTER_NODE_TIMEOUT_MS) as node:

        async def gone() -> bool:
            return all("handshake" not in row.flags for row in await node.adapter.cluster_nodes())

        await eventually(gone)
        await node.adapter.cluster_begin(seat)
        assert node.process is not None
        assert node.process.wait(DEADLINE_S) == 0
    async with beginner(kind, seat, [seat]) as node:
        await node.adapter.cluster_begin(seat)
        await assert_converges([node], [seat])
        await node.adapter.cluster_begin(seat)
        await assert_converges([node], [seat])


def beginner(
    kind: tuple[EngineBinary, str],
    seat: ClusterSeat,
    seats: list[ClusterSeat],
    *,
    timeout_ms: int = PLACEHOLDER_TIMEOUT_MS,
) -> Node:
    """Return a primary's node that is to start on a placeholder."""
    binary, family = kind
    return Node(
        binary,
        int(seat.endpoint.host.rpartition(".")[2]),
        family=family,
        cluster_enabled=True,
        cluster_bus_port=seat.bus_port,
        cluster_node_timeout_ms=timeout_ms,
        nodes_conf=render_nodes_conf(seats, seat.id, binary=binary, placeholder=True),
    )


def stranger_to_all(kind: tuple[EngineBinary, str], seat: ClusterSeat) -> Node:
    """Return a node that is to start without knowing anybody."""
    binary, family = kind
    return Node(
        binary,
        int(seat.endpoint.host.rpartition(".")[2]),
        family=family,
        cluster_enabled=True,
        cluster_bus_port=seat.bus_port,
        nodes_conf=render_nodes_conf([seat], seat.id, binary=binary),
    )


async def has_run_s(node: Node, seconds: float) -> bool:
    return int((await node.adapter.info("server"))["uptime_in_seconds"]) >= seconds


async def test_a_replica_takes_over_and_strangers_are_met_and_forgotten(
    kind: tuple[EngineBinary, str],
) -> None:
    seats = seats_of(1, 1)
    lone = ClusterSeat(
        id="ab" * 20,
        endpoint=endpoint(9),
        bus_port=16379,
        primary_id=None,
        shard_id="cd" * 20,
        epoch=0,
    )
    async with AsyncExitStack() as stack:
        primary, replica = await start_cluster(stack, kind, seats, placeholder=True)
        await assert_converges([primary, replica], seats)
        stranger = await stack.enter_async_context(stranger_to_all(kind, lone))
        await primary.adapter.cluster_meet(stranger.endpoint, 16379)
        await eventually(lambda: knows(stranger, seats[0].id))
        await stranger.adapter.cluster_replicate(seats[0].id)
        await linked([stranger])

        await replica.adapter.cluster_takeover()
        assert (await replica.adapter.replication()).role is NodeRole.PRIMARY
        await eventually(lambda: is_role(primary, NodeRole.REPLICA))

        await stranger.adapter.cluster_reset(hard=True)
        for node in (primary, replica):
            await node.adapter.cluster_forget(lone.id)
            await node.adapter.cluster_forget(lone.id)
            assert not await knows(node, lone.id)


async def test_valkey_moves_slots_in_one_piece() -> None:
    kind = (need(Engine.VALKEY, "9.1"), "valkey9")
    seats = seats_of(2, 0)
    moved = SlotRange(first=100, last=199)
    async with AsyncExitStack() as stack:
        source, target = await start_cluster(stack, kind, seats, placeholder=True)
        await assert_converges([source, target], seats)
        await source.adapter.migrate_slots([moved], seats[1].id)

        async def done() -> bool:
            rows = await source.adapter.slot_migrations()
            assert rows[0].slots == (moved,)
            assert rows[0].target_id == seats[1].id
            assert rows[0].state != "failed", rows[0].message
            return rows[0].state == "success"

        await eventually(done)
        mine = next(row for row in await target.adapter.cluster_nodes() if row.myself)
        assert mine.slots[0] == moved


async def test_redis_moves_keys_slot_by_slot() -> None:
    kind = (need(Engine.REDIS, "7.1"), "redis7")
    seats = seats_of(2, 0)
    async with AsyncExitStack() as stack:
        source, target = await start_cluster(stack, kind, seats, placeholder=True)
        await assert_converges([source, target], seats)
        key = "{a tag}\udcff"
        slot = int(await source.adapter.command("CLUSTER", "KEYSLOT", key))
        if slot > seats[0].slots[0].last:
            source, target, seats = target, source, seats[::-1]
        await source.adapter.command("SET", key, "value")
        await target.adapter.cluster_setslot(slot, "IMPORTING", seats[0].id)
        await source.adapter.cluster_setslot(slot, "MIGRATING", seats[1].id)
        me = next(row for row in await source.adapter.cluster_nodes() if row.myself)
        assert me.migrating == ((slot, seats[1].id),)
        keys = await source.adapter.keys_in_slot(slot, 10)
        assert keys == [b"{a tag}\xff"]
        moved = await source.adapter.migrate_keys(
            target.endpoint, keys, username=ADMIN, password=PASSWORD
        )
        assert moved
        assert await source.adapter.count_keys_in_slot(slot) == 0
        for node in (target, source):
            await node.adapter.cluster_setslot(slot, "NODE", seats[1].id)
        assert await target.adapter.command("GET", key) == "value"


async def test_a_replica_that_had_a_higher_epoch_is_believed_once_its_primary_has_it(
    kind: tuple[EngineBinary, str],
) -> None:
    seats = seats_of(2, 0)
    once = ClusterSeat(
        id="ab" * 20,
        endpoint=endpoint(9),
        bus_port=16379,
        primary_id=None,
        shard_id=seats[0].shard_id,
        epoch=9,
    )
    async with AsyncExitStack() as stack:
        primary, viewer = await start_cluster(stack, kind, seats, placeholder=True)
        replica = await stack.enter_async_context(stranger_to_all(kind, once))
        await primary.adapter.cluster_meet(once.endpoint, bus_port=16379)

        async def seen(node: Node) -> ClusterNodeView | None:
            rows = await node.adapter.cluster_nodes()
            return next((row for row in rows if row.id == once.id), None)

        async def is_known() -> bool:
            rows = [await seen(primary), await seen(viewer)]
            return all(row is not None and row.epoch == once.epoch for row in rows)

        async def is_believed() -> bool:
            rows = [await seen(primary), await seen(viewer)]
            return all(row is not None and row.primary_id == seats[0].id for row in rows)

        await eventually(is_known)
        await eventually(lambda: knows(replica, seats[0].id))
        await replica.adapter.cluster_replicate(seats[0].id)
        await linked([replica])
        await primary.adapter.cluster_bump_epoch()
        await eventually(is_believed)
