"""What is refused of CreateCacheCluster: see :mod:`.clusters`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.parity.clusters import (
    CASES,
    COMBINATION,
    GROUP_STATE,
    IDENTIFIER,
    KEYLESS,
    LONG_TOKEN,
    VALUE,
    check,
    row,
)
from tests.support.world import NODE, World


def redis(**options: Any) -> dict[str, Any]:
    return {"CacheClusterId": "new", "Engine": "redis", "CacheNodeType": NODE, **options}


def memcached(**options: Any) -> dict[str, Any]:
    return {"CacheClusterId": "new", "Engine": "memcached", "CacheNodeType": NODE, **options}


def replica(of: str, **options: Any) -> dict[str, Any]:
    return {"CacheClusterId": "new", "ReplicationGroupId": of, **options}


EXTRA = "Cannot specify additional cache cluster parameters when creating a replica cluster"

CREATE_CLUSTER = [
    row("bad-id", redis(CacheClusterId="1st"), VALUE, IDENTIFIER),
    row("id-double-hyphen", redis(CacheClusterId="a--b"), VALUE, IDENTIFIER),
    row("id-trailing-hyphen", redis(CacheClusterId="a-"), VALUE, IDENTIFIER),
    row("id-too-long", redis(CacheClusterId="a" * 51), VALUE, IDENTIFIER),
    row(
        "duplicate",
        redis(CacheClusterId="SINGLE"),
        "CacheClusterAlreadyExists",
        "Cache cluster already exists",
    ),
    row("name-of-a-member", redis(CacheClusterId="auto-001"), "CacheClusterAlreadyExists"),
    row(
        "no-node-type",
        {"CacheClusterId": "new", "Engine": "redis"},
        VALUE,
        "The parameter CacheNodeType must be provided and must not be null.",
    ),
    row("unknown-node-type", redis(CacheNodeType="cache.z9.huge"), VALUE),
    row("node-type-too-new", redis(CacheNodeType="cache.m8g.large"), COMBINATION),
    row(
        "tiered-node-type",
        redis(CacheNodeType="cache.r6gd.xlarge"),
        COMBINATION,
        "When using the cache.r6gd.xlarge node type, you must enable data tiering.",
    ),
    row("no-engine", {"CacheClusterId": "new", "CacheNodeType": NODE}, VALUE),
    row("unknown-engine", redis(Engine="dragon"), VALUE),
    row("valkey", redis(Engine="valkey"), VALUE, "CreateReplicationGroup"),
    row("two-redis-nodes", redis(NumCacheNodes=2), VALUE),
    row("no-nodes", memcached(NumCacheNodes=0), VALUE),
    row("41-nodes", memcached(NumCacheNodes=41), "NodeQuotaForClusterExceeded"),
    row("memcached-snapshot-name", memcached(SnapshotName="s"), COMBINATION),
    row("memcached-snapshot-arns", memcached(SnapshotArns=["arn:aws:s3:::b/k"]), COMBINATION),
    row("memcached-retention", memcached(SnapshotRetentionLimit=1), COMBINATION),
    row("memcached-snapshot-window", memcached(SnapshotWindow="01:00-02:00"), COMBINATION),
    row("memcached-token", memcached(AuthToken=LONG_TOKEN), COMBINATION),
    row("memcached-in-a-group", replica("auto", Engine="memcached"), COMBINATION, EXTRA),
    row("redis-cross-az", redis(AZMode="cross-az"), COMBINATION),
    row("redis-zone-list", redis(PreferredAvailabilityZones=["us-east-1a"]), COMBINATION),
    row("cross-az-one-node", memcached(AZMode="cross-az"), COMBINATION),
    row(
        "zone-list-too-short",
        memcached(NumCacheNodes=2, PreferredAvailabilityZones=["us-east-1a"]),
        COMBINATION,
    ),
    row(
        "single-az-two-zones",
        memcached(
            NumCacheNodes=2,
            AZMode="single-az",
            PreferredAvailabilityZones=["us-east-1a", "us-east-1b"],
        ),
        COMBINATION,
    ),
    row(
        "cross-az-same-zones",
        memcached(
            NumCacheNodes=2,
            AZMode="cross-az",
            PreferredAvailabilityZones=["us-east-1a", "us-east-1a"],
        ),
        COMBINATION,
    ),
    row(
        "cross-az-one-zone",
        memcached(NumCacheNodes=2, AZMode="cross-az", PreferredAvailabilityZone="us-east-1a"),
        COMBINATION,
    ),
    row(
        "cross-az-one-subnet",
        memcached(NumCacheNodes=2, AZMode="cross-az", CacheSubnetGroupName="one-zone"),
        COMBINATION,
    ),
    row(
        "zone-and-zones",
        memcached(
            PreferredAvailabilityZone="us-east-1a", PreferredAvailabilityZones=["us-east-1a"]
        ),
        COMBINATION,
    ),
    row("zone-of-another-region", redis(PreferredAvailabilityZone="eu-west-1a"), VALUE),
    row(
        "listed-zone-of-another-region",
        memcached(PreferredAvailabilityZones=["eu-west-1a"]),
        VALUE,
    ),
    row(
        "family",
        redis(CacheParameterGroupName="pg6"),
        COMBINATION,
        "Expected a parameter group of family redis7 but found one of family redis6.x",
    ),
    row(
        "default-family",
        redis(CacheParameterGroupName="default.redis5.0"),
        COMBINATION,
        "Expected a parameter group of family redis7 but found one of family redis5.0",
    ),
    row(
        "cluster-mode-group",
        redis(CacheParameterGroupName="on7"),
        COMBINATION,
        "Cluster mode should be disabled in parameter group, but found it is enabled.",
    ),
    row(
        "default-cluster-mode-group",
        redis(CacheParameterGroupName="default.redis7.cluster.on"),
        COMBINATION,
        "Cluster mode should be disabled in parameter group, but found it is enabled.",
    ),
    row(
        "valkey-group",
        redis(CacheParameterGroupName="valk8"),
        COMBINATION,
        "valkey parameter group is not applicable to engine redis",
    ),
    row(
        "item-sizes",
        memcached(CacheParameterGroupName="mem16"),
        COMBINATION,
        "max_item_size",
    ),
    row(
        "chunk-beyond-item",
        memcached(CacheParameterGroupName="memchunk"),
        COMBINATION,
        "slab_chunk_max",
    ),
    row(
        "item-beyond-memory",
        memcached(CacheParameterGroupName="membig"),
        COMBINATION,
        "max_item_size",
    ),
    row(
        "zone-outside-the-subnet-group",
        redis(CacheSubnetGroupName="one-zone", PreferredAvailabilityZone="us-east-1x"),
        VALUE,
        "us-east-1x",
    ),
    row("dual-stack", redis(NetworkType="dual_stack"), COMBINATION),
    row("token-in-clear", redis(AuthToken=LONG_TOKEN), VALUE, KEYLESS),
    row(
        "redis-tls",
        redis(TransitEncryptionEnabled=True),
        COMBINATION,
        "Encryption feature is not supported for engine REDIS.",
    ),
    row(
        "old-memcached-tls",
        memcached(EngineVersion="1.6.6", TransitEncryptionEnabled=True),
        COMBINATION,
        "Encryption features are not supported for engine version 1.6.6. "
        "Please use engine version 1.6.12",
    ),
    row(
        "tls-on-t2",
        memcached(CacheNodeType="cache.t2.micro", TransitEncryptionEnabled=True),
        COMBINATION,
    ),
    row(
        "cache-security-groups",
        redis(CacheSecurityGroupNames=["a"]),
        VALUE,
        "Use of cache security groups is not permitted",
    ),
    row(
        "both-security-groups",
        redis(CacheSecurityGroupNames=["a"], SecurityGroupIds=["sg-1"]),
        COMBINATION,
        "Use of cache security groups is not permitted along with cache subnet group and/or "
        "security group Ids.",
    ),
    row("security-group-form", redis(SecurityGroupIds=["mine"]), VALUE),
    row("six-security-groups", redis(SecurityGroupIds=[f"sg-{n}" for n in range(6)]), VALUE),
    row("no-subnet-group", redis(CacheSubnetGroupName="no"), "CacheSubnetGroupNotFoundFault"),
    row(
        "no-parameter-group",
        redis(CacheParameterGroupName="no"),
        "CacheParameterGroupNotFound",
        "CacheParameterGroup not found: no",
        status=404,
    ),
    row(
        "no-version",
        redis(EngineVersion="4.0.13"),
        COMBINATION,
        "Cannot find version 4.0.13 for redis",
    ),
    row("ended-version", redis(EngineVersion="3.2.6"), COMBINATION, "Cannot find version 3.2.6"),
    row("patch-version", redis(EngineVersion="7.0.4"), COMBINATION, "Cannot find version 7.0.4"),
    row(
        "short-snapshot-window",
        redis(SnapshotWindow="05:00-05:30"),
        VALUE,
        "Snapshot window must be at least 60 minutes.",
    ),
    row("snapshot-window-form", redis(SnapshotWindow="5-6"), VALUE),
    row(
        "short-maintenance-window",
        redis(PreferredMaintenanceWindow="mon:05:00-mon:05:59"),
        VALUE,
        "Maintenance window must be at least 60 minutes.",
    ),
    row(
        "long-maintenance-window",
        redis(PreferredMaintenanceWindow="mon:05:00-tue:05:01"),
        VALUE,
        "24 hours",
    ),
    row("maintenance-window-form", redis(PreferredMaintenanceWindow="05:00-06:00"), VALUE),
    row(
        "windows-overlap",
        redis(PreferredMaintenanceWindow="mon:05:00-mon:06:00", SnapshotWindow="05:59-06:59"),
        VALUE,
        "overlap",
    ),
    row("retention-of-36-days", redis(SnapshotRetentionLimit=36), VALUE),
    row(
        "t1-retention",
        redis(CacheNodeType="cache.t1.micro", SnapshotRetentionLimit=1),
        COMBINATION,
        "Instance type does not support snapshotting. Snapshot retention limit parameter should "
        "not be specified.",
    ),
    row("two-snapshot-arns", redis(SnapshotArns=["arn:aws:s3:::b/k", "arn:aws:s3:::b/l"]), VALUE),
    row(
        "two-sources",
        redis(SnapshotArns=["arn:aws:s3:::b/k"], SnapshotName="s"),
        COMBINATION,
    ),
    row("port", redis(Port=1149), VALUE),
    row("ipv6", redis(NetworkType="ipv6"), COMBINATION),
    row("ipv6-discovery", redis(IpDiscovery="ipv6"), COMBINATION),
    row("topic-form", redis(NotificationTopicArn="topic"), VALUE),
    row(
        "topic-of-another-region",
        redis(NotificationTopicArn="arn:aws:sns:eu-west-1:000000000000:t"),
        VALUE,
    ),
    row(
        "topic-of-another-account",
        redis(NotificationTopicArn="arn:aws:sns:us-east-1:111111111111:t"),
        VALUE,
    ),
    row("reserved-tag", redis(Tags=[{"Key": "aws:x", "Value": "y"}]), VALUE),
    row(
        "51-tags",
        redis(Tags=[{"Key": f"k{n}", "Value": ""} for n in range(51)]),
        "TagQuotaPerResourceExceeded",
    ),
    row("outpost-mode", redis(OutpostMode="single-outpost"), COMBINATION),
    row(
        "outpost",
        redis(
            PreferredOutpostArn="arn:aws:outposts:us-east-1:000000000000:outpost/op-0123456789abcdef0"
        ),
        VALUE,
        "Outpost not found",
    ),
    row("no-outpost", redis(PreferredOutpostArns=["op-1"]), VALUE, "not valid"),
    row("replica-of-nothing", replica("nothing"), "ReplicationGroupNotFoundFault", status=404),
    row("replica-of-a-busy-group", replica("busy"), GROUP_STATE),
    row("sixth-replica", replica("full"), "NodeQuotaForClusterExceeded"),
    row("replica-with-a-type", replica("auto", CacheNodeType=NODE), COMBINATION, EXTRA),
    row("replica-with-a-port", replica("auto", Port=7000), COMBINATION, EXTRA),
    row("replica-with-data", replica("auto", SnapshotArns=["arn:aws:s3:::b/k"]), COMBINATION),
    row("replica-in-cluster-mode", replica("shards"), COMBINATION),
    row("replica-elsewhere", replica("auto", PreferredAvailabilityZone="eu-west-1a"), VALUE),
    row(
        "replica-taken-name",
        {**replica("auto"), "CacheClusterId": "single"},
        "CacheClusterAlreadyExists",
    ),
]


@pytest.mark.parametrize(CASES, CREATE_CLUSTER)
def test_create_cache_cluster(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    check(world, "CreateCacheCluster", params, (code, status, words))
