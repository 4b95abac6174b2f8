"""plan_cluster: meets, roles and waits, and a cluster that converges whatever happens."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from cachefleet.engine.types import (
    ClusterInfoView,
    ClusterNodeView,
    Endpoint,
    NodeRole,
    ReplicationView,
    SlotRange,
)
from cachefleet.engine.valkey.config import CLUSTER_NODE_TIMEOUT_MS, EAGER_NODE_TIMEOUT_MS
from cachefleet.provisioner.planning.cluster import ClusterMemberView, plan_cluster
from cachefleet.provisioner.planning.failover import Candidate, Verdict, decide_failover
from cachefleet.provisioner.planning.steps import Step, Verb

PRIMARY, REPLICA = NodeRole.PRIMARY, NodeRole.REPLICA
CONFIGURATION = "configuration"
PASSES_MAX = 60
TROUBLED_PASSES = 15


@dataclass(frozen=True, kw_only=True)
class Node:
    """What one node is, and what it believes. Its id is its uid in capitals."""

    shard: int
    running: bool = False
    silent: bool = False
    away: bool = False
    role: NodeRole = PRIMARY
    follows: str | None = None  # an id
    slots: bool = False
    deposed: bool = False  # its slots were taken over: it will follow whoever has them
    synced: bool = False
    stirred: bool = False  # something has come down its stream, or been sent there
    known: frozenset[str] = frozenset()
    told: frozenset[str] = frozenset()  # of whom it tells clients
    timeout_ms: int = CLUSTER_NODE_TIMEOUT_MS
    binds: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class World:
    """The nodes on record, and which of them the record calls primaries (shard -> uid)."""

    nodes: Mapping[str, Node]
    primaries: Mapping[int, str]
    is_creating: bool = False

    def change(self, uid: str, **changes: object) -> World:
        node = replace(self.nodes[uid], **changes)  # type: ignore[arg-type]
        return replace(self, nodes={**self.nodes, uid: node})

    def members(self) -> list[ClusterMemberView]:
        return [self._member(uid, node) for uid, node in self.nodes.items()]

    def _member(self, uid: str, node: Node) -> ClusterMemberView:
        answers = node.running and not node.silent
        recorded = self.primaries[node.shard]
        first = min(self.nodes)
        return ClusterMemberView(
            uid=uid,
            engine_node_id=uid.upper(),
            own=Endpoint(f"host-{uid}", 6379),
            bus_port=16379,
            wanted_role=PRIMARY if recorded == uid else REPLICA,
            wanted_primary_id=recorded.upper(),
            wanted_binds=(f"host-{uid}", CONFIGURATION) if uid == first else (f"host-{uid}",),
            running=node.running,
            away=node.away,
            replication=_replication(node) if answers else None,
            binds=node.binds,
            info=_info(self, node) if answers else None,
            peers=tuple(_peer(self, uid, id_) for id_ in sorted(node.known)) if answers else (),
            node_timeout_ms=node.timeout_ms,
            told_ids=node.told,
        )


def _replication(node: Node) -> ReplicationView:
    return ReplicationView(
        role=node.role,
        offset=1 if node.stirred else 0,
        replid="0" * 40,
        primary=None,
        link_up=node.synced,
        sync_in_progress=False,
        loading=False,
        replicas=(),
        failover_state="no-failover",
    )


def _info(world: World, node: Node) -> ClusterInfoView:
    covered = {
        other.shard
        for uid, other in world.nodes.items()
        if other.running and other.slots and uid.upper() in node.known
    }
    ok = covered == set(world.primaries)
    return ClusterInfoView(
        state="ok" if ok else "fail",
        slots_assigned=0,
        slots_ok=0,
        known_nodes=len(node.known),
        size=len(covered),
        epoch=1,
    )


def _peer(world: World, asked: str, id_: str) -> ClusterNodeView:
    node = world.nodes.get(id_.lower(), Node(shard=0))
    return ClusterNodeView(
        id=id_,
        endpoint=Endpoint(f"host-{id_.lower()}", 6379),
        flags=frozenset(),
        role=node.role,
        primary_id=node.follows,
        link_up=True,
        slots=(SlotRange(first=0, last=1),) if node.slots else (),
        myself=id_ == asked.upper(),
    )


def cluster(layout: str) -> World:
    """Return a cluster on record that was never started: ``ab cd`` is two shards with a replica."""
    shards = list(enumerate(layout.split()))
    return World(
        nodes={uid: Node(shard=number) for number, uids in shards for uid in uids},
        primaries={number: uids[0] for number, uids in shards},
        is_creating=True,
    )


def running(layout: str) -> World:
    """Return a cluster that has converged."""
    *_, (world, _) = passes(cluster(layout))
    return replace(world, is_creating=False)


def add_replica(world: World, uid: str, shard: int) -> World:
    return replace(world, nodes={**world.nodes, uid: Node(shard=shard)})


def drop(world: World, uid: str) -> World:
    """Take a replica off the record; its peers go on knowing it."""
    return replace(world, nodes={k: v for k, v in world.nodes.items() if k != uid})


def kill(world: World, uid: str) -> World:
    return world.change(uid, running=False, silent=False, synced=False, binds=())


def play(step: Step, world: World) -> World:
    """Return the world as it is once *step* has worked."""
    uid = step.node_uid
    node = world.nodes[uid]
    match step.verb:
        case Verb.LAUNCH:
            return world if node.running else _launch(world, uid)
        case Verb.TAKE_OVER:
            for other, loser in world.nodes.items():
                if loser.shard == node.shard and loser.slots:
                    world = world.change(other, slots=False, deposed=True)
            return world.change(uid, role=PRIMARY, follows=None, slots=True, deposed=False)
        case Verb.MEET:
            assert step.target is not None
            met = step.target.host.removeprefix("host-")
            both = frozenset({uid.upper(), met.upper()})
            world = world.change(uid, known=node.known | both)
            return world.change(met, known=world.nodes[met].known | both)
        case Verb.REPLICATE:
            assert step.target_id in node.known, "the engine refuses a primary it does not know"
            assert not node.slots, "the engine refuses a primary with slots"
            return world.change(uid, role=REPLICA, follows=step.target_id)
        case Verb.PACE:
            assert step.timeout_ms is not None
            return world.change(uid, timeout_ms=step.timeout_ms)
        case Verb.STIR:
            assert node.role is PRIMARY, "the engine refuses a replica's WAIT"
            return world.change(uid, stirred=True)
        case Verb.RESUME:
            assert node.follows is not None
            return world.change(uid, stirred=world.nodes[node.follows.lower()].stirred)
        case Verb.FORGET:
            assert step.target_id is not None
            assert step.target_id != uid.upper(), "the engine refuses to forget itself"
            forgotten = {step.target_id}
            return world.change(uid, known=node.known - forgotten, told=node.told - forgotten)
        case Verb.BIND:
            return world.change(uid, binds=step.addresses)
        case Verb.WAIT:
            return pass_time(world)
        case _:
            raise AssertionError(f"{step.verb} is no step of a cluster")


def _launch(world: World, uid: str) -> World:
    node = world.nodes[uid]
    world = world.change(uid, running=True, binds=(f"host-{uid}",), synced=False)
    if node.known:
        return world  # its own nodes.conf is there, with the picture it had
    if not world.is_creating:
        return world.change(uid, known=frozenset({uid.upper()}), role=PRIMARY, slots=False)
    primary = world.primaries[node.shard]
    return world.change(
        uid,
        known=frozenset(other.upper() for other in world.nodes),
        role=PRIMARY if primary == uid else REPLICA,
        follows=None if primary == uid else primary.upper(),
        slots=primary == uid,
    )


def pass_time(world: World) -> World:
    """Let gossip spread once and replicas catch up."""
    before = world
    for uid, node in before.nodes.items():
        if not node.running:
            continue
        friends = [
            before.nodes[id_.lower()]
            for id_ in node.known
            if id_.lower() in before.nodes and before.nodes[id_.lower()].running
        ]
        on_record = frozenset(other.upper() for other in before.nodes)
        heard = frozenset[str]().union(*(friend.known for friend in friends)) & on_record
        world = world.change(uid, known=node.known | heard)
        successor = next(
            (
                other
                for other, peer in before.nodes.items()
                if peer.shard == node.shard and peer.slots and other != uid and peer.running
            ),
            None,
        )
        if node.deposed and successor is not None and successor.upper() in node.known:
            world = world.change(uid, role=REPLICA, follows=successor.upper(), deposed=False)
        leader = before.nodes.get((node.follows or "").lower())
        if node.role is REPLICA:
            alive = leader is not None and leader.running and leader.slots
            if not alive and successor is not None and successor.upper() in node.known:
                world = world.change(uid, follows=successor.upper())
            stirred = alive and leader is not None and leader.stirred
            world = world.change(uid, synced=alive, stirred=stirred or node.stirred)
        shown = {
            id_
            for id_ in node.known
            if (peer := before.nodes.get(id_.lower())) is not None
            and peer.running
            and (peer.role is PRIMARY or (peer.synced and peer.stirred))
        }
        world = world.change(uid, told=frozenset(shown))
    return world


def fail_over(world: World) -> World:
    """Do what a pass does before it plans."""
    for shard, primary in world.primaries.items():
        members = {uid: node for uid, node in world.nodes.items() if node.shard == shard}
        if len(members) < 2 or world.is_creating:
            continue
        decision = decide_failover(
            [
                Candidate(
                    uid=uid,
                    name=uid,
                    availability_zone="z",
                    is_recorded_primary=uid == primary,
                    is_new=not node.known,
                    running=node.running,
                    role=node.role if node.running and not node.silent else None,
                    owns_slots=node.slots,
                )
                for uid, node in members.items()
            ],
            automatic=True,
            cluster_mode=True,
        )
        if decision.verdict is Verdict.KEEP or decision.uid is None:
            continue
        if decision.verdict is Verdict.PROMOTE:
            step = Step(verb=Verb.TAKE_OVER, node_uid=decision.uid, reason=decision.reason)
            world = play(step, world)
        world = replace(world, primaries={**world.primaries, shard: decision.uid})
    return world


def passes(world: World) -> Iterator[tuple[World, list[Step]]]:
    """Yield each world with its plan until nothing is left to do."""
    for _ in range(PASSES_MAX):
        world = fail_over(world)
        steps = plan_cluster(world.members())
        yield world, steps
        if not steps:
            return
        for step in steps:
            world = play(step, world)
    raise AssertionError(f"it does not converge: {steps}")


def require_converged(world: World) -> None:
    everybody = frozenset(uid.upper() for uid in world.nodes)
    for uid, node in world.nodes.items():
        assert node.running
        assert node.known == everybody
        assert node.told == everybody, "clients find every node, whomever they ask"
        assert node.timeout_ms == CLUSTER_NODE_TIMEOUT_MS
        if world.primaries[node.shard] == uid:
            assert (node.role, node.slots) == (PRIMARY, True)
        else:
            assert (node.role, node.slots) == (REPLICA, False)
            assert node.follows == world.primaries[node.shard].upper()
            assert node.synced
        assert (CONFIGURATION in node.binds) == (uid == min(world.nodes))


def verbs(world: World) -> list[tuple[Verb, str]]:
    return [(step.verb, step.node_uid) for step in plan_cluster(world.members())]


PLANS = [
    pytest.param(running("ab cd"), [], id="converged"),
    pytest.param(cluster("ab c"), [(Verb.LAUNCH, "a"), (Verb.LAUNCH, "c")], id="primaries-first"),
    pytest.param(kill(running("ab cd"), "d"), [(Verb.LAUNCH, "d")], id="a-lost-replica"),
    pytest.param(kill(running("ab cd"), "d").change("d", away=True), [], id="kept-down"),
    pytest.param(
        kill(kill(running("ab cd"), "c"), "d"), [(Verb.LAUNCH, "c")], id="primaries-before-replicas"
    ),
    pytest.param(
        kill(replace(running("ab cd"), primaries={0: "b", 1: "c"}), "a"),
        [(Verb.TAKE_OVER, "b")],
        id="an-heir-takes-over-before-the-other-starts",
    ),
    pytest.param(
        running("ab cd").change("b", silent=True), [(Verb.WAIT, "b")], id="silence-is-waited-for"
    ),
    pytest.param(
        replace(kill(running("ab cd"), "a"), primaries={0: "b", 1: "c"}),
        [(Verb.TAKE_OVER, "b")],
        id="a-takeover-comes-before-all",
    ),
    pytest.param(
        running("ab cd").change("a", binds=("host-a",)), [(Verb.BIND, "a")], id="endpoint-missing"
    ),
    pytest.param(
        running("ab cd").change("b", synced=False), [(Verb.WAIT, "b")], id="a-replica-syncs"
    ),
    pytest.param(
        running("ab cd").change("d", known=frozenset("CD")),
        [(Verb.WAIT, "d")],
        id="gossip-is-waited-for",
    ),
    pytest.param(
        running("ab cd").change("b", follows="C"), [(Verb.REPLICATE, "b")], id="follows-another"
    ),
    pytest.param(
        drop(running("abe cd"), "e"),
        [(Verb.FORGET, uid) for uid in "abcd"],
        id="everybody-forgets-who-left",
    ),
]


@pytest.mark.parametrize(("world", "expected"), PLANS)
def test_plans(world: World, expected: list[tuple[Verb, str]]) -> None:
    assert verbs(world) == expected


def test_new_replica_is_launched_met_attached_and_shown() -> None:
    taken = [
        (step.verb, step.node_uid, step.target_id or step.timeout_ms)
        for _, steps in passes(add_replica(running("ab cd"), "e", shard=1))
        for step in steps
        if step.verb is not Verb.WAIT
    ]
    assert taken == [
        (Verb.LAUNCH, "e", None),
        (Verb.MEET, "a", None),
        (Verb.REPLICATE, "e", "C"),
        (Verb.PACE, "e", EAGER_NODE_TIMEOUT_MS),
        (Verb.PACE, "e", CLUSTER_NODE_TIMEOUT_MS),
    ]


def test_meeting_names_address_and_bus_port() -> None:
    world = play(
        Step(verb=Verb.LAUNCH, node_uid="e", reason=""), add_replica(running("ab cd"), "e", shard=1)
    )
    [step] = plan_cluster(world.members())
    assert (step.target, step.target_bus_port) == (Endpoint("host-e", 6379), 16379)


def test_nobody_replicates_whom_it_does_not_know() -> None:
    world = add_replica(running("ab cd"), "e", shard=1)
    world = world.change("e", running=True, known=frozenset("AE"), binds=("host-e",)).change(
        "a", known=frozenset("ABCDE")
    )
    assert verbs(world) == [(Verb.WAIT, uid) for uid in "abcde"]


def test_node_in_handshake_is_not_known_yet() -> None:
    [first, *rest] = running("ab cd").members()
    shaking = tuple(
        replace(peer, flags=frozenset({"handshake"})) if peer.id == "D" else peer
        for peer in first.peers
    )
    first = replace(first, peers=shaking)
    assert first.known_ids == frozenset("ABC")
    [step] = plan_cluster([first, *rest])
    assert (step.verb, step.node_uid) == (Verb.WAIT, "a")


def test_primary_that_owns_slots_is_never_made_a_replica_by_force() -> None:
    world = running("ab cd").change("b", role=PRIMARY, follows=None, slots=True)
    assert verbs(world) == [(Verb.WAIT, uid) for uid in "abcd"]


@pytest.mark.parametrize("seed", range(80))
def test_converges_when_steps_are_lost_and_nodes_die(seed: int) -> None:
    dice = random.Random(seed)
    world = running(dice.choice(["ab", "ab cd", "abc de", "abc def gh"]))
    if dice.random() < 0.4:
        world = add_replica(world, "z", shard=0)
    for _ in range(TROUBLED_PASSES):
        for step in plan_cluster(world.members()):
            if dice.random() > 0.3:
                world = play(step, world)
        uid = dice.choice(sorted(world.nodes))
        if dice.random() < 0.25:
            world = kill(world, uid)
        if dice.random() < 0.7:
            world = fail_over(world)
        if dice.random() < 0.5:
            world = pass_time(world)
        uid = dice.choice(sorted(world.nodes))
        world = world.change(uid, silent=world.nodes[uid].running and dice.random() < 0.2)
    for uid in world.nodes:
        world = world.change(uid, silent=False)
    *_, (world, _) = passes(world)
    require_converged(world)


SCENES = [
    pytest.param(cluster("ab cd"), id="created"),
    pytest.param(kill(running("ab cd"), "a"), id="primary-lost"),
    pytest.param(kill(kill(running("ab cd"), "a"), "b"), id="shard-lost"),
    pytest.param(add_replica(running("ab cd"), "e", shard=1), id="replica-added"),
    pytest.param(drop(running("abe cd"), "e"), id="replica-removed"),
]


@pytest.mark.parametrize("scene", SCENES)
def test_every_interrupted_prefix_of_a_plan_is_picked_up(scene: World) -> None:
    for world, steps in passes(scene):
        for taken in range(len(steps)):
            cut = world
            for step in steps[:taken]:
                cut = play(step, cut)
            *_, (end, _) = passes(cut)
            require_converged(end)


@pytest.mark.parametrize("scene", SCENES)
def test_every_step_may_happen_twice(scene: World) -> None:
    for world, steps in passes(scene):
        for step in steps:
            if step.verb is not Verb.WAIT:
                once = play(step, world)
                assert play(step, once) == once


def test_clients_are_not_led_astray_before_nodes_know_each_others_ports() -> None:
    members = [replace(member, client_port=6379) for member in running("ab cd").members()]
    assert plan_cluster(members) == []
    moved = [replace(member, client_port=6380) for member in members]
    steps = plan_cluster(moved)
    assert [(step.verb, step.node_uid) for step in steps] == [(Verb.WAIT, uid) for uid in "abcd"]
    assert {step.reason for step in steps} == {
        "it does not know yet where clients reach the others"
    }


def test_clients_of_tls_are_not_led_astray_by_what_plain_ones_are_told() -> None:
    members = [replace(member, client_port=6379) for member in running("ab cd").members()]
    ids = [member.engine_node_id for member in members]

    def asked(**ports: int) -> list[tuple[Verb, str]]:
        first = replace(members[0], tls_ports={**dict.fromkeys(ids, 6379), **ports})
        return [(step.verb, step.node_uid) for step in plan_cluster([first, *members[1:]])]

    assert asked() == []
    assert asked(B=36379) == [(Verb.WAIT, "a")]


def test_a_replica_of_which_clients_are_not_told_is_waited_for() -> None:
    world = running("ab cd")
    hidden = world.change("c", told=world.nodes["c"].told - {"B"})
    assert verbs(hidden) == [(Verb.PACE, "b"), (Verb.WAIT, "c")]
    [pace, _] = plan_cluster(hidden.members())
    assert pace.timeout_ms == EAGER_NODE_TIMEOUT_MS
    [rest] = plan_cluster(play(pace, world).members())
    assert (rest.node_uid, rest.timeout_ms) == ("b", CLUSTER_NODE_TIMEOUT_MS)
    mistaken = world.change("b", follows="C")
    assert verbs(mistaken) == [(Verb.REPLICATE, "b")]


def test_a_replica_that_is_not_believed_is_helped_by_its_primarys_epoch() -> None:
    def seen(viewer: str, id_: str, **changes: Any) -> list[ClusterMemberView]:
        return [
            member
            if member.uid != viewer
            else replace(
                member,
                peers=tuple(
                    replace(peer, **changes) if peer.id == id_ else peer for peer in member.peers
                ),
            )
            for member in running("ab cd").members()
        ]

    def verbs_of(members: list[ClusterMemberView]) -> list[tuple[Verb, str]]:
        return [(step.verb, step.node_uid) for step in plan_cluster(members)]

    unbelieved = seen("c", "B", role=PRIMARY, primary_id=None, epoch=5)
    assert verbs_of(unbelieved) == [(Verb.BUMP_EPOCH, "a"), (Verb.WAIT, "c")]
    assert verbs_of(seen("c", "B", role=PRIMARY, primary_id=None)) == [(Verb.WAIT, "c")]
    assert verbs_of(seen("c", "D", epoch=5)) == []


def test_a_replica_that_has_had_nothing_gets_something() -> None:
    world = running("ab cd").change("a", stirred=False).change("b", stirred=False)
    assert verbs(world) == [(Verb.STIR, "a"), (Verb.RESUME, "b")]
    assert verbs(world.change("a", stirred=True)) == [(Verb.RESUME, "b")]
    apart = world.change("b", synced=False)
    assert verbs(apart) == [(Verb.WAIT, "b")]


def test_ports_change_before_anything_else() -> None:
    members = [
        replace(member, wanted_listening={"port": "1"}, listening={"port": "2"})
        for member in kill(running("ab cd"), "d").members()
    ]
    steps = plan_cluster(members)
    assert [(step.verb, step.node_uid) for step in steps] == [(Verb.LISTEN, uid) for uid in "abc"]
