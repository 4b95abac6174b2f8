"""Carry out what is asked of members that another cachefleet has, and hand the lead to it.

Such a member is never touched from here. What it is to become is written into the record, its own
cachefleet reads that and does it, and its card says when. One that is away holds nothing up but a
handover: it makes up for the rest when it is back.

A handover is written down on this side first: the record with its new epoch, in the transaction in
which our own group begins to follow. The other side takes the lead once it has heard that nobody
can write here. So whenever one of the two dies, one region takes writes or none does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any

import structlog

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import NodeRole
from cachefleet.provisioner.planning.global_groups import MemberView
from cachefleet.provisioner.planning.peers import status_of
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.global_failover import primaries_of
from cachefleet.provisioner.reconciler.global_world import World, note, row_of
from cachefleet.provisioner.reconciler.milestones import Milestone, reached
from cachefleet.provisioner.reconciler.outcomes import Done, Outcome, Requeue
from cachefleet.provisioner.state import global_groups, peered
from cachefleet.provisioner.state.global_tables import GlobalMember
from cachefleet.provisioner.state.ids import new_uid
from cachefleet.provisioner.state.peer_records import Asked, Card
from cachefleet.provisioner.state.tables import ReplicationGroup

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.1
POLL_S = 0.005
HELD_MS_MAX = 10_000
CATCH_UP_TIMEOUT_S = 4.0  # replicas say once a second how far they are
FENCE_TIMEOUT_S = 5.0
JOIN_S_MAX = 60.0  # between being let in and being written down on the other side
AWAY = (NodeUnreachable, CommandRefused)
PATIENCE_S = 20.0  # with a region that is to lead
TOKEN, SINCE = "token", "since"


def view_of(world: World, member: GlobalMember, fleet: Fleet) -> MemberView:
    """Return how a member stands, whoever has it."""
    if member.fleet is None:
        group = world.groups.get(member.group_uid)
        status = None if group is None else group.status
    else:
        told = next(
            one
            for one in peered.record_of(world.row, "ours").members
            if one.region == member.region
        )
        let_in_at = member.joined_at
        status = status_of(
            told,
            epoch_role=member.role,
            is_away=fleet.peers.is_away(member.fleet),
            is_expected=member.status == global_groups.ASSOCIATING
            and let_in_at is not None
            and (fleet.clock.now() - let_in_at).total_seconds() < JOIN_S_MAX,
        )
    return MemberView(
        uid=member.group_uid, role=member.role, status=member.status, group_status=status
    )


async def follow_along(world: World, fleet: Fleet) -> Outcome:
    """Do what is left to do of a global datastore that another cachefleet leads."""
    if not world.row.pending.get(peered.HANDING):
        return Done("another cachefleet leads it")
    for group in world.groups.values():
        if not await _is_fenced(group, fleet):
            return Requeue(after_s=LOOK_EVERY_S, reason=f"{group.name} has yet to follow")
    await _hand(world, fleet)
    return Done("another cachefleet has the lead")


async def hand_over(world: World, target: GlobalMember, fleet: Fleet) -> str | None:
    """Give the lead to a region of another cachefleet, with all that was written here.

    Where that region is away, or does not catch up, nothing is changed in the end.
    """
    old = world.primary
    card = None if target.card is None else Card.model_validate(target.card)
    assert target.fleet is not None
    if fleet.peers.is_away(target.fleet) or card is None or card.endpoint is None:
        return await _wait_or_give_up(world, fleet, f"{target.region} does not answer")
    async with _held(old, fleet) as offset:
        reached(Milestone.REGION_HELD)
        if offset is not None and not await _has_caught_up(old, card.head, offset, fleet):
            return await _wait_or_give_up(world, fleet, f"{target.region} has not caught up")
        await _yield_lead(world, target, fleet)
        reached(Milestone.REGION_FENCED)
        await _until_fenced(world, fleet)
    await _hand(world, fleet)
    return "the other cachefleet has the lead"


async def ask(
    world: World,
    member: GlobalMember,
    fleet: Fleet,
    *,
    changes: Mapping[str, Any] | None = None,
    leave: bool = False,
) -> str | None:
    """Have another cachefleet change a member of its own, or let it go; say what is waited for.

    One that is away is asked, and not waited for.
    """
    assert member.fleet is not None
    where = f"{member.group_name} in {member.region}"
    token = world.row.pending.get(TOKEN)
    if token is None:
        await note(world, fleet, {TOKEN: new_uid()})
        return f"{where} is to be asked"
    if member.asked is None or member.asked["token"] != token:
        asked = Asked(token=token, changes=dict(changes or {}), leave=leave)
        async with fleet.store.begin(world.lease.scope) as tx:
            row = await row_of(tx, world.lease, fleet)
            for one in row.members:
                if one.uid == member.uid:
                    one.asked = asked.model_dump()
        await fleet.peers.poke(member.region)
        return f"{where} is asked"
    if fleet.peers.is_away(member.fleet):
        log.warning("peer_not_waited_for", region=member.region, name=world.row.name)
        return None
    card = None if member.card is None else Card.model_validate(member.card)
    if leave:
        return None if card is None else f"{where} is to leave"
    if card is not None and (card.done != token or card.status != "available"):
        return f"{where} is being changed"
    return None


async def _wait_or_give_up(world: World, fleet: Fleet, reason: str) -> str | None:
    # Measured from here on: an operation that was filed for something else may have come to it.
    since = world.row.pending.get(SINCE)
    now = fleet.clock.now()
    if since is None:
        await note(world, fleet, {SINCE: now.isoformat()})
        return reason
    if (now - datetime.fromisoformat(since)).total_seconds() < PATIENCE_S:
        return reason
    log.warning("global_failover_given_up", name=world.row.name, reason=reason)
    leader = global_groups.primary_of(world.row)
    async with fleet.store.begin(world.lease.scope) as tx:
        await row_of(tx, world.lease, fleet)
        tx.within(_scope_of(world, leader)).emit(
            peered.SOURCE, leader.group_name, f"Failover of {world.row.name} was given up: {reason}"
        )
    return None


def _scope_of(world: World, leader: GlobalMember) -> Any:
    return world.groups[leader.group_uid].scope


async def _yield_lead(world: World, target: GlobalMember, fleet: Fleet) -> None:
    """Write down that the other region leads, and have ours follow it, at once."""
    leader = global_groups.primary_of(world.row)
    async with fleet.store.begin(_scope_of(world, leader)) as tx:
        row = await row_of(tx, world.lease, fleet)
        peered.take_over(tx, row, next(one for one in row.members if one.uid == target.uid))
        row.pending = {peered.HANDING: True}
        await peered.obey(tx, row)
        peered.file_settling(tx, row)  # if we die here, the next start goes on


async def _hand(world: World, fleet: Fleet) -> None:
    """Let the other side know that nobody writes here."""
    async with fleet.store.begin(world.lease.scope) as tx:
        row = await row_of(tx, world.lease, fleet)
        row.pending = {}
        region = global_groups.primary_of(row).region
    log.warning("global_group_handed_over", name=world.row.name, region=region)
    reached(Milestone.REGION_LEADS)
    await fleet.peers.poke(region)


@contextlib.asynccontextmanager
async def _held(group: ReplicationGroup | None, fleet: Fleet) -> AsyncIterator[int | None]:
    """Hold writes back in *group* while the block lasts; give how far its stream is.

    One whose primary is lost holds nothing up: what it had alone is lost with it.
    """
    [node] = primaries_of(group).values() or [None]
    offset: int | None = None
    held = False
    try:
        if node is not None:
            with contextlib.suppress(*AWAY):
                adapter = fleet.valkey(node)
                await adapter.command("CLIENT", "PAUSE", HELD_MS_MAX, "WRITE")
                held = True
                offset = (await adapter.replication()).offset
        yield offset
    finally:
        if held and node is not None:
            with contextlib.suppress(*AWAY):
                await fleet.valkey(node).command("CLIENT", "UNPAUSE")


async def _has_caught_up(
    group: ReplicationGroup | None, head: str | None, offset: int, fleet: Fleet
) -> bool:
    """Tell whether the replica at *head* says that it has everything up to *offset*, in time."""
    [node] = primaries_of(group).values()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CATCH_UP_TIMEOUT_S):
            while True:
                view = await fleet.valkey(node).replication()
                links = [link for link in view.replicas if link.endpoint.host == head]
                if any(link.offset >= offset for link in links):
                    return True
                await asyncio.sleep(POLL_S)
    return False


async def _until_fenced(world: World, fleet: Fleet) -> None:
    """Wait until our groups take no writes.

    Raises:
        NodeUnreachable: not in time; look again.
    """
    try:
        async with asyncio.timeout(FENCE_TIMEOUT_S):
            for group in world.groups.values():
                while not await _is_fenced(group, fleet):
                    await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise NodeUnreachable("a region has yet to follow") from None


async def _is_fenced(group: ReplicationGroup, fleet: Fleet) -> bool:
    """Tell whether nobody can write to *group*: its primaries follow, or are not there at all."""
    for node in primaries_of(group).values():
        try:
            if (await fleet.valkey(node).replication()).role is NodeRole.PRIMARY:
                return False
        except NodeUnreachable:
            if await fleet.driver.find(node.uid) is not None:
                return False  # it is silent, and may still take writes
    return True
