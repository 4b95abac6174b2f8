"""Decide whether a silent node is dead. Pure.

An engine that runs a long script, or that loads, is silent too, and ending it would lose data for
nothing. The difference shows in the process: one that burns processor time is busy, and gets the
time the engine itself grants a script before it begins to answer again; one that burns none is
hung.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

# ElastiCache fixes lua-time-limit at 5000 ms; from then on the engine answers BUSY, which is life.
BUSY_TIMEOUT_S = 7.0
BUSY_SHARE_MIN = 0.3  # of one core, over the time of silence


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
