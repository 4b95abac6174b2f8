"""decide_failover: who is primary next, and when nobody is touched."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cachefleet.engine.types import NodeRole
from cachefleet.provisioner.planning.failover import (
    Candidate,
    Verdict,
    decide_failover,
    offsets_of_readers,
)

PRIMARY, REPLICA = NodeRole.PRIMARY, NodeRole.REPLICA


def member(
    uid: str,
    role: NodeRole | None = REPLICA,
    *,
    recorded: bool = False,
    running: bool = True,
    new: bool = False,
    zone: str = "z1",
    slots: bool = False,
    offset: int = 10,
    saved_at_s: float | None = None,
) -> Candidate:
    return Candidate(
        uid=uid,
        name=f"group-{uid}",
        availability_zone=zone,
        is_recorded_primary=recorded,
        is_new=new,
        running=running,
        role=role,
        owns_slots=slots,
        offset=offset,
        saved_at_s=saved_at_s,
    )


def stopped(uid: str, saved_at_s: float | None, *, recorded: bool = False) -> Candidate:
    """Return a member after an orderly stop."""
    return member(uid, None, recorded=recorded, running=False, saved_at_s=saved_at_s)


LOST = member("p", None, recorded=True, running=False, offset=0)
ALIVE = member("p", PRIMARY, recorded=True, slots=True)

CASES = [
    pytest.param([ALIVE, member("a")], Verdict.KEEP, "p", id="alive"),
    pytest.param(
        [replace(ALIVE, role=None), member("a", offset=99)],
        Verdict.KEEP,
        "p",
        id="a-silent-process-is-not-deposed",
    ),
    pytest.param(
        [replace(ALIVE, role=REPLICA), member("a", PRIMARY)],
        Verdict.LEARN,
        "a",
        id="a-switchover-that-was-not-written-down",
    ),
    pytest.param(
        [replace(ALIVE, role=REPLICA), member("a", offset=99)],
        Verdict.KEEP,
        "p",
        id="a-replica-is-not-promoted-beside-a-living-primary",
    ),
    pytest.param(
        [replace(LOST, role=REPLICA), member("a")],
        Verdict.PROMOTE,
        "a",
        id="what-an-ended-process-said-last-is-nothing",
    ),
    pytest.param([member("a"), member("b")], Verdict.KEEP, None, id="no-primary-on-record"),
    pytest.param([LOST, member("a")], Verdict.PROMOTE, "a", id="the-only-replica"),
    pytest.param(
        [LOST, member("a", offset=5), member("b", offset=6), member("c", offset=4)],
        Verdict.PROMOTE,
        "b",
        id="the-highest-offset",
    ),
    pytest.param(
        [LOST, member("a", zone="z1"), member("b", zone="z2")],
        Verdict.PROMOTE,
        "b",
        id="then-another-zone",
    ),
    pytest.param(
        [LOST, member("a", zone="z2", offset=5), member("b", zone="z1", offset=6)],
        Verdict.PROMOTE,
        "b",
        id="data-before-zones",
    ),
    pytest.param(
        [stopped("p", None, recorded=True), stopped("a", 5.0)],
        Verdict.INHERIT,
        "a",
        id="who-alone-has-the-data-inherits",
    ),
    pytest.param(
        [stopped("p", None, recorded=True), stopped("a", 5.0), stopped("b", 6.0)],
        Verdict.INHERIT,
        "b",
        id="who-wrote-last-inherits",
    ),
    pytest.param(
        [stopped("p", 4.0, recorded=True), stopped("a", 5.0)],
        Verdict.KEEP,
        "p",
        id="a-primary-with-data-stays",
    ),
    pytest.param(
        [stopped("p", None, recorded=True), stopped("a", None)],
        Verdict.KEEP,
        "p",
        id="nobody-has-data",
    ),
    pytest.param(
        [stopped("p", None, recorded=True), stopped("a", 5.0), member("b")],
        Verdict.PROMOTE,
        "b",
        id="who-runs-goes-before-who-was-saved",
    ),
    pytest.param([LOST, member("b"), member("a")], Verdict.PROMOTE, "a", id="then-the-first-name"),
    pytest.param(
        [LOST, member("a", offset=99, new=True), member("b")],
        Verdict.PROMOTE,
        "b",
        id="never-one-that-has-not-been-in-sync",
    ),
    pytest.param(
        [LOST, member("a", None, offset=99), member("b")],
        Verdict.PROMOTE,
        "b",
        id="never-one-that-did-not-answer",
    ),
    pytest.param(
        [LOST, member("a", offset=99, running=False), member("b")],
        Verdict.PROMOTE,
        "b",
        id="never-one-that-does-not-run",
    ),
    pytest.param([LOST, member("a", None)], Verdict.KEEP, "p", id="nobody-answers"),
    pytest.param([LOST], Verdict.KEEP, "p", id="nobody-else"),
    pytest.param(
        [LOST, member("a", offset=99), member("b", PRIMARY)],
        Verdict.LEARN,
        "b",
        id="a-promotion-that-was-not-written-down",
    ),
    pytest.param(
        [LOST, member("a"), member("b", PRIMARY, new=True)],
        Verdict.PROMOTE,
        "a",
        id="a-new-node-starts-as-primary-and-is-none",
    ),
    pytest.param(
        [LOST, member("a"), member("b", PRIMARY, running=False)],
        Verdict.PROMOTE,
        "a",
        id="an-ended-process-is-no-primary",
    ),
]


@pytest.mark.parametrize(("members", "verdict", "uid"), CASES)
def test_decides(members: list[Candidate], verdict: Verdict, uid: str | None) -> None:
    decision = decide_failover(members, automatic=True, cluster_mode=False)
    assert (decision.verdict, decision.uid) == (verdict, uid)


CLUSTER_CASES = [
    pytest.param([ALIVE, member("a")], Verdict.KEEP, "p", id="alive"),
    pytest.param([LOST, member("a")], Verdict.PROMOTE, "a", id="lost"),
    pytest.param(
        [LOST, member("a"), member("b", PRIMARY, slots=True)],
        Verdict.LEARN,
        "b",
        id="the-cluster-has-elected",
    ),
    pytest.param(
        [LOST, member("a"), member("b", PRIMARY)],
        Verdict.PROMOTE,
        "a",
        id="a-primary-without-slots-is-a-node-that-starts",
    ),
    pytest.param(
        [replace(ALIVE, role=REPLICA, owns_slots=False), member("a", PRIMARY, slots=True)],
        Verdict.LEARN,
        "a",
        id="deposed-by-an-election",
    ),
    pytest.param(
        [replace(ALIVE, role=REPLICA, owns_slots=False), member("a", offset=99)],
        Verdict.KEEP,
        "p",
        id="deposed-and-the-successor-is-not-known-yet",
    ),
    pytest.param(
        [replace(ALIVE, role=PRIMARY), member("a", PRIMARY, slots=True)],
        Verdict.KEEP,
        "p",
        id="one-that-still-says-primary-is-not-deposed",
    ),
]


@pytest.mark.parametrize(("members", "verdict", "uid"), CLUSTER_CASES)
def test_decides_in_cluster_mode(
    members: list[Candidate], verdict: Verdict, uid: str | None
) -> None:
    decision = decide_failover(members, automatic=True, cluster_mode=True)
    assert (decision.verdict, decision.uid) == (verdict, uid)


@pytest.mark.parametrize("cluster_mode", [False, True], ids=["plain", "cluster"])
def test_promotes_nobody_where_automatic_failover_is_off(cluster_mode: bool) -> None:
    decision = decide_failover([LOST, member("a")], automatic=False, cluster_mode=cluster_mode)
    assert (decision.verdict, decision.uid) == (Verdict.KEEP, "p")


def test_learns_what_has_happened_even_where_automatic_failover_is_off() -> None:
    decision = decide_failover([LOST, member("a", PRIMARY)], automatic=False, cluster_mode=False)
    assert (decision.verdict, decision.uid) == (Verdict.LEARN, "a")


def test_reason_names_both_nodes() -> None:
    reason = decide_failover([LOST, member("a")], automatic=True, cluster_mode=False).reason
    assert "group-p is gone" in reason
    assert "group-a" in reason


def test_readers_are_replicas_that_run_and_have_not_heard_of_their_primarys_end() -> None:
    reading = replace(member("a", offset=7), linked=True)
    members = [
        replace(LOST, linked=True),
        reading,
        member("b"),
        replace(reading, uid="c", running=False),
        replace(reading, uid="d", role=None),
        replace(reading, uid="e", role=PRIMARY),
    ]
    assert offsets_of_readers(members) == {"a": 7}
