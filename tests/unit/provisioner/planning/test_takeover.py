"""What a replica must hear of slots under way before it takes over."""

from __future__ import annotations

from cachefleet.engine.types import ClusterNodeView, Endpoint, NodeRole, SlotRange
from cachefleet.provisioner.planning.takeover import (
    SlotMark,
    contested_slots,
    marks_of_lost,
    unclaimed_slots,
)

LOST, OTHER, THIRD = "a" * 40, "b" * 40, "c" * 40


def view(
    node_id: str,
    *ranges: tuple[int, int],
    migrating: tuple[tuple[int, str], ...] = (),
    importing: tuple[tuple[int, str], ...] = (),
) -> ClusterNodeView:
    return ClusterNodeView(
        id=node_id,
        endpoint=Endpoint("127.0.0.1", 6379),
        flags=frozenset(),
        role=NodeRole.PRIMARY,
        primary_id=None,
        link_up=True,
        slots=tuple(SlotRange(first=first, last=last) for first, last in ranges),
        myself=False,
        migrating=migrating,
        importing=importing,
    )


def test_a_slot_that_was_just_given_away_is_contested() -> None:
    seen = [view(LOST, (0, 9)), view(OTHER, (10, 19))]
    assert contested_slots(LOST, seen, [view(OTHER, (8, 19))]) == {8, 9}


def test_nothing_is_contested_once_the_replica_has_heard() -> None:
    seen = [view(LOST, (0, 7)), view(OTHER, (8, 19))]
    assert contested_slots(LOST, seen, [view(OTHER, (8, 19))]) == set()


def test_a_slot_that_was_just_taken_is_nobodys_until_the_replica_has_heard() -> None:
    others = [view(OTHER, (10, 16_380))]
    assert unclaimed_slots(LOST, [view(LOST, (0, 9))], others) == {16_381, 16_382, 16_383}
    assert unclaimed_slots(LOST, [view(LOST, (0, 9), (16_381, 16_383))], others) == set()


def test_what_others_import_from_the_lost_one_is_on_its_way_out() -> None:
    seen = [view(LOST, (0, 9)), view(OTHER, (10, 19)), view(THIRD, (20, 29))]
    others = [
        view(OTHER, (10, 19), importing=((4, LOST), (25, THIRD))),
        view(THIRD, (20, 29), migrating=((25, OTHER),)),
    ]
    assert marks_of_lost(LOST, seen, others) == [SlotMark(4, "MIGRATING", OTHER)]


def test_what_others_send_to_the_lost_one_is_on_its_way_in() -> None:
    seen = [view(LOST, (0, 9)), view(OTHER, (10, 19))]
    others = [view(OTHER, (10, 19), migrating=((12, LOST), (13, LOST)))]
    assert marks_of_lost(LOST, seen, others) == [
        SlotMark(12, "IMPORTING", OTHER),
        SlotMark(13, "IMPORTING", OTHER),
    ]


def test_marks_of_moves_that_have_ended_mean_nothing() -> None:
    seen = [view(LOST, (0, 9)), view(OTHER, (10, 19))]
    others = [view(OTHER, (10, 19), importing=((12, LOST),), migrating=((3, LOST),))]
    assert marks_of_lost(LOST, seen, others) == []
