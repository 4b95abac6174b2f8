"""Layouts: every slot once, names by the lowest free number, zones spread."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachefleet.engine.types import NodeRole
from cachefleet.engine.valkey.cluster import SLOT_COUNT, BadSlots, parse_slots, slot_count
from cachefleet.provisioner.state.layout import (
    PlacedNode,
    ShardRequest,
    choose_removals,
    free_node_ids,
    lay_out_group,
    zones_left,
)
from cachefleet.provisioner.state.zones import rotate, spread, zones_of

ZONES = ("a", "b", "c")


def names(*requests: ShardRequest, cluster_mode: bool, taken: tuple[str, ...] = ()) -> list[str]:
    plans = lay_out_group(
        "demo", requests, cluster_mode=cluster_mode, zones=ZONES, taken_names=taken
    )
    return [node.member_name for plan in plans for node in plan.nodes]


@given(
    shard_count=st.integers(1, 90),
    replica_count=st.integers(0, 5),
    zone_count=st.integers(1, 6),
)
def test_covers_all_slots_and_spreads_zones_for_any_counts(
    shard_count: int, replica_count: int, zone_count: int
) -> None:
    zones = tuple("abcdef"[:zone_count])
    plans = lay_out_group(
        "demo",
        [ShardRequest(replica_count=replica_count)] * shard_count,
        cluster_mode=True,
        zones=zones,
    )
    pieces = sorted(piece for plan in plans for piece in parse_slots(plan.slots))
    assert (pieces[0].first, pieces[-1].last) == (0, SLOT_COUNT - 1)
    assert all(a.last + 1 == b.first for a, b in itertools.pairwise(pieces))
    sizes = [slot_count(parse_slots(plan.slots)) for plan in plans]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1
    every = [node.member_name for plan in plans for node in plan.nodes]
    assert len(set(every)) == len(every) == shard_count * (replica_count + 1)
    for plan in plans:
        assert [node.role for node in plan.nodes].count(NodeRole.PRIMARY) == 1
        used = Counter(node.zone for node in plan.nodes)
        assert max(used.values()) - min(used.get(zone, 0) for zone in zones) <= 1
    primaries = Counter(plan.nodes[0].zone for plan in plans)
    assert max(primaries.values()) - min(primaries.get(zone, 0) for zone in zones) <= 1


def test_three_shards_have_the_slots_that_the_service_shows() -> None:
    plans = lay_out_group(
        "demo", [ShardRequest(replica_count=0)] * 3, cluster_mode=True, zones=ZONES
    )
    assert [plan.slots for plan in plans] == ["0-5461", "5462-10922", "10923-16383"]
    assert [plan.node_group_id for plan in plans] == ["0001", "0002", "0003"]


def test_names_without_cluster_mode() -> None:
    assert names(ShardRequest(replica_count=2), cluster_mode=False) == [
        "demo-001",
        "demo-002",
        "demo-003",
    ]


def test_names_with_cluster_mode() -> None:
    shard = ShardRequest(replica_count=1)
    assert names(shard, shard, cluster_mode=True) == [
        "demo-0001-001",
        "demo-0001-002",
        "demo-0002-001",
        "demo-0002-002",
    ]


def test_taken_names_are_passed_over() -> None:
    assert names(ShardRequest(replica_count=1), cluster_mode=False, taken=("demo-001",)) == [
        "demo-002",
        "demo-003",
    ]


def test_ids_that_were_asked_for_are_kept_and_the_others_fill_the_gaps() -> None:
    plans = lay_out_group(
        "demo",
        [
            ShardRequest(replica_count=0, node_group_id="0002"),
            ShardRequest(replica_count=0),
            ShardRequest(replica_count=0, node_group_id="7"),
            ShardRequest(replica_count=0),
        ],
        cluster_mode=True,
        zones=ZONES,
    )
    assert [plan.node_group_id for plan in plans] == ["0002", "0001", "7", "0003"]
    assert plans[2].nodes[0].member_name == "demo-7-001"


def test_slots_and_zones_that_were_asked_for_are_kept() -> None:
    plans = lay_out_group(
        "demo",
        [
            ShardRequest(
                replica_count=1, slots="0-99,200-16383", primary_zone="c", replica_zones=("c",)
            ),
            ShardRequest(replica_count=1, slots="100-199"),
        ],
        cluster_mode=True,
        zones=ZONES,
    )
    assert [plan.slots for plan in plans] == ["0-99,200-16383", "100-199"]
    assert [node.zone for node in plans[0].nodes] == ["c", "c"]
    assert [node.zone for node in plans[1].nodes] == ["b", "c"]


def test_slots_with_a_gap_are_refused() -> None:
    with pytest.raises(BadSlots):
        lay_out_group(
            "demo",
            [ShardRequest(replica_count=0, slots="0-16382")],
            cluster_mode=True,
            zones=ZONES,
        )


def test_a_primary_that_exists_keeps_its_name_and_zone() -> None:
    (plan,) = lay_out_group(
        "demo",
        [ShardRequest(replica_count=1, primary_zone="b")],
        cluster_mode=False,
        zones=ZONES,
        primary_name="old",
    )
    assert [(node.member_name, node.zone) for node in plan.nodes] == [
        ("old", "b"),
        ("demo-001", "a"),
    ]


@pytest.mark.parametrize(
    ("replicas", "count", "kept", "gone"),
    [
        pytest.param("a1 b2", 1, "", ["1"], id="from-the-crowded-zone"),
        pytest.param("b1 b2 c3", 1, "", ["2"], id="highest-of-the-crowded-zone"),
        pytest.param("b1 c2", 1, "", ["2"], id="highest-in-a-tie"),
        pytest.param("b1 c2 b3", 2, "", ["3", "2"], id="one-at-a-time"),
        pytest.param("b1 c2", 1, "ac", ["1"], id="outside-of-the-zones-kept"),
        pytest.param("b1 c2", 0, "", [], id="none"),
    ],
)
def test_removals_keep_the_spread(replicas: str, count: int, kept: str, gone: list[str]) -> None:
    placed = [PlacedNode(member_name=word[1], zone=word[0]) for word in replicas.split()]
    assert choose_removals(placed, count, primary_zone="a", zones_kept=tuple(kept)) == gone


def test_zones_left_takes_away_what_nodes_use() -> None:
    assert zones_left(("a", "b", "a", "c"), ("a", "x")) == ["b", "a", "c"]


def test_node_ids_fill_gaps() -> None:
    assert free_node_ids(3, {"0001", "0003"}) == ["0002", "0004", "0005"]


def test_zones_of_regions() -> None:
    assert zones_of("eu-west-1") == ("eu-west-1a", "eu-west-1b", "eu-west-1c")
    assert len(zones_of("us-east-1")) == 6


def test_names_spread_over_zones() -> None:
    firsts = Counter(rotate(ZONES, f"group-{number}")[0] for number in range(300))
    assert set(firsts) == set(ZONES)
    assert max(firsts.values()) < 150
    assert rotate(ZONES, "demo") == rotate(ZONES, "demo")
    assert sorted(rotate(ZONES, "demo")) == list(ZONES)


def test_spread_prefers_the_least_used_zone() -> None:
    assert spread(ZONES, 4, taken=["a"]) == ["b", "c", "a", "b"]
