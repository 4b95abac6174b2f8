"""The refusals that every family needs, by what they mean."""

from __future__ import annotations

from cachefleet.api.faults import Fault


def wrong_value(message: str) -> Fault:
    """Return the refusal of a value that is wrong by itself (400)."""
    return Fault("InvalidParameterValueException", message)


def wrong_combination(message: str) -> Fault:
    """Return the refusal of values that do not go together (400)."""
    return Fault("InvalidParameterCombinationException", message)


def not_built(sentence: str) -> Fault:
    """Return the answer to a valid request whose effect cannot be brought about yet (501)."""
    return Fault("NotImplemented", sentence)
