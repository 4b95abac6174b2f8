"""What a fault needs next, and which packets a partition drops."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cachefleet.provisioner.planning.faults import (
    CutNode,
    Move,
    PacketRule,
    keeps_down,
    next_move,
    plan_rules,
)
from cachefleet.provisioner.state.faults import Cut, FaultKind, HitState

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LATER, EARLIER = NOW + timedelta(seconds=1), NOW - timedelta(seconds=1)


@pytest.mark.parametrize(
    ("state", "undone", "ends_at", "move"),
    [
        pytest.param(HitState.REQUESTED, False, LATER, Move.BEGIN, id="begin"),
        pytest.param(HitState.REQUESTED, True, LATER, Move.DROP, id="undone-before-it-began"),
        pytest.param(HitState.REQUESTED, False, EARLIER, Move.DROP, id="never-late"),
        pytest.param(HitState.BEGINNING, False, LATER, Move.KEEP, id="cut-off-while-it-began"),
        pytest.param(HitState.ACTIVE, False, LATER, Move.KEEP, id="keep"),
        pytest.param(HitState.ACTIVE, True, LATER, Move.LIFT, id="undone"),
        pytest.param(HitState.ACTIVE, False, NOW, Move.LIFT, id="over-in-time"),
        pytest.param(
            HitState.BEGINNING, False, EARLIER, Move.LIFT, id="over-while-nobody-was-there"
        ),
    ],
)
def test_moves(state: HitState, undone: bool, ends_at: datetime, move: Move) -> None:
    assert next_move(state, undone=undone, ends_at=ends_at, now=NOW) is move


@pytest.mark.parametrize(
    ("kind", "cut", "duration_s", "down"),
    [
        pytest.param(FaultKind.KILL, "", 0.0, False, id="killed-once"),
        pytest.param(FaultKind.KILL, "", 5.0, True, id="killed-for-a-time"),
        pytest.param(FaultKind.STOP, "", 5.0, False, id="stopped"),
        pytest.param(FaultKind.PARTITION, Cut.ALL, 5.0, True, id="reached-by-nobody"),
        pytest.param(FaultKind.PARTITION, Cut.NODES, 5.0, False, id="reached-by-clients"),
    ],
)
def test_keeps_down(kind: FaultKind, cut: str, duration_s: float, down: bool) -> None:
    assert keeps_down(kind, cut=cut, duration_s=duration_s) is down


def node(uid: str, cut: Cut | None = None, *, fault: str = "f", subject: str = "g") -> CutNode:
    return CutNode(uid=uid, host=uid.upper(), subject=subject, cut=cut, fault=fault if cut else "")


def drop(*hosts: str) -> PacketRule:
    return PacketRule(dropped=frozenset(hosts))


def only(*hosts: str, but: tuple[str, ...] = ()) -> PacketRule:
    return PacketRule(dropped=frozenset(but), allowed=frozenset(hosts))


@pytest.mark.parametrize(
    ("nodes", "rules"),
    [
        pytest.param([node("a"), node("b")], {}, id="nobody"),
        pytest.param(
            [node("a", Cut.NODES), node("b"), node("c")],
            {"a": drop("B", "C"), "b": drop("A"), "c": drop("A")},
            id="both-ends-drop",
        ),
        pytest.param(
            [node("a", Cut.ALL), node("b")], {"a": only("A"), "b": drop("A")}, id="everybody"
        ),
        pytest.param(
            [node("a", Cut.ALL), node("b", Cut.ALL), node("c")],
            {"a": only("A", "B"), "b": only("A", "B"), "c": drop("A", "B")},
            id="a-zone-stays-together",
        ),
        pytest.param(
            [node("a", Cut.ALL), node("b", Cut.ALL, fault="other"), node("c")],
            {"a": only("A", but=("B",)), "b": only("B", but=("A",)), "c": drop("A", "B")},
            id="two-faults-are-apart",
        ),
        pytest.param(
            [node("a", Cut.NODES), node("x", subject="h")], {"a": drop()}, id="other-groups"
        ),
        pytest.param(
            [node("a", Cut.NODES), node("a", Cut.ALL, fault="other"), node("b")],
            {"a": only("A", but=("B",)), "b": drop("A")},
            id="the-stricter-of-two",
        ),
    ],
)
def test_rules(nodes: list[CutNode], rules: dict[str, PacketRule]) -> None:
    assert plan_rules(nodes) == rules
