"""What waits for the engine: how it is recorded, shown, filed and cancelled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from cachefleet.provisioner.state.tables import CacheCluster, Operation, ReplicationGroup
from tests.support.api import SCOPE, Api, Refused, open_api
from tests.support.settled import settle

NODE = "cache.t3.micro"
BIGGER = "cache.r6g.large"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        yield opened


async def group(api: Api, **options: Any) -> None:
    await api(
        "CreateReplicationGroup",
        ReplicationGroupId="demo",
        ReplicationGroupDescription="d",
        CacheNodeType=NODE,
        **{"Engine": "redis", "EngineVersion": "7.0", "NumCacheClusters": 2, **options},
    )
    await settle(api)


async def memcached(api: Api, **options: Any) -> None:
    await api(
        "CreateCacheCluster",
        CacheClusterId="mem",
        CacheNodeType=NODE,
        Engine="memcached",
        **{"NumCacheNodes": 2, **options},
    )
    await settle(api)


async def change(api: Api, *, now: bool = False, **changes: Any) -> dict[str, Any]:
    answer = await api(
        "ModifyReplicationGroup", ReplicationGroupId="demo", ApplyImmediately=now, **changes
    )
    return dict(answer["ReplicationGroup"])


async def change_mem(api: Api, *, now: bool = False, **changes: Any) -> dict[str, Any]:
    answer = await api("ModifyCacheCluster", CacheClusterId="mem", ApplyImmediately=now, **changes)
    return dict(answer["CacheCluster"])


async def member(api: Api, name: str = "demo-002") -> dict[str, Any]:
    return dict((await api("DescribeCacheClusters", CacheClusterId=name))["CacheClusters"][0])


async def recorded(api: Api, table: type[Any] = ReplicationGroup, name: str = "demo") -> Any:
    async with api.store.read(SCOPE) as tx:
        row: CacheCluster | ReplicationGroup = await tx.get(table, name)
        return dict(row.pending)


async def filed(api: Api) -> list[tuple[str, dict[str, Any]]]:
    async with api.store.read(SCOPE) as tx:
        rows = (await tx.session.scalars(select(Operation).order_by(Operation.id))).all()
        return [(row.kind, row.payload) for row in rows]


async def custom(api: Api, name: str, family: str, **values: str) -> None:
    await api(
        "CreateCacheParameterGroup",
        CacheParameterGroupName=name,
        CacheParameterGroupFamily=family,
        Description="d",
    )
    if values:
        await api(
            "ModifyCacheParameterGroup",
            CacheParameterGroupName=name,
            ParameterNameValues=[
                {"ParameterName": key.replace("_", "-"), "ParameterValue": value}
                for key, value in values.items()
            ],
        )


async def test_a_change_for_the_window_leaves_the_group_as_it_is(api: Api) -> None:
    await group(api)
    shown = await change(api, CacheNodeType=BIGGER)
    assert (shown["Status"], shown["CacheNodeType"]) == ("available", NODE)
    assert shown["PendingModifiedValues"] == {}, "its shape has no node type"
    assert (await member(api))["PendingModifiedValues"] == {"CacheNodeType": BIGGER}
    assert await recorded(api) == {"CacheNodeType": BIGGER}
    assert await filed(api) == []


async def test_a_change_for_now_is_filed_and_shows_what_was(api: Api) -> None:
    await group(api)
    shown = await change(api, now=True, CacheNodeType=BIGGER)
    assert (shown["Status"], shown["CacheNodeType"]) == ("modifying", NODE)
    shown = await member(api)
    assert (shown["CacheClusterStatus"], shown["CacheNodeType"]) == ("modifying", NODE)
    assert await filed(api) == [("modify", {})]


async def test_asking_for_what_is_so_cancels_what_waits(api: Api) -> None:
    await group(api)
    await change(api, CacheNodeType=BIGGER)
    await change(api, CacheNodeType=NODE)
    assert await recorded(api) == {}
    assert (await member(api))["PendingModifiedValues"] == {}
    await change(api, Engine="valkey", EngineVersion="8.0")
    await change(api, Engine="redis", EngineVersion="7.0")
    assert await recorded(api) == {}


async def test_what_waits_is_applied_with_the_next_change_for_now(api: Api) -> None:
    await group(api)
    await change(api, CacheNodeType=BIGGER)
    shown = await change(api, now=True, ReplicationGroupDescription="other")
    assert (shown["Status"], shown["Description"]) == ("modifying", "other")
    assert await filed(api) == [("modify", {})]


@pytest.mark.parametrize(
    ("options", "wanted", "default"),
    [
        pytest.param({}, "8.0", "default.valkey8", id="cluster-mode-disabled"),
        pytest.param(
            {"NumCacheClusters": None, "NumNodeGroups": 2, "AutomaticFailoverEnabled": True},
            "8.0",
            "default.valkey8.cluster.on",
            id="cluster-mode-enabled",
        ),
    ],
)
async def test_a_default_parameter_group_follows_the_engine(
    api: Api, options: dict[str, Any], wanted: str, default: str
) -> None:
    given = {"NumCacheClusters": 2, **options}
    await api(
        "CreateReplicationGroup",
        ReplicationGroupId="demo",
        ReplicationGroupDescription="d",
        CacheNodeType=NODE,
        Engine="redis",
        **{name: value for name, value in given.items() if value is not None},
    )
    await settle(api)
    await change(api, Engine="valkey", EngineVersion=wanted)
    assert await recorded(api) == {
        "Engine": "valkey",
        "EngineVersion": "8.0.1",
        "CacheParameterGroupName": default,
    }


async def test_a_custom_parameter_group_goes_with_the_engine_in_one_call(api: Api) -> None:
    await custom(api, "old", "redis7")
    await custom(api, "new", "valkey8")
    await group(api, CacheParameterGroupName="old")
    with pytest.raises(Refused, match="Expected a parameter group of family valkey8"):
        await change(api, Engine="valkey", EngineVersion="8.0")
    await change(api, Engine="valkey", EngineVersion="8.0", CacheParameterGroupName="new")
    assert (await recorded(api))["CacheParameterGroupName"] == "new"
    # From here on the family that counts is the one that waits.
    with pytest.raises(Refused, match="redis parameter group is not applicable to engine valkey"):
        await change(api, CacheParameterGroupName="default.redis7")
    await change(api, CacheParameterGroupName="default.valkey8")
    assert (await recorded(api))["CacheParameterGroupName"] == "default.valkey8"


async def test_a_version_of_the_same_family_keeps_the_parameter_group(api: Api) -> None:
    await custom(api, "old", "redis7")
    await group(api, CacheParameterGroupName="old")
    await change(api, EngineVersion="7.1")
    assert await recorded(api) == {"EngineVersion": "7.1.0"}


async def test_promotion_is_filed_by_name_and_is_nothing_for_the_primary(api: Api) -> None:
    await group(api)
    shown = await change(api, now=True, PrimaryClusterId="demo-001")
    assert shown["Status"] == "available"
    assert await filed(api) == []
    shown = await change(api, PrimaryClusterId="demo-002")
    assert shown["PendingModifiedValues"] == {"PrimaryClusterId": "demo-002"}
    assert shown["Status"] == "available"
    await change(api, PrimaryClusterId="demo-001")
    assert await recorded(api) == {}
    shown = await change(api, now=True, PrimaryClusterId="Demo-002")
    assert shown["Status"] == "modifying"
    assert await filed(api) == [("change_primary", {"cache_cluster_id": "demo-002"})]


async def test_failover_waits_for_the_window(api: Api) -> None:
    await group(api)
    shown = await change(api, AutomaticFailoverEnabled=True, MultiAZEnabled=True)
    assert (shown["Status"], shown["AutomaticFailover"]) == ("available", "disabled")
    assert shown["PendingModifiedValues"] == {"AutomaticFailoverStatus": "enabled"}
    shown = await change(api, AutomaticFailoverEnabled=False, MultiAZEnabled=False)
    assert shown["PendingModifiedValues"] == {}
    await change(api, AutomaticFailoverEnabled=True)
    shown = await change(api, now=True, AutomaticFailoverEnabled=True)
    assert (shown["Status"], shown["AutomaticFailover"]) == ("modifying", "enabling")
    assert shown["PendingModifiedValues"] == {}
    assert await filed(api) == [("settle", {})]


async def test_nodes_that_wait_add_up_replace_and_cancel(api: Api) -> None:
    await memcached(api)
    assert (await change_mem(api, NumCacheNodes=3))["PendingModifiedValues"] == {"NumCacheNodes": 3}
    shown = await change_mem(api, NumCacheNodes=5)
    assert shown["PendingModifiedValues"] == {"NumCacheNodes": 5}
    assert len((await recorded(api, CacheCluster, "mem"))["NewAvailabilityZones"]) == 3
    with pytest.raises(Refused, match="cancel them first"):
        await change_mem(api, NumCacheNodes=4)
    shown = await change_mem(api, NumCacheNodes=1, CacheNodeIdsToRemove=["0001"])
    assert shown["PendingModifiedValues"] == {"NumCacheNodes": 1, "CacheNodeIdsToRemove": ["0001"]}
    shown = await change_mem(api, NumCacheNodes=1, CacheNodeIdsToRemove=["0002"])
    assert shown["PendingModifiedValues"] == {"NumCacheNodes": 1, "CacheNodeIdsToRemove": ["0002"]}
    shown = await change_mem(api, NumCacheNodes=3)
    assert shown["PendingModifiedValues"] == {"NumCacheNodes": 3}
    shown = await change_mem(api, NumCacheNodes=2)
    assert (shown["PendingModifiedValues"], shown["CacheClusterStatus"]) == ({}, "available")
    assert await filed(api) == []


async def test_nodes_that_wait_are_added_with_those_for_now(api: Api) -> None:
    await memcached(api, AZMode="cross-az")
    await change_mem(api, NumCacheNodes=3, NewAvailabilityZones=["us-east-1f"])
    shown = await change_mem(api, now=True, NumCacheNodes=4, NewAvailabilityZones=["us-east-1e"])
    assert shown["PendingModifiedValues"] == {"NumCacheNodes": 4}
    nodes = (await api("DescribeCacheClusters", CacheClusterId="mem", ShowCacheNodeInfo=True))[
        "CacheClusters"
    ][0]["CacheNodes"]
    new = [node for node in nodes if node["CacheNodeStatus"] == "creating"]
    assert [(n["CacheNodeId"], n["CustomerAvailabilityZone"]) for n in new] == [
        ("0003", "us-east-1f"),
        ("0004", "us-east-1e"),
    ]
    assert await filed(api) == [("modify", {})]


async def test_memcached_goes_back_and_is_scaled_step_by_step(api: Api) -> None:
    await memcached(api)
    pace = {"ScalePercentage": 50, "ScaleIntervalMinutes": 1}
    shown = await change_mem(api, CacheNodeType=BIGGER, EngineVersion="1.6.12", ScaleConfig=pace)
    assert shown["PendingModifiedValues"] == {
        "CacheNodeType": BIGGER,
        "EngineVersion": "1.6.12",
        "ScaleConfig": pace,
    }
    shown = await change_mem(api, CacheNodeType=NODE)
    assert shown["PendingModifiedValues"] == {"EngineVersion": "1.6.12"}


async def test_a_member_is_changed_by_its_group_only(api: Api) -> None:
    await group(api)
    await change(api, CacheNodeType=BIGGER)
    await api(
        "ModifyCacheCluster",
        CacheClusterId="demo-001",
        AutoMinorVersionUpgrade=False,
        ApplyImmediately=True,
    )
    assert await filed(api) == [("settle", {})], "what waits on the group is not the member's"
    assert await recorded(api) == {"CacheNodeType": BIGGER}
