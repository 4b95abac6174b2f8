"""What is known of a change: the tables that a statement touches, and when each last changed."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from cachefleet.provisioner.state import all_tables, touched
from cachefleet.provisioner.state.revisions import (
    EVERYTHING,
    Counted,
    Revisions,
    complete,
    raised,
)
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.turns import Turns, awaited

HERE, THERE = Scope("111111111111", "us-east-1"), Scope("111111111111", "eu-west-1")
DEADLINE_S = 20.0
assert all_tables  # statements are known by the tables that there are


@pytest.mark.parametrize(
    ("statement", "tables", "writes"),
    [
        ("SELECT users.uid FROM users WHERE users.name = ?", {"users"}, False),
        ('SELECT "users".uid FROM "users" FOR UPDATE', {"users"}, False),
        (
            "SELECT x FROM cache_clusters JOIN cache_nodes ON cache_nodes.a = cache_clusters.b",
            {"cache_clusters", "cache_nodes"},
            False,
        ),
        (
            "INSERT INTO users (uid) SELECT ? WHERE (SELECT count(*) FROM users) < ?",
            {"users"},
            True,
        ),
        ("UPDATE tags SET value=? WHERE tags.id = ?", {"tags"}, True),
        ("DELETE FROM users WHERE users.uid = ?", {"users"}, True),
        ("UPDATE scope_revisions SET revision=? WHERE account = ?", set(), True),
        ("BEGIN IMMEDIATE", set(), True),
        ("", set(), False),
    ],
)
def test_a_statement_names_its_tables(statement: str, tables: set[str], writes: bool) -> None:
    assert touched.tables_of(statement) == (frozenset(tables), writes)


def test_what_is_deleted_takes_others_along() -> None:
    tables, _ = touched.tables_of("DELETE FROM replication_groups WHERE uid = ?")
    assert {"replication_groups", "node_groups", "cache_nodes", "endpoint_addresses"} <= tables
    assert "users" not in tables


def test_what_was_read_earlier_and_is_used_now_counts() -> None:
    with touched.reading() as tables:
        touched.note_read({"users"})
        with touched.reading() as inner:
            touched.note_read({"tags"})
    touched.note_read({"events"})
    assert (tables, inner) == ({"users"}, {"tags"})


def test_an_answer_stands_until_one_of_its_tables_changes() -> None:
    revisions = Revisions(9, {"users": 9, "tags": 4})
    assert revisions.stand_since(9, ["users", "tags"])
    assert revisions.stand_since(8, ["tags", "events"])
    assert not revisions.stand_since(8, ["tags", "users"])
    assert revisions.stand_since(3, [])


def test_counts_go_on_in_each_scope_alone() -> None:
    counted = Counted()
    assert counted.get(HERE).newest == 0
    counted.note(HERE, {"users"})
    here = counted.get(HERE)
    counted.note(HERE, {"tags"})
    assert (here.newest, dict(here.of_table)) == (2, {"users": 1, "tags": 2})
    assert counted.get(THERE).newest == 0
    counted.note_everything()
    assert not counted.get(HERE).stand_since(2, ["events"])


def test_a_change_of_which_nothing_was_said_changes_everything() -> None:
    """A process of an earlier release raises the revision and leaves the tables as they are."""
    known = raised({}, 1, {"users"})
    assert Revisions(1, complete(known, 1)).stand_since(0, ["tags"])
    silent = Revisions(2, complete(known, 2))
    assert not silent.stand_since(1, ["tags"])
    later = raised(known, 3, {"users"})
    assert later[EVERYTHING] == 2
    assert not Revisions(3, complete(later, 3)).stand_since(1, ["tags"])
    assert Revisions(3, complete(later, 3)).stand_since(2, ["tags"])


async def test_work_that_nobody_waits_for_takes_turns_and_requests_go_between() -> None:
    turns, order = Turns(), list[str]()

    async def work(name: str) -> None:
        await turns.give_way()
        order.append(name)

    async def request(name: str) -> None:
        with awaited():
            await turns.give_way()
            order.append(name)

    working = [asyncio.create_task(work(f"work-{number}")) for number in range(3)]
    while len(order) < 8:  # each asks when the one before has been answered
        await asyncio.create_task(request("request"))
    await asyncio.gather(*working)
    assert order[0] == "request", "a request does not wait for work that came before it"
    assert [one for one in order if one != "request"] == ["work-0", "work-1", "work-2"]
    assert not any(
        one.startswith("work") and other.startswith("work")
        for one, other in itertools.pairwise(order)
    ), "one piece of work, then whoever is there"


async def test_work_gives_way_while_a_request_is_answered_and_not_for_ever() -> None:
    turns, answered = Turns(), asyncio.Event()

    async def request() -> None:
        with awaited():
            await answered.wait()

    asking = asyncio.create_task(request())
    await asyncio.sleep(0)
    first, second = (asyncio.create_task(turns.give_way()) for _ in range(2))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not first.done(), "the request may want to go on"
    await asyncio.wait_for(first, DEADLINE_S)  # it never does
    answered.set()
    await asyncio.wait_for(second, DEADLINE_S)
    await asking
