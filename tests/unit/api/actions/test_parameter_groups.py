"""Parameter groups through the front-end."""

from __future__ import annotations

import asyncio
import itertools
import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from cachefleet.engine.catalog import Catalog
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.parameters import SHORT_NUMBERS
from cachefleet.provisioner.state.tables import CacheCluster, Operation, ParameterGroup
from tests.builders import groups
from tests.support.api import SCOPE, Api, Refused, open_api

ARN = "arn:aws:elasticache:us-east-1:000000000000:parametergroup"
FAMILY = Catalog.load().family("redis7")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        yield opened


async def create(api: Api, name: str = "Mine", family: str = "redis7") -> dict[str, Any]:
    answer = await api(
        "CreateCacheParameterGroup",
        CacheParameterGroupName=name,
        CacheParameterGroupFamily=family,
        Description="d",
        Tags=[{"Key": "k", "Value": "v"}],
    )
    group: dict[str, Any] = answer["CacheParameterGroup"]
    return group


async def modify(api: Api, name: str = "mine", /, **values: str) -> None:
    pairs = [
        {"ParameterName": key.replace("_", "-"), "ParameterValue": value}
        for key, value in values.items()
    ]
    answer = await api(
        "ModifyCacheParameterGroup", CacheParameterGroupName=name, ParameterNameValues=pairs
    )
    assert answer == {"CacheParameterGroupName": name.lower()}


async def parameters(api: Api, name: str = "mine", **filters: Any) -> dict[str, dict[str, Any]]:
    rows = await api.listed(
        "DescribeCacheParameters", "Parameters", CacheParameterGroupName=name, **filters
    )
    return {one["ParameterName"]: one for one in rows}


async def operations(api: Api) -> list[Operation]:
    async with api.store.read(SCOPE) as tx:
        return list(await tx.session.scalars(select(Operation).order_by(Operation.id)))


async def node_statuses(api: Api, name: str) -> list[str]:
    async with api.store.read(SCOPE) as tx:
        cluster = await tx.get(CacheCluster, name)
        return [node.parameter_group_status for node in cluster.nodes]


async def test_creates_and_shows_the_same(api: Api) -> None:
    created = await create(api)
    assert created == {
        "CacheParameterGroupName": "mine",
        "CacheParameterGroupFamily": "redis7",
        "Description": "d",
        "IsGlobal": False,
        "ARN": f"{ARN}:mine",
    }
    shown = await api("DescribeCacheParameterGroups", CacheParameterGroupName="MINE")
    assert shown == {"CacheParameterGroups": [created]}
    tagged = await api("ListTagsForResource", ResourceName=f"{ARN}:mine")
    assert tagged == {"TagList": [{"Key": "k", "Value": "v"}]}


async def test_default_groups_are_listed_among_the_others(api: Api) -> None:
    for name in ["zebra", "ape"]:
        await create(api, name)
    listed = await api.listed("DescribeCacheParameterGroups", "CacheParameterGroups")
    names = [one["CacheParameterGroupName"] for one in listed]
    assert names == sorted(names)
    assert names[0] == "ape"
    assert names[-1] == "zebra"
    by_name = {one["CacheParameterGroupName"]: one for one in listed}
    assert by_name["default.redis7.cluster.on"] == {
        "CacheParameterGroupName": "default.redis7.cluster.on",
        "CacheParameterGroupFamily": "redis7",
        "Description": "Customized default parameter group for redis7 with cluster mode on",
        "IsGlobal": False,
        "ARN": f"{ARN}:default.redis7.cluster.on",
    }
    one = await api("DescribeCacheParameterGroups", CacheParameterGroupName="Default.Redis7")
    assert one["CacheParameterGroups"] == [by_name["default.redis7"]]


async def test_pages_hold_each_group_once(api: Api) -> None:
    custom = [f"d{n:03}" for n in range(30)]
    async with api.store.begin(SCOPE) as tx:
        for name in custom:
            groups.parameter_group(tx, name)
    every = await api.listed("DescribeCacheParameterGroups", "CacheParameterGroups")
    paged = await api.listed("DescribeCacheParameterGroups", "CacheParameterGroups", MaxRecords=20)
    assert paged == every
    assert len(every) > len(custom) + 20


async def test_a_parameter_is_shown_with_all_its_fields(api: Api) -> None:
    await create(api)
    rows = await parameters(api)
    assert {key: value for key, value in rows["timeout"].items() if key != "Description"} == {
        "ParameterName": "timeout",
        "ParameterValue": "0",
        "Source": "system",
        "DataType": "integer",
        "AllowedValues": "0,20-",
        "IsModifiable": True,
        "MinimumEngineVersion": "7.0.0",
        "ChangeType": "immediate",
    }
    # Nothing is shown where there is nothing: an empty value, free text.
    assert not rows["notify-keyspace-events"].keys() & {"ParameterValue", "AllowedValues"}
    assert list(rows) == sorted(rows, key=lambda name: name.replace("-", ""))


async def test_values_by_node_type_are_pages_of_the_same_listing(api: Api) -> None:
    await create(api)
    seen: list[str] = []
    marker: dict[str, str] = {}
    for number in itertools.count(1):
        page = await api(
            "DescribeCacheParameters", CacheParameterGroupName="mine", MaxRecords=20, **marker
        )
        both = page["Parameters"] + page["CacheNodeTypeSpecificParameters"]
        assert len(both) == 20 or "Marker" not in page
        names = sorted((one["ParameterName"] for one in both), key=lambda n: n.replace("-", ""))
        seen += names
        if "Marker" not in page:
            break
        marker = {"Marker": page["Marker"]}
        assert number < 10
    assert seen == sorted(seen, key=lambda name: name.replace("-", ""))
    names_of_both = [one.name for one in FAMILY.parameters]
    names_of_both += [one.name for one in FAMILY.node_type_parameters]
    assert sorted(seen) == sorted(names_of_both)


async def test_maxmemory_has_a_value_for_each_node_type(api: Api) -> None:
    answer = await api("DescribeCacheParameters", CacheParameterGroupName="default.redis7")
    rows = {one["ParameterName"]: one for one in answer["CacheNodeTypeSpecificParameters"]}
    row = rows["maxmemory"]
    assert row["IsModifiable"] is False
    assert row["Source"] == "system"
    assert "ParameterValue" not in row
    values = {one["CacheNodeType"]: one["Value"] for one in row["CacheNodeTypeSpecificValues"]}
    assert values["cache.r6g.large"] == "14037181030"


async def test_engine_defaults_are_the_family(api: Api) -> None:
    answer = await api("DescribeEngineDefaultParameters", CacheParameterGroupFamily="redis7")
    defaults = answer["EngineDefaults"]
    assert defaults["CacheParameterGroupFamily"] == "redis7"
    assert {one["Source"] for one in defaults["Parameters"]} == {"system"}
    first = await api(
        "DescribeEngineDefaultParameters", CacheParameterGroupFamily="redis7", MaxRecords=20
    )
    second = await api(
        "DescribeEngineDefaultParameters",
        CacheParameterGroupFamily="redis7",
        MaxRecords=100,
        Marker=first["EngineDefaults"]["Marker"],
    )
    paged = first["EngineDefaults"]["Parameters"] + second["EngineDefaults"]["Parameters"]
    assert paged == defaults["Parameters"]
    assert "Marker" not in second["EngineDefaults"]


async def test_what_a_cache_is_created_with_can_be_set_until_one_is(api: Api) -> None:
    await create(api)
    assert (await parameters(api))["cluster-enabled"]["IsModifiable"] is True
    await modify(api, cluster_enabled="yes", databases="4")
    async with api.store.begin(SCOPE) as tx:
        await groups.cache_cluster(tx, parameter_group_name="mine")
    rows = await parameters(api)
    assert rows["cluster-enabled"]["IsModifiable"] is False
    assert rows["cluster-enabled"]["ParameterValue"] == "yes"
    # A reset of everything leaves what a cache keeps for life.
    await modify(api, timeout="20")
    async with api.store.begin(SCOPE) as tx:
        for node in (await tx.get(CacheCluster, "demo")).nodes:
            node.parameter_group_status = "in-sync"
    await api("ResetCacheParameterGroup", CacheParameterGroupName="mine", ResetAllParameters=True)
    assert sorted(await parameters(api, Source="user")) == ["cluster-enabled", "databases"]


async def test_default_groups_show_their_mode_and_fix_it(api: Api) -> None:
    on, off = (
        await parameters(api, "default.redis7.cluster.on"),
        await parameters(api, "default.redis7"),
    )
    assert on["cluster-enabled"]["ParameterValue"] == "yes"
    assert off["cluster-enabled"]["ParameterValue"] == "no"
    assert {on["cluster-enabled"]["Source"], off["cluster-enabled"]["Source"]} == {"system"}
    assert on["cluster-enabled"]["IsModifiable"] is False


async def test_sources(api: Api) -> None:
    await create(api)
    await modify(api, timeout="30", notify_keyspace_events="KEA")
    user = await parameters(api, Source="user")
    assert {name: one["ParameterValue"] for name, one in user.items()} == {
        "timeout": "30",
        "notify-keyspace-events": "KEA",
    }
    everything = await parameters(api)
    for source in ["system", "engine-default"]:
        assert sorted(await parameters(api, Source=source)) == sorted(everything.keys() - user)
    answer = await api("DescribeCacheParameters", CacheParameterGroupName="mine", Source="user")
    assert answer["CacheNodeTypeSpecificParameters"] == []


async def test_a_refused_value_leaves_the_others_unset(api: Api) -> None:
    await create(api)
    with pytest.raises(Refused):
        await modify(api, timeout="30", activedefrag="maybe")
    assert await parameters(api, Source="user") == {}


@given(st.data())
@settings(max_examples=15, deadline=None)
def test_what_is_set_is_shown_and_reset_restores(data: st.DataObject) -> None:
    modifiable = [one for one in FAMILY.parameters if one.is_modifiable]
    chosen = data.draw(
        st.lists(st.sampled_from(modifiable), min_size=1, max_size=20, unique_by=lambda p: p.name)
    )
    values = {
        one.name: data.draw(legal_values(one.name, one.allowed_values), one.name) for one in chosen
    }

    async def scenario() -> None:
        with tempfile.TemporaryDirectory() as directory:
            async with open_api(Path(directory)) as api:
                await create(api)
                before = await parameters(api)
                await modify(api, **values)
                after = await parameters(api)
                shown = {
                    name: (one.get("ParameterValue", ""), one["Source"])
                    for name, one in after.items()
                }
                assert {name: shown[name] for name in values} == {
                    name: (value, "user") for name, value in values.items()
                }
                untouched = before.keys() - values
                assert {n: after[n] for n in untouched} == {n: before[n] for n in untouched}
                await reset(api, data.draw(st.booleans(), "all at once"), values)
                assert await parameters(api) == before

    asyncio.run(scenario())


async def reset(api: Api, everything: bool, values: dict[str, str]) -> None:
    what: dict[str, Any] = {"ResetAllParameters": True}
    if not everything:
        what = {"ParameterNameValues": [{"ParameterName": name} for name in values]}
    answer = await api("ResetCacheParameterGroup", CacheParameterGroupName="Mine", **what)
    assert answer == {"CacheParameterGroupName": "mine"}


def legal_values(name: str, allowed: str) -> st.SearchStrategy[str]:
    """Return values that *allowed* describes, and an engine can hold."""
    highest = 2**31 - 1 if name in SHORT_NUMBERS else 2**40
    if not allowed:
        return st.just("KEA")
    if allowed.startswith("APPEND,"):
        return st.sampled_from(["", "GET fetch", "FLUSHALL blocked FLUSHDB blocked"])
    choices: list[st.SearchStrategy[str]] = []
    for part in allowed.split(","):
        bounds = re.fullmatch(r"(-?\d+)-(\d*)", part)
        if part == "-":
            choices.append(st.integers(-(2**40), 2**40).map(str))
        elif bounds is not None:
            choices.append(
                st.integers(int(bounds[1]), min(int(bounds[2] or highest), highest)).map(str)
            )
        else:
            choices.append(st.just(part))
    return st.one_of(choices)


async def test_a_change_is_filed_for_every_cache_that_uses_the_group(api: Api) -> None:
    await create(api)
    async with api.store.begin(SCOPE) as tx:
        uses: dict[str, Any] = {"parameter_group_name": "mine"}
        alone = await groups.cache_cluster(tx, **uses)
        group = await groups.replication_group(tx, **uses)
        await groups.cache_cluster(tx, "other")
    await modify(api, timeout="30")
    filed = await operations(api)
    assert {one.kind for one in filed} == {OperationKind.APPLY_PARAMETERS}
    assert sorted(one.subject_uid for one in filed) == sorted([alone.uid, group.uid])
    assert all(one.payload == {"parameter_group": "mine", "changed": ["timeout"]} for one in filed)
    for name in ["demo", "rg-001", "rg-002"]:
        assert await node_statuses(api, name) == ["applying"]
    assert await node_statuses(api, "other") == ["in-sync"]


async def test_what_needs_a_reboot_waits_for_one_on_every_node(api: Api) -> None:
    await create(api, family="memcached1.6")
    async with api.store.begin(SCOPE) as tx:
        await groups.cache_cluster(
            tx, engine="memcached", node_count=3, parameter_group_name="mine"
        )
    answer = await api(
        "ModifyCacheParameterGroup",
        CacheParameterGroupName="mine",
        ParameterNameValues=[{"ParameterName": "chunk_size", "ParameterValue": "96"}],
    )
    assert answer == {"CacheParameterGroupName": "mine"}
    assert await node_statuses(api, "demo") == ["pending-reboot"] * 3
    assert len(await operations(api)) == 1


async def test_a_reset_is_filed_too_but_no_change_is_not(api: Api) -> None:
    await create(api)
    async with api.store.begin(SCOPE) as tx:
        await groups.cache_cluster(tx, parameter_group_name="mine")
    await modify(api, timeout="0")  # the family's own value, now the owner's choice
    assert await operations(api) == []
    assert list(await parameters(api, Source="user")) == ["timeout"]
    await reset(api, everything=True, values={})
    assert await operations(api) == []
    await modify(api, timeout="20")
    async with api.store.begin(SCOPE) as tx:
        for node in (await tx.get(CacheCluster, "demo")).nodes:
            node.parameter_group_status = "in-sync"
    await reset(api, everything=True, values={})
    assert [one.payload["changed"] for one in await operations(api)] == [["timeout"]] * 2
    assert await node_statuses(api, "demo") == ["applying"]


async def test_a_group_goes_with_its_tags_once_nothing_uses_it(api: Api) -> None:
    await create(api)
    async with api.store.begin(SCOPE) as tx:
        cluster = await groups.cache_cluster(tx, parameter_group_name="mine", status="deleting")
    with pytest.raises(Refused) as refusal:
        await api("DeleteCacheParameterGroup", CacheParameterGroupName="mine")
    assert refusal.value.code == "InvalidCacheParameterGroupState"
    async with api.store.begin(SCOPE) as tx:
        await tx.session.delete(await tx.get(CacheCluster, cluster.name))
    assert await api("DeleteCacheParameterGroup", CacheParameterGroupName="Mine") == {}
    async with api.store.begin(SCOPE) as tx:
        assert await tx.count(ParameterGroup) == 0
        groups.parameter_group(tx, "mine")
    tagged = await api("ListTagsForResource", ResourceName=f"{ARN}:mine")
    assert tagged == {"TagList": []}


@pytest.mark.parametrize("pending", ["CacheParameterGroupName", "ClusterModeParameterGroupName"])
async def test_a_group_that_waits_for_a_window_is_in_use(api: Api, pending: str) -> None:
    await create(api)
    async with api.store.begin(SCOPE) as tx:
        await groups.replication_group(tx, pending={pending: "mine"})
    with pytest.raises(Refused) as refusal:
        await api("DeleteCacheParameterGroup", CacheParameterGroupName="mine")
    assert refusal.value.code == "InvalidCacheParameterGroupState"
    with pytest.raises(Refused, match="databases cannot be modified"):
        await modify(api, databases="4")


async def test_a_replication_group_uses_its_group_even_before_it_has_members(api: Api) -> None:
    await create(api)
    async with api.store.begin(SCOPE) as tx:
        group = await groups.replication_group(tx, member_count=0, parameter_group_name="mine")
    await modify(api, timeout="30")
    assert [one.subject_uid for one in await operations(api)] == [group.uid]
    with pytest.raises(Refused) as refusal:
        await api("DeleteCacheParameterGroup", CacheParameterGroupName="mine")
    assert refusal.value.code == "InvalidCacheParameterGroupState"


async def test_the_quota_is_300_groups(api: Api) -> None:
    async with api.store.begin(SCOPE) as tx:
        for number in range(299):
            groups.parameter_group(tx, f"g{number}")
    await create(api, "the-300th")
    with pytest.raises(Refused) as refusal:
        await create(api, "one-more")
    assert (refusal.value.code, refusal.value.status) == ("CacheParameterGroupQuotaExceeded", 400)
    async with api.store.read(SCOPE) as tx:
        assert await tx.count(ParameterGroup) == 300


async def test_each_change_is_an_event(api: Api) -> None:
    await create(api)
    await modify(api, timeout="30", activedefrag="yes")
    await reset(api, everything=True, values={})
    await api("DeleteCacheParameterGroup", CacheParameterGroupName="mine")
    events = await api.listed("DescribeEvents", "Events", SourceType="cache-parameter-group")
    assert {one["SourceIdentifier"] for one in events} == {"mine"}
    assert [one["Message"] for one in reversed(events)] == [
        "Cache parameter group mine created",
        "Updated parameter timeout to 30",
        "Updated parameter activedefrag to yes",
        "Cache parameter group mine reset",
        "Cache parameter group mine deleted",
    ]
