"""How a pass can end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to do."""

    summary: str


@dataclass(frozen=True, slots=True)
class Requeue:
    """Look again after *after_s*; 0 means at once."""

    after_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It cannot be done; the record has been brought to a state that customers can leave."""

    reason: str


Outcome = Done | Requeue | GiveUp
