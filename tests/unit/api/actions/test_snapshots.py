"""Snapshots as a client sees them: which fields, which states, whose tags."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from cachefleet.provisioner.state.snapshot_tables import Restore
from cachefleet.provisioner.state.tables import CacheCluster, Operation, ReplicationGroup
from tests.builders.snapshots import snapshot_of
from tests.support.api import SCOPE, Api, Refused, open_api
from tests.support.settled import settle

NODE = "cache.t3.micro"
ARN = "arn:aws:elasticache:us-east-1:000000000000"
ALWAYS = {
    "SnapshotName", "SnapshotStatus", "SnapshotSource", "CacheNodeType", "Engine", "EngineVersion",
    "PreferredMaintenanceWindow", "Port", "CacheParameterGroupName", "CacheSubnetGroupName",
    "VpcId", "AutoMinorVersionUpgrade", "SnapshotRetentionLimit", "SnapshotWindow",
    "NodeSnapshots", "ARN", "DataTiering",
}  # fmt: skip
OF_A_NODE = {
    "CacheClusterId",
    "NumCacheNodes",
    "PreferredAvailabilityZone",
    "CacheClusterCreateTime",
}
OF_A_GROUP = {
    "ReplicationGroupId",
    "ReplicationGroupDescription",
    "NumNodeGroups",
    "AutomaticFailover",
}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        for name, options in (
            ("pair", {"NumCacheClusters": 2}),
            ("shards", {"NumNodeGroups": 2, "AutomaticFailoverEnabled": True}),
        ):
            await opened(
                "CreateReplicationGroup",
                **{
                    "ReplicationGroupId": name,
                    "ReplicationGroupDescription": name,
                    "CacheNodeType": NODE,
                    "Tags": [{"Key": "of", "Value": name}],
                    **options,
                },
            )
        await settle(opened)
        yield opened


async def put(api: Api, name: str, of: str, **changes: Any) -> None:
    async with api.store.begin(SCOPE) as tx:
        if of == "shards":
            group = await tx.get(ReplicationGroup, of)
            await snapshot_of(tx, name, group=group, **changes)
        else:
            await snapshot_of(tx, name, member=await tx.get(CacheCluster, of), **changes)


async def statuses(api: Api, name: str) -> dict[str, str]:
    group = (await api("DescribeReplicationGroups", ReplicationGroupId=name))["ReplicationGroups"]
    clusters = (await api("DescribeCacheClusters"))["CacheClusters"]
    members = {c["CacheClusterId"]: c["CacheClusterStatus"] for c in clusters}
    return {name: group[0]["Status"]} | {k: v for k, v in members.items() if k.startswith(name)}


async def test_of_a_node_while_it_is_made(api: Api) -> None:
    answer = await api("CreateSnapshot", SnapshotName="One", CacheClusterId="pair-002")
    snapshot = answer["Snapshot"]
    assert snapshot.keys() == ALWAYS | OF_A_NODE
    assert (snapshot["SnapshotName"], snapshot["SnapshotStatus"]) == ("one", "creating")
    [node] = snapshot["NodeSnapshots"]
    assert node.keys() == {"CacheNodeId", "CacheSize", "CacheNodeCreateTime"}
    assert node["CacheSize"] == ""
    assert await statuses(api, "pair") == {
        "pair": "snapshotting",
        "pair-001": "available",
        "pair-002": "snapshotting",
    }
    tags = await api("ListTagsForResource", ResourceName=f"{ARN}:snapshot:one")
    assert tags["TagList"] == [{"Key": "of", "Value": "pair"}]


async def test_of_shards_while_it_is_made(api: Api) -> None:
    answer = await api("CreateSnapshot", SnapshotName="all", ReplicationGroupId="shards")
    snapshot = answer["Snapshot"]
    assert snapshot.keys() == ALWAYS | OF_A_GROUP
    assert snapshot["NumNodeGroups"] == 2
    assert [node.keys() for node in snapshot["NodeSnapshots"]] == [{"NodeGroupId", "CacheSize"}] * 2


async def test_a_group_without_cluster_mode_is_taken_of_its_replica(api: Api) -> None:
    answer = await api("CreateSnapshot", SnapshotName="one", ReplicationGroupId="pair")
    assert answer["Snapshot"]["CacheClusterId"] == "pair-002"


async def test_done_it_tells_size_and_time_and_on_request_slots(api: Api) -> None:
    await put(api, "all", "shards")
    [snapshot] = (await api("DescribeSnapshots"))["Snapshots"]
    node = snapshot["NodeSnapshots"][0]
    assert node["CacheSize"] == "3 MB"
    assert node["SnapshotCreateTime"].microsecond == 0
    assert "NodeGroupConfiguration" not in node
    [snapshot] = (await api("DescribeSnapshots", ShowNodeGroupConfig=True))["Snapshots"]
    assert snapshot["NodeSnapshots"][1]["NodeGroupConfiguration"]["Slots"] == "8192-16383"


async def test_filters_find_those_of_sources_that_are_gone(api: Api) -> None:
    await put(api, "a", "pair-001", cache_cluster_id="gone")
    await put(api, "b", "shards")
    found = await api("DescribeSnapshots", CacheClusterId="GONE")
    assert [s["SnapshotName"] for s in found["Snapshots"]] == ["a"]
    found = await api("DescribeSnapshots", ReplicationGroupId="shards")
    assert [s["SnapshotName"] for s in found["Snapshots"]] == ["b"]
    assert (await api("DescribeSnapshots", CacheClusterId="none"))["Snapshots"] == []


async def test_pages(api: Api) -> None:
    for number in range(45):
        await put(api, f"s-{number:02}", "pair-001")
    listed = await api.listed("DescribeSnapshots", "Snapshots", MaxRecords=20)
    assert [s["SnapshotName"] for s in listed] == [f"s-{number:02}" for number in range(45)]


async def test_a_copy_is_manual_and_holds_its_original(api: Api) -> None:
    await put(api, "automatic.pair-001-x", "pair-001", source="automated")
    answer = await api(
        "CopySnapshot", SourceSnapshotName="automatic.pair-001-x", TargetSnapshotName="kept"
    )
    assert answer["Snapshot"]["SnapshotSource"] == "manual"
    with pytest.raises(Refused, match="InvalidSnapshotState"):
        await api("DeleteSnapshot", SnapshotName="automatic.pair-001-x")


async def test_the_snapshot_says_what_a_request_leaves_out(api: Api) -> None:
    await put(api, "all", "shards")
    answer = await api(
        "CreateReplicationGroup",
        ReplicationGroupId="again",
        ReplicationGroupDescription="d",
        SnapshotName="all",
    )
    group = answer["ReplicationGroup"]
    assert (group["ClusterEnabled"], group["CacheNodeType"]) == (True, NODE)
    [snapshot] = (await api("DescribeSnapshots"))["Snapshots"]
    assert snapshot["SnapshotStatus"] == "restoring"
    async with api.store.read(SCOPE) as tx:
        [restore] = (await tx.session.scalars(select(Restore))).all()
        made = await tx.get(ReplicationGroup, "again")
    assert restore.subject_uid == made.uid
    assert [shard.slots for shard in made.node_groups] == ["0-8191", "8192-16383"]


async def test_a_final_snapshot_comes_before_the_deletion(api: Api) -> None:
    answer = await api(
        "DeleteReplicationGroup", ReplicationGroupId="shards", FinalSnapshotIdentifier="last"
    )
    assert answer["ReplicationGroup"]["Status"] == "snapshotting"
    async with api.store.read(SCOPE) as tx:
        [operation] = (await tx.session.scalars(select(Operation))).all()
    assert (operation.kind, operation.payload["final"]) == ("snapshot", True)


async def test_retention_is_kept_and_names_a_replica(api: Api) -> None:
    answer = await api(
        "CreateReplicationGroup",
        ReplicationGroupId="kept",
        ReplicationGroupDescription="d",
        CacheNodeType=NODE,
        NumCacheClusters=2,
        SnapshotRetentionLimit=5,
    )
    group = answer["ReplicationGroup"]
    assert (group["SnapshotRetentionLimit"], group["SnapshottingClusterId"]) == (5, "kept-002")
    await settle(api)
    answer = await api(
        "ModifyReplicationGroup",
        ReplicationGroupId="pair",
        SnapshotRetentionLimit=2,
        SnapshottingClusterId="pair-001",
        ApplyImmediately=True,
    )
    group = answer["ReplicationGroup"]
    assert (group["SnapshotRetentionLimit"], group["SnapshottingClusterId"]) == (2, "pair-001")
