"""Decide who is primary of a shard when the one on record is gone.

Pure. Two things can have happened: somebody else is primary already (the cluster's own election, or
a failover of ours that was cut short before it was written down), then the record learns it; or
nobody is, then the replica that has most of the data is chosen. A node that did not answer is never
chosen, and a primary whose process is there is never deposed here: whoever finds it hung ends it
first, which is the fence.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from cachefleet.engine.types import NodeRole


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One member of the shard. ``role`` is what it says itself, None where it did not answer."""

    uid: str
    name: str
    availability_zone: str
    is_recorded_primary: bool
    is_new: bool  # it has never been in sync
    running: bool
    role: NodeRole | None = None
    # When it wrote its data at an orderly stop; None where there is nothing it could load.
    saved_at_s: float | None = None
    owns_slots: bool = False  # cluster mode: it serves the shard's slots
    offset: int = 0
    linked: bool = False  # it has not read to the end of what its primary sent


class Verdict(enum.Enum):
    """What is to be done about the shard's primary."""

    KEEP = "keep"
    INHERIT = "inherit"  # nobody runs, and this one alone has the data: it starts as primary
    LEARN = "learn"  # it has changed already: write it down
    PROMOTE = "promote"  # nobody is primary: make this one it, then write it down


@dataclass(frozen=True, slots=True)
class FailoverDecision:
    """The verdict, on whom, and the sentence that is logged."""

    verdict: Verdict
    uid: str | None
    reason: str


def decide_failover(
    members: Sequence[Candidate], *, automatic: bool, cluster_mode: bool
) -> FailoverDecision:
    """Return what to do about the primary of one shard.

    *automatic* is AutomaticFailover; without it a lost primary is restarted where it was.
    """
    recorded = next((m for m in members if m.is_recorded_primary), None)
    if recorded is None:
        return FailoverDecision(Verdict.KEEP, None, "no primary is on record")
    # An orderly switchover ends like this when nobody was there to write it down.
    deposed = recorded.running and recorded.role is NodeRole.REPLICA
    if recorded.running and not deposed:
        return FailoverDecision(Verdict.KEEP, recorded.uid, "the primary's process is there")
    others = [m for m in members if m is not recorded and m.running and not m.is_new]
    risen = [m for m in others if m.role is NodeRole.PRIMARY and (m.owns_slots or not cluster_mode)]
    if risen:
        return FailoverDecision(Verdict.LEARN, risen[0].uid, f"{risen[0].name} is primary already")
    if deposed:
        return FailoverDecision(Verdict.KEEP, recorded.uid, "its successor is not known yet")
    heir = _heir(members, recorded)
    if heir is not None:
        return FailoverDecision(
            Verdict.INHERIT, heir.uid, f"{recorded.name} has no data to start with, {heir.name} has"
        )
    if not automatic:
        return FailoverDecision(Verdict.KEEP, recorded.uid, "automatic failover is off")
    replicas = [m for m in others if m.role is NodeRole.REPLICA]
    if not replicas:
        return FailoverDecision(Verdict.KEEP, recorded.uid, "no replica answers")
    best = min(
        replicas,
        key=lambda m: (
            -m.offset,
            m.availability_zone == recorded.availability_zone,
            m.name,
        ),
    )
    return FailoverDecision(
        Verdict.PROMOTE,
        best.uid,
        f"{recorded.name} is gone; {best.name} has offset {best.offset}, the highest",
    )


def offsets_of_readers(members: Sequence[Candidate]) -> dict[str, int]:
    """Return the offsets, by uid, of replicas that may have yet to read what their primary sent.

    A socket keeps what it was given after its sender's end. A replica that is made a primary drops
    what it has not read, and one that was chosen before it read may not be the one with most data.
    """
    return {
        m.uid: m.offset for m in members if m.running and m.role is NodeRole.REPLICA and m.linked
    }


def _heir(members: Sequence[Candidate], recorded: Candidate) -> Candidate | None:
    """Return who has the shard's data after a stop that the primary's data did not survive.

    Started as it is on record, the primary would be empty, and the others would copy that. No
    failover is asked for here: nobody serves, and nobody has to be deposed.
    """
    saved = [m for m in members if m.saved_at_s is not None and not m.is_new]
    if recorded.saved_at_s is not None or any(m.running for m in members) or not saved:
        return None
    # All were stopped at once: who wrote last has heard the most.
    return max(saved, key=lambda m: (m.saved_at_s or 0.0, m.name))
