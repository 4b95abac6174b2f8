"""Tags through the front-end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from cachefleet.provisioner.state import tags
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.tables import Operation, ReplicationGroup
from tests.builders import groups
from tests.support.api import SCOPE, Api, Refused, open_api

ARN = "arn:aws:elasticache:us-east-1:000000000000"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        async with opened.store.begin(SCOPE) as tx:
            groups.subnet_group(tx, "demo")
            groups.parameter_group(tx, "demo")
            await groups.cache_cluster(tx, "demo")
            await groups.replication_group(tx, "rg")
        yield opened


async def add(api: Api, resource: str, **wanted: str) -> dict[str, str]:
    pairs = [{"Key": key, "Value": value} for key, value in wanted.items()]
    return listing(await api("AddTagsToResource", ResourceName=f"{ARN}:{resource}", Tags=pairs))


async def remove(api: Api, resource: str, *keys: str) -> dict[str, str]:
    return listing(
        await api("RemoveTagsFromResource", ResourceName=f"{ARN}:{resource}", TagKeys=list(keys))
    )


async def listed(api: Api, resource: str) -> dict[str, str]:
    return listing(await api("ListTagsForResource", ResourceName=f"{ARN}:{resource}"))


def listing(answer: dict[str, Any]) -> dict[str, str]:
    return {one["Key"]: one["Value"] for one in answer["TagList"]}


async def of_row(api: Api, kind: str, name: str) -> dict[str, str]:
    async with api.store.read(SCOPE) as tx:
        return await tags.listed(tx, kind, name)


@pytest.mark.parametrize(
    "resource", ["subnetgroup:demo", "parametergroup:demo", "cluster:demo", "cluster:rg-001"]
)
async def test_adds_lists_and_removes(api: Api, resource: str) -> None:
    assert await listed(api, resource) == {}
    assert await add(api, resource, b="1", a="") == {"a": "", "b": "1"}
    assert await add(api, resource.upper().replace(*_kind(resource)), b="2", c="3") == {
        "a": "",
        "b": "2",
        "c": "3",
    }
    assert await remove(api, resource, "a", "c") == {"b": "2"}
    assert await listed(api, resource) == {"b": "2"}


def _kind(resource: str) -> tuple[str, str]:
    kind = resource.partition(":")[0]
    return kind.upper(), kind


async def test_a_tag_without_value_has_an_empty_one(api: Api) -> None:
    answer = await api("AddTagsToResource", ResourceName=f"{ARN}:cluster:demo", Tags=[{"Key": "k"}])
    assert answer == {"TagList": [{"Key": "k", "Value": ""}]}


async def test_a_group_shares_its_tags_and_is_busy_for_a_moment(api: Api) -> None:
    assert await add(api, "replicationgroup:rg", k="v") == {"k": "v"}
    for member in ["rg-001", "rg-002"]:
        assert await of_row(api, "cluster", member) == {"k": "v"}
    async with api.store.read(SCOPE) as tx:
        group = await tx.get(ReplicationGroup, "rg")
        (operation,) = await tx.session.scalars(select(Operation))
    assert group.status == "modifying"
    assert (operation.kind, operation.subject_uid) == (OperationKind.SETTLE, group.uid)
    with pytest.raises(Refused, match="not in available state"):
        await listed(api, "replicationgroup:rg")
    with pytest.raises(Refused, match="Replication Group of rg-001 is not available"):
        await add(api, "cluster:rg-001", other="v")
    assert await listed(api, "cluster:demo") == {}


async def test_a_member_may_have_lost_what_is_taken_from_the_group(api: Api) -> None:
    await add(api, "replicationgroup:rg", k="v", other="w")
    await settle(api)
    await remove(api, "cluster:rg-001", "k")
    assert await remove(api, "replicationgroup:rg", "k") == {"other": "w"}
    for member in ["rg-001", "rg-002"]:
        assert await of_row(api, "cluster", member) == {"other": "w"}
    async with api.store.read(SCOPE) as tx:
        assert (await tx.get(ReplicationGroup, "rg")).status == "modifying"


async def test_a_full_member_refuses_the_tag_for_the_whole_group(api: Api) -> None:
    await add(api, "cluster:rg-002", **{f"k{n}": "v" for n in range(50)})
    with pytest.raises(Refused) as refusal:
        await add(api, "replicationgroup:rg", one="more")
    assert refusal.value.code == "TagQuotaPerResourceExceeded"
    await settle(api)
    assert await listed(api, "replicationgroup:rg") == {}
    assert await listed(api, "cluster:rg-001") == {}


async def test_the_quota_is_fifty(api: Api) -> None:
    await add(api, "cluster:demo", **{f"k{n}": "v" for n in range(50)})
    await add(api, "cluster:demo", k0="again")
    with pytest.raises(Refused) as refusal:
        await add(api, "cluster:demo", one="more")
    assert refusal.value.code == "TagQuotaPerResourceExceeded"
    assert len(await listed(api, "cluster:demo")) == 50


async def settle(api: Api) -> None:
    """Say what the provisioner says when a group agrees with its record."""
    async with api.store.begin(SCOPE) as tx:
        (await tx.get(ReplicationGroup, "rg")).status = "available"
