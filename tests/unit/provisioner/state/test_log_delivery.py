"""How configurations of log delivery change."""

from __future__ import annotations

from typing import Any

from cachefleet.provisioner.state.log_delivery import (
    changed,
    concluded,
    key_of,
    with_outcome,
)


def wish(log_type: str = "slow-log", place: str = "g", log_format: str = "json") -> dict[str, Any]:
    return {
        "LogType": log_type,
        "DestinationType": "cloudwatch-logs",
        "DestinationDetails": {"CloudWatchLogsDetails": {"LogGroup": place}},
        "LogFormat": log_format,
    }


ACTIVE = {**wish(), "Status": "active"}


def test_what_is_new_is_enabling_and_pending() -> None:
    assert changed((), {"slow-log": wish()}) == ([{**wish(), "Status": "enabling"}], [wish()])


def test_what_is_so_already_stays() -> None:
    assert changed([ACTIVE], {"slow-log": wish()}) == ([ACTIVE], [])


def test_what_differs_is_modifying_and_what_failed_is_tried_again() -> None:
    other = wish(log_format="text")
    assert changed([ACTIVE], {"slow-log": other})[0] == [{**other, "Status": "modifying"}]
    failed = with_outcome(ACTIVE, "no")
    assert changed([failed], {"slow-log": wish()})[0] == [{**wish(), "Status": "modifying"}]


def test_what_is_turned_off_is_disabling_and_then_gone() -> None:
    entries, pending = changed([ACTIVE], {"slow-log": None, "engine-log": None})
    assert (entries, pending) == ([{**wish(), "Status": "disabling"}], [])
    assert concluded(entries, {}) == []


def test_only_what_was_looked_at_is_concluded() -> None:
    entries = [{**wish(), "Status": "enabling"}, {**wish("engine-log"), "Status": "enabling"}]
    after = concluded(entries, {key_of(entries[0]): "no such group"})
    assert after == [{**wish(), "Status": "error", "Message": "no such group"}, entries[1]]
    assert concluded(after, {key_of(after[0]): None})[0] == ACTIVE
