"""What is refused of ModifyCacheCluster: see :mod:`.clusters`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.parity.clusters import (
    CASES,
    CLUSTER_STATE,
    COMBINATION,
    KEYLESS,
    LONG_TOKEN,
    VALUE,
    check,
    row,
)
from tests.support.world import NODE, World

MODIFY_CLUSTER = [
    row(
        "nothing",
        {"CacheClusterId": "no"},
        "CacheClusterNotFound",
        "CacheCluster not found: no",
        status=404,
    ),
    row("busy", {"CacheClusterId": "starting"}, CLUSTER_STATE),
    row("fewer-without-ids", {"CacheClusterId": "mem", "NumCacheNodes": 2}, COMBINATION),
    row(
        "fewer-with-more-ids",
        {"CacheClusterId": "mem", "NumCacheNodes": 2, "CacheNodeIdsToRemove": ["0001", "0002"]},
        COMBINATION,
    ),
    row(
        "unknown-node",
        {"CacheClusterId": "mem", "NumCacheNodes": 2, "CacheNodeIdsToRemove": ["0009"]},
        VALUE,
    ),
    row("ids-alone", {"CacheClusterId": "mem", "CacheNodeIdsToRemove": ["0001"]}, COMBINATION),
    row(
        "ids-while-growing",
        {"CacheClusterId": "mem", "NumCacheNodes": 4, "CacheNodeIdsToRemove": ["0001"]},
        COMBINATION,
    ),
    row(
        "zones-while-shrinking",
        {
            "CacheClusterId": "mem",
            "NumCacheNodes": 2,
            "CacheNodeIdsToRemove": ["0001"],
            "NewAvailabilityZones": ["us-east-1a"],
        },
        COMBINATION,
    ),
    row(
        "zone-count",
        {"CacheClusterId": "memx", "NumCacheNodes": 4, "NewAvailabilityZones": ["us-east-1a"]},
        COMBINATION,
    ),
    row(
        "zone-elsewhere",
        {"CacheClusterId": "memx", "NumCacheNodes": 3, "NewAvailabilityZones": ["eu-west-1a"]},
        VALUE,
    ),
    row(
        "another-zone-in-single-az",
        {"CacheClusterId": "mem", "NumCacheNodes": 4, "NewAvailabilityZones": ["us-east-1a"]},
        COMBINATION,
    ),
    row("single-az-when-spread", {"CacheClusterId": "memx", "AZMode": "single-az"}, COMBINATION),
    row("no-nodes", {"CacheClusterId": "mem", "NumCacheNodes": 0}, VALUE),
    row(
        "41-nodes",
        {"CacheClusterId": "mem", "NumCacheNodes": 41},
        "NodeQuotaForClusterExceeded",
    ),
    row("redis-nodes", {"CacheClusterId": "single", "NumCacheNodes": 2}, COMBINATION),
    row("member-nodes", {"CacheClusterId": "auto-001", "NumCacheNodes": 2}, COMBINATION),
    row("member-type", {"CacheClusterId": "auto-001", "CacheNodeType": NODE}, COMBINATION),
    row("member-version", {"CacheClusterId": "auto-001", "EngineVersion": "7.1"}, COMBINATION),
    row("member-of-a-busy-group", {"CacheClusterId": "busy-001"}, CLUSTER_STATE),
    row("downgrade", {"CacheClusterId": "single", "EngineVersion": "6.2"}, COMBINATION),
    row(
        "no-version",
        {"CacheClusterId": "single", "EngineVersion": "4.0.13"},
        COMBINATION,
        "Cannot find version 4.0.13 for redis",
    ),
    row("other-engine", {"CacheClusterId": "single", "Engine": "memcached"}, VALUE),
    row("node-type", {"CacheClusterId": "single", "CacheNodeType": "cache.z9.huge"}, VALUE),
    row(
        "family",
        {"CacheClusterId": "single", "CacheParameterGroupName": "pg6"},
        COMBINATION,
        "Expected a parameter group of family redis7 but found one of family redis6.x",
    ),
    row("member-token", {"CacheClusterId": "auto-001", "AuthToken": LONG_TOKEN}, COMBINATION),
    row(
        "member-group",
        {"CacheClusterId": "auto-001", "CacheParameterGroupName": "off7"},
        COMBINATION,
    ),
    row("member-az-mode", {"CacheClusterId": "auto-001", "AZMode": "single-az"}, COMBINATION),
    row("redis-az-mode", {"CacheClusterId": "single", "AZMode": "cross-az"}, COMBINATION),
    row(
        "smaller-type-of-another-kind",
        {"CacheClusterId": "single", "CacheNodeType": "cache.r6gd.xlarge"},
        VALUE,
    ),
    row(
        "short-maintenance-window",
        {"CacheClusterId": "single", "PreferredMaintenanceWindow": "mon:05:00-mon:05:59"},
        VALUE,
        "Maintenance window must be at least 60 minutes.",
    ),
    row(
        "short-snapshot-window",
        {"CacheClusterId": "single", "SnapshotWindow": "05:00-05:30"},
        VALUE,
        "Snapshot window must be at least 60 minutes.",
    ),
    row(
        "windows-overlap",
        {"CacheClusterId": "single", "SnapshotWindow": "00:00-23:59"},
        VALUE,
        "overlap",
    ),
    row(
        "topic-elsewhere",
        {"CacheClusterId": "mem", "NotificationTopicArn": "arn:aws:sns:x:000000000000:t"},
        VALUE,
    ),
    row(
        "topic-status-alone",
        {"CacheClusterId": "mem", "NotificationTopicStatus": "inactive"},
        COMBINATION,
    ),
    row(
        "cache-security-groups", {"CacheClusterId": "mem", "CacheSecurityGroupNames": ["a"]}, VALUE
    ),
    row(
        "no-parameter-group",
        {"CacheClusterId": "single", "CacheParameterGroupName": "no"},
        "CacheParameterGroupNotFound",
        "CacheParameterGroup not found: no",
        status=404,
    ),
    row(
        "cluster-mode-group",
        {"CacheClusterId": "single", "CacheParameterGroupName": "on7"},
        COMBINATION,
        "The parameter cluster-enabled has a different value",
    ),
    row(
        "databases-differ",
        {"CacheClusterId": "single", "CacheParameterGroupName": "four7"},
        COMBINATION,
        "The parameter databases has a different value",
    ),
    row(
        "memcached-window", {"CacheClusterId": "mem", "SnapshotWindow": "01:00-02:00"}, COMBINATION
    ),
    row("token", {"CacheClusterId": "single", "AuthToken": LONG_TOKEN}, VALUE, KEYLESS),
    row(
        "scale-config-alone",
        {"CacheClusterId": "mem", "ScaleConfig": {"ScalePercentage": 10}},
        COMBINATION,
    ),
    row(
        "scale-config-redis",
        {
            "CacheClusterId": "single",
            "CacheNodeType": "cache.r6g.large",
            "ScaleConfig": {"ScalePercentage": 10},
        },
        COMBINATION,
    ),
    row(
        "scale-percentage",
        {
            "CacheClusterId": "mem",
            "CacheNodeType": "cache.r6g.large",
            "ScaleConfig": {"ScalePercentage": 101},
        },
        VALUE,
    ),
    row(
        "scale-interval",
        {
            "CacheClusterId": "mem",
            "CacheNodeType": "cache.r6g.large",
            "ScaleConfig": {"ScaleIntervalMinutes": -1},
        },
        VALUE,
    ),
    row(
        "type-and-version-later",
        {
            "CacheClusterId": "old5",
            "EngineVersion": "7.1",
            "CacheNodeType": "cache.r6g.large",
        },
        COMBINATION,
    ),
    row(
        "item-too-big-for-the-group",
        {"CacheClusterId": "mem", "CacheParameterGroupName": "mem16"},
        COMBINATION,
        "slab_chunk_max",
    ),
    row(
        "valkey-for-one-node",
        {"CacheClusterId": "single", "Engine": "valkey", "EngineVersion": "8.0"},
        VALUE,
    ),
]


@pytest.mark.parametrize(CASES, MODIFY_CLUSTER)
def test_modify_cache_cluster(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    check(world, "ModifyCacheCluster", params, (code, status, words))
