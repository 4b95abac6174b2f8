"""Decide whether a silent node is dead. Pure.

An engine that runs a long script, or that loads, is silent too, and ending it would lose data for
nothing. The difference shows in the process: one that burns processor time is busy, and gets the
time the engine itself grants a script before it begins to answer again; one that burns none is
hung.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

# ElastiCache fixes lua-time-limit at 5000 ms; from then on the engine answers BUSY, which is life.
BUSY_TIMEOUT_S = 7.0
BUSY_SHARE_MIN = 0.3  # of one core, over the time of silence
PAUSE_S_MIN = 0.001  # timers are no finer


class Verdict(enum.Enum):
    """What a node's silence means."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"  # silent, but not for long enough, or visibly at work
    DOWN = "down"


@dataclass(frozen=True, kw_only=True, slots=True)
class Silence:
    """How long a node has owed an answer, and the processor time it used meanwhile."""

    silent_s: float
    cpu_s: float


def judge(silence: Silence, *, timeout_s: float) -> Verdict:
    """Return the verdict on a node that has owed an answer for ``silence.silent_s``."""
    if silence.silent_s <= 0:
        return Verdict.HEALTHY
    if silence.silent_s < timeout_s:
        return Verdict.SUSPECT
    busy = silence.cpu_s >= BUSY_SHARE_MIN * silence.silent_s
    if busy and silence.silent_s < BUSY_TIMEOUT_S:
        return Verdict.SUSPECT
    return Verdict.DOWN


def pause_s(
    owed_since_s: Iterable[float], *, now_s: float, timeout_s: float, round_s: float
) -> float:
    """Return how long to wait before the next look: a round, or until a silence is long enough.

    A look that came a moment too early for that would cost the clients of a hung primary a round.
    """
    lefts_s = (since_s + timeout_s - now_s for since_s in owed_since_s)
    soonest_s = min((left_s for left_s in lefts_s if left_s > 0), default=round_s)
    return max(PAUSE_S_MIN, min(soonest_s, round_s))
