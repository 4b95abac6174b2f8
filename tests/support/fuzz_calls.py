"""Operations with parameters that may well be accepted: what random requests are made of in part.

Without them the records would stay empty, and nothing would meet. Names are few, so that calls find
what others made; caches are small, so that a machine can run as many as there are names.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from cachefleet.provisioner.state.global_groups import prefix_of

REGIONS = ("us-east-1", "us-west-2")
ACCOUNT = "000000000000"
CACHES = 4  # names of caches of a kind
RECORDS = 6  # names of whatever has no process
SMALL, GLOBAL = "cache.t3.micro", "cache.r5.large"

Call = tuple[str, dict[str, Any]]


def sensible(dice: random.Random) -> Call:
    """Return an operation and its parameters; half of them make something."""
    calls = dice.choice(FAMILIES)(dice)
    makes = [call for call in calls if call[0].startswith("Create")]
    return dice.choice(makes if makes and dice.random() < 0.5 else calls)


def _cache(dice: random.Random) -> str:
    return f"n{dice.randrange(CACHES)}"


def _record(dice: random.Random) -> str:
    return f"n{dice.randrange(RECORDS)}"


def _group_creations(dice: random.Random) -> list[Call]:
    base = {
        "ReplicationGroupId": _cache(dice),
        "ReplicationGroupDescription": "d",
        "CacheNodeType": dice.choice((SMALL, SMALL, GLOBAL)),
        "Engine": dice.choice(("redis", "valkey")),
    }
    sharded = {
        **base,
        "NumNodeGroups": dice.randrange(1, 4),
        "ReplicasPerNodeGroup": dice.randrange(3),
        "AutomaticFailoverEnabled": True,
    }
    secured = {**base, "NumCacheClusters": 2, "TransitEncryptionEnabled": True}
    return [
        ("CreateReplicationGroup", {**base, "NumCacheClusters": dice.randrange(1, 4)}),
        ("CreateReplicationGroup", sharded),
        ("CreateReplicationGroup", {**secured, "AuthToken": "a-token-of-sixteen"}),
        ("CreateReplicationGroup", {**secured, "UserGroupIds": [_record(dice)]}),
        ("CreateReplicationGroup", {**base, "SnapshotName": _record(dice)}),
        ("CreateReplicationGroup", {**base, "AtRestEncryptionEnabled": True}),
        (
            "CreateReplicationGroup",
            {
                "ReplicationGroupId": _cache(dice),
                "ReplicationGroupDescription": "d",
                "GlobalReplicationGroupId": _global_name(dice),
                "NumCacheClusters": dice.randrange(1, 3),
            },
        ),
    ]


def _group_changes(dice: random.Random) -> list[Call]:
    group: dict[str, Any] = {"ReplicationGroupId": _cache(dice)}
    now = {**group, "ApplyImmediately": True}
    change = dice.choice(
        (
            {"AutomaticFailoverEnabled": dice.random() < 0.5},
            {"CacheParameterGroupName": _record(dice)},
            {"CacheNodeType": "cache.t3.small"},
            {"SnapshotRetentionLimit": dice.randrange(4)},
            {"MultiAZEnabled": True, "AutomaticFailoverEnabled": True},
            {"UserGroupIdsToAdd": [_record(dice)]},
            {"RemoveUserGroups": True},
            {"ClusterMode": "compatible"},
            {"TransitEncryptionEnabled": True, "TransitEncryptionMode": "preferred"},
            {"EngineVersion": dice.choice(("7.1", "8.0", "8.1", "9.0"))},
            {"PrimaryClusterId": f"{group['ReplicationGroupId']}-00{dice.randrange(1, 4)}"},
        )
    )
    return [
        ("ModifyReplicationGroup", {**now, **change}),
        ("ModifyReplicationGroup", {**group, **change}),
        ("IncreaseReplicaCount", {**now, "NewReplicaCount": dice.randrange(1, 4)}),
        ("DecreaseReplicaCount", {**now, "NewReplicaCount": dice.randrange(3)}),
        (
            "ModifyReplicationGroupShardConfiguration",
            {**now, "NodeGroupCount": dice.randrange(1, 4)},
        ),
        ("TestFailover", {**group, "NodeGroupId": "0001"}),
        ("DescribeReplicationGroups", {}),
        ("DescribeReplicationGroups", group),
        ("DeleteReplicationGroup", dice.choice((group, {**group, "RetainPrimaryCluster": True}))),
    ]


def _clusters(dice: random.Random) -> list[Call]:
    cluster: dict[str, Any] = {"CacheClusterId": f"c{_cache(dice)}"}
    count = dice.randrange(1, 4)
    create = {**cluster, "CacheNodeType": SMALL}
    return [
        ("CreateCacheCluster", {**create, "Engine": "redis", "NumCacheNodes": 1}),
        ("CreateCacheCluster", {**create, "Engine": "memcached", "NumCacheNodes": count}),
        ("CreateCacheCluster", {**create, "ReplicationGroupId": _cache(dice)}),
        ("ModifyCacheCluster", {**cluster, "NumCacheNodes": count, "ApplyImmediately": True}),
        ("ModifyCacheCluster", {**cluster, "CacheParameterGroupName": _record(dice)}),
        ("RebootCacheCluster", {**cluster, "CacheNodeIdsToReboot": ["0001"]}),
        (
            "DescribeCacheClusters",
            dice.choice(({}, cluster, {"ShowCacheNodeInfo": True})),
        ),
        ("DeleteCacheCluster", cluster),
    ]


def _parameter_groups(dice: random.Random) -> list[Call]:
    parameters = {"CacheParameterGroupName": _record(dice)}
    family = dice.choice(("redis7", "valkey8", "memcached1.6"))
    change = {"ParameterName": "timeout", "ParameterValue": str(dice.randrange(99))}
    return [
        (
            "CreateCacheParameterGroup",
            {**parameters, "CacheParameterGroupFamily": family, "Description": "d"},
        ),
        ("ModifyCacheParameterGroup", {**parameters, "ParameterNameValues": [change]}),
        ("ResetCacheParameterGroup", {**parameters, "ResetAllParameters": True}),
        ("DescribeCacheParameters", parameters),
        ("DeleteCacheParameterGroup", parameters),
    ]


def _subnet_groups(dice: random.Random) -> list[Call]:
    name = {"CacheSubnetGroupName": _record(dice)}
    subnets = {**name, "SubnetIds": [f"subnet-{dice.randrange(1, 3)}"]}
    return [
        ("CreateCacheSubnetGroup", {**subnets, "CacheSubnetGroupDescription": "d"}),
        ("ModifyCacheSubnetGroup", subnets),
        ("DeleteCacheSubnetGroup", name),
    ]


def _access(dice: random.Random) -> list[Call]:
    user, group = {"UserId": _record(dice)}, {"UserGroupId": _record(dice)}
    strings = ("on ~* +@all", "on ~app:* +@read", "off ~* -@all")
    return [
        (
            "CreateUser",
            {
                **user,
                "UserName": dice.choice((user["UserId"], "default")),
                "Engine": "redis",
                "AccessString": dice.choice(strings),
                "NoPasswordRequired": True,
            },
        ),
        ("ModifyUser", {**user, "AccessString": dice.choice(strings)}),
        ("DeleteUser", user),
        (
            "CreateUserGroup",
            {**group, "Engine": "redis", "UserIds": [_record(dice), _record(dice)]},
        ),
        ("ModifyUserGroup", {**group, "UserIdsToAdd": [_record(dice)]}),
        ("ModifyUserGroup", {**group, "UserIdsToRemove": [_record(dice)]}),
        ("DeleteUserGroup", group),
    ]


def _snapshots(dice: random.Random) -> list[Call]:
    name = {"SnapshotName": _record(dice)}
    return [
        ("CreateSnapshot", {**name, "ReplicationGroupId": _cache(dice)}),
        ("CreateSnapshot", {**name, "CacheClusterId": f"c{_cache(dice)}"}),
        (
            "CopySnapshot",
            {"SourceSnapshotName": name["SnapshotName"], "TargetSnapshotName": _record(dice)},
        ),
        ("DescribeSnapshots", dice.choice(({}, name, {"ShowNodeGroupConfig": True}))),
        ("DeleteSnapshot", name),
    ]


def _serverless(dice: random.Random) -> list[Call]:
    cache: dict[str, Any] = {"ServerlessCacheName": f"s{dice.randrange(3)}"}
    snapshot = {"ServerlessCacheSnapshotName": _record(dice)}
    engine = dice.choice(("valkey", "redis", "memcached"))
    limits = {"DataStorage": {"Maximum": dice.randrange(1, 5), "Unit": "GB"}}
    return [
        ("CreateServerlessCache", {**cache, "Engine": engine}),
        ("ModifyServerlessCache", {**cache, "CacheUsageLimits": limits}),
        ("ModifyServerlessCache", {**cache, "Description": "other"}),
        ("CreateServerlessCacheSnapshot", {**cache, **snapshot}),
        ("DescribeServerlessCaches", dice.choice(({}, cache))),
        ("DeleteServerlessCacheSnapshot", snapshot),
        ("DeleteServerlessCache", cache),
    ]


def _global_name(dice: random.Random) -> str:
    return f"{prefix_of(dice.choice(REGIONS))}-g{dice.randrange(2)}"


def _global_groups(dice: random.Random) -> list[Call]:
    group = {"GlobalReplicationGroupId": _global_name(dice)}
    member = {
        **group,
        "ReplicationGroupId": _cache(dice),
        "ReplicationGroupRegion": dice.choice(REGIONS),
    }
    primary = {
        **group,
        "PrimaryRegion": member["ReplicationGroupRegion"],
        "PrimaryReplicationGroupId": member["ReplicationGroupId"],
    }
    return [
        (
            "CreateGlobalReplicationGroup",
            {
                "GlobalReplicationGroupIdSuffix": f"g{dice.randrange(2)}",
                "PrimaryReplicationGroupId": _cache(dice),
            },
        ),
        ("DescribeGlobalReplicationGroups", {"ShowMemberInfo": True}),
        ("DisassociateGlobalReplicationGroup", member),
        ("FailoverGlobalReplicationGroup", primary),
        (
            "DeleteGlobalReplicationGroup",
            {**group, "RetainPrimaryReplicationGroup": dice.random() < 0.8},
        ),
    ]


def _others(dice: random.Random) -> list[Call]:
    kind = dice.choice(("replicationgroup", "cluster", "user", "parametergroup", "subnetgroup"))
    name = f"arn:aws:elasticache:us-east-1:{ACCOUNT}:{kind}:{_record(dice)}"
    tags = [{"Key": f"k{dice.randrange(60)}", "Value": "v"}]
    return [
        ("AddTagsToResource", {"ResourceName": name, "Tags": tags}),
        ("ListTagsForResource", {"ResourceName": name}),
        ("RemoveTagsFromResource", {"ResourceName": name, "TagKeys": [tags[0]["Key"]]}),
        ("DescribeEvents", {"MaxRecords": dice.randrange(20, 101)}),
        ("ListAllowedNodeTypeModifications", {"ReplicationGroupId": _cache(dice)}),
        ("DescribeUpdateActions", {}),
    ]


FAMILIES: tuple[Callable[[random.Random], list[Call]], ...] = (
    _group_creations,
    _group_changes,
    _group_changes,
    _clusters,
    _parameter_groups,
    _subnet_groups,
    _access,
    _snapshots,
    _serverless,
    _global_groups,
    _others,
)
