"""Every refusal that the service documents for cache clusters and replication groups, as a table.

Each row is a request, the code and the HTTP status that answer it, and the words that clients are
known to look for. A refusal changes nothing: the records' revision is the same behind each row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.api import Refused
from tests.support.world import NODE, TOKEN, World, open_world

VALUE = "InvalidParameterValue"
COMBINATION = "InvalidParameterCombination"
CLUSTER_STATE = "InvalidCacheClusterState"
GROUP_STATE = "InvalidReplicationGroupState"
LONG_TOKEN = "t0ken-" * 4


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with open_world(tmp_path_factory.mktemp("world")) as opened:
        yield opened


def row(name: str, params: dict[str, Any], code: str, words: str = "", *, status: int = 400) -> Any:
    return pytest.param(params, code, status, words, id=name)


def redis(**options: Any) -> dict[str, Any]:
    return {"CacheClusterId": "new", "Engine": "redis", "CacheNodeType": NODE, **options}


def memcached(**options: Any) -> dict[str, Any]:
    return {"CacheClusterId": "new", "Engine": "memcached", "CacheNodeType": NODE, **options}


def replica(of: str, **options: Any) -> dict[str, Any]:
    return {"CacheClusterId": "new", "ReplicationGroupId": of, **options}


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


IDENTIFIER = "is not a valid identifier"
KEYLESS = "The AUTH token is only supported when encryption-in-transit is enabled"
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
    row("outpost", redis(OutpostMode="single-outpost"), "NotImplemented", status=501),
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

REPLICAS = "The number of replicas per node group must be within 0 and 5."
CLUSTER_FAILOVER = (
    "Redis with cluster mode enabled cannot be created with auto failover turned off."
)
GLOBAL = (
    "Cannot use the given parameters when creating new replication group in an existing global "
    "replication group."
)
PREFERRED = "Transit encryption preferred is not supported with redis access control."
BY_USERS = (
    "User group based access control requires encryption-in-transit to be enabled on the "
    "replication group."
)

UNBUILT_OPTIONS: dict[str, dict[str, Any]] = {
    "serverless-snapshot": {"ServerlessCacheSnapshotName": "s"},
    "tiering": {"CacheNodeType": "cache.r6gd.xlarge", "DataTieringEnabled": True},
    "durability": {"Durability": "sync"},
    "outposts": {
        "NodeGroupConfiguration": [{"PrimaryOutpostArn": "arn:aws:outposts:x"}],
    },
}

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
        "compatible",
        group(ClusterMode="compatible", AutomaticFailoverEnabled=True, NumNodeGroups=1),
        "NotImplemented",
        status=501,
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
    *(
        row(name, group(**options), "NotImplemented", status=501)
        for name, options in UNBUILT_OPTIONS.items()
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


def change(of: str, **options: Any) -> dict[str, Any]:
    return {"ReplicationGroupId": of, "ApplyImmediately": True, **options}


NO_REPLICA = "Replication group must have at least one read replica to enable autofailover."
ALONE = "Cluster mode updates are not supported while attempting to update additional properties."
SECOND = "arn:aws:sns:us-east-1:000000000000:t"

COMPATIBLE = "while its cluster mode is compatible"

TOKEN_CHARACTERS = "Invalid AuthToken provided."
CONFIRMS = "SET confirms the AUTH token of the last ROTATE"

MODIFY_GROUP = [
    row("nothing", change("nothing"), "ReplicationGroupNotFoundFault", status=404),
    row(
        "busy",
        change("busy", ReplicationGroupDescription="x"),
        GROUP_STATE,
        "Replication group must be in available state to modify.",
    ),
    row("failover-alone", change("solo", AutomaticFailoverEnabled=True), GROUP_STATE, NO_REPLICA),
    row(
        "failover-is-so-already",
        change("bare", AutomaticFailoverEnabled=True),
        GROUP_STATE,
        NO_REPLICA,
    ),
    row(
        "failover-off-in-cluster-mode",
        change("shards", AutomaticFailoverEnabled=False),
        COMBINATION,
        "Turning off automatic failover for replication group with cluster mode enabled is not "
        "supported.",
    ),
    row("failover-off-multi-az", change("multi", AutomaticFailoverEnabled=False), COMBINATION),
    row("multi-az-without-failover", change("pair", MultiAZEnabled=True), COMBINATION),
    row("multi-az-without-replicas", change("bare", MultiAZEnabled=True), COMBINATION),
    row(
        "promote-with-failover",
        change("auto", PrimaryClusterId="auto-002"),
        GROUP_STATE,
        "Cannot manually promote a new master cache cluster while autofailover is enabled",
    ),
    row(
        "promote-in-cluster-mode", change("shards", PrimaryClusterId="shards-0001-002"), COMBINATION
    ),
    row("promote-stranger", change("pair", PrimaryClusterId="single"), VALUE),
    row(
        "snapshotting-in-cluster-mode",
        change("shards", SnapshottingClusterId="shards-0001-001"),
        COMBINATION,
        "Cannot set snapshotting cluster for cluster mode enabled replication group",
    ),
    row("snapshotting-stranger", change("pair", SnapshottingClusterId="single"), VALUE),
    row(
        "retention-alone",
        change("pair", SnapshotRetentionLimit=1),
        COMBINATION,
        "Must specify both SnapshotRetentionLimit and SnapshottingClusterId to turn on snapshots",
    ),
    row(
        "cluster-enabled-differs",
        change("pair", CacheParameterGroupName="on7"),
        COMBINATION,
        "The parameter cluster-enabled has a different value in the requested parameter group "
        "than the current parameter group. This parameter value cannot be changed for a cache "
        "cluster",
    ),
    row(
        "no-parameter-group",
        change("pair", CacheParameterGroupName="no"),
        "CacheParameterGroupNotFound",
        "CacheParameterGroup not found: no",
        status=404,
    ),
    row(
        "family",
        change("pair", CacheParameterGroupName="pg6"),
        COMBINATION,
        "Expected a parameter group of family redis7 but found one of family redis6.x",
    ),
    row(
        "valkey-group-alone",
        change("pair", CacheParameterGroupName="valk8"),
        COMBINATION,
        "valkey parameter group is not applicable to engine redis",
    ),
    row("lower-version", change("pair", EngineVersion="6.2"), COMBINATION),
    row(
        "same-custom-group-other-engine",
        change("custom", Engine="valkey", CacheParameterGroupName="off7"),
        COMBINATION,
        "redis parameter group is not applicable to engine valkey",
    ),
    row(
        "type-and-version-later",
        {
            **change("pair", CacheNodeType="cache.r6g.large", Engine="valkey"),
            "ApplyImmediately": False,
        },
        COMBINATION,
    ),
    row("not-the-way-back", change("valkey", Engine="redis", EngineVersion="7.1"), COMBINATION),
    row("old-node-type", change("pair", CacheNodeType="cache.m1.large"), VALUE),
    row(
        "no-version",
        change("pair", EngineVersion="7.4"),
        COMBINATION,
        "Cannot find version 7.4 for redis",
    ),
    row("valkey-to-redis", change("valkey", Engine="redis"), COMBINATION),
    row("to-memcached", change("pair", Engine="memcached"), VALUE),
    row(
        "major-version-custom-group",
        change("custom", Engine="valkey", EngineVersion="8.0"),
        COMBINATION,
        "Expected a parameter group of family valkey8 but found one of family redis7",
    ),
    row("node-type", change("pair", CacheNodeType="cache.r6gd.xlarge"), VALUE),
    row("unknown-node-type", change("pair", CacheNodeType="cache.z9.huge"), VALUE),
    row(
        "mode-and-more",
        change("auto", ClusterMode="disabled", ReplicationGroupDescription="x"),
        COMBINATION,
        ALONE,
    ),
    row("mode-at-once", change("auto", ClusterMode="enabled"), COMBINATION),
    row("mode-back", change("shards", ClusterMode="disabled"), COMBINATION),
    row("mode-too-old", change("sixes", ClusterMode="compatible"), COMBINATION),
    row("mode-without-failover", change("pair", ClusterMode="compatible"), COMBINATION),
    row(
        "mode-with-the-wrong-group",
        change("auto", ClusterMode="compatible", CacheParameterGroupName="off7"),
        COMBINATION,
    ),
    row("mode-in-a-family-without", change("own", ClusterMode="compatible"), COMBINATION),
    row(
        "mode-with-a-group-of-another-family",
        change("auto", ClusterMode="compatible", CacheParameterGroupName="valk8"),
        COMBINATION,
        "valkey parameter group is not applicable to engine redis",
    ),
    row(
        "mode-with-no-group",
        change("auto", ClusterMode="compatible", CacheParameterGroupName="no"),
        "CacheParameterGroupNotFound",
        status=404,
    ),
    row(
        "mode-back-with-the-wrong-group",
        change("compat", ClusterMode="disabled", CacheParameterGroupName="on7"),
        COMBINATION,
    ),
    row(
        "compatible-type",
        change("compat", CacheNodeType="cache.r6g.large"),
        GROUP_STATE,
        COMPATIBLE,
    ),
    row(
        "compatible-engine",
        change("compat", Engine="valkey", EngineVersion="8.0"),
        GROUP_STATE,
        COMPATIBLE,
    ),
    row("compatible-promotion", change("compat", PrimaryClusterId="compat-002"), COMBINATION),
    row(
        "databases-differ",
        change("pair", CacheParameterGroupName="four7"),
        COMBINATION,
        "The parameter databases has a different value in the requested parameter group than the "
        "current parameter group. This parameter value cannot be changed for a cache cluster",
    ),
    row(
        "short-maintenance-window",
        change("pair", PreferredMaintenanceWindow="mon:05:00-mon:05:59"),
        VALUE,
        "Maintenance window must be at least 60 minutes.",
    ),
    row(
        "short-snapshot-window",
        change("pair", SnapshotWindow="05:00-05:30"),
        VALUE,
        "Snapshot window must be at least 60 minutes.",
    ),
    row("window-form", change("pair", PreferredMaintenanceWindow="monday"), VALUE),
    row(
        "six-security-groups", change("pair", SecurityGroupIds=[f"sg-{n}" for n in range(6)]), VALUE
    ),
    row("security-group-form", change("pair", SecurityGroupIds=["mine"]), VALUE),
    row(
        "topic-of-another-account",
        change("pair", NotificationTopicArn="arn:aws:sns:us-east-1:111111111111:t"),
        VALUE,
    ),
    row("retention-of-36-days", change("shards", SnapshotRetentionLimit=36), VALUE),
    row("token-in-clear", change("pair", AuthToken=LONG_TOKEN), VALUE, KEYLESS),
    row("users-in-clear", change("pair", UserGroupIdsToAdd=["u"]), COMBINATION, BY_USERS),
    row("users-removed", change("pair", UserGroupIdsToRemove=["u"]), VALUE),
    row(
        "tls-mode-alone",
        change("pair", TransitEncryptionMode="preferred"),
        COMBINATION,
        "To modify transit encryption mode, set encryption-in-transit as enabled.",
    ),
    row(
        "tls-required-at-once",
        change("pair", TransitEncryptionEnabled=True, TransitEncryptionMode="required"),
        COMBINATION,
    ),
    row(
        "tls-too-old",
        change("sixes", TransitEncryptionEnabled=True, TransitEncryptionMode="preferred"),
        COMBINATION,
    ),
    row(
        "tls-later",
        {
            **change("pair", TransitEncryptionEnabled=True, TransitEncryptionMode="preferred"),
            "ApplyImmediately": False,
        },
        VALUE,
    ),
    row(
        "tls-off-at-once",
        change("sealed", TransitEncryptionEnabled=False),
        COMBINATION,
        "Set TransitEncryptionMode to preferred",
    ),
    row(
        "tls-mode-later",
        {**change("sealed", TransitEncryptionMode="preferred"), "ApplyImmediately": False},
        VALUE,
    ),
    row(
        "tls-off-with-token",
        change("keyed", TransitEncryptionEnabled=False),
        COMBINATION,
        "Modification of transit encryption is not supported for access control enabled clusters.",
    ),
    row(
        "preferred-with-token",
        change("keyed", TransitEncryptionMode="preferred"),
        COMBINATION,
        PREFERRED,
    ),
    row(
        "token-too-old",
        change("ancient", AuthToken=LONG_TOKEN),
        COMBINATION,
        "not supported for engine version",
    ),
    row("token-while-preferred", change("either", AuthToken=LONG_TOKEN), COMBINATION, PREFERRED),
    row("token-short", change("keyed", AuthToken="a" * 15), VALUE, TOKEN_CHARACTERS),
    row("token-long", change("keyed", AuthToken="a" * 129), VALUE, TOKEN_CHARACTERS),
    row("token-characters", change("keyed", AuthToken="a" * 16 + "/"), VALUE, TOKEN_CHARACTERS),
    row(
        "token-later",
        {**change("keyed", AuthToken=LONG_TOKEN), "ApplyImmediately": False},
        VALUE,
        "ApplyImmediately",
    ),
    *(
        row(
            f"{strategy}-without-token".lower(),
            change("keyed", AuthTokenUpdateStrategy=strategy),
            COMBINATION,
            "requires an AuthToken",
        )
        for strategy in ("ROTATE", "SET")
    ),
    row(
        "set-what-was-not-rotated",
        change("keyed", AuthToken=LONG_TOKEN, AuthTokenUpdateStrategy="SET"),
        COMBINATION,
        CONFIRMS,
    ),
    row(
        "set-what-is-set",
        change("keyed", AuthToken=TOKEN, AuthTokenUpdateStrategy="SET"),
        COMBINATION,
        CONFIRMS,
    ),
    row(
        "set-the-first",
        change("sealed", AuthToken=LONG_TOKEN, AuthTokenUpdateStrategy="SET"),
        COMBINATION,
        CONFIRMS,
    ),
    row(
        "delete-with-token",
        change("keyed", AuthToken=LONG_TOKEN, AuthTokenUpdateStrategy="DELETE"),
        COMBINATION,
    ),
    row(
        "delete-without-users",
        change("keyed", AuthTokenUpdateStrategy="DELETE"),
        COMBINATION,
        "UserGroupIdsToAdd",
    ),
    row(
        "delete-what-is-not-there",
        change("sealed", AuthTokenUpdateStrategy="DELETE"),
        VALUE,
        "Auth token update strategy delete is not supported currently",
    ),
    row("unknown-strategy", change("keyed", AuthTokenUpdateStrategy="SWAP"), VALUE),
    row("windows-overlap", change("pair", SnapshotWindow="00:00-23:59"), VALUE, "overlap"),
    row("topic-status-alone", change("pair", NotificationTopicStatus="inactive"), COMBINATION),
    row(
        "topic-status",
        change("pair", NotificationTopicArn=SECOND, NotificationTopicStatus="x"),
        VALUE,
    ),
    row(
        "topic-elsewhere",
        change("pair", NotificationTopicArn="arn:aws:sns:x:000000000000:t"),
        VALUE,
    ),
    row("cache-security-groups", change("pair", CacheSecurityGroupNames=["a"]), VALUE),
    row("ipv6", change("pair", IpDiscovery="ipv6"), COMBINATION),
    row("member-busy", change("stuck", SecurityGroupIds=["sg-1"]), CLUSTER_STATE),
]

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


def reboot(of: str, *nodes: str) -> dict[str, Any]:
    return {"CacheClusterId": of, "CacheNodeIdsToReboot": list(nodes)}


def failover(of: str, shard: str = "0001") -> dict[str, Any]:
    return {"ReplicationGroupId": of, "NodeGroupId": shard}


def one_shard(node_group_id: str, count: int, **options: Any) -> dict[str, Any]:
    entry = {"NodeGroupId": node_group_id, "NewReplicaCount": count, **options}
    return {"ReplicaConfiguration": [entry]}


INCREASE = [
    row("nothing", change("no", NewReplicaCount=1), "ReplicationGroupNotFoundFault", status=404),
    row(
        "busy",
        change("busy", NewReplicaCount=2),
        GROUP_STATE,
        "Replication group must be in available state to modify.",
    ),
    row("later", {**change("pair", NewReplicaCount=2), "ApplyImmediately": False}, VALUE),
    row("neither", change("pair"), COMBINATION),
    row("both", change("pair", NewReplicaCount=2, **one_shard("0001", 2)), COMBINATION),
    row("equal", change("pair", NewReplicaCount=1), "NoOperationFault"),
    row("fewer", change("multi", NewReplicaCount=1), VALUE),
    row("six", change("pair", NewReplicaCount=6), VALUE, REPLICAS),
    row("unknown-shard", change("pair", **one_shard("0009", 2)), VALUE),
    row(
        "zone-count",
        change("pair", **one_shard("0001", 2, PreferredAvailabilityZones=["us-east-1a"])),
        COMBINATION,
    ),
    row(
        "zone-elsewhere",
        change("pair", **one_shard("0001", 2, PreferredAvailabilityZones=["x", "y", "z"])),
        VALUE,
    ),
]

INCREASE.append(row("compatible", change("compat", NewReplicaCount=2), GROUP_STATE, COMPATIBLE))

LAST_REPLICA = "Must have at least 1 replica when cluster mode is disabled with auto failover"

DECREASE = [
    row("busy", change("busy", NewReplicaCount=0), GROUP_STATE),
    row("later", {**change("pair", NewReplicaCount=0), "ApplyImmediately": False}, VALUE),
    row("neither", change("pair"), COMBINATION),
    row("both", change("pair", NewReplicaCount=0, ReplicasToRemove=["pair-002"]), COMBINATION),
    row("equal", change("pair", NewReplicaCount=1), "NoOperationFault"),
    row("more", change("pair", NewReplicaCount=2), VALUE),
    row("negative", change("pair", NewReplicaCount=-1), VALUE),
    row("none-with-failover", change("auto", NewReplicaCount=0), VALUE, LAST_REPLICA),
    row(
        "last-by-name",
        change("auto", ReplicasToRemove=["auto-002"]),
        VALUE,
        LAST_REPLICA,
    ),
    row("primary", change("pair", ReplicasToRemove=["pair-001"]), VALUE),
    row("stranger", change("pair", ReplicasToRemove=["single"]), VALUE),
    row("member-busy", change("stuck", NewReplicaCount=0), CLUSTER_STATE),
    row("compatible", change("compat", NewReplicaCount=0), GROUP_STATE, COMPATIBLE),
]

SHARDS = [
    row(
        "nothing",
        change("no", NodeGroupCount=2),
        "ReplicationGroupNotFoundFault",
        status=404,
    ),
    row(
        "without-cluster-mode",
        change("pair", NodeGroupCount=2),
        VALUE,
        "Operation is only applicable for cluster mode enabled replication groups.",
    ),
    row("compatible", change("compat", NodeGroupCount=2), GROUP_STATE, COMPATIBLE),
    row("later", {**change("shards", NodeGroupCount=3), "ApplyImmediately": False}, VALUE),
    row(
        "even-already",
        change("shards", NodeGroupCount=2),
        GROUP_STATE,
        "Slots in the replication group are uniformly distributed. Nothing to do.",
    ),
    row("none", change("shards", NodeGroupCount=0), VALUE),
    row("which-to-remove", change("shards", NodeGroupCount=1), COMBINATION),
    row(
        "unknown-shard",
        change("shards", NodeGroupCount=1, NodeGroupsToRemove=["0009"]),
        VALUE,
    ),
]

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

CASES = "params", "code", "status", "words"


def check(
    world: World, operation: str, params: dict[str, Any], expected: tuple[str, int, str]
) -> None:
    code, status, words = expected
    before = world.revision()
    with pytest.raises(Refused) as refused:
        world.ask(operation, **params)
    assert (refused.value.code, refused.value.status) == (code, status), refused.value.message
    assert words in refused.value.message
    assert world.revision() == before


@pytest.mark.parametrize(CASES, CREATE_CLUSTER)
def test_create_cache_cluster(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    check(world, "CreateCacheCluster", params, (code, status, words))


@pytest.mark.parametrize(CASES, CREATE_GROUP)
def test_create_replication_group(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    check(world, "CreateReplicationGroup", params, (code, status, words))


@pytest.mark.parametrize(CASES, MODIFY_GROUP)
def test_modify_replication_group(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    check(world, "ModifyReplicationGroup", params, (code, status, words))


@pytest.mark.parametrize(CASES, MODIFY_CLUSTER)
def test_modify_cache_cluster(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    check(world, "ModifyCacheCluster", params, (code, status, words))


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


@pytest.mark.parametrize(CASES, INCREASE)
def test_increase_replica_count(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    check(world, "IncreaseReplicaCount", params, (code, status, words))


@pytest.mark.parametrize(CASES, DECREASE)
def test_decrease_replica_count(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    check(world, "DecreaseReplicaCount", params, (code, status, words))


@pytest.mark.parametrize(CASES, NODE_TYPES)
def test_list_allowed_node_type_modifications(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    check(world, "ListAllowedNodeTypeModifications", params, (code, status, words))


@pytest.mark.parametrize(CASES, DESCRIBE_CLUSTERS)
def test_describe_cache_clusters(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    check(world, "DescribeCacheClusters", params, (code, status, words))


@pytest.mark.parametrize(CASES, DESCRIBE_GROUPS)
def test_describe_replication_groups(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    check(world, "DescribeReplicationGroups", params, (code, status, words))


@pytest.mark.parametrize(CASES, SHARDS)
def test_modify_replication_group_shard_configuration(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    check(world, "ModifyReplicationGroupShardConfiguration", params, (code, status, words))


@pytest.mark.parametrize(CASES, REBOOT)
def test_reboot_cache_cluster(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    check(world, "RebootCacheCluster", params, (code, status, words))


@pytest.mark.parametrize(CASES, FAILOVER)
def test_test_failover(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    check(world, "TestFailover", params, (code, status, words))
