"""What is an update, and what becomes of an action by what was found."""

from __future__ import annotations

import itertools

import pytest

from cachefleet.engine.types import Build, Engine
from cachefleet.provisioner.planning.updates import (
    ENGINE,
    is_newer,
    next_event,
    offer_authority,
    offer_engine,
)
from cachefleet.provisioner.state.updates import TABLE, UNDER_WAY, Event, Status


def redis(version: str, build: str = "") -> Build:
    numbers = tuple(map(int, version.split(".")))
    return Build(kind=Engine.REDIS, version=numbers, build=build)


def valkey(version: str, build: str = "") -> Build:
    numbers = tuple(map(int, version.split(".")))
    return Build(kind=Engine.VALKEY, version=numbers, build=build)


@pytest.mark.parametrize(
    ("offered", "running", "newer"),
    [
        pytest.param(redis("7.0.16"), redis("7.0.15"), True, id="patch"),
        pytest.param(redis("7.2"), redis("7.0.15"), True, id="minor"),
        pytest.param(redis("7.0.15"), redis("7.0.16"), False, id="a-way-back"),
        pytest.param(redis("7.0.15", "a"), redis("7.0.15", "a"), False, id="the-same"),
        pytest.param(redis("7.0.15", "b"), redis("7.0.15", "a"), True, id="another-build"),
        pytest.param(redis("7.0.15", "b"), redis("7.0.15"), False, id="build-not-told"),
        pytest.param(redis("7.0.15"), redis("7.0.15", "a"), False, id="build-not-known"),
        pytest.param(redis("7.0.15", "b"), redis("7.0.16", "a"), False, id="older-other-build"),
        pytest.param(valkey("9.1.2"), redis("7.0.15"), False, id="another-program"),
    ],
)
def test_is_newer(offered: Build, running: Build, newer: bool) -> None:
    assert is_newer(offered, running) is newer


def test_an_offer_says_whom_it_would_change_and_what_it_brings() -> None:
    running = {"a": redis("7.0.15"), "b": redis("7.0.16"), "c": None, "d": redis("7.0.14")}
    offer = offer_engine("redis", redis("7.0.16", "f"), running, where="/bin/redis-server")
    assert (offer.kind, offer.engine, offer.brings) == (ENGINE, "redis", "redis 7.0.16")
    assert offer.behind == {"a", "d"}
    assert offer.unknown == {"c"}
    assert offer.severity == "important"
    assert offer.description == ("redis 7.0.16 at /bin/redis-server in place of 7.0.14, 7.0.15")


def test_another_build_is_of_less_weight() -> None:
    offer = offer_engine("redis", redis("7.0.15", "b"), {"a": redis("7.0.15", "a")}, where="/r")
    assert offer.severity == "medium"
    assert "Another build" in offer.description
    assert (
        offer.fingerprint != offer_engine("redis", redis("7.0.15", "c"), {}, where="").fingerprint
    )


def test_an_authority_is_told_by_its_serial_number() -> None:
    offer = offer_authority("valkey", "1f", frozenset({"a"}))
    assert offer.fingerprint == "1f"
    assert offer.behind == {"a"}
    assert not offer.unknown


FOUND = ("is_current", "behind", "unknown", "due")


@pytest.mark.parametrize("status", Status)
def test_every_finding_leads_along_the_table(status: Status) -> None:
    for values in itertools.product((True, False), repeat=len(FOUND)):
        found = dict(zip(FOUND, values, strict=True))
        event = next_event(status, **found)
        assert event is None or (status, event) in TABLE, found
        if status in UNDER_WAY:
            assert event is None, "the operation has the say"


@pytest.mark.parametrize(
    ("status", "found", "event"),
    [
        ("not-applied", "current behind", None),
        ("not-applied", "current behind due", Event.SCHEDULE),
        ("scheduling", "current behind due", Event.SCHEDULED),
        ("scheduling", "current behind", Event.SCHEDULED),
        ("scheduled", "current behind due", None),
        ("stopped", "current behind due", None),  # a customer stopped it
        ("not-applied", "current", Event.FINISH),
        ("scheduled", "current", Event.FINISH),
        ("stopped", "current", Event.FINISH),
        ("not-applied", "current unknown", None),
        ("not-applied", "", Event.SUPERSEDE),
        ("stopped", "behind", Event.SUPERSEDE),
        ("complete", "", None),
        ("complete", "current", None),
        ("complete", "current behind", Event.REOPEN),
        ("not-applicable", "current behind", Event.REOPEN),
        ("not-applicable", "current", None),
        ("in-progress", "", None),
    ],
)
def test_what_was_found_decides(status: str, found: str, event: Event | None) -> None:
    words = set(found.split())
    assert (
        next_event(
            status,
            is_current="current" in words,
            behind="behind" in words,
            unknown="unknown" in words,
            due="due" in words,
        )
        is event
    )
