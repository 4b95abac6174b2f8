"""plan_restart: replicas first, one at a time, and never a primary's data."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from cachefleet.engine.types import NodeRole
from cachefleet.provisioner.planning.restarts import Restart, RestartView, plan_restart

STARTS_MAX = 12


def node(uid: str, *, stale: bool = True, primary: bool = False) -> RestartView:
    role = NodeRole.PRIMARY if primary else NodeRole.REPLICA
    return RestartView(uid=uid, name=f"node-{uid}", role=role, stale=stale)


CASES = [
    pytest.param([node("p", stale=False, primary=True)], None, id="nothing-is-stale"),
    pytest.param([node("p", primary=True)], (Restart.SAVED, "p"), id="alone-it-keeps-its-data"),
    pytest.param(
        [node("p", primary=True), node("a"), node("b")], (Restart.EMPTY, "a"), id="replicas-first"
    ),
    pytest.param(
        [node("p", primary=True), node("a", stale=False), node("b")],
        (Restart.EMPTY, "b"),
        id="only-the-stale",
    ),
    pytest.param(
        [node("p", primary=True), node("a", stale=False)],
        (Restart.HAND_OVER, "a"),
        id="the-primary-hands-over",
    ),
    pytest.param(
        [RestartView(uid="m", name="m", role=None, stale=True)],
        (Restart.EMPTY, "m"),
        id="memcached-loses-its-data",
    ),
]


@pytest.mark.parametrize(("shard", "expected"), CASES)
def test_plans(shard: list[RestartView], expected: tuple[Restart, str] | None) -> None:
    step = plan_restart(shard)
    assert (None if step is None else (step.kind, step.uid)) == expected


@pytest.mark.parametrize(
    "stale", list(itertools.product([False, True], repeat=3)), ids=lambda flags: f"{flags}"
)
def test_ends_with_nothing_stale_and_no_primary_emptied(stale: tuple[bool, ...]) -> None:
    shard = [
        node("p", primary=True, stale=stale[0]),
        node("a", stale=stale[1]),
        node("b", stale=stale[2]),
    ]
    for _ in range(STARTS_MAX):
        step = plan_restart(shard)
        if step is None:
            break
        shard = [_after(view, step.kind, step.uid) for view in shard]
    assert not any(view.stale for view in shard)
    assert sum(view.role is NodeRole.PRIMARY for view in shard) == 1


def _after(view: RestartView, kind: Restart, uid: str) -> RestartView:
    if kind is Restart.HAND_OVER:
        role = NodeRole.PRIMARY if view.uid == uid else NodeRole.REPLICA
        assert view.uid != uid or not view.stale, "the next primary runs what it should already"
        return replace(view, role=role)
    if view.uid != uid:
        return view
    assert kind is Restart.SAVED or view.role is not NodeRole.PRIMARY
    return replace(view, stale=False)
