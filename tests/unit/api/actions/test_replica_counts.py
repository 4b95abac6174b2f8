"""Replicas come and go: how many, which, where, and what the group shows meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import Api, Refused, open_api
from tests.support.settled import settle


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        yield opened


async def create(api: Api, **options: Any) -> None:
    await api(
        "CreateReplicationGroup",
        ReplicationGroupId="demo",
        ReplicationGroupDescription="d",
        CacheNodeType="cache.t3.micro",
        **options,
    )
    await settle(api)


async def change(api: Api, operation: str, **options: Any) -> dict[str, Any]:
    answer = await api(operation, ReplicationGroupId="demo", ApplyImmediately=True, **options)
    group: dict[str, Any] = answer["ReplicationGroup"]
    return group


async def describe(api: Api) -> dict[str, Any]:
    group: dict[str, Any] = (await api("DescribeReplicationGroups"))["ReplicationGroups"][0]
    return group


def zones(group: dict[str, Any], shard: int = 0) -> dict[str, str]:
    return {
        member["CacheClusterId"]: member["PreferredAvailabilityZone"]
        for member in group["NodeGroups"][shard]["NodeGroupMembers"]
    }


async def test_more_replicas(api: Api) -> None:
    await create(api, NumCacheClusters=2, Tags=[{"Key": "k", "Value": "v"}])
    grown = await change(api, "IncreaseReplicaCount", NewReplicaCount=3)
    assert grown["Status"] == grown["NodeGroups"][0]["Status"] == "modifying"
    assert grown["MemberClusters"] == [f"demo-00{number}" for number in range(1, 5)]
    cluster = (await api("DescribeCacheClusters", CacheClusterId="demo-004"))["CacheClusters"][0]
    assert cluster["CacheClusterStatus"] == "creating"
    await settle(api)
    shown = await describe(api)
    assert shown["Status"] == shown["NodeGroups"][0]["Status"] == "available"
    assert len(set(zones(shown).values())) == 4
    tags = await api("ListTagsForResource", ResourceName=cluster["ARN"])
    assert tags["TagList"] == [{"Key": "k", "Value": "v"}]


async def test_more_replicas_in_every_shard(api: Api) -> None:
    await create(api, NumNodeGroups=2, AutomaticFailoverEnabled=True)
    grown = await change(api, "IncreaseReplicaCount", NewReplicaCount=1)
    assert grown["MemberClusters"] == [
        "demo-0001-001",
        "demo-0001-002",
        "demo-0002-001",
        "demo-0002-002",
    ]


async def test_more_replicas_in_one_shard(api: Api) -> None:
    await create(api, NumNodeGroups=2, AutomaticFailoverEnabled=True)
    grown = await change(
        api,
        "IncreaseReplicaCount",
        ReplicaConfiguration=[{"NodeGroupId": "0002", "NewReplicaCount": 2}],
    )
    assert [shard["Status"] for shard in grown["NodeGroups"]] == ["available", "modifying"]
    assert len(zones(grown, 1)) == 3


async def test_replicas_go_where_they_were_asked_for(api: Api) -> None:
    await create(api, PreferredCacheClusterAZs=["us-east-1a"])
    grown = await change(
        api,
        "IncreaseReplicaCount",
        ReplicaConfiguration=[
            {
                "NodeGroupId": "0001",
                "NewReplicaCount": 2,
                "PreferredAvailabilityZones": ["us-east-1b", "us-east-1a", "us-east-1b"],
            }
        ],
    )
    assert zones(grown) == {
        "demo-001": "us-east-1a",
        "demo-002": "us-east-1b",
        "demo-003": "us-east-1b",
    }


async def test_a_name_that_became_free_is_given_again(api: Api) -> None:
    await create(api, NumCacheClusters=3)
    shrunk = await change(api, "DecreaseReplicaCount", ReplicasToRemove=["DEMO-002"])
    assert shrunk["Status"] == "modifying"
    cluster = (await api("DescribeCacheClusters", CacheClusterId="demo-002"))["CacheClusters"][0]
    assert cluster["CacheClusterStatus"] == "deleting"
    await settle(api)
    assert (await describe(api))["MemberClusters"] == ["demo-001", "demo-003"]
    grown = await change(api, "IncreaseReplicaCount", NewReplicaCount=2)
    assert grown["MemberClusters"] == ["demo-001", "demo-002", "demo-003"]


async def test_fewer_replicas_keep_the_spread(api: Api) -> None:
    await create(
        api,
        NumCacheClusters=3,
        PreferredCacheClusterAZs=["us-east-1a", "us-east-1a", "us-east-1b"],
    )
    await change(api, "DecreaseReplicaCount", NewReplicaCount=1)
    await settle(api)
    assert zones(await describe(api)) == {"demo-001": "us-east-1a", "demo-003": "us-east-1b"}


async def test_fewer_replicas_in_the_zones_that_were_asked_for(api: Api) -> None:
    await create(
        api,
        NumCacheClusters=3,
        PreferredCacheClusterAZs=["us-east-1a", "us-east-1b", "us-east-1c"],
    )
    await change(
        api,
        "DecreaseReplicaCount",
        ReplicaConfiguration=[
            {
                "NodeGroupId": "0001",
                "NewReplicaCount": 1,
                "PreferredAvailabilityZones": ["us-east-1a", "us-east-1b"],
            }
        ],
    )
    await settle(api)
    assert sorted(zones(await describe(api)).values()) == ["us-east-1a", "us-east-1b"]


async def test_no_replica_is_left_where_nothing_needs_one(api: Api) -> None:
    await create(api, NumNodeGroups=2, ReplicasPerNodeGroup=1, AutomaticFailoverEnabled=True)
    await change(api, "DecreaseReplicaCount", NewReplicaCount=0)
    await settle(api)
    assert (await describe(api))["MemberClusters"] == ["demo-0001-001", "demo-0002-001"]


async def test_multi_az_keeps_a_replica(api: Api) -> None:
    await create(
        api,
        NumNodeGroups=2,
        ReplicasPerNodeGroup=1,
        AutomaticFailoverEnabled=True,
        MultiAZEnabled=True,
    )
    with pytest.raises(Refused) as refused:
        await change(api, "DecreaseReplicaCount", NewReplicaCount=0)
    assert refused.value.code == "InvalidParameterValue"


async def test_a_group_in_cluster_mode_has_at_most_ninety_nodes(api: Api) -> None:
    await create(api, NumNodeGroups=31, ReplicasPerNodeGroup=1, AutomaticFailoverEnabled=True)
    with pytest.raises(Refused) as refused:
        await change(api, "IncreaseReplicaCount", NewReplicaCount=2)
    assert refused.value.code == "NodeQuotaForCustomerExceeded"
