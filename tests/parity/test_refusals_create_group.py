"""What is refused of CreateReplicationGroup: see :mod:`.clusters`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.parity.clusters import (
    BY_USERS,
    CASES,
    CLUSTER_STATE,
    COMBINATION,
    IDENTIFIER,
    KEYLESS,
    LONG_TOKEN,
    PREFERRED,
    REPLICAS,
    VALUE,
    check,
    row,
)
from tests.support.world import NODE, World


def group(**options: Any) -> dict[str, Any]:
    return {
        "ReplicationGroupId": "new",
        "ReplicationGroupDescription": "d",
        "CacheNodeType": NODE,
        **options,
    }


def shards(*entries: dict[str, Any], **options: Any) -> dict[str, Any]:
    layout = [entry or {"ReplicaCount": 0} for entry in entries]  # an empty one is never sent
    return group(NodeGroupConfiguration=layout, AutomaticFailoverEnabled=True, **options)


CLUSTER_FAILOVER = (
    "Redis with cluster mode enabled cannot be created with auto failover turned off."
)

GLOBAL = (
    "Cannot use the given parameters when creating new replication group in an existing global "
    "replication group."
)

COMPATIBLE: dict[str, Any] = {
    "ClusterMode": "compatible",
    "AutomaticFailoverEnabled": True,
    "NumNodeGroups": 1,
    "ReplicasPerNodeGroup": 1,
}
OUTPOST = "arn:aws:outposts:us-east-1:000000000000:outpost/op-0123456789abcdef0"
DURABLE: dict[str, Any] = {
    "Durability": "sync",
    "Engine": "valkey",
    "EngineVersion": "9.0",
    "CacheNodeType": "cache.r7g.large",
    "ClusterMode": "enabled",
    "NumNodeGroups": 1,
    "ReplicasPerNodeGroup": 1,
    "AutomaticFailoverEnabled": True,
    "MultiAZEnabled": True,
    "TransitEncryptionEnabled": True,
}


def durability(id_: str, words: str, **options: Any) -> Any:
    wanted = {name: value for name, value in (DURABLE | options).items() if value is not None}
    return row(f"durability-{id_}", group(**wanted), COMBINATION, words)


CREATE_GROUP = [
    row("bad-id", group(ReplicationGroupId="1st"), VALUE, IDENTIFIER),
    row(
        "id-too-long",
        group(ReplicationGroupId="a" * 41),
        VALUE,
        "Replication group id should be no more than 40 characters.",
    ),
    row("duplicate", group(ReplicationGroupId="AUTO"), "ReplicationGroupAlreadyExists"),
    row("no-description", {"ReplicationGroupId": "new", "CacheNodeType": NODE}, VALUE),
    row(
        "no-node-type",
        {"ReplicationGroupId": "new", "ReplicationGroupDescription": "d"},
        VALUE,
        "The parameter CacheNodeType must be provided and must not be null.",
    ),
    row("memcached", group(Engine="memcached"), VALUE),
    row(
        "failover-alone",
        group(AutomaticFailoverEnabled=True),
        COMBINATION,
        "When using automatic failover, there must be at least 2 cache clusters in the "
        "replication group.",
    ),
    row("multi-az-alone", group(NumCacheClusters=2, MultiAZEnabled=True), COMBINATION),
    row(
        "multi-az-in-one-zone",
        group(
            NumCacheClusters=2,
            AutomaticFailoverEnabled=True,
            MultiAZEnabled=True,
            PreferredCacheClusterAZs=["us-east-1a", "us-east-1a"],
        ),
        COMBINATION,
    ),
    row(
        "multi-az-in-one-subnet",
        group(
            NumCacheClusters=2,
            AutomaticFailoverEnabled=True,
            MultiAZEnabled=True,
            CacheSubnetGroupName="one-zone",
        ),
        COMBINATION,
    ),
    row(
        "multi-az-on-t1",
        group(
            CacheNodeType="cache.t1.micro",
            NumCacheClusters=2,
            AutomaticFailoverEnabled=True,
            MultiAZEnabled=True,
        ),
        COMBINATION,
    ),
    row(
        "multi-az-without-replicas",
        group(NumNodeGroups=2, AutomaticFailoverEnabled=True, MultiAZEnabled=True),
        COMBINATION,
    ),
    row("shards-without-failover", group(NumNodeGroups=2), VALUE, CLUSTER_FAILOVER),
    row(
        "cluster-group-without-failover",
        group(CacheParameterGroupName="default.redis7.cluster.on"),
        VALUE,
        CLUSTER_FAILOVER,
    ),
    row(
        "cluster-mode-on-t1",
        group(CacheNodeType="cache.t1.micro", NumNodeGroups=2, AutomaticFailoverEnabled=True),
        COMBINATION,
    ),
    row(
        "shards-without-cluster-group",
        group(NumNodeGroups=2, CacheParameterGroupName="off7", AutomaticFailoverEnabled=True),
        COMBINATION,
    ),
    row(
        "mode-off-group-on",
        group(ClusterMode="disabled", CacheParameterGroupName="on7"),
        COMBINATION,
    ),
    row(
        "mode-on-group-off",
        group(ClusterMode="enabled", CacheParameterGroupName="off7"),
        COMBINATION,
    ),
    row("mode-off-two-shards", group(ClusterMode="disabled", NumNodeGroups=2), COMBINATION),
    row("compatible-two-shards", group(ClusterMode="compatible", NumNodeGroups=2), COMBINATION),
    row(
        "compatible-without-failover",
        group(ClusterMode="compatible", ReplicasPerNodeGroup=1, NumNodeGroups=1),
        VALUE,
        CLUSTER_FAILOVER,
    ),
    row(
        "compatible-alone",
        group(ClusterMode="compatible", AutomaticFailoverEnabled=True, NumNodeGroups=1),
        COMBINATION,
        "ClusterMode compatible requires at least one replica.",
    ),
    row(
        "compatible-too-old",
        group(**COMPATIBLE, Engine="redis", EngineVersion="6.2"),
        COMBINATION,
        "ClusterMode compatible is not supported for engine version 6.2.",
    ),
    row(
        "compatible-with-data",
        group(**COMPATIBLE, SnapshotArns=["arn:aws:s3:::backups/data.rdb"]),
        COMBINATION,
    ),
    row("clusters-and-shards", group(NumCacheClusters=2, NumNodeGroups=1), COMBINATION),
    row("clusters-and-replicas", group(NumCacheClusters=2, ReplicasPerNodeGroup=1), COMBINATION),
    row(
        "clusters-and-layout",
        group(NumCacheClusters=2, NodeGroupConfiguration=[{"ReplicaCount": 1}]),
        COMBINATION,
    ),
    row(
        "clusters-in-cluster-mode",
        group(NumCacheClusters=2, CacheParameterGroupName="on7", AutomaticFailoverEnabled=True),
        COMBINATION,
    ),
    row("seven-clusters", group(NumCacheClusters=7), VALUE, REPLICAS),
    row("six-replicas", group(NumNodeGroups=1, ReplicasPerNodeGroup=6), VALUE, REPLICAS),
    row("minus-one-replica", group(NumNodeGroups=1, ReplicasPerNodeGroup=-1), VALUE, REPLICAS),
    row("no-shards", group(NumNodeGroups=0), VALUE),
    row(
        "zones-of-two-shards",
        group(
            NumNodeGroups=2,
            AutomaticFailoverEnabled=True,
            PreferredCacheClusterAZs=["us-east-1a", "us-east-1b"],
        ),
        COMBINATION,
        "PreferredCacheClusterAZs can only be specified for one node group.",
    ),
    row(
        "zones-and-clusters",
        group(NumCacheClusters=2, PreferredCacheClusterAZs=["us-east-1a"]),
        COMBINATION,
    ),
    row("zone-elsewhere", group(PreferredCacheClusterAZs=["eu-west-1a"]), VALUE),
    row(
        "no-parameter-group",
        group(CacheParameterGroupName="no"),
        "CacheParameterGroupNotFound",
        "CacheParameterGroup not found: no",
        status=404,
    ),
    row(
        "valkey-group",
        group(CacheParameterGroupName="valk8"),
        COMBINATION,
        "valkey parameter group is not applicable to engine redis",
    ),
    row(
        "redis-group-for-valkey",
        group(Engine="valkey", CacheParameterGroupName="off7"),
        COMBINATION,
        "redis parameter group is not applicable to engine valkey",
    ),
    row(
        "family",
        group(CacheParameterGroupName="pg6"),
        COMBINATION,
        "Expected a parameter group of family redis7 but found one of family redis6.x",
    ),
    row("no-version", group(EngineVersion="7.4"), COMBINATION, "Cannot find version 7.4 for redis"),
    row("no-subnet-group", group(CacheSubnetGroupName="no"), "CacheSubnetGroupNotFoundFault"),
    row("layout-count", shards({}, {}, NumNodeGroups=3), COMBINATION),
    row(
        "replica-zones",
        shards({"ReplicaCount": 2, "ReplicaAvailabilityZones": ["us-east-1a"]}, {}),
        COMBINATION,
    ),
    row("layout-zone", shards({"PrimaryAvailabilityZone": "eu-west-1a"}, {}), VALUE),
    row("layout-ids", shards({"NodeGroupId": "7"}, {"NodeGroupId": "7"}), VALUE),
    row("layout-id-form", shards({"NodeGroupId": "a7"}, {}), VALUE),
    row("layout-replicas", shards({"ReplicaCount": 6}, {}), VALUE, REPLICAS),
    row("slots-in-one-shard-only", shards({"Slots": "0-16383"}, {}), VALUE),
    row("slots-with-a-gap", shards({"Slots": "0-99"}, {"Slots": "101-16383"}), VALUE, "100"),
    row("slots-overlap", shards({"Slots": "0-99"}, {"Slots": "99-16383"}), VALUE),
    row("slots-beyond", shards({"Slots": "0-99"}, {"Slots": "100-16384"}), VALUE),
    row("slots-form", shards({"Slots": "all"}, {"Slots": "none"}), VALUE),
    row("slots-empty", shards({"Slots": "0-16383"}, {"Slots": " "}), VALUE),
    row(
        "slots-without-cluster-mode",
        group(NodeGroupConfiguration=[{"Slots": "0-16383"}]),
        COMBINATION,
    ),
    row(
        "91-shards",
        group(NumNodeGroups=91, AutomaticFailoverEnabled=True),
        "NodeGroupsPerReplicationGroupQuotaExceeded",
    ),
    row(
        "91-nodes",
        group(NumNodeGroups=46, ReplicasPerNodeGroup=1, AutomaticFailoverEnabled=True),
        "NodeQuotaForClusterExceeded",
    ),
    row(
        "no-primary",
        group(PrimaryClusterId="no", CacheNodeType=""),
        "CacheClusterNotFound",
        "CacheCluster not found: no",
        status=404,
    ),
    row(
        "primary-and-type",
        group(PrimaryClusterId="single", CacheNodeType="cache.t3.small"),
        COMBINATION,
    ),
    row("primary-busy", group(PrimaryClusterId="starting", CacheNodeType=""), CLUSTER_STATE),
    row("primary-in-a-group", group(PrimaryClusterId="auto-001", CacheNodeType=""), VALUE),
    row("primary-memcached", group(PrimaryClusterId="mem", CacheNodeType=""), VALUE),
    row(
        "primary-in-cluster-mode",
        group(PrimaryClusterId="single", CacheNodeType="", ClusterMode="enabled"),
        COMBINATION,
    ),
    row("token-in-clear", group(AuthToken=LONG_TOKEN), VALUE, KEYLESS),
    row(
        "short-token",
        group(TransitEncryptionEnabled=True, AuthToken="short"),
        VALUE,
        "Invalid AuthToken provided.",
    ),
    row(
        "token-characters",
        group(TransitEncryptionEnabled=True, AuthToken="0123456789abcde@"),
        VALUE,
        "Invalid AuthToken provided.",
    ),
    row(
        "token-preferred",
        group(
            TransitEncryptionEnabled=True,
            TransitEncryptionMode="preferred",
            AuthToken=LONG_TOKEN,
        ),
        COMBINATION,
        PREFERRED,
    ),
    row(
        "users-preferred",
        group(TransitEncryptionEnabled=True, TransitEncryptionMode="preferred", UserGroupIds=["u"]),
        COMBINATION,
        PREFERRED,
    ),
    row("users-in-clear", group(UserGroupIds=["u"]), COMBINATION, BY_USERS),
    row(
        "token-and-users",
        group(TransitEncryptionEnabled=True, AuthToken=LONG_TOKEN, UserGroupIds=["u"]),
        COMBINATION,
    ),
    row("two-user-groups", group(TransitEncryptionEnabled=True, UserGroupIds=["u", "v"]), VALUE),
    row("mode-without-tls", group(TransitEncryptionMode="required"), COMBINATION),
    row(
        "token-too-long",
        group(TransitEncryptionEnabled=True, AuthToken="a" * 129),
        VALUE,
        "Invalid AuthToken provided.",
    ),
    row(
        "primary-in-clear",
        group(PrimaryClusterId="single", CacheNodeType="", TransitEncryptionEnabled=True),
        COMBINATION,
        "takes it over from the primary",
    ),
    row(
        "tls-on-m1",
        group(CacheNodeType="cache.m1.large", TransitEncryptionEnabled=True),
        COMBINATION,
    ),
    row("global-and-type", group(GlobalReplicationGroupId="g"), COMBINATION, GLOBAL),
    row(
        "tiering-missing",
        group(CacheNodeType="cache.r6gd.2xlarge"),
        COMBINATION,
        "When using the cache.r6gd.2xlarge node type, you must enable data tiering.",
    ),
    row("tiering-elsewhere", group(DataTieringEnabled=True), COMBINATION),
    row(
        "both-security-groups",
        group(CacheSecurityGroupNames=["a"], CacheSubnetGroupName="default"),
        COMBINATION,
        "Use of cache security groups is not permitted along with cache subnet group and/or "
        "security group Ids.",
    ),
    row("key-without-encryption", group(KmsKeyId="k"), COMBINATION),
    row("two-sources", group(SnapshotArns=["arn:aws:s3:::b/k"], SnapshotName="s"), COMBINATION),
    row("snapshot-and-primary", group(SnapshotName="s", PrimaryClusterId="single"), COMBINATION),
    row(
        "short-snapshot-window",
        group(SnapshotWindow="05:00-05:30"),
        VALUE,
        "Snapshot window must be at least 60 minutes.",
    ),
    row("reserved-tag", group(Tags=[{"Key": "aws:x"}]), VALUE),
    row("repeated-tag", group(Tags=[{"Key": "x"}, {"Key": "x"}]), VALUE),
    row(
        "outpost",
        shards({"ReplicaCount": 1, "PrimaryOutpostArn": OUTPOST}),
        VALUE,
        f"Outpost not found: {OUTPOST}",
    ),
    row("outpost-of-replicas", shards({"ReplicaCount": 1, "ReplicaOutpostArns": ["x"]}), VALUE),
    durability("too-old", "requires Valkey 9.0 or above", EngineVersion="8.0"),
    durability("in-clear", "requires encryption in-transit", TransitEncryptionEnabled=None),
    durability("one-zone", "requires Multi-AZ", MultiAZEnabled=None),
    durability("alone", "requires Multi-AZ", ReplicasPerNodeGroup=0, MultiAZEnabled=None),
    durability(
        "without-cluster", "requires cluster mode", ClusterMode="disabled", NumNodeGroups=None
    ),
    durability("small-type", "requires another node type", CacheNodeType="cache.t4g.small"),
    durability("everything-right", "Durability sync is not supported in this region."),
    durability("everything-right-async", "Durability async is not", Durability="async"),
    row(
        "tiering",
        group(CacheNodeType="cache.r6gd.xlarge", DataTieringEnabled=True),
        "InsufficientCacheClusterCapacity",
        "Node types with data tiering are not available",
    ),
    row(
        "global",
        {
            "ReplicationGroupId": "new",
            "ReplicationGroupDescription": "d",
            "GlobalReplicationGroupId": "g",
        },
        "GlobalReplicationGroupNotFoundFault",
        status=404,
    ),
    row(
        "unknown-users",
        group(TransitEncryptionEnabled=True, UserGroupIds=["u"]),
        "UserGroupNotFound",
        status=404,
    ),
]


@pytest.mark.parametrize(CASES, CREATE_GROUP)
def test_create_replication_group(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    check(world, "CreateReplicationGroup", params, (code, status, words))
