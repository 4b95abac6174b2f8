"""Subnet groups through the front-end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cachefleet.provisioner.state.tables import SubnetGroup
from tests.builders import groups
from tests.support.api import SCOPE, Api, Refused, open_api

ARN = "arn:aws:elasticache:us-east-1:000000000000:subnetgroup"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        yield opened


async def create(api: Api, name: str = "Mine", *ids: str) -> dict[str, Any]:
    answer = await api(
        "CreateCacheSubnetGroup",
        CacheSubnetGroupName=name,
        CacheSubnetGroupDescription="d",
        SubnetIds=list(ids) or ["subnet-a", "subnet-b"],
        Tags=[{"Key": "k", "Value": "v"}],
    )
    group: dict[str, Any] = answer["CacheSubnetGroup"]
    return group


async def test_creates_and_shows_the_same(api: Api) -> None:
    created = await create(api)
    assert created["CacheSubnetGroupName"] == "mine"
    assert created["ARN"] == f"{ARN}:mine"
    assert created["SupportedNetworkTypes"] == ["ipv4"]
    subnet_a, subnet_b = created["Subnets"]
    assert subnet_a["SubnetIdentifier"] == "subnet-a"
    assert subnet_a["SubnetOutpost"] == {}
    assert subnet_a["SupportedNetworkTypes"] == ["ipv4"]
    zones = {one["SubnetAvailabilityZone"]["Name"] for one in (subnet_a, subnet_b)}
    assert len(zones) == 2
    shown = await api("DescribeCacheSubnetGroups", CacheSubnetGroupName="MINE")
    assert shown == {"CacheSubnetGroups": [created]}
    tagged = await api("ListTagsForResource", ResourceName=f"{ARN}:Mine")
    assert tagged == {"TagList": [{"Key": "k", "Value": "v"}]}


async def test_groups_are_in_one_vpc_and_agree_on_a_subnet(api: Api) -> None:
    first, second = (
        await create(api, "a", "subnet-x", "subnet-y"),
        await create(api, "b", "subnet-y"),
    )
    assert first["VpcId"] == second["VpcId"]
    assert second["Subnets"] == first["Subnets"][1:]


async def test_a_subnet_named_twice_is_one(api: Api) -> None:
    created = await create(api, "a", *["subnet-x"] * 21)
    assert len(created["Subnets"]) == 1


async def test_the_default_group_is_listed_in_its_place(api: Api) -> None:
    for name in ["zebra", "ape"]:
        await create(api, name)
    listed = await api.listed("DescribeCacheSubnetGroups", "CacheSubnetGroups")
    assert [one["CacheSubnetGroupName"] for one in listed] == ["ape", "default", "zebra"]
    alone = await api("DescribeCacheSubnetGroups", CacheSubnetGroupName="Default")
    assert alone["CacheSubnetGroups"] == [listed[1]]


@pytest.mark.parametrize("prefix", ["a", "z"])
async def test_pages_hold_each_group_once(api: Api, prefix: str) -> None:
    names = [f"{prefix}{n:03}" for n in range(45)]
    async with api.store.begin(SCOPE) as tx:
        for name in names:
            groups.subnet_group(tx, name)
    first = await api("DescribeCacheSubnetGroups", MaxRecords=20)
    assert len(first["CacheSubnetGroups"]) == 20
    listed = await api.listed("DescribeCacheSubnetGroups", "CacheSubnetGroups", MaxRecords=20)
    assert [one["CacheSubnetGroupName"] for one in listed] == sorted([*names, "default"])


async def test_modify_replaces_what_is_given_and_keeps_the_rest(api: Api) -> None:
    created = await create(api)
    described = await api(
        "ModifyCacheSubnetGroup", CacheSubnetGroupName="MINE", CacheSubnetGroupDescription="new"
    )
    assert described["CacheSubnetGroup"] == {**created, "CacheSubnetGroupDescription": "new"}
    moved = await api(
        "ModifyCacheSubnetGroup", CacheSubnetGroupName="mine", SubnetIds=["subnet-b", "subnet-c"]
    )
    group = moved["CacheSubnetGroup"]
    assert group["CacheSubnetGroupDescription"] == "new"
    assert [one["SubnetIdentifier"] for one in group["Subnets"]] == ["subnet-b", "subnet-c"]
    assert group["Subnets"][0] == created["Subnets"][1]


async def test_a_zone_in_use_can_change_its_subnet_but_not_go(api: Api) -> None:
    async with api.store.begin(SCOPE) as tx:
        zone_a = {"id": "subnet-a", "az": "us-east-1a"}
        groups.subnet_group(tx, subnets=[zone_a, {"id": "subnet-b", "az": "us-east-1b"}])
        groups.subnet_group(tx, "other", subnets=[{"id": "subnet-a2", "az": "us-east-1a"}])
        await groups.cache_cluster(tx, zone="us-east-1a", subnet_group_name="sg")
        await groups.cache_cluster(tx, "else", zone="us-east-1b", subnet_group_name="other")
    with pytest.raises(Refused) as refusal:
        await api("ModifyCacheSubnetGroup", CacheSubnetGroupName="sg", SubnetIds=["subnet-b"])
    assert refusal.value.code == "SubnetInUse"
    kept = ["subnet-a2", "subnet-b"]
    await api("ModifyCacheSubnetGroup", CacheSubnetGroupName="sg", SubnetIds=kept)
    await api("ModifyCacheSubnetGroup", CacheSubnetGroupName="sg", SubnetIds=["subnet-a2"])


async def test_a_group_goes_with_its_tags_once_nothing_uses_it(api: Api) -> None:
    await create(api)
    async with api.store.begin(SCOPE) as tx:
        user = await groups.replication_group(tx, subnet_group_name="mine", member_count=0)
    with pytest.raises(Refused) as refusal:
        await api("DeleteCacheSubnetGroup", CacheSubnetGroupName="mine")
    assert refusal.value.code == "CacheSubnetGroupInUse"
    async with api.store.begin(SCOPE) as tx:
        await tx.session.delete(await tx.get(type(user), "rg"))
    assert await api("DeleteCacheSubnetGroup", CacheSubnetGroupName="mine") == {}
    with pytest.raises(Refused) as refusal:
        await api("DescribeCacheSubnetGroups", CacheSubnetGroupName="mine")
    assert refusal.value.code == "CacheSubnetGroupNotFoundFault"
    async with api.store.begin(SCOPE) as tx:
        groups.subnet_group(tx, "mine")
    tagged = await api("ListTagsForResource", ResourceName=f"{ARN}:mine")
    assert tagged == {"TagList": []}


async def test_the_quota_is_300_groups(api: Api) -> None:
    async with api.store.begin(SCOPE) as tx:
        for number in range(299):
            groups.subnet_group(tx, f"g{number}")
    await create(api, "the-300th")
    with pytest.raises(Refused) as refusal:
        await create(api, "one-more")
    assert (refusal.value.code, refusal.value.status) == ("CacheSubnetGroupQuotaExceeded", 400)
    async with api.store.read(SCOPE) as tx:
        assert await tx.count(SubnetGroup) == 300


async def test_each_change_is_an_event(api: Api) -> None:
    await create(api)
    await api("ModifyCacheSubnetGroup", CacheSubnetGroupName="mine")
    await api("DeleteCacheSubnetGroup", CacheSubnetGroupName="mine")
    events = await api.listed("DescribeEvents", "Events", SourceType="cache-subnet-group")
    assert [(one["SourceIdentifier"], one["Message"]) for one in events] == [
        ("mine", "Cache subnet group mine deleted"),
        ("mine", "Cache subnet group mine modified"),
        ("mine", "Cache subnet group mine created"),
    ]
