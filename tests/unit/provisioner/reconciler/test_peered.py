"""What is asked of members that another cachefleet has: asked once, waited for, given up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from cachefleet.provisioner.maintenance import peers as watching
from cachefleet.provisioner.reconciler import peered_handover as acting
from cachefleet.provisioner.reconciler.global_groups import settle_global
from cachefleet.provisioner.reconciler.outcomes import Done, Outcome
from cachefleet.provisioner.state import global_groups, leases
from cachefleet.provisioner.state.global_tables import GlobalGroup
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import Operation, ReplicationGroup
from tests.support.wired import (
    OF,
    THERE,
    Side,
    give_shards,
    joined,
    joined_shards,
    two_sides,
)

pytestmark = pytest.mark.anyio

NAME = OF["GlobalReplicationGroupId"]
PASSES_MAX = 30
Two = tuple[Side, Side]


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    async with two_sides(tmp_path) as sides:
        await joined(*sides)
        yield sides


@pytest.fixture
async def sharded(tmp_path: Path) -> AsyncIterator[Two]:
    async with two_sides(tmp_path) as sides:
        await joined_shards(*sides)
        yield sides


async def settle(side: Side) -> Outcome:
    """Let one pass be made over the global datastore."""
    async with side.api.store.begin(Scope("", "")) as tx:
        await leases.release_everything(tx)  # time passes here by leaps
        held = await leases.acquire_free(tx, holder=side.fleet.holder)
    [lease] = [one for one in held if one.kind == GlobalGroup.resource]
    return await settle_global(Operation(created_at=side.api.clock.now()), lease, side.fleet)


async def settled(near: Side, far: Side | None = None) -> None:
    """Let passes be made, and the other side hear of them, until nothing is left to do."""
    for _ in range(PASSES_MAX):
        outcome = await settle(near)
        if isinstance(outcome, Done):
            return
        if far is not None:
            await far.watch.look()
            await finish(far)
        near.api.clock.advance(watching.LOOK_EVERY_S)
        await near.watch.look()
    raise AssertionError(f"it did not end: {outcome}")


async def finish(side: Side) -> None:
    """Do what a provisioner does to groups: what is pending becomes what is."""
    async with side.api.store.begin(side.scope) as tx:
        for name in ("near", "far"):
            group = await tx.find(ReplicationGroup, name)
            if group is not None:
                group.node_type = group.pending.get("CacheNodeType", group.node_type)
                group.status, group.pending = "available", {}


async def record(side: Side) -> GlobalGroup:
    async with side.api.store.read(global_groups.scope_of("0" * 12)) as tx:
        return await global_groups.get(tx, NAME)


async def lost(side: Side) -> None:
    """Have the other side be away for as long as it takes to be known."""
    side.peers.apps.clear()
    while not side.watch.is_away(f"fleet-{THERE}"):
        side.api.clock.advance(watching.RARELY_S)
        await side.watch.look()


async def test_a_change_is_made_there_and_waited_for(two: Two) -> None:
    near, far = two
    await near.api(
        "ModifyGlobalReplicationGroup",
        ApplyImmediately=True,
        CacheNodeType="cache.r7g.xlarge",
        **OF,
    )
    first = await settle(near), await settle(near)
    assert not any(isinstance(one, Done) for one in first)
    async with far.api.store.read(far.scope) as tx:
        assert (await tx.get(ReplicationGroup, "far")).pending == {}
    await far.watch.look()
    await far.watch.look()  # it is asked once, however often it is heard
    async with far.api.store.read(far.scope) as tx:
        there = await tx.get(ReplicationGroup, "far")
        assert (there.status, there.pending) == ("modifying", {"CacheNodeType": "cache.r7g.xlarge"})
    await finish(far)
    for _ in range(4):  # the primary comes last
        await near.watch.look()
        await settle(near)
        await finish(near)
    await settled(near, far)
    assert (await record(near)).status == "available"
    async with near.api.store.read(near.scope) as tx:
        assert (await tx.get(ReplicationGroup, "near")).status == "available"
    await far.watch.look()
    async with far.api.store.read(far.scope) as tx:
        there = await tx.get(ReplicationGroup, "far")
        assert (there.status, there.node_type) == ("available", "cache.r7g.xlarge")


async def test_a_member_leaves(two: Two) -> None:
    near, far = two
    await near.api(
        "DisassociateGlobalReplicationGroup",
        ReplicationGroupId="far",
        ReplicationGroupRegion=THERE,
        **OF,
    )
    await settled(near, far)
    assert (await record(near)).status == "primary-only"
    async with far.api.store.read(far.scope) as tx:
        there = await tx.get(ReplicationGroup, "far")
        assert (there.global_name, there.node_groups[0].upstream) == (None, None)
        assert await global_groups.find(tx, NAME) is None


async def test_a_lost_member_can_be_let_go_and_learns_of_it(two: Two) -> None:
    near, far = two
    app = near.peers.apps[THERE]
    await lost(near)
    await near.api(
        "DisassociateGlobalReplicationGroup",
        ReplicationGroupId="far",
        ReplicationGroupRegion=THERE,
        **OF,
    )
    await settled(near)
    assert [one.region for one in (await record(near)).members] == [near.region]
    near.peers.apps[THERE] = app
    await far.watch.look()
    async with far.api.store.read(far.scope) as tx:
        assert (await tx.get(ReplicationGroup, "far")).global_name is None


async def test_one_with_other_shards_gets_those_that_lead(sharded: Two) -> None:
    near, far = sharded
    async with near.api.store.begin(near.scope) as tx:  # somebody was lost amid a change
        group = await tx.get(ReplicationGroup, "near")
        await give_shards(tx, group, count=3, hosts="127.0.1")
    await far.watch.look()
    async with far.api.store.read(far.scope) as tx:
        there = await tx.get(ReplicationGroup, "far")
        assert [shard.feed for shard in there.node_groups] == [None, None], "it rests meanwhile"
    for _ in range(PASSES_MAX):
        await settle(near)
        await far.watch.look()
        async with far.api.store.read(far.scope) as tx:
            filed = await moves(tx)
        if filed:
            break
        await finish(far)
        near.api.clock.advance(watching.LOOK_EVERY_S)
        await near.watch.look()
    [payload] = filed
    wanted = {"0001": "0-5461", "0002": "5462-10922", "0003": "10923-16383"}
    assert (payload["layout"], payload["add"], payload["remove"]) == (wanted, ["0003"], [])
    async with far.api.store.begin(far.scope) as tx:  # they are moved
        for shard in (await tx.get(ReplicationGroup, "far")).node_groups:
            shard.slots = wanted[shard.node_group_id]
            for node in shard.nodes:
                node.status, node.host, node.port = "available", "127.0.2.9", 6379
    await finish(far)
    for _ in range(PASSES_MAX):
        near.api.clock.advance(watching.LOOK_EVERY_S)
        await near.watch.look()
        await settle(near)
        await finish(near)
        await far.watch.look()
        await finish(far)
    async with far.api.store.read(far.scope) as tx:
        there = await tx.get(ReplicationGroup, "far")
        assert all(shard.feed is not None for shard in there.node_groups), "it is fed again"
        assert len(await moves(tx)) == 1


async def moves(tx: Transaction) -> list[dict[str, Any]]:
    found = await tx.session.scalars(select(Operation).where(Operation.kind == "reshard"))
    return [one.payload for one in found]


async def test_a_failover_to_one_that_dies_is_given_up(two: Two) -> None:
    near, _ = two
    await near.api(
        "FailoverGlobalReplicationGroup",
        PrimaryRegion=THERE,
        PrimaryReplicationGroupId="far",
        **OF,
    )
    await lost(near)
    assert not isinstance(await settle(near), Done)
    near.api.clock.advance(acting.PATIENCE_S / 2)
    assert not isinstance(await settle(near), Done)
    near.api.clock.advance(acting.PATIENCE_S)
    await settled(near)
    row = await record(near)
    assert (row.status, row.epoch, row.pending) == ("available", 0, {})
    assert global_groups.primary_of(row).region == near.region
