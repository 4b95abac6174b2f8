"""Change the shards of a global datastore: the primary's first, then the others' to the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.global_world import World, change, note, row_of
from cachefleet.provisioner.reconciler.peered import ask, members_there
from cachefleet.provisioner.state import global_groups, lifecycle
from cachefleet.provisioner.state.global_tables import GlobalMember
from cachefleet.provisioner.state.lifecycle import Event
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.peer_feeds import has_layout, layout_of
from cachefleet.provisioner.state.peer_records import AskedShards
from cachefleet.provisioner.state.tables import ReplicationGroup


async def reshard_regions(world: World, fleet: Fleet) -> str | None:
    """Give the primary other shards, then the others the same, slot for slot.

    No feed runs meanwhile: what it brought to a shard could belong to another by then. The regions
    that follow stay behind until it is done, and get a new copy.
    """
    primary = world.primary
    if primary is None:
        return None
    followers = [group for group in world.groups.values() if group is not primary]
    if not world.row.pending.get("suspended"):
        for group in followers:
            await change(group, fleet, global_groups.suspend_feeds, settles=False)
        await fleet.feeds.sync()
        await note(world, fleet, {"suspended": True})
        return "feeds are suspended"
    for member, _ in members_there(world, fleet):
        if _stage(world, member) == 0:
            waiting = await ask(world, member, fleet, stage="-0", rests=True)
            if waiting is not None:
                return waiting
            await _go_on(world, member, fleet)
            return f"{member.group_name} in {member.region} rests"
    filed = int(world.row.pending.get("filed", 0))
    if not filed:
        pending = world.row.pending
        await _file_reshard(world, primary, fleet, remove=pending["remove"], layout=None)
        return "the primary's shards are to be changed"
    for group in (primary, *followers):
        if group.status != lifecycle.AVAILABLE:
            return f"{group.name} in {group.region} is being changed"
    layout = {shard.node_group_id: shard.slots for shard in primary.node_groups}
    for group in followers:
        has = {shard.node_group_id: shard.slots for shard in group.node_groups}
        if has != layout:
            await _file_reshard(
                world, group, fleet, remove=sorted(has.keys() - layout.keys()), layout=layout
            )
            return f"the shards of {group.name} in {group.region} are to be changed"
    for group in followers:
        if any(shard.feed is None for shard in group.node_groups):
            await change(
                group, fleet, lambda g: global_groups.follow_by_feed(g, primary), settles=False
            )
    await fleet.feeds.sync()
    return await _align_there(world, layout, fleet)


async def _align_there(world: World, layout: Mapping[str, str], fleet: Fleet) -> str | None:
    """Give the members that other cachefleets have the shards of *layout*, and what is new again.

    Each step has a token of its own: what was not reached by one is tried with the next.
    """
    for member, card in members_there(world, fleet):
        stage = _stage(world, member)
        if layout_of(card) != layout:
            told = AskedShards(
                layout=dict(layout), plans=tuple(world.row.pending["plans"].get(member.region, ()))
            )
            waiting = await ask(world, member, fleet, stage=f"-{stage}", rests=True, shards=told)
            if waiting is None:
                await _go_on(world, member, fleet)
            return waiting or f"{member.group_name} in {member.region} was asked"
        waiting = await ask(world, member, fleet, stage="-end")
        if waiting is not None:
            return waiting
    return None


def is_unlike(world: World, fleet: Fleet) -> bool:
    """Tell whether a member that another cachefleet has has other shards than the primary.

    So it is where somebody was lost in the middle of a change: it ends with what the primary has.
    """
    primary = world.primary
    if primary is None or not primary.cluster_enabled or primary.status != lifecycle.AVAILABLE:
        return False
    return any(not has_layout(primary, layout_of(card)) for _, card in members_there(world, fleet))


async def begin_alignment(world: World, fleet: Fleet) -> None:
    """Have the others get the shards of the primary, which keeps its own."""
    async with fleet.store.begin(world.lease.scope) as tx:
        row = await row_of(tx, world.lease, fleet)
        row.status = global_groups.MODIFYING
        row.pending = {"action": "reshard", "plans": {}, "remove": [], "filed": 1}


def _stage(world: World, member: GlobalMember) -> int:
    return int(world.row.pending.get("stages", {}).get(member.region, 0))


async def _go_on(world: World, member: GlobalMember, fleet: Fleet) -> None:
    stages = {**world.row.pending.get("stages", {}), member.region: _stage(world, member) + 1}
    await note(world, fleet, {"stages": stages})


async def _file_reshard(
    world: World,
    group: ReplicationGroup,
    fleet: Fleet,
    *,
    remove: Sequence[str],
    layout: Mapping[str, str] | None,
) -> None:
    """Add the shards that *group* lacks and file the move of slots, once for each time it is due.

    A layout is what to end with; without one the shards get equal shares, and all that were planned
    are added.
    """
    async with fleet.store.begin(group.scope) as tx:
        row = await row_of(tx, world.lease, fleet)
        fresh = await tx.session.get(ReplicationGroup, group.uid, with_for_update=True)
        if fresh is None:
            return
        plans = row.pending["plans"].get(group.uid, ())
        added = global_groups.add_shards(
            fresh, plans, only=None if layout is None else layout.keys(), now=tx.now
        )
        lifecycle.fire(fresh, Event.MODIFY)
        fresh.pending = {
            **fresh.pending,
            "Resharding": {"SlotMigration": {"ProgressPercentage": 0.0}},
        }
        payload: dict[str, Any] = {"remove": list(remove), "add": added}
        if layout is not None:
            payload["layout"] = dict(layout)
        tx.enqueue(OperationKind.RESHARD, subject_uid=fresh.uid, payload=payload)
        row.pending = {**row.pending, "filed": int(row.pending.get("filed", 0)) + 1}
