"""Reserved nodes: what state one is in, and which of the nodes that run are covered. Pure.

A reservation changes the bill and nothing else. It covers nodes of its engine and family, by size:
units of a large one can be spent on small ones. Redis OSS reservations cover Valkey as well, which
takes four fifths of the units; not the other way round.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

PAYMENT_TAKES = timedelta(seconds=1)  # so that who waits for ``active`` sees it come
VALKEY_UNITS = 0.8


class ReservationState(enum.StrEnum):
    """Where a reservation is in its life."""

    PAYMENT_PENDING = "payment-pending"
    ACTIVE = "active"
    RETIRED = "retired"


def state_of(*, started_at: datetime, duration_s: int, now: datetime) -> ReservationState:
    """Return the state that a reservation is in at *now*."""
    if now < started_at + PAYMENT_TAKES:
        return ReservationState.PAYMENT_PENDING
    if now < started_at + timedelta(seconds=duration_s):
        return ReservationState.ACTIVE
    return ReservationState.RETIRED


@dataclass(frozen=True, kw_only=True, slots=True)
class Reserved:
    """An active reservation: so many units of *family* for *product*.

    One for Valkey is counted at Valkey's rate (:data:`VALKEY_UNITS`), as its nodes are.
    """

    name: str
    product: str
    family: str
    units: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Billed:
    """A node that runs, and the units its size counts."""

    name: str
    engine: str
    family: str
    units: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Coverage:
    """What part of each node is covered (1.0 is all of it), and what units are left over."""

    nodes: Mapping[str, float]
    unused_units: Mapping[str, float]


def match(reservations: Sequence[Reserved], nodes: Iterable[Billed]) -> Coverage:
    """Spend the units of *reservations* on *nodes*: the smallest first, as the service does.

    Those of a node's own engine are spent before the ones that only may be.
    """
    left = {one.name: one.units for one in reservations}
    covered: dict[str, float] = defaultdict(float)
    billed = sorted(nodes, key=lambda node: (node.units, node.name))
    for own in (True, False):
        for node in billed:
            for reservation in reservations:
                if reservation.family != node.family:
                    continue
                if not _covers(reservation.product, node.engine, own=own):
                    continue
                needed = _units_of(node) * (1.0 - covered[node.name])
                spent = min(left[reservation.name], needed)
                if spent > 0:
                    left[reservation.name] -= spent
                    covered[node.name] += spent / _units_of(node)
    return Coverage(
        nodes={node.name: round(covered[node.name], 6) for node in billed},
        unused_units={name: round(units, 6) for name, units in left.items()},
    )


def _covers(product: str, engine: str, *, own: bool) -> bool:
    return product == engine if own else (product, engine) == ("redis", "valkey")


def _units_of(node: Billed) -> float:
    return node.units * (VALKEY_UNITS if node.engine == "valkey" else 1.0)
