"""Reserved nodes: their states by time, and what they cover."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cachefleet.provisioner.state.reservations import (
    PAYMENT_TAKES,
    Billed,
    Reserved,
    match,
    state_of,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)


def reserved(name: str, units: float, *, product: str = "redis", family: str = "r7g") -> Reserved:
    return Reserved(name=name, product=product, family=family, units=units)


def billed(name: str, units: float, *, engine: str = "redis", family: str = "r7g") -> Billed:
    return Billed(name=name, engine=engine, family=family, units=units)


@pytest.mark.parametrize(
    ("after", "state"),
    [
        (timedelta(), "payment-pending"),
        (PAYMENT_TAKES - MOMENT, "payment-pending"),
        (PAYMENT_TAKES, "active"),
        (timedelta(seconds=100) - MOMENT, "active"),
        (timedelta(seconds=100), "retired"),
    ],
)
def test_the_state_follows_from_the_time(after: timedelta, state: str) -> None:
    assert state_of(started_at=START, duration_s=100, now=START + after) == state


def test_units_of_a_large_reservation_cover_small_nodes() -> None:
    coverage = match([reserved("r", 8)], [billed("a", 4), billed("b", 4), billed("c", 4)])
    assert coverage.nodes == {"a": 1.0, "b": 1.0, "c": 0.0}
    assert coverage.unused_units == {"r": 0.0}


def test_the_smallest_nodes_are_covered_first_and_one_in_part() -> None:
    coverage = match([reserved("r", 10)], [billed("big", 16), billed("small", 4)])
    assert coverage.nodes == {"big": 0.375, "small": 1.0}


def test_families_and_engines_are_kept_apart() -> None:
    nodes = [billed("other", 4, family="m7g"), billed("memcached", 4, engine="memcached")]
    coverage = match([reserved("r", 8), reserved("v", 8, product="valkey")], nodes)
    assert coverage.nodes == {"other": 0.0, "memcached": 0.0}
    assert coverage.unused_units == {"r": 8.0, "v": 8.0}


def test_redis_covers_valkey_at_four_fifths_and_never_the_other_way_round() -> None:
    nodes = [billed("v1", 4, engine="valkey"), billed("v2", 4, engine="valkey")]
    assert match([reserved("r", 4)], nodes).nodes == {"v1": 1.0, "v2": 0.25}
    assert match([reserved("v", 4, product="valkey")], [billed("r", 4)]).nodes == {"r": 0.0}


def test_own_reservations_are_spent_before_those_that_only_may_be() -> None:
    reservations = [reserved("r", 4), reserved("v", 3.2, product="valkey")]
    coverage = match(reservations, [billed("node", 4, engine="valkey")])
    assert coverage.nodes == {"node": 1.0}
    assert coverage.unused_units == {"r": 4.0, "v": 0.0}
