"""What is refused of reboots, failovers and questions about caches: see :mod:`.clusters`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.parity.clusters import CASES, CLUSTER_STATE, COMBINATION, GROUP_STATE, VALUE, check, row
from tests.support.world import World


def reboot(of: str, *nodes: str) -> dict[str, Any]:
    return {"CacheClusterId": of, "CacheNodeIdsToReboot": list(nodes)}


def failover(of: str, shard: str = "0001") -> dict[str, Any]:
    return {"ReplicationGroupId": of, "NodeGroupId": shard}


REBOOT = [
    row("nothing", reboot("no", "0001"), "CacheClusterNotFound", status=404),
    row("unknown-node", reboot("mem", "0009"), VALUE),
    row("no-node", reboot("mem"), VALUE),
    row("busy", reboot("starting", "0001"), CLUSTER_STATE),
    row("cluster-mode", reboot("shards-0001-001", "0001"), CLUSTER_STATE),
    row("compatible", reboot("compat-001", "0001"), CLUSTER_STATE),
    row("member-of-a-busy-group", reboot("busy-001", "0001"), CLUSTER_STATE),
]

FAILOVER = [
    row("nothing", failover("no"), "ReplicationGroupNotFoundFault", status=404),
    row("unknown-shard", failover("auto", "0009"), "NodeGroupNotFoundFault", status=404),
    row("shard-form", failover("auto", "00001"), VALUE),
    row("without-automatic-failover", failover("pair"), GROUP_STATE),
    row("without-replicas", failover("bare"), GROUP_STATE),
    row("busy", failover("busy"), GROUP_STATE),
]

NODE_TYPES = [
    row("neither", {}, COMBINATION),
    row("both", {"CacheClusterId": "single", "ReplicationGroupId": "auto"}, COMBINATION),
    row("no-cluster", {"CacheClusterId": "no"}, "CacheClusterNotFound", status=404),
    row("no-group", {"ReplicationGroupId": "no"}, "ReplicationGroupNotFoundFault", status=404),
]

DESCRIBE_CLUSTERS = [
    row(
        "group-id",
        {"CacheClusterId": "auto"},
        "CacheClusterNotFound",
        "CacheCluster not found: auto",
        status=404,
    ),
    row("page-size", {"MaxRecords": 19}, VALUE),
    row("marker", {"Marker": "x"}, VALUE),
]

DESCRIBE_GROUPS = [
    row("nothing", {"ReplicationGroupId": "single"}, "ReplicationGroupNotFoundFault", status=404),
    row("page-size", {"MaxRecords": 101}, VALUE),
]


@pytest.mark.parametrize(CASES, NODE_TYPES)
def test_list_allowed_node_type_modifications(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    assert words in check(world, "ListAllowedNodeTypeModifications", params, (code, status, words))


@pytest.mark.parametrize(CASES, DESCRIBE_CLUSTERS)
def test_describe_cache_clusters(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    assert words in check(world, "DescribeCacheClusters", params, (code, status, words))


@pytest.mark.parametrize(CASES, DESCRIBE_GROUPS)
def test_describe_replication_groups(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    assert words in check(world, "DescribeReplicationGroups", params, (code, status, words))


@pytest.mark.parametrize(CASES, REBOOT)
def test_reboot_cache_cluster(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    assert words in check(world, "RebootCacheCluster", params, (code, status, words))


@pytest.mark.parametrize(CASES, FAILOVER)
def test_test_failover(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    assert words in check(world, "TestFailover", params, (code, status, words))
