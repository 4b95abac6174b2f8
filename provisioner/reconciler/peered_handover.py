"""Hand the lead of a global datastore to a region that another cachefleet has.

It is written down on this side first: the record with its new epoch, in the transaction in which
our own group begins to follow. The other side takes the lead once it has heard that nobody can
write here. So whenever one of the two dies, one region takes writes or none does.

Without cluster mode nobody can write once our primary is a replica; in cluster mode, once the users
of all of our nodes have lost the right to.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import structlog

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.outside import OutsideAccess
from cachefleet.engine.types import Endpoint, NodeRole, ReplicaLink, ReplicationView
from cachefleet.engine.valkey.source import read_stream
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.global_failover import (
    HELD_MS_MAX,
    Starts,
    give_rights,
    primaries_of,
    writes_held,
)
from cachefleet.provisioner.reconciler.global_world import World, note, row_of
from cachefleet.provisioner.reconciler.launch import REPLICATION_USER
from cachefleet.provisioner.reconciler.milestones import Milestone, reached
from cachefleet.provisioner.reconciler.outcomes import Done, Outcome, Requeue
from cachefleet.provisioner.reconciler.records import LIVE
from cachefleet.provisioner.state import global_groups, peer_feeds, peered
from cachefleet.provisioner.state.global_tables import GlobalMember
from cachefleet.provisioner.state.peer_records import Card
from cachefleet.provisioner.state.tables import ReplicationGroup

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.1
POLL_S = 0.005
CATCH_UP_TIMEOUT_S = 4.0  # replicas say once a second how far they are
FENCE_TIMEOUT_S = 5.0
FENCE_POLL_S = 0.01
STANDING_TIMEOUT_S = 1.0  # clients wait for it
HELD_S = HELD_MS_MAX / 1000 - 0.5  # then the engines let writes go on by themselves
AWAY = (NodeUnreachable, CommandRefused)
PATIENCE_S = 20.0  # with a region that is to lead
SINCE = "since"

# As whom a replica or a feed shows itself: host, and port if known; of each shard, by NodeGroupId.
Head = tuple[str, int | None]
Heads = Mapping[str, Head]


async def follow_along(world: World, fleet: Fleet) -> Outcome:
    """Do what is left to do of a global datastore that another cachefleet leads."""
    if not world.row.pending.get(peered.HANDING):
        return Done("another cachefleet leads it")
    for group in world.groups.values():
        if not await _is_fenced(group, fleet):
            return Requeue(after_s=LOOK_EVERY_S, reason=f"{group.name} has yet to follow")
    if not world.is_due(fleet) and not await _was_all_brought(world, fleet):
        return Requeue(after_s=LOOK_EVERY_S, reason="the region that is to lead has not all yet")
    await _hand(world, fleet)
    return Done("another cachefleet has the lead")


async def hand_over(world: World, target: GlobalMember, fleet: Fleet) -> str | None:
    """Give the lead to a region of another cachefleet, with all that was written here.

    Where that region is away, or does not catch up, nothing is changed in the end.
    """
    old = world.primary
    card = None if target.card is None else Card.model_validate(target.card)
    assert target.fleet is not None
    heads = None if card is None else heads_of(card)
    if fleet.peers.is_away(target.fleet) or card is None or heads is None:
        return await _wait_or_give_up(world, fleet, f"{target.region} does not answer")
    began_s = fleet.clock.monotonic_s()
    async with writes_held(old, fleet) as offsets:
        reached(Milestone.REGION_HELD)
        if not await _have_caught_up(old, heads, offsets, fleet):
            log.info("region_is_behind", name=world.row.name, region=target.region)
            return await _wait_or_give_up(world, fleet, f"{target.region} has not caught up")
        starts: Starts = {}
        if old is not None and len(offsets) == len(old.node_groups):
            starts = await _standing_there(card, old)
        await _yield_lead(world, target, fleet)
        reached(Milestone.REGION_FENCED)
        await _until_fenced(world, fleet)
        if fleet.clock.monotonic_s() - began_s > HELD_S:
            raise NodeUnreachable("writes may have been taken since they were held back")
        await _hand(world, fleet, starts)
    return "the other cachefleet has the lead"


async def _was_all_brought(world: World, fleet: Fleet) -> bool:
    """Tell whether what was written until nobody could any more has reached who is to lead.

    In cluster mode; without it, what our primary follows by now has decided that.
    """
    leader = global_groups.primary_of(world.row)
    card = None if leader.card is None else Card.model_validate(leader.card)
    heads = None if card is None else heads_of(card)
    if heads is None or leader.fleet is None or fleet.peers.is_away(leader.fleet):
        return True
    for group in world.groups.values():
        feeds = [shard.feed for shard in group.node_groups if shard.feed is not None]
        if not group.cluster_enabled or not any(feed.get(peer_feeds.WAITS) for feed in feeds):
            continue
        offsets: dict[str, int] = {}
        for shard, node in primaries_of(group).items():
            with contextlib.suppress(*AWAY):
                offsets[shard] = (await fleet.valkey(node).replication()).offset
        if not await _have_caught_up(group, heads, offsets, fleet):
            return False
    return True


def heads_of(card: Card) -> Heads | None:
    """Return who follows each of our shards there; None where that is not known of all."""
    if card.cluster_enabled:
        known = {one.node_group_id: one.head for one in card.node_groups}
        if any(one.endpoint is None for one in card.node_groups):
            return None
        return {shard: head for shard, head in known.items() if head is not None}
    if card.endpoint is None or card.head is None:
        return None
    return {shard.node_group_id: (card.head, None) for shard in card.node_groups}


async def unfollowed(group: ReplicationGroup, heads: Heads, fleet: Fleet) -> list[str]:
    """Return the shards of *group* that nobody of *heads* follows at the moment.

    Raises:
        NodeUnreachable, CommandRefused: a shard does not say.
    """
    missing = []
    for shard, node in primaries_of(group).items():
        view = await fleet.valkey(node).replication()
        links = links_of(view, heads.get(shard))
        if not any(link.state == "online" for link in links):
            missing.append(shard)
    return missing


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


async def _hand(world: World, fleet: Fleet, starts: Starts | None = None) -> None:
    """Let the other side know that nobody writes here.

    *starts* are the places of its streams that have exactly what the group has that led until now.
    """
    async with fleet.store.begin(world.lease.scope) as tx:
        row = await row_of(tx, world.lease, fleet)
        row.pending = {}
        if starts and world.primary is not None:
            old = await tx.session.get(ReplicationGroup, world.primary.uid, with_for_update=True)
            if old is not None:
                peer_feeds.begin_from(old, starts)
        region = global_groups.primary_of(row).region
    log.warning("global_group_handed_over", name=world.row.name, region=region)
    reached(Milestone.REGION_LEADS)
    await fleet.peers.poke(region)


async def _have_caught_up(
    group: ReplicationGroup | None, heads: Heads, offsets: Mapping[str, int], fleet: Fleet
) -> bool:
    """Tell whether all *heads* say in time that they have everything up to *offsets*.

    A shard that is lost has no offset and holds nothing up: what it had alone is lost with it.
    """
    nodes = primaries_of(group)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CATCH_UP_TIMEOUT_S):
            for shard, offset in offsets.items():
                while True:
                    view = await fleet.valkey(nodes[shard]).replication()
                    if has_all(view, heads.get(shard), offset):
                        break
                    await asyncio.sleep(POLL_S)
            return True
    return False


def has_all(view: ReplicationView, head: Head | None, offset: int) -> bool:
    """Tell whether *head* has acknowledged everything up to *offset*, as its source sees it."""
    return any(link.offset >= offset for link in links_of(view, head))


def links_of(view: ReplicationView, head: Head | None) -> list[ReplicaLink]:
    """Return those of a source's replicas that show themselves as *head*."""
    if head is None:
        return []
    host, port = head
    return [
        link
        for link in view.replicas
        if link.endpoint.host == host and port in (None, link.endpoint.port)
    ]


async def _standing_there(card: Card, old: ReplicationGroup) -> Starts:
    """Return where the streams of a region stand that has all of ours, and takes no writes yet.

    From there *old* goes on. Where it cannot be said of all, it gets a copy.
    """
    if not card.cluster_enabled:
        return {}
    access = OutsideAccess(
        username=REPLICATION_USER,
        password=old.replication_secret,
        ca=card.authority if card.transit_encryption_enabled else "",
    )
    starts: Starts = {}
    try:
        async with asyncio.timeout(STANDING_TIMEOUT_S):
            for shard in card.node_groups:
                assert shard.endpoint is not None, "it is asked of whole cards"
                view = await read_stream(
                    Endpoint(*shard.endpoint), timeout_s=STANDING_TIMEOUT_S, access=access
                )
                if view.role is NodeRole.PRIMARY:
                    starts[shard.node_group_id] = {
                        "replication_id": view.replid,
                        "offset": view.offset,
                    }
    except (*AWAY, TimeoutError) as error:
        log.info("standing_not_read", group=old.name, reason=str(error))
        return {}
    return starts


async def _until_fenced(world: World, fleet: Fleet) -> None:
    """Wait until our groups take no writes.

    Raises:
        NodeUnreachable: not in time; look again.
    """
    try:
        async with asyncio.timeout(FENCE_TIMEOUT_S):
            for group in world.groups.values():
                while not await _is_fenced(group, fleet):
                    await asyncio.sleep(FENCE_POLL_S)
    except TimeoutError:
        raise NodeUnreachable("a region has yet to follow") from None


async def _is_fenced(group: ReplicationGroup, fleet: Fleet) -> bool:
    """Tell whether nobody can write to *group*, which follows by its record."""
    if group.cluster_enabled:
        return await _is_without_rights(group, fleet)
    for node in primaries_of(group).values():
        try:
            if (await fleet.valkey(node).replication()).role is NodeRole.PRIMARY:
                return False
        except NodeUnreachable:
            if await fleet.driver.find(node.uid) is not None:
                return False  # it is silent, and may still take writes
    return True


async def _is_without_rights(group: ReplicationGroup, fleet: Fleet) -> bool:
    """Take the right to write from the users of *group*; tell whether all of its nodes know.

    A node that does not run begins without.
    """
    try:
        await give_rights(group, fleet, lost_is_fine=False)
    except AWAY as error:
        log.info("rights_not_taken", group=group.name, reason=str(error))
    else:
        return True
    nodes = [node for shard in group.node_groups for node in shard.nodes if node.status in LIVE]
    return not any([await fleet.driver.find(node.uid) is not None for node in nodes])
