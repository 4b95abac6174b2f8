"""What is refused of ModifyReplicationGroup: see :mod:`.clusters`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.parity.clusters import (
    BY_USERS,
    CASES,
    CLUSTER_STATE,
    COMBINATION,
    COMPATIBLE,
    GROUP_STATE,
    KEYLESS,
    LONG_TOKEN,
    PREFERRED,
    VALUE,
    change,
    check,
    row,
)
from tests.support.world import TOKEN, World

NO_REPLICA = "Replication group must have at least one read replica to enable autofailover."

ALONE = "Cluster mode updates are not supported while attempting to update additional properties."

SECOND = "arn:aws:sns:us-east-1:000000000000:t"

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


@pytest.mark.parametrize(CASES, MODIFY_GROUP)
def test_modify_replication_group(
    world: World, params: dict[str, Any], code: str, status: int, words: str
) -> None:
    check(world, "ModifyReplicationGroup", params, (code, status, words))
