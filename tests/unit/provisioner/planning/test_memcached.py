"""plan_memcached: nodes serve before they are listed, and the list is the same everywhere."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from cachefleet.engine.types import Endpoint
from cachefleet.provisioner.planning.memcached import (
    DiscoveryEntry,
    MemcachedNodeView,
    plan_memcached,
    render_discovery,
)
from cachefleet.provisioner.planning.steps import Step, Verb

PAYLOAD = b"2\na|a|11211 b|b|11211\n"
STALE = b"1\na|a|11211\n"
CONFIGURATION = "configuration"
PASSES_MAX = 30


def node(
    uid: str,
    *,
    running: bool = True,
    serving: bool = True,
    holder: bool = False,
    binds: tuple[str, ...] | None = None,
    announced: bytes | None = PAYLOAD,
) -> MemcachedNodeView:
    wanted = (uid, CONFIGURATION) if holder else (uid,)
    return MemcachedNodeView(
        uid=uid,
        own=Endpoint(uid, 11211),
        wanted_binds=wanted,
        running=running,
        serving=running and serving,
        binds=wanted if binds is None else binds,
        announced=announced,
    )


PLANS = [
    pytest.param([node("a", holder=True), node("b")], [], id="converged"),
    pytest.param(
        [node("a", running=False), node("b", running=False)],
        [(Verb.LAUNCH, "a"), (Verb.LAUNCH, "b")],
        id="created",
    ),
    pytest.param(
        [node("a", announced=STALE), node("b", running=False)],
        [(Verb.LAUNCH, "b")],
        id="nothing-is-listed-before-it-runs",
    ),
    pytest.param(
        [node("a", announced=STALE), node("b", serving=False)],
        [(Verb.WAIT, "b")],
        id="nothing-is-listed-before-it-serves",
    ),
    pytest.param(
        [node("a", announced=STALE), node("b", announced=None)],
        [(Verb.ANNOUNCE, "a"), (Verb.ANNOUNCE, "b")],
        id="every-node-is-told",
    ),
    pytest.param([node("a", announced=STALE), node("b")], [(Verb.ANNOUNCE, "a")], id="one-is-told"),
    pytest.param(
        [node("a", holder=True, binds=("a",)), node("b", announced=STALE)],
        [(Verb.BIND, "a")],
        id="endpoint-before-the-list",
    ),
    pytest.param(
        [node("a", holder=True, binds=("a",)), node("b", binds=("b", CONFIGURATION))],
        [(Verb.BIND, "b")],
        id="released-before-granted",
    ),
]


@pytest.mark.parametrize(("nodes", "expected"), PLANS)
def test_plans(nodes: list[MemcachedNodeView], expected: list[tuple[Verb, str]]) -> None:
    steps = plan_memcached(nodes, payload=PAYLOAD)
    assert [(step.verb, step.node_uid) for step in steps] == expected


def test_bind_carries_the_wanted_addresses() -> None:
    [step] = plan_memcached([node("a", holder=True, binds=("a",))], payload=PAYLOAD)
    assert step.addresses == ("a", CONFIGURATION)


def test_discovery_lists_nodes_by_name_behind_the_version() -> None:
    entries = [
        DiscoveryEntry(host_name=name, address=address, port=11211)
        for name, address in [("n2", "10.0.0.2"), ("n1", "10.0.0.1")]
    ]
    assert render_discovery(12, entries) == b"12\nn1|10.0.0.1|11211 n2|10.0.0.2|11211\n"


def play(step: Step, view: MemcachedNodeView) -> MemcachedNodeView:
    """Return the node as it is once *step* has worked."""
    match step.verb:
        case Verb.LAUNCH:
            return replace(view, running=True, serving=False, binds=(view.uid,), announced=None)
        case Verb.WAIT:
            return replace(view, serving=True)
        case Verb.BIND:
            return replace(view, binds=step.addresses)
        case Verb.ANNOUNCE:
            return replace(view, announced=PAYLOAD)
        case _:
            raise AssertionError(f"{step.verb} is no step of memcached")


@pytest.mark.parametrize("seed", range(50))
def test_converges_when_steps_are_lost_and_nodes_die(seed: int) -> None:
    dice = random.Random(seed)
    nodes = {
        uid: node(uid, running=False, holder=uid == "a", binds=(), announced=None)
        for uid in "abcd"[: dice.randrange(1, 5)]
    }
    for number in range(PASSES_MAX):
        troubled = number < 12
        steps = plan_memcached(list(nodes.values()), payload=PAYLOAD)
        if not steps and not troubled:
            break
        for step in steps:
            if not troubled or dice.random() > 0.3:
                nodes[step.node_uid] = play(step, nodes[step.node_uid])
        if troubled and dice.random() < 0.3:
            uid = dice.choice(sorted(nodes))
            nodes[uid] = replace(nodes[uid], running=False, serving=False, binds=(), announced=None)
    for uid, view in nodes.items():
        assert view.serving
        assert set(view.binds) == ({"a", CONFIGURATION} if uid == "a" else {uid})
        assert view.announced == PAYLOAD
