"""Cache clusters from creation to deletion, as a client sees them and as the records say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from cachefleet.provisioner.state.tables import CacheNode, Operation, Subject
from tests.support.api import SCOPE, Api, open_api
from tests.support.settled import settle

NODE = "cache.t3.micro"

ALWAYS = {
    "CacheClusterId",
    "ClientDownloadLandingPage",
    "CacheNodeType",
    "Engine",
    "EngineVersion",
    "CacheClusterStatus",
    "NumCacheNodes",
    "PreferredMaintenanceWindow",
    "PendingModifiedValues",
    "CacheSecurityGroups",
    "SecurityGroups",
    "CacheParameterGroup",
    "CacheSubnetGroupName",
    "AutoMinorVersionUpgrade",
    "AuthTokenEnabled",
    "TransitEncryptionEnabled",
    "AtRestEncryptionEnabled",
    "ARN",
    "ReplicationGroupLogDeliveryEnabled",
    "LogDeliveryConfigurations",
    "NetworkType",
    "IpDiscovery",
}
PROVISIONED = {"CacheClusterCreateTime", "PreferredAvailabilityZone"}
REDIS_ONLY = {"SnapshotRetentionLimit", "SnapshotWindow"}
NODE_FIELDS = {
    "CacheNodeId",
    "CacheNodeStatus",
    "CacheNodeCreateTime",
    "Endpoint",
    "ParameterGroupStatus",
    "CustomerAvailabilityZone",
}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        yield opened


async def create(api: Api, name: str = "demo", **options: Any) -> dict[str, Any]:
    params = {"CacheClusterId": name, "CacheNodeType": NODE, "Engine": "memcached", **options}
    cluster: dict[str, Any] = (await api("CreateCacheCluster", **params))["CacheCluster"]
    return cluster


async def describe(api: Api, name: str = "demo", **options: Any) -> dict[str, Any]:
    answer = await api(
        "DescribeCacheClusters", CacheClusterId=name, **{"ShowCacheNodeInfo": True, **options}
    )
    (cluster,) = answer["CacheClusters"]
    assert isinstance(cluster, dict)
    return cluster


async def operations(api: Api) -> list[tuple[str, str]]:
    async with api.store.read(SCOPE) as tx:
        rows = (await tx.session.scalars(select(Operation).order_by(Operation.id))).all()
        kinds = {row.uid: row.kind for row in (await tx.session.scalars(select(Subject))).all()}
    return [(row.kind, kinds[row.subject_uid]) for row in rows]


async def test_fields_while_creating(api: Api) -> None:
    assert set(await create(api)) == ALWAYS
    shown = await describe(api)
    assert set(shown) == ALWAYS
    assert shown["CacheClusterStatus"] == "creating"
    assert await operations(api) == [("settle", "cache_cluster")]


async def test_fields_once_available(api: Api) -> None:
    await create(api, NumCacheNodes=2)
    await settle(api)
    shown = await describe(api)
    assert set(shown) == ALWAYS | PROVISIONED | {"ConfigurationEndpoint", "CacheNodes"}
    assert [set(node) for node in shown["CacheNodes"]] == [NODE_FIELDS] * 2
    assert [node["CacheNodeId"] for node in shown["CacheNodes"]] == ["0001", "0002"]
    without = await describe(api, ShowCacheNodeInfo=False)
    assert set(shown) - set(without) == {"CacheNodes"}


async def test_fields_of_redis(api: Api) -> None:
    created = await create(api, Engine="Redis", EngineVersion="6.x")
    assert set(created) == ALWAYS | REDIS_ONLY
    assert (created["Engine"], created["EngineVersion"]) == ("redis", "6.2.6")
    await settle(api)
    shown = await describe(api)
    assert set(shown) == ALWAYS | REDIS_ONLY | PROVISIONED | {"CacheNodes"}
    assert shown["CacheNodes"][0]["Endpoint"]["Port"] == 6379


async def test_fields_while_deleting(api: Api) -> None:
    await create(api)
    await settle(api)
    deleted = (await api("DeleteCacheCluster", CacheClusterId="DEMO"))["CacheCluster"]
    assert deleted["CacheClusterStatus"] == "deleting"
    assert set(deleted) == ALWAYS | PROVISIONED
    assert await describe(api) == deleted
    async with api.store.read(SCOPE) as tx:
        nodes = (await tx.session.scalars(select(CacheNode))).all()
    assert [node.status for node in nodes] == ["deleting"]


async def test_defaults(api: Api) -> None:
    cluster = await create(api, "DEMO")
    assert cluster["CacheClusterId"] == "demo"
    assert cluster["ARN"] == "arn:aws:elasticache:us-east-1:000000000000:cluster:demo"
    assert cluster["EngineVersion"] == "1.6.22"
    assert cluster["CacheParameterGroup"] == {
        "CacheParameterGroupName": "default.memcached1.6",
        "ParameterApplyStatus": "in-sync",
        "CacheNodeIdsToReboot": [],
    }
    assert cluster["CacheSubnetGroupName"] == "default"
    assert cluster["AutoMinorVersionUpgrade"] is True
    assert cluster["SecurityGroups"] == []


async def test_what_was_asked_for_is_kept(api: Api) -> None:
    topic = "arn:aws:sns:us-east-1:000000000000:t"
    cluster = await create(
        api,
        Engine="redis",
        Port=7000,
        PreferredAvailabilityZone="us-east-1c",
        SecurityGroupIds=["sg-1", "sg-2", "sg-1"],
        PreferredMaintenanceWindow="Sun:05:00-sun:06:00",
        SnapshotWindow="07:00-08:00",
        AutoMinorVersionUpgrade=False,
        NotificationTopicArn=topic,
        Tags=[{"Key": "k", "Value": "v"}],
    )
    assert cluster["PreferredAvailabilityZone"] == "us-east-1c"
    assert cluster["SecurityGroups"] == [
        {"SecurityGroupId": "sg-1", "Status": "active"},
        {"SecurityGroupId": "sg-2", "Status": "active"},
    ]
    assert cluster["PreferredMaintenanceWindow"] == "sun:05:00-sun:06:00"
    assert cluster["SnapshotWindow"] == "07:00-08:00"
    assert cluster["AutoMinorVersionUpgrade"] is False
    assert cluster["NotificationConfiguration"] == {"TopicArn": topic, "TopicStatus": "active"}
    await settle(api)
    shown = await describe(api)
    assert shown["CacheNodes"][0]["Endpoint"]["Port"] == 7000
    assert shown["CacheNodes"][0]["CustomerAvailabilityZone"] == "us-east-1c"
    tags = await api("ListTagsForResource", ResourceName=cluster["ARN"])
    assert tags["TagList"] == [{"Key": "k", "Value": "v"}]


@pytest.mark.parametrize(
    ("options", "zone", "zone_count"),
    [
        pytest.param({}, "one", 1, id="single-az-by-default"),
        pytest.param({"AZMode": "cross-az"}, "Multiple", 3, id="cross-az"),
        pytest.param(
            {"PreferredAvailabilityZones": ["us-east-1a", "us-east-1b", "us-east-1a"]},
            "Multiple",
            2,
            id="listed",
        ),
        pytest.param(
            {"PreferredAvailabilityZones": ["us-east-1b"] * 3}, "us-east-1b", 1, id="listed-same"
        ),
    ],
)
async def test_zones_of_memcached(
    api: Api, options: dict[str, Any], zone: str, zone_count: int
) -> None:
    created = await create(api, NumCacheNodes=3, **options)
    listed = "PreferredAvailabilityZones" in options
    assert created.get("PreferredAvailabilityZone") == (zone if listed else None)
    await settle(api)
    shown = await describe(api)
    zones = [node["CustomerAvailabilityZone"] for node in shown["CacheNodes"]]
    assert len(set(zones)) == zone_count
    assert shown["PreferredAvailabilityZone"] == (zones[0] if zone == "one" else zone)
    if listed:
        assert zones == options["PreferredAvailabilityZones"]


async def test_growing_memcached(api: Api) -> None:
    await create(api, NumCacheNodes=2)
    await settle(api)
    change = {"CacheClusterId": "demo", "NumCacheNodes": 4, "ApplyImmediately": True}
    changed = (await api("ModifyCacheCluster", **change))["CacheCluster"]
    assert changed["CacheClusterStatus"] == "modifying"
    assert changed["NumCacheNodes"] == 2
    assert changed["PendingModifiedValues"] == {"NumCacheNodes": 4}
    shown = await describe(api)
    assert [node["CacheNodeStatus"] for node in shown["CacheNodes"]] == [
        "available",
        "available",
        "creating",
        "creating",
    ]
    assert len({node["CustomerAvailabilityZone"] for node in shown["CacheNodes"]}) == 1
    await settle(api)
    shown = await describe(api)
    assert (shown["NumCacheNodes"], shown["PendingModifiedValues"]) == (4, {})


async def test_shrinking_memcached_keeps_ids_and_reuses_gaps(api: Api) -> None:
    await create(api, NumCacheNodes=3, AZMode="cross-az")
    await settle(api)
    changed = await api(
        "ModifyCacheCluster",
        CacheClusterId="demo",
        NumCacheNodes=2,
        CacheNodeIdsToRemove=["0002"],
        ApplyImmediately=True,
    )
    assert changed["CacheCluster"]["PendingModifiedValues"] == {
        "NumCacheNodes": 2,
        "CacheNodeIdsToRemove": ["0002"],
    }
    await settle(api)
    assert [n["CacheNodeId"] for n in (await describe(api))["CacheNodes"]] == ["0001", "0003"]
    await api(
        "ModifyCacheCluster",
        CacheClusterId="demo",
        NumCacheNodes=4,
        NewAvailabilityZones=["us-east-1a", "us-east-1b"],
        ApplyImmediately=True,
    )
    await settle(api)
    zones = {
        n["CacheNodeId"]: n["CustomerAvailabilityZone"] for n in (await describe(api))["CacheNodes"]
    }
    assert (zones["0002"], zones["0004"]) == ("us-east-1a", "us-east-1b")
    assert sorted(zones) == ["0001", "0002", "0003", "0004"]


async def test_settings_change_at_once_whatever_apply_immediately_says(api: Api) -> None:
    await create(api, Engine="redis")
    await settle(api)
    changed = await api(
        "ModifyCacheCluster",
        CacheClusterId="demo",
        PreferredMaintenanceWindow="TUE:01:00-tue:02:00",
        SnapshotWindow="03:00-04:00",
        SecurityGroupIds=["sg-9"],
        AutoMinorVersionUpgrade=False,
    )
    cluster = changed["CacheCluster"]
    assert cluster["CacheClusterStatus"] == "modifying"
    assert cluster["PreferredMaintenanceWindow"] == "tue:01:00-tue:02:00"
    assert cluster["SnapshotWindow"] == "03:00-04:00"
    assert cluster["SecurityGroups"][0]["SecurityGroupId"] == "sg-9"
    assert cluster["AutoMinorVersionUpgrade"] is False


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"NumCacheNodes": 1}, id="same-count"),
        pytest.param({"EngineVersion": "7.1"}, id="same-version"),
        pytest.param({"CacheNodeType": NODE}, id="same-type"),
        pytest.param({"CacheParameterGroupName": "default.redis7"}, id="same-parameters"),
        pytest.param({"AutoMinorVersionUpgrade": True}, id="same-setting"),
    ],
)
async def test_a_change_of_nothing_is_accepted(api: Api, change: dict[str, Any]) -> None:
    await create(api, Engine="redis")
    await settle(api)
    before = await describe(api)
    answer = await api("ModifyCacheCluster", CacheClusterId="demo", **change)
    assert answer["CacheCluster"]["CacheClusterStatus"] == "available"
    assert await describe(api) == before
    assert await operations(api) == []


async def test_a_topic_can_be_set_and_detached(api: Api) -> None:
    await create(api)
    await settle(api)
    topic = "arn:aws:sns:us-east-1:000000000000:t"
    answer = await api("ModifyCacheCluster", CacheClusterId="demo", NotificationTopicArn=topic)
    assert answer["CacheCluster"]["NotificationConfiguration"]["TopicStatus"] == "active"
    await settle(api)
    answer = await api(
        "ModifyCacheCluster", CacheClusterId="demo", NotificationTopicStatus="inactive"
    )
    assert answer["CacheCluster"]["NotificationConfiguration"] == {
        "TopicArn": topic,
        "TopicStatus": "inactive",
    }


async def test_a_replica_joins_and_leaves_a_group(api: Api) -> None:
    await api(
        "CreateReplicationGroup",
        ReplicationGroupId="grp",
        ReplicationGroupDescription="d",
        CacheNodeType=NODE,
        Port=7001,
        Tags=[{"Key": "team", "Value": "a"}],
    )
    await settle(api)
    joined = await api("CreateCacheCluster", CacheClusterId="extra", ReplicationGroupId="GRP")
    cluster = joined["CacheCluster"]
    assert cluster["ReplicationGroupId"] == "grp"
    assert cluster["EngineVersion"] == "7.1.0"
    groups = (await api("DescribeReplicationGroups"))["ReplicationGroups"]
    assert (groups[0]["Status"], groups[0]["MemberClusters"]) == (
        "modifying",
        ["extra", "grp-001"],
    )
    assert await operations(api) == [("settle", "replication_group")]
    await settle(api)
    tags = await api("ListTagsForResource", ResourceName=cluster["ARN"])
    assert tags["TagList"] == [{"Key": "team", "Value": "a"}]
    members = (await api("DescribeReplicationGroups"))["ReplicationGroups"][0]["NodeGroups"][0][
        "NodeGroupMembers"
    ]
    assert {m["CacheClusterId"]: m["CurrentRole"] for m in members} == {
        "grp-001": "primary",
        "extra": "replica",
    }
    assert len({m["PreferredAvailabilityZone"] for m in members}) == 2
    await api("DeleteCacheCluster", CacheClusterId="extra")
    groups = (await api("DescribeReplicationGroups"))["ReplicationGroups"]
    assert groups[0]["Status"] == "modifying"
    await settle(api)
    groups = (await api("DescribeReplicationGroups"))["ReplicationGroups"]
    assert groups[0]["MemberClusters"] == ["grp-001"]


async def test_members_can_be_left_out_of_a_listing(api: Api) -> None:
    await create(api)
    await api(
        "CreateReplicationGroup",
        ReplicationGroupId="grp",
        ReplicationGroupDescription="d",
        CacheNodeType=NODE,
    )
    every = await api.listed("DescribeCacheClusters", "CacheClusters")
    assert [(c["CacheClusterId"], c.get("ReplicationGroupId")) for c in every] == [
        ("demo", None),
        ("grp-001", "grp"),
    ]
    alone = await api.listed(
        "DescribeCacheClusters", "CacheClusters", ShowCacheClustersNotInReplicationGroups=True
    )
    assert [cluster["CacheClusterId"] for cluster in alone] == ["demo"]


async def test_pages(api: Api) -> None:
    for number in range(23):
        await create(api, f"c-{number:02}")
    first = await api("DescribeCacheClusters", MaxRecords=20)
    rest = await api("DescribeCacheClusters", MaxRecords=20, Marker=first["Marker"])
    found = [c["CacheClusterId"] for c in first["CacheClusters"] + rest["CacheClusters"]]
    assert found == [f"c-{number:02}" for number in range(23)]
    assert "Marker" not in rest


async def test_node_types_to_scale_to(api: Api) -> None:
    await create(api, Engine="redis", CacheNodeType="cache.m5.large")
    allowed = await api("ListAllowedNodeTypeModifications", CacheClusterId="demo")
    assert "cache.m5.xlarge" in allowed["ScaleUpModifications"]
    assert "cache.t3.micro" in allowed["ScaleDownModifications"]
    assert not any(".r6gd." in name for name in allowed["ScaleUpModifications"])
    assert "cache.m5.large" not in allowed["ScaleUpModifications"]
