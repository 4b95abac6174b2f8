"""open_moves and stale_marks: what a pass that was cut off has left behind; slots that stay."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from cachefleet.provisioner.planning.resharding import (
    SLOT_COUNT,
    ShardSlots,
    open_moves,
    plan_moves,
    slots_of,
    stale_marks,
)

Marks = Mapping[int, str]


def shard(
    *owned: int, migrating: Marks | None = None, importing: Marks | None = None
) -> ShardSlots:
    return ShardSlots(owned=frozenset(owned), migrating=migrating or {}, importing=importing or {})


@pytest.mark.parametrize(
    ("shards", "moves"),
    [
        pytest.param({"a": shard(1, 2), "b": shard(3)}, [], id="nothing-begun"),
        pytest.param(
            {"a": shard(1, 2, migrating={1: "b"}), "b": shard(3, importing={1: "a"})},
            [("a", "b", {1})],
            id="both-marks",
        ),
        pytest.param(
            {"a": shard(1, 2), "b": shard(3, importing={1: "a", 2: "a"})},
            [("a", "b", {1, 2})],
            id="the-source-failed-over",
        ),
        pytest.param(
            {"a": shard(1, 2, migrating={2: "b"}), "b": shard(3)},
            [("a", "b", {2})],
            id="the-target-failed-over",
        ),
        pytest.param(
            {"a": shard(1, 2), "b": shard(3, importing={1: ""})},
            [("a", "b", {1})],
            id="from-a-node-that-is-gone",
        ),
        pytest.param(
            {"a": shard(1, 2, migrating={1: "c"}), "b": shard(importing={1: "a"}), "c": shard(3)},
            [("a", "c", {1})],
            id="the-source-knows-where-its-keys-go",
        ),
        pytest.param(
            {"a": shard(2, migrating={1: "b"}), "b": shard(1, importing={1: "a"})},
            [],
            id="ended-but-marked",
        ),
    ],
)
def test_moves_that_were_begun_are_ended(
    shards: Mapping[str, ShardSlots], moves: list[tuple[str, str, set[int]]]
) -> None:
    found = [(move.source, move.target, slots_of(move.ranges)) for move in open_moves(shards)]
    assert found == moves


def test_marks_of_ended_moves_are_found() -> None:
    shards = {
        "a": shard(2, 4, migrating={1: "b", 4: "b"}),
        "b": shard(1, importing={1: "a", 4: "a"}),
    }
    assert stale_marks(shards) == [("a", 1), ("b", 1)]


def test_stuck_slots_stay_and_the_others_go() -> None:
    owned = {"a": range(8192), "b": range(8192, SLOT_COUNT)}
    stuck = {0, 5}
    moves = plan_moves(owned, wanted=["b"], stuck=stuck)
    moved = {slot for move in moves for slot in slots_of(move.ranges)}
    assert moved == set(range(8192)) - stuck
    assert all((move.source, move.target) == ("a", "b") for move in moves)
    left = {"a": stuck, "b": {*range(SLOT_COUNT)} - stuck}
    assert plan_moves(left, wanted=["b"], stuck=stuck) == []


def test_stuck_slots_do_not_keep_shards_from_being_evened_out() -> None:
    owned: dict[str, range] = {"a": range(SLOT_COUNT), "b": range(0)}
    # The slots that would go otherwise: others go in their place.
    moves = plan_moves(owned, wanted=["a", "b"], stuck=range(8192, SLOT_COUNT))
    assert {slot for move in moves for slot in slots_of(move.ranges)} == set(range(8192))
