"""plan_moves: even shards, no slot moved twice, none moved without need."""

from __future__ import annotations

import random

import pytest

from cachefleet.engine.types import ClusterNodeView, Endpoint, NodeRole, SlotRange
from cachefleet.provisioner.planning.resharding import (
    SLOT_COUNT,
    SLOTS_PER_MOVE_MAX,
    SlotMove,
    claims_count,
    plan_layout,
    plan_moves,
    ranges_of,
    side_by_side,
    slots_of,
)

Owned = dict[str, set[int]]


def evenly(shards: str) -> Owned:
    """Return all slots spread evenly over *shards*."""
    owned: Owned = {shard: set() for shard in shards}
    for slot in range(SLOT_COUNT):
        owned[shards[slot * len(shards) // SLOT_COUNT]].add(slot)
    return owned


def carry_out(owned: Owned, moves: list[SlotMove]) -> Owned:
    after = {shard: set(slots) for shard, slots in owned.items()}
    for move in moves:
        slots = slots_of(move.ranges)
        assert slots <= after[move.source], "a shard gives only what it owns"
        after[move.source] -= slots
        after.setdefault(move.target, set()).update(slots)
    return after


CASES = [
    pytest.param("ab", "ab", 0, id="nothing-to-do"),
    pytest.param("a", "ab", 8192, id="one-more"),
    pytest.param("ab", "abc", 5461, id="two-to-three"),
    pytest.param("ab", "a", 8192, id="one-less"),
    pytest.param("abc", "c", 10_923, id="two-less"),
    pytest.param("ab", "cd", 16_384, id="all-others"),
]


@pytest.mark.parametrize(("before", "wanted", "moved"), CASES)
def test_spreads_evenly_with_as_few_moves_as_can_be(before: str, wanted: str, moved: int) -> None:
    owned = evenly(before)
    moves = plan_moves(owned, wanted=list(wanted))
    after = carry_out(owned, moves)
    sizes = [len(after.get(shard, ())) for shard in wanted]
    assert max(sizes) - min(sizes) <= 1
    assert sum(sizes) == SLOT_COUNT
    assert all(not slots for shard, slots in after.items() if shard not in wanted)
    assert abs(sum(move.slot_count for move in moves) - moved) <= 1
    assert all(move.slot_count <= SLOTS_PER_MOVE_MAX for move in moves)
    assert plan_moves(after, wanted=list(wanted)) == []


@pytest.mark.parametrize("seed", range(30))
def test_converges_when_moves_are_lost_and_wishes_change(seed: int) -> None:
    dice = random.Random(seed)
    owned = evenly("abcdef"[: dice.randrange(1, 7)])
    wanted: list[str] = []
    for _ in range(6):
        wanted = dice.sample("abcdefgh", dice.randrange(1, 8))
        moves = plan_moves(owned, wanted=wanted)
        owned = carry_out(owned, [move for move in moves if dice.random() > 0.4])
    owned = carry_out(owned, plan_moves(owned, wanted=wanted))
    sizes = [len(owned[shard]) for shard in wanted]
    assert (max(sizes) - min(sizes) <= 1, sum(sizes)) == (True, SLOT_COUNT)


@pytest.mark.parametrize(("before", "after"), [("ab", "abc"), ("abc", "bc"), ("abc", "cba")])
def test_another_groups_layout_is_taken_over_slot_for_slot(before: str, after: str) -> None:
    owned = evenly(before)
    layout = dict(zip(after, evenly(after).values(), strict=True))
    moves = plan_layout(owned, layout)
    assert all(move.slot_count <= SLOTS_PER_MOVE_MAX for move in moves)
    found = carry_out(owned, moves)
    assert {shard: set(slots) for shard, slots in found.items() if slots} == {
        shard: set(slots) for shard, slots in layout.items()
    }
    assert plan_layout(found, layout) == []
    assert plan_layout(owned, layout, stuck=range(SLOT_COUNT)) == []


def test_ranges_are_what_was_given() -> None:
    ranges = ranges_of({7, 1, 2, 3, 9})
    assert ranges == (
        SlotRange(first=1, last=3),
        SlotRange(first=7, last=7),
        SlotRange(first=9, last=9),
    )
    assert slots_of(ranges) == {1, 2, 3, 7, 9}


def test_moves_at_the_same_time_share_no_shard() -> None:
    moves = [SlotMove(source, target, ()) for source, target in ("ab", "bc", "cd", "da", "ef")]
    chosen = side_by_side(moves)
    assert [(move.source, move.target) for move in chosen] == [("a", "b"), ("c", "d"), ("e", "f")]


def primary(name: str, epoch: int) -> ClusterNodeView:
    return ClusterNodeView(
        id=name,
        endpoint=Endpoint("127.0.0.1", 1),
        flags=frozenset({"master"}),
        role=NodeRole.PRIMARY,
        primary_id=None,
        link_up=True,
        slots=(),
        myself=False,
        epoch=epoch,
    )


@pytest.mark.parametrize(
    ("heard_of_source", "source", "target", "other", "counts"),
    [
        pytest.param(2, 2, 3, 4, True, id="all-different-and-heard-of"),
        pytest.param(2, 2, 3, 3, True, id="others-settle-it-among-themselves"),
        pytest.param(3, 4, 3, 2, False, id="the-source-has-a-newer-one"),
        pytest.param(3, 3, 3, 2, False, id="the-source-will-take-a-newer-one-than-the-target"),
        pytest.param(3, 3, 4, 3, False, id="the-source-will-take-a-newer-one-than-another"),
        pytest.param(None, 2, 3, 4, False, id="not-heard-of"),
    ],
)
def test_a_claim_counts_where_the_source_cannot_outbid_it(
    heard_of_source: int | None, source: int, target: int, other: int, counts: bool
) -> None:
    seen = [primary("source", heard_of_source)] if heard_of_source is not None else []
    owners = [primary("source", source), primary("target", target), primary("other", other)]
    assert claims_count("source", seen, owners) is counts
