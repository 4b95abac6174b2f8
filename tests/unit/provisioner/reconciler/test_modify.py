"""Which nodes come and go in the maintenance window, and how fast they take a new node type."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from cachefleet.provisioner.reconciler.modify import Pace, change_node_count, pace_of
from cachefleet.provisioner.state.members import add_cache_nodes
from cachefleet.provisioner.state.tables import CacheCluster

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("scale", "nodes", "pace"),
    [
        pytest.param(None, 4, None, id="nothing-said"),
        pytest.param({"ScalePercentage": 50}, 4, None, id="no-pause"),
        pytest.param({"ScaleIntervalMinutes": 2}, 4, Pace(4, 120.0), id="all-at-once"),
        pytest.param(
            {"ScalePercentage": 50, "ScaleIntervalMinutes": 1}, 5, Pace(2, 60.0), id="rounded-down"
        ),
        pytest.param(
            {"ScalePercentage": 1, "ScaleIntervalMinutes": 1}, 5, Pace(1, 60.0), id="at-least-one"
        ),
    ],
)
def test_pace(scale: dict[str, int] | None, nodes: int, pace: Pace | None) -> None:
    assert pace_of(scale, nodes) == pace


def cluster(count: int, **pending: Any) -> CacheCluster:
    row = CacheCluster(uid="u", name="mem", engine="memcached", pending=pending, nodes=[])
    add_cache_nodes(row, ["us-east-1a"] * count, now=NOW)
    for node in row.nodes:
        node.status = "available"
    return row


def nodes_of(row: CacheCluster) -> list[tuple[str, str, str]]:
    return [(node.cache_node_id, node.status, node.availability_zone) for node in row.nodes]


def test_adds_the_nodes_that_wait_once() -> None:
    row = cluster(1, NumCacheNodes=2, NewAvailabilityZones=["us-east-1b"])
    assert change_node_count(row, now=NOW)
    assert not change_node_count(row, now=NOW)
    assert nodes_of(row) == [
        ("0001", "available", "us-east-1a"),
        ("0002", "creating", "us-east-1b"),
    ]
    assert row.pending == {"NumCacheNodes": 2}, "it is shown until it is reached"


def test_retires_the_nodes_that_were_named() -> None:
    row = cluster(3, NumCacheNodes=2, CacheNodeIdsToRemove=["0002"])
    for _ in range(2):
        assert not change_node_count(row, now=NOW)
    assert [status for _, status, _ in nodes_of(row)] == ["available", "deleting", "available"]


def test_leaves_nodes_alone_where_nothing_waits() -> None:
    row = cluster(2, EngineVersion="1.6.12")
    assert not change_node_count(row, now=NOW)
    assert [status for _, status, _ in nodes_of(row)] == ["available"] * 2
