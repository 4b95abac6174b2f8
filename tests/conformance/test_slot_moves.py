"""Moves key by key that were cut off, on real nodes: taken up, put back, or after a failover."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from cachefleet.engine.types import ClusterNodeView, Engine, SlotRange
from cachefleet.engine.valkey.config import ClusterSeat
from cachefleet.provisioner.planning.resharding import slots_of
from cachefleet.provisioner.reconciler.slot_moves import (
    Login,
    Peer,
    adopt_orphans,
    move_key_by_key,
    moves_atomically,
    put_back,
    readdress_imports,
)
from tests.conformance.clusters import assert_converges, seats_of, start_cluster
from tests.conformance.engines import ADMIN, PASSWORD, Node, eventually, need

pytestmark = pytest.mark.engine

KEYS = [f"{{tag}}{number}" for number in range(200)]  # more than one look finds
SLOT = 8338  # of {tag}


def peer(node: Node, seat: ClusterSeat) -> Peer:
    return Peer(seat.id, node.endpoint, node.adapter, Login(ADMIN, PASSWORD))


async def begin_move(stack: AsyncExitStack, *, replicas: int = 0) -> list[Peer]:
    """Give the source, the target and then replicas, with a move that ended half way."""
    seats = seats_of(2, replicas)[::-1]  # the slot is of the second shard
    nodes = await start_cluster(stack, (need(Engine.REDIS, "7.0"), "redis7"), seats)
    await assert_converges(nodes, seats)
    primaries = [i for i, seat in enumerate(seats) if seat.primary_id is None]
    others = [i for i in range(len(seats)) if i not in primaries]
    peers = [peer(nodes[i], seats[i]) for i in (*primaries, *others)]
    source, target = peers[:2]
    assert int(await source.adapter.command("CLUSTER", "KEYSLOT", KEYS[0])) == SLOT
    await source.adapter.commands([("SET", key, key) for key in KEYS])
    await target.adapter.cluster_setslot(SLOT, "IMPORTING", source.node_id)
    await source.adapter.cluster_setslot(SLOT, "MIGRATING", target.node_id)
    await source.adapter.migrate_keys(
        target.endpoint, [key.encode() for key in KEYS[:80]], username=ADMIN, password=PASSWORD
    )
    assert [await count(source), await count(target)] == [120, 80]
    return peers


async def count(at: Peer) -> int:
    return await at.adapter.count_keys_in_slot(SLOT)


async def myself(at: Peer) -> ClusterNodeView:
    return next(node for node in await at.adapter.cluster_nodes() if node.myself)


async def owner(at: Peer) -> str | None:
    """Return whom a node takes to be the owner of the slot."""
    rows = await at.adapter.cluster_nodes()
    return next((row.id for row in rows if SLOT in slots_of(row.slots)), None)


@pytest.mark.parametrize("forgotten", [False, True], ids=["known", "nobodys"])
async def test_a_move_that_was_cut_off_is_taken_up(forgotten: bool) -> None:
    """The slot is nobody's to the target once a former owner of it is back as a replica."""
    async with AsyncExitStack() as stack:
        source, target = await begin_move(stack)
        assert not await moves_atomically(source)
        if forgotten:
            await target.adapter.cluster_delslots([SlotRange(first=SLOT, last=SLOT)])
            assert await owner(target) is None
        await move_key_by_key(source, target, [SlotRange(first=SLOT, last=SLOT + 40)], [])
        assert [await count(source), await count(target)] == [0, len(KEYS)]
        for node in (source, target):
            assert await owner(node) == target.node_id
            view = await myself(node)
            assert (view.migrating, view.importing) == ((), ())
        values = await target.adapter.commands([("GET", key) for key in KEYS])
        assert values == KEYS


async def test_a_move_that_was_cut_off_is_put_back() -> None:
    async with AsyncExitStack() as stack:
        source, target = await begin_move(stack)
        await put_back([SLOT], source, target)
        assert [await count(source), await count(target)] == [len(KEYS), 0]
        for node in (source, target):
            assert await owner(node) == source.node_id
            view = await myself(node)
            assert (view.migrating, view.importing) == ((), ())
        values = await source.adapter.commands([("GET", key) for key in KEYS])
        assert values == KEYS


async def test_after_a_failover_of_the_source_the_target_hears_of_the_new_owner() -> None:
    async with AsyncExitStack() as stack:
        source, target, *replicas = await begin_move(stack, replicas=1)
        views = [(replica, await myself(replica)) for replica in replicas]
        successor = next(node for node, view in views if view.primary_id == source.node_id)
        await source.adapter.shutdown(save=False)
        await successor.adapter.cluster_takeover()

        async def knows_successor() -> bool:
            rows = await target.adapter.cluster_nodes()
            return any(row.id == successor.node_id and row.slots for row in rows)

        await eventually(knows_successor)
        assert await owner(target) == source.node_id, "gossip has been listened to"
        await readdress_imports([successor, target])
        assert await owner(target) == successor.node_id
        await move_key_by_key(successor, target, [SlotRange(first=SLOT, last=SLOT)], [])
        assert [await count(successor), await count(target)] == [0, len(KEYS)]


async def test_slots_that_nobody_claims_go_to_who_has_their_keys() -> None:
    async with AsyncExitStack() as stack:
        source, target = await begin_move(stack)
        await source.adapter.migrate_keys(
            target.endpoint, [key.encode() for key in KEYS], username=ADMIN, password=PASSWORD
        )
        await target.adapter.cluster_setslot(SLOT, "STABLE")
        for node in (source, target):
            await node.adapter.cluster_delslots([SlotRange(first=SLOT, last=SLOT + 1)])
            assert await owner(node) is None
        await adopt_orphans([SLOT, SLOT + 1], [source, target])
        for node in (source, target):
            assert await owner(node) == target.node_id
        # A slot without keys is owned by somebody, too.
        owned = [slots_of((await myself(node)).slots) for node in (source, target)]
        assert sum(SLOT + 1 in slots for slots in owned) == 1
        assert await target.adapter.command("GET", KEYS[0]) == KEYS[0]
