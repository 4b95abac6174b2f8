"""Have members changed that another cachefleet has.

Such a member is never touched from here. What it is to become is written into the record, its own
cachefleet reads that and does it, and its card says when. One that is away holds nothing up but a
handover (:mod:`.peered_handover`): it makes up for the rest when it is back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from cachefleet.provisioner.planning.global_groups import MemberView
from cachefleet.provisioner.planning.peers import status_of
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.global_world import World, note, row_of
from cachefleet.provisioner.reconciler.peered_handover import heads_of, unfollowed
from cachefleet.provisioner.state import global_groups, lifecycle, peered
from cachefleet.provisioner.state.global_tables import GlobalMember
from cachefleet.provisioner.state.ids import new_uid
from cachefleet.provisioner.state.peer_records import Asked, AskedShards, Card

log = structlog.get_logger(__name__)

JOIN_S_MAX = 60.0  # between being let in and being written down on the other side
FED_S_MAX = 120.0  # that a region which has yet to follow is waited for
TOKEN = "token"


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


async def ask(
    world: World,
    member: GlobalMember,
    fleet: Fleet,
    *,
    stage: str = "",
    changes: Mapping[str, Any] | None = None,
    leave: bool = False,
    rests: bool = False,
    shards: AskedShards | None = None,
) -> str | None:
    """Have another cachefleet change a member of its own, or let it go; say what is waited for.

    One that is away is asked, and not waited for. What is asked for in several steps has a *stage*
    for each.
    """
    assert member.fleet is not None
    where = f"{member.group_name} in {member.region}"
    token = world.row.pending.get(TOKEN)
    if token is None:
        await note(world, fleet, {TOKEN: new_uid()})
        return f"{where} is to be asked"
    token += stage
    if member.asked is None or member.asked["token"] != token:
        asked = Asked(
            token=token, changes=dict(changes or {}), leave=leave, rests=rests, shards=shards
        )
        async with fleet.store.begin(world.lease.scope) as tx:
            row = await row_of(tx, world.lease, fleet)
            for one in row.members:
                if one.uid == member.uid:
                    one.asked = asked.model_dump(mode="json")
        await fleet.peers.poke(member.region)
        return f"{where} is asked"
    if fleet.peers.is_away(member.fleet):
        log.warning("peer_not_waited_for", region=member.region, name=world.row.name)
        return None
    card = card_of(member)
    if leave:
        return None if card is None else f"{where} is to leave"
    if card is not None and (card.done != token or card.status != lifecycle.AVAILABLE):
        return f"{where} is being changed"
    return None


def card_of(member: GlobalMember) -> Card | None:
    """Return what its cachefleet says of a member that another one has."""
    if member.fleet is None or member.card is None:
        return None  # of our own is written there what it was asked to do
    return Card.model_validate(member.card)


def members_there(world: World, fleet: Fleet) -> list[tuple[GlobalMember, Card]]:
    """Return the secondaries that other cachefleets have which answer, with what these say."""
    found = []
    for member in world.members:
        card = card_of(member)
        if member.fleet is None or card is None or member.role == global_groups.PRIMARY:
            continue
        if not fleet.peers.is_away(member.fleet):
            found.append((member, card))
    return found


async def behind_there(world: World, fleet: Fleet) -> str | None:
    """Return which member in cluster mode, of those that others have, is not brought what is new.

    One that cannot reach us is not waited for for ever.
    """
    if world.primary is None or not world.primary.cluster_enabled:
        return None
    if (fleet.clock.now() - world.asked_at).total_seconds() > FED_S_MAX:
        return None
    for member, card in members_there(world, fleet):
        heads = heads_of(card)
        if heads is None or await unfollowed(world.primary, heads, fleet):
            return member.group_name
    return None
