"""The life of an update action, cell by cell, and what is shown of it."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cachefleet.provisioner.state import updates
from cachefleet.provisioner.state.errors import IllegalTransition
from cachefleet.provisioner.state.tables import CacheNode
from cachefleet.provisioner.state.update_tables import ServiceUpdate, UpdateAction
from cachefleet.provisioner.state.updates import Event, Status

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LEGAL = """
not-applied       apply      waiting-to-start
not-applied       schedule   scheduling
not-applied       finish     complete
not-applied       supersede  not-applicable
scheduling        scheduled  scheduled
scheduling        apply      waiting-to-start
scheduling        finish     complete
scheduling        supersede  not-applicable
scheduled         apply      waiting-to-start
scheduled         finish     complete
scheduled         supersede  not-applicable
waiting-to-start  start      in-progress
waiting-to-start  stop       stopping
waiting-to-start  finish     complete
waiting-to-start  supersede  not-applicable
in-progress       stop       stopping
in-progress       finish     complete
in-progress       stopped    stopped
in-progress       supersede  not-applicable
stopping          stopped    stopped
stopping          finish     complete
stopping          supersede  not-applicable
stopped           apply      waiting-to-start
stopped           finish     complete
stopped           supersede  not-applicable
complete          reopen     not-applied
not-applicable    reopen     not-applied
"""
WANTED = {(a, b): c for a, b, c in (line.split() for line in LEGAL.strip().splitlines())}


def action(status: str = "not-applied", **columns: Any) -> UpdateAction:
    update = ServiceUpdate(
        name="elc-1", status="available", apply_by_at=NOW, ends_at=NOW + timedelta(days=1)
    )
    return UpdateAction(name="demo", status=status, update=update, nodes={}, **columns)


def node(uid: str, shard: str | None = "s1") -> CacheNode:
    return CacheNode(uid=uid, member_name=f"m-{uid}", cache_node_id="0001", node_group_uid=shard)


def noted(of: UpdateAction, nodes: str, behind: str, unknown: str = "") -> dict[str, str]:
    updates.note_nodes(
        of,
        [node(uid) for uid in nodes],
        shards={"s1": "0001"},
        behind=frozenset(behind),
        unknown=frozenset(unknown),
        now=NOW,
    )
    return {uid: entry["status"] for uid, entry in of.nodes.items()}


@pytest.mark.parametrize(
    ("status", "event"), list(itertools.product(Status, Event)), ids=lambda value: str(value.value)
)
def test_table(status: Status, event: Event) -> None:
    row = action(status.value)
    wanted = WANTED.get((status.value, event.value))
    if wanted is None:
        with pytest.raises(IllegalTransition):
            updates.fire(row, event, now=NOW)
        assert row.status == status
    else:
        updates.fire(row, event, now=NOW, by="customer")
        assert (row.status, row.status_at) == (wanted, NOW)
        assert (row.completed_at is None) == (wanted != "complete")


def test_nodes_go_with_their_action() -> None:
    row = action()
    assert noted(row, "abc", "abc") == dict.fromkeys("abc", "not-applied")
    updates.fire(row, Event.APPLY, now=NOW, by="customer")
    assert set(row.nodes["a"].items()) >= {("initiated_by", "customer"), ("shard", "0001")}
    updates.fire(row, Event.START, now=NOW)
    updates.note_start(row, "a", now=NOW)
    assert noted(row, "abc", "abc")["a"] == "in-progress"
    updates.fire(row, Event.STOP, now=NOW)
    # The one that was begun is gone through with.
    assert noted(row, "abc", "abc") == {"a": "in-progress", "b": "stopping", "c": "stopping"}
    assert noted(row, "abc", "bc")["a"] == "complete"
    assert updates.nodes_updated(row) == "1/3"
    updates.fire(row, Event.STOPPED, now=NOW)
    assert noted(row, "abc", "bc") == {"a": "complete", "b": "stopped", "c": "stopped"}
    updates.fire(row, Event.APPLY, now=NOW, by="system")
    assert (row.nodes["a"]["initiated_by"], row.nodes["b"]["initiated_by"]) == (
        "customer",
        "system",
    )


def test_nodes_that_went_are_left_out_and_the_unknown_stay_as_they_were() -> None:
    row = action()
    noted(row, "ab", "b")
    assert noted(row, "ac", "c", unknown="a") == {"a": "complete", "c": "not-applied"}
    assert noted(row, "c", "", unknown="c") == {"c": "not-applied"}


def test_a_node_that_fell_back_is_to_be_updated_again() -> None:
    row = action()
    noted(row, "a", "")
    assert noted(row, "a", "a") == {"a": "not-applied"}
    assert "ended_at" not in row.nodes["a"]


BEFORE, AFTER = NOW - timedelta(hours=1), NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    ("completed", "created", "now", "met"),
    [
        pytest.param(None, None, BEFORE, "n/a", id="open-until-the-date"),
        pytest.param(None, None, AFTER, "no", id="missed"),
        pytest.param(BEFORE, None, BEFORE, "yes", id="kept-early"),
        pytest.param(BEFORE, None, AFTER, "yes", id="kept"),
        pytest.param(AFTER, None, AFTER, "no", id="too-late"),
        pytest.param(None, AFTER, AFTER, "n/a", id="made-after-the-date"),
        pytest.param(None, BEFORE, AFTER, "no", id="made-before-it"),
    ],
)
def test_sla(completed: datetime | None, created: datetime | None, now: datetime, met: str) -> None:
    row = action(completed_at=completed, subject_created_at=created)
    assert updates.sla_met(row, now) == met


def test_an_update_expires_by_the_clock() -> None:
    update = action().update
    assert updates.update_status(update, NOW) == "available"
    assert updates.update_status(update, update.ends_at) == "expired"
    update.status = "cancelled"
    assert updates.update_status(update, update.ends_at) == "cancelled"


@pytest.mark.parametrize(
    ("severity", "days", "due"),
    [
        ("important", None, "2026-03-31T23:59:59+00:00"),
        ("medium", None, "2026-04-30T23:59:59+00:00"),
        ("important", 1, "2026-03-02T23:59:59+00:00"),
        ("critical", 0, "2026-03-01T12:00:00+00:00"),
    ],
)
def test_due_at_the_end_of_a_day(severity: str, days: int | None, due: str) -> None:
    assert updates.apply_by(NOW, severity, days).isoformat() == due
