"""Decide what a cachefleet makes of what another one says of a global datastore. Pure.

Only the cachefleet of the region that leads writes the record, so two copies differ in one of two
ways: one is older, or its region was declared lost and another one leads since. Each change of the
region that leads raises the epoch, and the higher one counts. Two that were raised by different
survivors at once are told apart by the name of the region: both sides come to the same end.

Of a member only its own cachefleet is believed.
"""

from __future__ import annotations

from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.peer_records import Card, PeeredMember, PeeredRecord, Told


def merge(own: str, mine: PeeredRecord, told: Told) -> PeeredRecord:
    """Return our copy of the record after *told*; *own* is the id of our own cachefleet."""
    base = told.record if told.record is not None and _counts(own, mine, told) else mine
    known = {(member.region, member.fleet): member.card for member in mine.members}
    members = []
    for member in base.members:
        card: Card | None = known.get((member.region, member.fleet))
        if member.fleet == told.fleet:
            card = told.cards.get(member.region)
        elif member.fleet == own:
            card = None  # we know our own groups
        members.append(member.model_copy(update={"card": card}))
    return base.model_copy(update={"members": tuple(members), "handing": mine.handing})


def _counts(own: str, mine: PeeredRecord, told: Told) -> bool:
    """Tell whether the copy of *told* goes before ours."""
    record = told.record
    assert record is not None
    if record.handing:
        return False  # somebody may still write where it led: it is not handed over yet
    if record.epoch != mine.epoch:
        return record.epoch > mine.epoch
    ours, theirs = mine.leader, record.leader
    if ours.fleet == theirs.fleet:
        return told.fleet == theirs.fleet and told.fleet != own
    return theirs.region < ours.region


def is_deposed(own: str, before: PeeredRecord, after: PeeredRecord) -> bool:
    """Tell whether a region of ours led, and another cachefleet's does by now."""
    return before.leader.fleet == own and after.leader.fleet != own


def status_of(
    member: PeeredMember, *, epoch_role: str, is_away: bool, is_expected: bool
) -> str | None:
    """Return what status a member of another cachefleet counts as having; None: it is gone.

    One that is away holds nothing up: it makes up for it when it is back. *is_expected* is said of
    one that was let in just now, and may not have been written down there yet.
    """
    card = member.card
    if is_away:
        return lifecycle.AVAILABLE
    if card is None:
        return lifecycle.CREATING if is_expected else None
    if card.status != lifecycle.AVAILABLE:
        return card.status
    behind = card.role != epoch_role or (member.asked is not None and not _is_done(member, card))
    return lifecycle.MODIFYING if behind else card.status


def _is_done(member: PeeredMember, card: Card) -> bool:
    return member.asked is None or card.done == member.asked.token
