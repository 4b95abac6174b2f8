"""Replication groups from creation to deletion, as a client sees them and as the records say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select

from cachefleet.provisioner.state.tables import (
    CacheNode,
    Operation,
    ReplicationGroup,
    Subject,
)
from tests.support.api import SCOPE, Api, Refused, open_api
from tests.support.settled import put_status, settle

NODE = "cache.t3.micro"

BARE = {
    "ReplicationGroupId",
    "Description",
    "GlobalReplicationGroupInfo",
    "Status",
    "PendingModifiedValues",
    "AutomaticFailover",
    "MultiAZ",
    "SnapshotRetentionLimit",
    "SnapshotWindow",
    "TransitEncryptionEnabled",
    "AtRestEncryptionEnabled",
    "ARN",
    "LogDeliveryConfigurations",
}
CREATING = BARE | {
    "MemberClusters",
    "ClusterEnabled",
    "CacheNodeType",
    "AuthTokenEnabled",
    "ReplicationGroupCreateTime",
    "DataTiering",
    "AutoMinorVersionUpgrade",
    "NetworkType",
    "IpDiscovery",
    "ClusterMode",
    "Engine",
}
SHARD = {"NodeGroupId", "Status", "NodeGroupMembers"}
MEMBER = {"CacheClusterId", "CacheNodeId", "PreferredAvailabilityZone"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        yield opened


async def create(api: Api, name: str = "demo", **options: Any) -> dict[str, Any]:
    params = {
        "ReplicationGroupId": name,
        "ReplicationGroupDescription": "demo rg",
        "CacheNodeType": NODE,
        **options,
    }
    given = {key: value for key, value in params.items() if value is not None}
    group: dict[str, Any] = (await api("CreateReplicationGroup", **given))["ReplicationGroup"]
    return group


async def describe(api: Api, name: str = "demo") -> dict[str, Any]:
    answer = await api("DescribeReplicationGroups", ReplicationGroupId=name)
    (group,) = answer["ReplicationGroups"]
    assert isinstance(group, dict)
    return group


async def modify(api: Api, **changes: Any) -> dict[str, Any]:
    params = {"ReplicationGroupId": "demo", "ApplyImmediately": True, **changes}
    group: dict[str, Any] = (await api("ModifyReplicationGroup", **params))["ReplicationGroup"]
    return group


async def cluster_of(api: Api, name: str) -> dict[str, Any]:
    answer = await api("DescribeCacheClusters", CacheClusterId=name)
    (cluster,) = answer["CacheClusters"]
    assert isinstance(cluster, dict)
    return cluster


async def count_operations(api: Api) -> int:
    async with api.store.read(SCOPE) as tx:
        return len((await tx.session.scalars(select(Operation))).all())


async def test_without_cluster_mode(api: Api) -> None:
    created = await create(api, NumCacheClusters=2, AutomaticFailoverEnabled=True)
    assert set(created) == CREATING
    assert set(await describe(api)) == CREATING
    assert (created["Status"], created["AutomaticFailover"]) == ("creating", "enabling")
    assert created["MemberClusters"] == ["demo-001", "demo-002"]
    await settle(api)
    shown = await describe(api, "DEMO")
    assert set(shown) == CREATING | {"NodeGroups"}
    assert (shown["Status"], shown["AutomaticFailover"]) == ("available", "enabled")
    (shard,) = shown["NodeGroups"]
    assert set(shard) == SHARD | {"PrimaryEndpoint", "ReaderEndpoint"}
    assert [set(member) for member in shard["NodeGroupMembers"]] == [
        MEMBER | {"CurrentRole", "ReadEndpoint"}
    ] * 2
    assert [member["CurrentRole"] for member in shard["NodeGroupMembers"]] == [
        "primary",
        "replica",
    ]
    assert shard["PrimaryEndpoint"] != shard["ReaderEndpoint"]


async def test_with_cluster_mode(api: Api) -> None:
    created = await create(
        api, NumNodeGroups=2, ReplicasPerNodeGroup=1, AutomaticFailoverEnabled=True
    )
    assert set(created) == CREATING
    assert (created["AutomaticFailover"], created["ClusterMode"]) == ("enabled", "enabled")
    assert created["ClusterEnabled"] is True
    await settle(api)
    shown = await describe(api)
    assert set(shown) == CREATING | {"NodeGroups", "ConfigurationEndpoint"}
    assert shown["MemberClusters"] == [
        "demo-0001-001",
        "demo-0001-002",
        "demo-0002-001",
        "demo-0002-002",
    ]
    assert [set(shard) for shard in shown["NodeGroups"]] == [SHARD | {"Slots"}] * 2
    assert [shard["Slots"] for shard in shown["NodeGroups"]] == ["0-8191", "8192-16383"]
    assert all(
        set(member) == MEMBER
        for shard in shown["NodeGroups"]
        for member in shard["NodeGroupMembers"]
    )
    member = await cluster_of(api, "demo-0001-001")
    assert member["CacheParameterGroup"]["CacheParameterGroupName"] == "default.redis7.cluster.on"
    assert "ConfigurationEndpoint" not in member


async def test_deleting(api: Api) -> None:
    await create(api, NumCacheClusters=2)
    await settle(api)
    answer = await api("DeleteReplicationGroup", ReplicationGroupId="demo")
    assert set(answer["ReplicationGroup"]) == BARE
    assert answer["ReplicationGroup"]["Status"] == "deleting"
    assert set(await describe(api)) == BARE | {"AuthTokenEnabled"}
    assert (await cluster_of(api, "demo-002"))["CacheClusterStatus"] == "deleting"
    assert await count_operations(api) == 1
    await settle(api)
    with pytest.raises(Refused):
        await describe(api)


async def test_retaining_the_primary(api: Api) -> None:
    await create(api, NumCacheClusters=2)
    await settle(api)
    await api("DeleteReplicationGroup", ReplicationGroupId="demo", RetainPrimaryCluster=True)
    assert (await cluster_of(api, "demo-001"))["CacheClusterStatus"] == "modifying"
    assert (await cluster_of(api, "demo-002"))["CacheClusterStatus"] == "deleting"
    await settle(api)
    kept = await cluster_of(api, "demo-001")
    assert kept["CacheClusterStatus"] == "available"
    assert "ReplicationGroupId" not in kept
    with pytest.raises(Refused):
        await cluster_of(api, "demo-002")


async def test_a_failed_creation_can_be_deleted(api: Api) -> None:
    await create(api, NumCacheClusters=2)
    await put_status(api, ReplicationGroup, "demo", "create-failed")
    answer = await api("DeleteReplicationGroup", ReplicationGroupId="demo")
    assert answer["ReplicationGroup"]["Status"] == "deleting"
    assert (await cluster_of(api, "demo-001"))["CacheClusterStatus"] == "deleting"


@pytest.mark.parametrize(
    ("options", "mode", "group"),
    [
        pytest.param({}, "disabled", "default.redis7", id="nothing"),
        pytest.param(
            {"NumNodeGroups": 1, "ReplicasPerNodeGroup": 1}, "disabled", "default.redis7", id="one"
        ),
        pytest.param(
            {"NumNodeGroups": 2, "AutomaticFailoverEnabled": True},
            "enabled",
            "default.redis7.cluster.on",
            id="two",
        ),
        pytest.param(
            {"ClusterMode": "enabled", "AutomaticFailoverEnabled": True},
            "enabled",
            "default.redis7.cluster.on",
            id="mode",
        ),
        pytest.param(
            {
                "CacheParameterGroupName": "default.redis7.cluster.on",
                "AutomaticFailoverEnabled": True,
            },
            "enabled",
            "default.redis7.cluster.on",
            id="parameter-group",
        ),
        pytest.param(
            {
                "Engine": "valkey",
                "EngineVersion": "8.0",
                "NumNodeGroups": 2,
                "AutomaticFailoverEnabled": True,
            },
            "enabled",
            "default.valkey8.cluster.on",
            id="valkey",
        ),
    ],
)
async def test_what_puts_a_group_into_cluster_mode(
    api: Api, options: dict[str, Any], mode: str, group: str
) -> None:
    created = await create(api, **options)
    assert created["ClusterMode"] == mode
    member = await cluster_of(api, created["MemberClusters"][0])
    assert member["CacheParameterGroup"]["CacheParameterGroupName"] == group


async def test_a_layout_of_ones_own(api: Api) -> None:
    await create(
        api,
        AutomaticFailoverEnabled=True,
        NodeGroupConfiguration=[
            {
                "NodeGroupId": "0007",
                "Slots": "0-99,5000-16383",
                "ReplicaCount": 1,
                "PrimaryAvailabilityZone": "us-east-1b",
                "ReplicaAvailabilityZones": ["us-east-1a"],
            },
            {"Slots": "100-4999", "ReplicaCount": 0},
        ],
    )
    await settle(api)
    shards = (await describe(api))["NodeGroups"]
    assert [(shard["NodeGroupId"], shard["Slots"]) for shard in shards] == [
        ("0001", "100-4999"),
        ("0007", "0-99,5000-16383"),
    ]
    assert [m["PreferredAvailabilityZone"] for m in shards[1]["NodeGroupMembers"]] == [
        "us-east-1b",
        "us-east-1a",
    ]


async def test_rows_are_what_the_provisioner_expects(api: Api) -> None:
    await create(api, NumNodeGroups=2, ReplicasPerNodeGroup=1, AutomaticFailoverEnabled=True)
    async with api.store.read(SCOPE) as tx:
        group = await tx.get(ReplicationGroup, "demo")
        nodes = (await tx.session.scalars(select(CacheNode))).all()
        subjects = (await tx.session.scalars(select(Subject))).all()
        (operation,) = (await tx.session.scalars(select(Operation))).all()
    assert [(subject.uid, subject.kind) for subject in subjects] == [
        (group.uid, "replication_group")
    ]
    assert (operation.kind, operation.subject_uid) == ("settle", group.uid)
    assert {node.subject_uid for node in nodes} == {group.uid}
    assert {node.status for node in nodes} == {"creating"}
    assert sorted(node.role or "" for node in nodes) == ["primary"] * 2 + ["replica"] * 2
    assert len({node.engine_node_id for node in nodes}) == len({n.admin_secret for n in nodes}) == 4
    for shard in group.node_groups:
        assert [node.role for node in shard.nodes].count("primary") == 1
        assert len(shard.engine_shard_id) == 40


async def test_a_cluster_becomes_the_primary_of_a_group(api: Api) -> None:
    await api(
        "CreateCacheCluster",
        CacheClusterId="old",
        CacheNodeType=NODE,
        Engine="redis",
        EngineVersion="6.2",
        Port=7002,
        Tags=[{"Key": "team", "Value": "a"}],
    )
    await settle(api)
    created = await create(
        api,
        CacheNodeType=None,
        PrimaryClusterId="OLD",
        NumCacheClusters=2,
        AutoMinorVersionUpgrade=False,
    )
    assert created["AutoMinorVersionUpgrade"] is False
    assert (await cluster_of(api, "old"))["AutoMinorVersionUpgrade"] is False
    assert created["MemberClusters"] == ["demo-001", "old"]
    assert (await cluster_of(api, "old"))["CacheClusterStatus"] == "modifying"
    async with api.store.read(SCOPE) as tx:
        (subject,) = (await tx.session.scalars(select(Subject))).all()
        group = await tx.get(ReplicationGroup, "demo")
        nodes = (await tx.session.scalars(select(CacheNode))).all()
    assert subject.uid == group.uid
    assert (group.engine_version, group.port) == ("6.2.6", 7002)
    assert {node.member_name: node.role for node in nodes} == {
        "old": "primary",
        "demo-001": "replica",
    }
    assert {node.subject_uid for node in nodes} == {group.uid}
    await settle(api)
    assert (await cluster_of(api, "old"))["ReplicationGroupId"] == "demo"
    for kind, name in (("replicationgroup", "demo"), ("cluster", "demo-001"), ("cluster", "old")):
        arn = f"arn:aws:elasticache:us-east-1:000000000000:{kind}:{name}"
        tags = await api("ListTagsForResource", ResourceName=arn)
        assert tags["TagList"] == [{"Key": "team", "Value": "a"}]


async def test_tags_go_to_the_group_and_its_members(api: Api) -> None:
    await create(api, NumCacheClusters=2, Tags=[{"Key": "k", "Value": "v"}])
    await settle(api)
    for kind, name in (("replicationgroup", "demo"), ("cluster", "demo-002")):
        arn = f"arn:aws:elasticache:us-east-1:000000000000:{kind}:{name}"
        tags = await api("ListTagsForResource", ResourceName=arn)
        assert tags["TagList"] == [{"Key": "k", "Value": "v"}]


async def test_a_change_of_settings_reaches_the_members(api: Api) -> None:
    await create(api, NumCacheClusters=2)
    await settle(api)
    changed = await modify(
        api,
        ReplicationGroupDescription="other",
        SecurityGroupIds=["sg-7"],
        PreferredMaintenanceWindow="wed:01:00-wed:02:00",
        SnapshotWindow="03:00-04:00",
        SnapshottingClusterId="demo-002",
    )
    assert (changed["Status"], changed["Description"]) == ("modifying", "other")
    assert changed["SnapshotWindow"] == "03:00-04:00"
    assert changed["NodeGroups"][0]["Status"] == "available"
    for name in ("demo-001", "demo-002"):
        member = await cluster_of(api, name)
        assert member["CacheClusterStatus"] == "modifying"
        assert member["SecurityGroups"][0]["SecurityGroupId"] == "sg-7"
        assert member["PreferredMaintenanceWindow"] == "wed:01:00-wed:02:00"
    await settle(api)
    assert (await describe(api))["Status"] == "available"


async def test_failover_and_multi_az_are_switched(api: Api) -> None:
    await create(api, NumCacheClusters=2)
    await settle(api)
    changed = await modify(api, AutomaticFailoverEnabled=True, MultiAZEnabled=True)
    assert (changed["AutomaticFailover"], changed["MultiAZ"]) == ("enabling", "enabled")
    await settle(api)
    changed = await modify(api, AutomaticFailoverEnabled=False, MultiAZEnabled=False)
    assert (changed["AutomaticFailover"], changed["MultiAZ"]) == ("disabling", "disabled")
    await settle(api)
    assert (await describe(api))["AutomaticFailover"] == "disabled"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"ReplicationGroupDescription": "demo rg"}, id="description"),
        pytest.param({"Engine": "redis", "EngineVersion": "7.1"}, id="version"),
        pytest.param({"CacheNodeType": NODE}, id="type"),
        pytest.param({"CacheParameterGroupName": "default.redis7"}, id="parameters"),
        pytest.param({"PrimaryClusterId": "demo-001"}, id="primary"),
        pytest.param({"ClusterMode": "disabled"}, id="mode"),
        pytest.param({"AutomaticFailoverEnabled": False, "MultiAZEnabled": False}, id="failover"),
        pytest.param({"TransitEncryptionEnabled": False}, id="encryption"),
        pytest.param({"SnapshotRetentionLimit": 0, "RemoveUserGroups": True}, id="snapshots"),
    ],
)
async def test_a_change_of_nothing_is_accepted(api: Api, change: dict[str, Any]) -> None:
    await create(api, NumCacheClusters=2)
    await settle(api)
    before = await describe(api)
    assert await modify(api, **change) == before
    assert await count_operations(api) == 0


async def test_valkey_defaults(api: Api) -> None:
    created = await create(api, Engine="VALKEY")
    assert created["Engine"] == "valkey"
    member = await cluster_of(api, "demo-001")
    assert member["EngineVersion"].startswith("9.")


async def test_names_of_members_that_are_taken_are_passed_over(api: Api) -> None:
    await api("CreateCacheCluster", CacheClusterId="demo-001", CacheNodeType=NODE, Engine="redis")
    created = await create(api, NumCacheClusters=2)
    assert created["MemberClusters"] == ["demo-002", "demo-003"]


async def test_a_region_has_room_for_so_many_nodes(api: Api) -> None:
    for number in range(7):
        await api(
            "CreateCacheCluster",
            CacheClusterId=f"m-{number}",
            CacheNodeType=NODE,
            Engine="memcached",
            NumCacheNodes=40,
        )
    await create(api, NumCacheClusters=6)
    await create(api, "two", NumCacheClusters=6)
    await create(api, "three", NumCacheClusters=6)
    with pytest.raises(Refused) as refused:
        await create(api, "four", NumCacheClusters=3)
    assert refused.value.code == "NodeQuotaForCustomerExceeded"
    await create(api, "five", NumCacheClusters=2)


async def test_every_group_of_a_page_is_read_with_the_same_number_of_queries(api: Api) -> None:
    async def queries() -> int:
        statements: list[str] = []
        engine = api.store._engine.sync_engine

        def note(*args: Any) -> None:
            statements.append(str(args[2]))

        event.listen(engine, "before_cursor_execute", note)
        try:
            await api("DescribeReplicationGroups")
            await api("DescribeCacheClusters", ShowCacheNodeInfo=True)
        finally:
            event.remove(engine, "before_cursor_execute", note)
        return len(statements)

    await create(api, "g-0", NumCacheClusters=2)
    one = await queries()
    for number in range(1, 9):
        await create(api, f"g-{number}", NumCacheClusters=2)
    assert await queries() == one
