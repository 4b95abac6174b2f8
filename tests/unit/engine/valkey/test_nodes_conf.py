"""render_nodes_conf: what the engine reads is what was meant, and never half a cluster."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cachefleet.engine.errors import EngineError
from cachefleet.engine.types import Endpoint, Engine, NodeRole
from cachefleet.engine.valkey.cluster import even_slots, parse_cluster_nodes
from cachefleet.engine.valkey.nodes_conf import ClusterSeat, placeholder_id, render_nodes_conf
from tests.unit.engine.valkey.builders import binary

VALKEY, REDIS = binary(), binary(Engine.REDIS, (7, 0, 15))
A, B, C = "a" * 40, "b" * 40, "c" * 40
FIRST, SECOND = even_slots(2)

SEATS = [
    ClusterSeat(
        id=A,
        endpoint=Endpoint("127.0.0.1", 6379),
        bus_port=16379,
        primary_id=None,
        slots=(FIRST,),
        shard_id="1" * 40,
        epoch=1,
    ),
    ClusterSeat(
        id=B,
        endpoint=Endpoint("127.0.0.2", 6379),
        bus_port=16379,
        primary_id=A,
        shard_id="1" * 40,
        epoch=0,
        hostname="b.cache.test",
    ),
    ClusterSeat(
        id=C,
        endpoint=Endpoint("127.0.0.3", 6379),
        bus_port=16379,
        primary_id=None,
        slots=(SECOND,),
        shard_id="2" * 40,
        epoch=2,
    ),
]


def test_our_own_reader_finds_every_seat_again() -> None:
    for engine in (VALKEY, REDIS):
        views = parse_cluster_nodes(render_nodes_conf(SEATS, B, binary=engine))
        assert [
            (v.id, v.endpoint, v.bus_port, v.primary_id, v.slots, v.epoch, v.hostname)
            for v in views
        ] == [
            (s.id, s.endpoint, s.bus_port, s.primary_id, s.slots, s.epoch, s.hostname)
            for s in SEATS
        ]
        assert [view.myself for view in views] == [False, True, False]
        assert [view.role for view in views] == [
            NodeRole.PRIMARY,
            NodeRole.REPLICA,
            NodeRole.PRIMARY,
        ]


def test_shard_ids_are_for_engines_that_know_them() -> None:
    assert f",,shard-id={'1' * 40} " in render_nodes_conf(SEATS, A, binary=VALKEY)
    text = render_nodes_conf(SEATS, A, binary=REDIS)
    assert "shard-id" not in text
    assert f"{A} 127.0.0.1:6379@16379 myself" in text
    newer = binary(Engine.REDIS, (7, 2, 4))
    assert "shard-id" in render_nodes_conf(SEATS, A, binary=newer)


def test_the_epoch_is_the_highest_unless_it_is_given() -> None:
    assert "vars currentEpoch 2 lastVoteEpoch 0\n" in render_nodes_conf(SEATS, A, binary=VALKEY)
    assert "vars currentEpoch 9 " in render_nodes_conf(SEATS, A, binary=VALKEY, epoch=9)


def test_a_primary_may_begin_as_replica_of_a_placeholder_with_its_slots() -> None:
    text = render_nodes_conf(SEATS, A, binary=VALKEY, placeholder=True)
    views = {view.id: view for view in parse_cluster_nodes(text)}
    stand_in = views[placeholder_id(A)]
    assert views[A].role is NodeRole.REPLICA
    assert views[A].primary_id == stand_in.id
    assert views[A].slots == ()
    assert stand_in.slots == (FIRST,)
    assert "handshake" in stand_in.flags
    assert views[C].slots == (SECOND,)
    # Nobody else hears of it, and a replica's file is the same.
    assert placeholder_id(A) not in render_nodes_conf(SEATS, B, binary=VALKEY, placeholder=True)
    assert render_nodes_conf(SEATS, B, binary=VALKEY, placeholder=True) == render_nodes_conf(
        SEATS, B, binary=VALKEY
    )


def test_a_node_that_joins_later_begins_alone_and_empty() -> None:
    alone = replace(SEATS[0], slots=(), epoch=0)
    (view,) = parse_cluster_nodes(render_nodes_conf([alone], A, binary=VALKEY, placeholder=True))
    assert (view.myself, view.role, view.slots) == (True, NodeRole.PRIMARY, ())


@pytest.mark.parametrize(
    ("seats", "me"),
    [
        pytest.param(SEATS, "d" * 40, id="not-in-it"),
        pytest.param([*SEATS, SEATS[0]], A, id="same-id-twice"),
        pytest.param(SEATS[:2], A, id="gap"),
        pytest.param([SEATS[0], replace(SEATS[2], slots=(FIRST,))], A, id="overlap"),
        pytest.param([SEATS[0], SEATS[1], replace(SEATS[2], epoch=1)], A, id="same-epoch"),
        pytest.param([SEATS[0], replace(SEATS[1], primary_id=B), SEATS[2]], A, id="own-primary"),
        pytest.param([SEATS[0], replace(SEATS[1], primary_id=C), SEATS[2]], A, id="other-shard"),
        pytest.param(
            [SEATS[0], replace(SEATS[1], slots=(SECOND,)), replace(SEATS[2], slots=())],
            A,
            id="replica-with-slots",
        ),
        pytest.param([replace(SEATS[0], id="A" * 40), *SEATS[1:]], C, id="upper-case-id"),
        pytest.param([replace(SEATS[0], shard_id="1"), *SEATS[1:]], C, id="short-shard-id"),
    ],
)
def test_refuses_what_could_not_be_a_cluster(seats: list[ClusterSeat], me: str) -> None:
    with pytest.raises(EngineError):
        render_nodes_conf(seats, me, binary=VALKEY)
