"""RebootCacheCluster: which nodes it marks, and what it refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.tables import CacheCluster, Operation, ReplicationGroup
from tests.support.api import SCOPE, Api, Refused, open_api
from tests.support.settled import put_status, settle

NODE = "cache.t3.micro"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        for name, options in (
            ("pair", {"NumCacheClusters": 2}),
            ("shards", {"NumNodeGroups": 2, "AutomaticFailoverEnabled": True}),
        ):
            await opened(
                "CreateReplicationGroup",
                ReplicationGroupId=name,
                ReplicationGroupDescription="d",
                CacheNodeType=NODE,
                **options,
            )
        await opened(
            "CreateCacheCluster",
            CacheClusterId="mem",
            Engine="memcached",
            NumCacheNodes=3,
            CacheNodeType=NODE,
        )
        await settle(opened)
        yield opened


async def reboot(api: Api, name: str, *nodes: str) -> dict[str, Any]:
    answer = await api("RebootCacheCluster", CacheClusterId=name, CacheNodeIdsToReboot=list(nodes))
    cluster: dict[str, Any] = answer["CacheCluster"]
    return cluster


async def node_statuses(api: Api, name: str) -> list[str]:
    answer = await api("DescribeCacheClusters", CacheClusterId=name, ShowCacheNodeInfo=True)
    return [node["CacheNodeStatus"] for node in answer["CacheClusters"][0]["CacheNodes"]]


async def subjects(api: Api) -> list[tuple[str, str]]:
    async with api.store.read(SCOPE) as tx:
        rows = (await tx.session.scalars(select(Operation))).all()
        return [(row.kind, row.subject_uid) for row in rows]


async def test_only_the_named_nodes_reboot(api: Api) -> None:
    answered = await reboot(api, "MEM", "0003", "0001", "0003")
    assert answered["CacheClusterStatus"] == "rebooting cache cluster nodes"
    assert await node_statuses(api, "mem") == ["rebooting", "available", "rebooting"]
    async with api.store.read(SCOPE) as tx:
        cluster = await tx.get(CacheCluster, "mem")
    assert await subjects(api) == [(OperationKind.SETTLE, cluster.uid)]


async def test_the_member_of_a_group_is_the_groups_matter(api: Api) -> None:
    await reboot(api, "pair-001", "0001")
    assert await node_statuses(api, "pair-001") == ["rebooting"]
    async with api.store.read(SCOPE) as tx:
        group = await tx.get(ReplicationGroup, "pair")
    assert group.status == "available"
    assert await subjects(api) == [(OperationKind.SETTLE, group.uid)]


@pytest.mark.parametrize(
    ("name", "nodes", "code", "status"),
    [
        pytest.param("none", ["0001"], "CacheClusterNotFound", 404, id="unknown-cluster"),
        pytest.param("pair", ["0001"], "CacheClusterNotFound", 404, id="a-group-is-no-cluster"),
        pytest.param("mem", ["0004"], "InvalidParameterValue", 400, id="unknown-node"),
        pytest.param("mem", ["0001", "1"], "InvalidParameterValue", 400, id="one-unknown-node"),
        pytest.param("mem", [], "InvalidParameterValue", 400, id="no-node"),
        pytest.param("shards-0001-001", ["0001"], "InvalidCacheClusterState", 400, id="cme"),
    ],
)
async def test_refuses(api: Api, name: str, nodes: list[str], code: str, status: int) -> None:
    before = await api.store.revision(SCOPE)
    with pytest.raises(Refused) as refused:
        await reboot(api, name, *nodes)
    assert (refused.value.code, refused.value.status) == (code, status)
    assert await api.store.revision(SCOPE) == before, "a refused call changed the records"


@pytest.mark.parametrize("status", ["creating", "modifying", "snapshotting", "deleting"])
async def test_refuses_a_cluster_that_is_not_available(api: Api, status: str) -> None:
    await put_status(api, CacheCluster, "mem", status)
    with pytest.raises(Refused) as refused:
        await reboot(api, "mem", "0001")
    assert refused.value.code == "InvalidCacheClusterState"


async def test_refuses_a_second_reboot_meanwhile(api: Api) -> None:
    await reboot(api, "mem", "0001")
    with pytest.raises(Refused) as refused:
        await reboot(api, "mem", "0002")
    assert refused.value.code == "InvalidCacheClusterState"


async def test_refuses_the_member_of_a_busy_group(api: Api) -> None:
    await put_status(api, ReplicationGroup, "pair", "modifying")
    with pytest.raises(Refused) as refused:
        await reboot(api, "pair-001", "0001")
    assert refused.value.code == "InvalidCacheClusterState"
