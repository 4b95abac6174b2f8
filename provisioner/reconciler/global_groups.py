"""Carry out what is asked of a global datastore, region by region.

A region's group is changed as a customer would change it: its record, in its own scope, and an
operation that makes it so. This operation goes on from what it finds each time, so it can be cut
off anywhere. Only a planned change of the primary reaches into nodes: writes are held back in the
old region until the new one has them, as in a switchover within a group.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import NodeRole
from cachefleet.provisioner.planning.global_groups import stand
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.global_failover import (
    Starts,
    caught_up,
    give_rights,
    primaries_of,
    standing,
    writes_held,
)
from cachefleet.provisioner.reconciler.global_resharding import (
    begin_alignment,
    is_unlike,
    reshard_regions,
)
from cachefleet.provisioner.reconciler.global_world import World, change, load_world, row_of
from cachefleet.provisioner.reconciler.milestones import Milestone, reached
from cachefleet.provisioner.reconciler.modify import COLUMNS, GROUP_COLUMNS
from cachefleet.provisioner.reconciler.outcomes import Done, Outcome, Requeue
from cachefleet.provisioner.reconciler.peered import ask as peer_ask
from cachefleet.provisioner.reconciler.peered import behind_there, view_of
from cachefleet.provisioner.reconciler.peered_handover import follow_along, hand_over
from cachefleet.provisioner.reconciler.records import is_fed
from cachefleet.provisioner.state import global_groups, lifecycle, peered
from cachefleet.provisioner.state.global_tables import GlobalMember
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.operations import (
    OperationKind,
    forget_subject,
)
from cachefleet.provisioner.state.tables import (
    CacheNode,
    Operation,
    ReplicationGroup,
)

log = structlog.get_logger(__name__)

GROUP = "replication-group"
LOOK_EVERY_S = 0.1
POLL_S = 0.005  # clients of the old primary wait for what is polled
HELD_MS_MAX = 10_000
CATCH_UP_TIMEOUT_S = 4.0
TAKE_OVER_TIMEOUT_S = 5.0

FAILOVER, DISASSOCIATE, DELETE, MODIFY = "failover", "disassociate", "delete", "modify"
RESHARD = "reshard"


async def settle_global(operation: Operation, lease: Lease, fleet: Fleet) -> Outcome:
    """Do the next thing that is pending; available again once nothing is on its way."""
    world = await load_world(lease, fleet, operation.created_at)
    if world is None:
        return Done("it is gone")
    acted = world.row.pending.get("action", "")
    act = ACTS.get(acted)
    try:
        if not peered.is_led_here(world.row):
            return await follow_along(world, fleet)
        waiting = None if act is None else await act(world, fleet)
    except (NodeUnreachable, CommandRefused) as error:
        return Requeue(after_s=LOOK_EVERY_S, reason=str(error))
    if waiting is not None:
        return Requeue(after_s=LOOK_EVERY_S, reason=waiting)
    return await _conclude(lease, fleet, operation.created_at, acted)


async def _conclude(lease: Lease, fleet: Fleet, asked_at: datetime, acted: str) -> Outcome:
    """Write the status that the members make, if none of them is on its way.

    What was asked for since is not done by what was *acted*, and stays.
    """
    world = await load_world(lease, fleet, asked_at)
    if world is None:
        return Done("it is gone")
    if not peered.is_led_here(world.row):
        return await follow_along(world, fleet)
    if world.row.pending.get("action", acted) != acted:
        return Requeue(after_s=0.0, reason="something new is asked for")
    standing = stand([view_of(world, member, fleet) for member in world.members])
    if standing.status is None:
        return Requeue(after_s=LOOK_EVERY_S, reason="a member is on its way")
    if is_unlike(world, fleet):
        await begin_alignment(world, fleet)
        return Requeue(after_s=0.0, reason="a region has other shards than the one that leads")
    if (behind := await _behind(world, fleet)) is not None:
        return Requeue(after_s=LOOK_EVERY_S, reason=f"{behind} is yet to get its data")
    for uid in standing.left & world.groups.keys():
        await change(world.groups[uid], fleet, _let_go, settles=False)
    async with fleet.store.begin(lease.scope) as tx:
        row = await row_of(tx, lease, fleet)
        if (row.status, row.pending) != (world.row.status, world.row.pending):
            return Requeue(after_s=0.0, reason="something new is asked for")
        for member in list(row.members):
            if member.group_uid in standing.left:
                row.members.remove(member)
            elif member.group_uid in standing.joined:
                member.status = global_groups.ASSOCIATED
            if member.fleet is not None and (member.asked or {}).get("rests"):
                member.asked = None  # it was away when it was told to go on
        row.status, row.pending = standing.status, {}
    log.info("global_group_settled", name=world.row.name, status=standing.status)
    return Done("it agrees with its record")


async def _behind(world: World, fleet: Fleet) -> str | None:
    """Return who is not brought what is new, while the region that leads is there to bring it."""
    for group in world.groups.values():
        if is_fed(group) and group.status == lifecycle.AVAILABLE:
            status = await fleet.feeds.status()
            tokens = [s.feed["token"] if s.feed else "" for s in group.node_groups]
            whole = all(token in status and status[token].streaming for token in tokens)
            if not whole and await _is_there(world.primary, fleet):
                return group.name
    if await _is_there(world.primary, fleet):
        return await behind_there(world, fleet)
    return None


async def _is_there(group: ReplicationGroup | None, fleet: Fleet) -> bool:
    """Tell whether every shard of *group* has a primary that runs."""
    nodes = primaries_of(group)
    running = [await fleet.driver.find(node.uid) is not None for node in nodes.values()]
    return group is not None and len(nodes) == len(group.node_groups) and all(running)


# -- acts: each returns what it waits for, or None when it is done -------------------------------


async def _fail_over(world: World, fleet: Fleet) -> str | None:
    uid = world.row.pending["group_uid"]
    elsewhere = _foreign(world, uid)
    if elsewhere is not None:
        return await hand_over(world, elsewhere, fleet)
    target = world.groups.get(uid)
    if target is None:
        return None
    others = [group for uid, group in world.groups.items() if uid != target.uid]
    old = next((g for g in others if g.global_role == global_groups.PRIMARY), None)
    if target.cluster_enabled:
        waiting = await _fail_over_fed(world, target, others, old, fleet)
        if waiting is not None:
            return waiting
    else:
        await _fail_over_chained(target, others, old, fleet)
    async with fleet.store.begin(world.lease.scope) as tx:
        row = await row_of(tx, world.lease, fleet)
        if global_groups.primary_of(row).group_uid != target.uid:
            row.epoch += 1
        for member in row.members:
            leads = member.group_uid == target.uid
            member.role = global_groups.PRIMARY if leads else global_groups.SECONDARY
    log.warning("global_failover_ended", name=world.row.name, primary=target.region)
    return None


async def _fail_over_fed(
    world: World,
    target: ReplicationGroup,
    others: Sequence[ReplicationGroup],
    old: ReplicationGroup | None,
    fleet: Fleet,
) -> str | None:
    followers = [group for group in others if group is not old]
    async with writes_held(old, fleet) as offsets:
        reached(Milestone.REGION_HELD)
        starts: Starts = {}
        whole: frozenset[str] = frozenset()
        if offsets:
            whole = await caught_up([target, *followers], offsets, fleet)
            if target.uid not in whole and not world.is_due(fleet):
                return "the region that is to lead has not caught up"
        if len(offsets) == len(primaries_of(target)) and target.uid in whole:
            # All of the old region has been brought: it goes on from here.
            starts = await standing(target, fleet)
        for group in others:
            source = group.node_groups[0].feed
            if source is None or source.get("group") != target.uid:
                begins = starts if group is old or group.uid in whole else {}
                await change(group, fleet, lambda g, b=begins: _be_fed(g, target, b))  # type: ignore[misc]
        if old is not None:
            await give_rights(old, fleet, lost_is_fine=True)
            reached(Milestone.REGION_FENCED)
        if target.global_role != global_groups.PRIMARY:
            await change(target, fleet, _take_lead)
            reached(Milestone.REGION_LEADS)
        await fleet.feeds.sync()
        reached(Milestone.FEEDS_TURNED)
        await give_rights(target, fleet, lost_is_fine=False)
    return None


async def _fail_over_chained(
    target: ReplicationGroup,
    others: Sequence[ReplicationGroup],
    old: ReplicationGroup | None,
    fleet: Fleet,
) -> None:
    async with _held_back(old, target, fleet):
        if _follows(target):
            await change(target, fleet, _take_lead)
        await _until_leads(target, fleet)
        async with fleet.store.read(target.scope) as tx:
            endpoint = await global_groups.lead_address(tx, target)
        assert endpoint is not None, "a group that leads has an endpoint"
        for group in others:
            if (
                not _follows(group)
                or group.global_role == global_groups.PRIMARY
                or _endpoint_of(group) != endpoint
            ):
                await change(group, fleet, lambda fresh: _follow(fresh, endpoint))
        if old is not None:
            await _until_follows(old, fleet)


async def _disassociate(world: World, fleet: Fleet) -> str | None:
    uid = world.row.pending["group_uid"]
    elsewhere = _foreign(world, uid)
    if elsewhere is not None:
        waiting = await peer_ask(world, elsewhere, fleet, leave=True)
        if waiting is not None:
            return waiting
    group = world.groups.get(uid)
    if group is not None and group.global_name is not None:
        await change(group, fleet, _let_go)
        return "the group is to lead"
    if group is not None and group.status != lifecycle.AVAILABLE:
        return "the group has yet to lead"
    async with fleet.store.begin(world.lease.scope) as tx:
        row = await row_of(tx, world.lease, fleet)
        for member in list(row.members):
            if member.group_uid == uid:
                row.members.remove(member)
    return None


async def _delete(world: World, fleet: Fleet) -> str | None:
    retains = bool(world.row.pending["retain"])
    for group in world.groups.values():
        if group.global_name is not None:
            await change(group, fleet, _let_go if retains else _delete_group)
            return "its group is let go"
        if retains and group.status != lifecycle.AVAILABLE:
            return "its group is on its way"
    if world.groups and not retains:
        return "its group is being deleted"
    async with fleet.store.begin(world.lease.scope) as tx:
        row = await row_of(tx, world.lease, fleet)
        await tx.session.delete(row)
        await tx.session.flush()
        await forget_subject(tx, world.lease.subject_uid)
    return None


async def _modify(world: World, fleet: Fleet) -> str | None:
    """Change the secondaries, one after the other, and the primary last."""
    changes: Mapping[str, Any] = world.row.pending["changes"]
    tried: list[str] = world.row.pending.get("tried", [])
    last_is_primary = sorted(world.members, key=lambda m: m.role == global_groups.PRIMARY)
    for member in last_is_primary:
        if member.fleet is not None:
            waiting = await peer_ask(world, member, fleet, changes=changes)
            if waiting is not None:
                return waiting
            continue
        group = world.groups.get(member.group_uid)
        if group is None:
            continue
        if group.status == lifecycle.MODIFYING:
            return f"{group.name} in {group.region} is being changed"
        if member.group_uid in tried or not _differs(group, changes):
            continue
        await change(group, fleet, lambda fresh: _ask(fresh, changes), OperationKind.MODIFY)
        async with fleet.store.begin(world.lease.scope) as tx:
            row = await row_of(tx, world.lease, fleet)
            # Once each: what a group's data does not allow is dropped there, with an event.
            row.pending = {**row.pending, "tried": [*tried, member.group_uid]}
        return f"{group.name} in {group.region} is to be changed"
    return None


def _foreign(world: World, uid: str) -> GlobalMember | None:
    """Return the member of this uid, if another cachefleet has it."""
    found = (m for m in world.members if m.group_uid == uid and m.fleet is not None)
    return next(found, None)


ACTS: Mapping[str, Callable[[World, Fleet], Awaitable[str | None]]] = {
    FAILOVER: _fail_over,
    DISASSOCIATE: _disassociate,
    DELETE: _delete,
    MODIFY: _modify,
    RESHARD: reshard_regions,
}


# -- what is written to a region's group ---------------------------------------------------------


def _take_lead(group: ReplicationGroup) -> None:
    global_groups.lead(group)
    group.global_role = global_groups.PRIMARY


def _follow(group: ReplicationGroup, endpoint: tuple[str, int]) -> None:
    global_groups.follow(group, endpoint)
    group.global_role = global_groups.SECONDARY


def _be_fed(
    group: ReplicationGroup, primary: ReplicationGroup, starts: global_groups.Starts
) -> None:
    global_groups.follow_by_feed(group, primary, starts)
    group.global_role = global_groups.SECONDARY


def _let_go(group: ReplicationGroup) -> None:
    global_groups.lead(group)
    group.global_name = group.global_role = None


def _delete_group(group: ReplicationGroup) -> None:
    group.global_name = group.global_role = None
    group.status = lifecycle.DELETING
    for shard in group.node_groups:
        shard.status = lifecycle.DELETING
    for member in group.members:
        member.status = lifecycle.DELETING
        for node in member.nodes:
            node.status = lifecycle.NODE_DELETING


def _ask(group: ReplicationGroup, changes: Mapping[str, Any]) -> None:
    group.pending = {**group.pending, **changes}


def _differs(group: ReplicationGroup, changes: Mapping[str, Any]) -> bool:
    columns = {**COLUMNS, **GROUP_COLUMNS}
    return any(getattr(group, columns[name]) != value for name, value in changes.items())


# -- nodes ---------------------------------------------------------------------------------------


def _follows(group: ReplicationGroup) -> bool:
    return any(shard.upstream is not None for shard in group.node_groups)


def _endpoint_of(group: ReplicationGroup) -> tuple[str, int] | None:
    told = next((s.upstream for s in group.node_groups if s.upstream is not None), None)
    return None if told is None else (told["host"], told["port"])


def _primary_node(group: ReplicationGroup) -> CacheNode | None:
    nodes = [node for shard in group.node_groups for node in shard.nodes]
    return next((node for node in nodes if node.role == NodeRole.PRIMARY), None)


@contextlib.asynccontextmanager
async def _held_back(
    old: ReplicationGroup | None, new: ReplicationGroup, fleet: Fleet
) -> AsyncIterator[None]:
    """Hold writes back in the old region until the new one has all, while the block lasts.

    A region that is lost holds nothing up: what it had and the new one has not is lost with it.
    """
    node, successor = (None if old is None else _primary_node(old)), _primary_node(new)
    held = False
    try:
        if node is not None and successor is not None:
            with contextlib.suppress(NodeUnreachable, CommandRefused, TimeoutError):
                adapter = fleet.valkey(node)
                await adapter.command("CLIENT", "PAUSE", HELD_MS_MAX, "WRITE")
                held = True
                offset = (await adapter.replication()).offset
                async with asyncio.timeout(CATCH_UP_TIMEOUT_S):
                    while (await fleet.valkey(successor).replication()).offset < offset:
                        await asyncio.sleep(POLL_S)
        yield
    finally:
        if held and node is not None:
            with contextlib.suppress(NodeUnreachable, CommandRefused):
                await fleet.valkey(node).command("CLIENT", "UNPAUSE")


async def _until_leads(group: ReplicationGroup, fleet: Fleet) -> None:
    await _until(group, fleet, NodeRole.PRIMARY)


async def _until_follows(group: ReplicationGroup, fleet: Fleet) -> None:
    """Wait until the old primary takes no writes; one that is lost takes none."""
    with contextlib.suppress(NodeUnreachable):
        await _until(group, fleet, NodeRole.REPLICA)


async def _until(group: ReplicationGroup, fleet: Fleet, role: NodeRole) -> None:
    """Wait until the group's primary node has *role*.

    Raises:
        NodeUnreachable: not in time; look again.
    """
    node = _primary_node(group)
    if node is None:
        raise NodeUnreachable(f"{group.name} has no primary")
    try:
        async with asyncio.timeout(TAKE_OVER_TIMEOUT_S):
            while (await fleet.valkey(node).replication()).role is not role:
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise NodeUnreachable(f"{node.member_name} is not {role.value} yet") from None
