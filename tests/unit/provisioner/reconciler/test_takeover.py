"""A replica takes over in the midst of a resharding: after it has heard, and with its marks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import (
    ClusterNodeView,
    Endpoint,
    NodeRole,
    SlotMigrationView,
    SlotRange,
)
from cachefleet.provisioner.clock import SystemClock
from cachefleet.provisioner.reconciler.takeover import let_writes_go_on, take_over
from tests.unit.api.driver import SteppedClock

LOST, OTHER, ME = "a" * 40, "b" * 40, "c" * 40
LAST = 16_383
TAKEOVER = ("CLUSTER", "FAILOVER", "TAKEOVER")


def view(
    node_id: str,
    first: int,
    last: int,
    *,
    myself: bool = False,
    role: NodeRole = NodeRole.PRIMARY,
    importing: tuple[tuple[int, str], ...] = (),
) -> ClusterNodeView:
    return ClusterNodeView(
        id=node_id,
        endpoint=Endpoint("127.0.0.1", 6379),
        flags=frozenset(),
        role=role,
        primary_id=None,
        link_up=True,
        slots=(SlotRange(first=first, last=last),),
        myself=myself,
        importing=importing,
    )


class FakeMember:
    """Answers ``CLUSTER NODES`` from a script, the last line again and again."""

    def __init__(self, *views: Sequence[ClusterNodeView]):
        self._views = list(views)
        self.looks = 0
        self.sent: list[Sequence[str | bytes | int]] = []
        self.refusal: CommandRefused | None = None

    async def cluster_nodes(self) -> Sequence[ClusterNodeView]:
        self.looks += 1
        if not self._views:
            raise NodeUnreachable("it is gone")
        return self._views.pop(0) if len(self._views) > 1 else self._views[0]

    async def commands(self, commands: Sequence[Sequence[str | bytes | int]]) -> list[Any]:
        self.sent.extend(commands)
        if self.refusal is not None:
            raise self.refusal
        return ["OK"] * len(commands)


async def test_a_replica_waits_until_it_has_heard_what_its_primary_gave_away() -> None:
    unaware = [view(LOST, 0, 9), view(OTHER, 10, LAST)]
    aware = [view(LOST, 0, 7), view(OTHER, 8, LAST)]
    successor = FakeMember(unaware, unaware, aware)
    await take_over(
        successor, LOST, [FakeMember([view(OTHER, 8, LAST, myself=True)])], clock=SystemClock()
    )
    assert successor.looks == 3
    assert successor.sent == [TAKEOVER]


async def test_a_replica_waits_until_it_has_heard_what_its_primary_was_given() -> None:
    unaware = [view(LOST, 0, 9), view(OTHER, 10, LAST)]
    aware = [view(LOST, 0, 19), view(OTHER, 20, LAST)]
    successor = FakeMember(unaware, unaware, aware)
    await take_over(
        successor, LOST, [FakeMember([view(OTHER, 20, LAST, myself=True)])], clock=SystemClock()
    )
    assert successor.looks == 3
    assert successor.sent == [TAKEOVER]


async def test_slots_of_a_primary_that_does_not_answer_are_not_waited_for() -> None:
    successor = FakeMember([view(LOST, 0, 9), view(OTHER, 10, 19)])
    others = [FakeMember([view(OTHER, 10, 19, myself=True)]), FakeMember()]
    await take_over(successor, LOST, others, clock=SystemClock())
    assert successor.looks == 1
    assert successor.sent == [TAKEOVER]


async def test_half_moved_slots_are_marked_in_the_same_breath() -> None:
    successor = FakeMember([view(LOST, 0, 9), view(OTHER, 10, LAST)])
    importing = FakeMember([view(OTHER, 10, LAST, myself=True, importing=((3, LOST), (4, LOST)))])
    await take_over(successor, LOST, [importing], clock=SystemClock())
    assert successor.sent == [
        TAKEOVER,
        ("CLUSTER", "SETSLOT", 3, "MIGRATING", OTHER),
        ("CLUSTER", "SETSLOT", 4, "MIGRATING", OTHER),
    ]


async def test_primaries_that_are_gone_as_well_do_not_hold_it_up() -> None:
    successor = FakeMember([view(LOST, 0, 9)])
    await take_over(successor, LOST, [FakeMember()], clock=SystemClock())
    assert successor.sent == [TAKEOVER]


@pytest.mark.parametrize("role", [NodeRole.PRIMARY, NodeRole.REPLICA])
async def test_a_refused_mark_is_no_refused_takeover(role: NodeRole) -> None:
    successor = FakeMember([view(LOST, 0, LAST), view(ME, 0, 9, myself=True, role=role)])
    successor.refusal = CommandRefused("ERR I'm not the owner of hash slot 3")
    if role is NodeRole.PRIMARY:
        await take_over(successor, LOST, [], clock=SystemClock())
        return
    with pytest.raises(CommandRefused):
        await take_over(successor, LOST, [], clock=SystemClock())


class FakeGiver:
    """A source whose bus has a last word of the lost one to read, *unread* looks away."""

    def __init__(self, target_id: str, *, unread: int = 0, claim: bool = False):
        self._target_id, self._unread, self._claim = target_id, unread, claim
        self.state = "failover-granted"
        self.refusal: CommandRefused | None = None
        self.clock = SteppedClock()

    async def slot_migrations(self) -> Sequence[SlotMigrationView]:
        if self.refusal is not None:
            raise self.refusal
        return [
            SlotMigrationView(
                name="m",
                operation="EXPORT",
                slots=(SlotRange(first=0, last=9),),
                source_id=ME,
                target_id=self._target_id,
                state=self.state,
                message="",
            )
        ]

    async def cluster_hears(self, node_id: str) -> bool:
        assert node_id == LOST
        self.clock.advance(0.1)
        self._unread -= 1
        if self._unread < 0 and self._claim:
            self.state = "success"
        return self._unread >= 0

    async def cancel_slot_migrations(self) -> None:
        if self.state == "success":
            raise CommandRefused("ERR No migrations ongoing")
        self.state = "cancelled"


@pytest.mark.parametrize(
    ("giver", "state"),
    [
        pytest.param(FakeGiver(LOST, unread=3), "cancelled", id="to-the-lost-one"),
        pytest.param(FakeGiver(LOST, unread=3, claim=True), "success", id="claimed-at-last"),
        pytest.param(FakeGiver(LOST, unread=10**9), "failover-granted", id="not-known"),
        pytest.param(FakeGiver(OTHER), "failover-granted", id="to-another"),
    ],
)
async def test_a_move_to_the_lost_one_ends_when_all_it_said_is_read(
    giver: FakeGiver, state: str
) -> None:
    await let_writes_go_on(giver, LOST, clock=giver.clock)
    assert giver.state == state


async def test_engines_without_such_moves_are_left_alone() -> None:
    giver = FakeGiver(LOST)
    giver.refusal = CommandRefused("ERR unknown subcommand 'GETSLOTMIGRATIONS'")
    await let_writes_go_on(giver, LOST, clock=giver.clock)
    assert giver.state == "failover-granted"
