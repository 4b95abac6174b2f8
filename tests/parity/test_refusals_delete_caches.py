"""What is refused of DeleteCacheCluster and DeleteReplicationGroup: see :mod:`.clusters`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.parity.clusters import CASES, CLUSTER_STATE, COMBINATION, GROUP_STATE, check, row
from tests.support.world import World

DELETE_CLUSTER = [
    row(
        "nothing",
        {"CacheClusterId": "auto"},
        "CacheClusterNotFound",
        "CacheCluster not found: auto",
        status=404,
    ),
    row("busy", {"CacheClusterId": "starting"}, CLUSTER_STATE),
    row("primary", {"CacheClusterId": "pair-001"}, CLUSTER_STATE, "serving as primary"),
    row(
        "only-member",
        {"CacheClusterId": "solo-001"},
        CLUSTER_STATE,
        "Cannot delete the cache cluster since it is the only member of a replication group. "
        "Delete the replication group instead.",
    ),
    row(
        "last-replica",
        {"CacheClusterId": "auto-002"},
        CLUSTER_STATE,
        "only read replica for replication group auto which has autofailover enabled or pending",
    ),
    row("cluster-mode", {"CacheClusterId": "shards-0001-002"}, CLUSTER_STATE),
    row("busy-group", {"CacheClusterId": "busy-002"}, CLUSTER_STATE),
    row(
        "memcached-snapshot",
        {"CacheClusterId": "mem", "FinalSnapshotIdentifier": "s"},
        "SnapshotFeatureNotSupportedFault",
    ),
]

DELETE_GROUP = [
    row("nothing", {"ReplicationGroupId": "no"}, "ReplicationGroupNotFoundFault", status=404),
    row(
        "deleting",
        {"ReplicationGroupId": "leaving"},
        GROUP_STATE,
        "Replication group leaving has status deleting which is not valid for deletion.",
    ),
    row("modifying", {"ReplicationGroupId": "busy"}, GROUP_STATE),
    row(
        "member-busy",
        {"ReplicationGroupId": "stuck"},
        GROUP_STATE,
        "Cache cluster stuck-002 is not in a valid state to be deleted",
    ),
    row(
        "retain-in-cluster-mode",
        {"ReplicationGroupId": "shards", "RetainPrimaryCluster": True},
        COMBINATION,
    ),
    row(
        "retain-and-snapshot",
        {
            "ReplicationGroupId": "pair",
            "RetainPrimaryCluster": True,
            "FinalSnapshotIdentifier": "s",
        },
        COMBINATION,
    ),
]


@pytest.mark.parametrize(CASES, DELETE_CLUSTER)
def test_delete_cache_cluster(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    check(world, "DeleteCacheCluster", params, (code, status, words))


@pytest.mark.parametrize(CASES, DELETE_GROUP)
def test_delete_replication_group(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    check(world, "DeleteReplicationGroup", params, (code, status, words))
