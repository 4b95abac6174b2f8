"""Listing service updates and update actions, and asking for them item by item."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from cachefleet.provisioner.state import updates
from cachefleet.provisioner.state.tables import CacheCluster, Operation, ReplicationGroup
from tests.builders import groups as build
from tests.support.api import SCOPE, Api, open_api
from tests.support.rest import ask

GROUPS = ("g00", "g01", "g02")
FIRST, SECOND = "elc-20260102-001", "elc-20260102-002"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        async with opened.store.begin(SCOPE) as tx:
            for name in GROUPS:
                await build.replication_group(tx, name)
            await build.cache_cluster(tx, "mem", node_count=2, engine="memcached")
        async with opened.store.begin(SCOPE) as tx:
            for engine in ("redis", "memcached"):
                update = await updates.add_update(
                    tx,
                    kind="engine",
                    engine=engine,
                    brings=f"{engine} 9",
                    fingerprint=engine,
                    severity="important",
                    description="newer",
                    days=None,
                )
                if engine == "memcached":
                    await _act(tx, update, await tx.get(CacheCluster, "mem"))
                    continue
                for name in GROUPS:
                    await _act(tx, update, await tx.get(ReplicationGroup, name))
        yield opened


async def _act(tx: Any, update: Any, row: ReplicationGroup | CacheCluster) -> None:
    action = updates.new_action(
        tx,
        update,
        subject_uid=row.uid,
        subject_kind=row.resource,
        name=row.name,
        created_at=row.created_at,
    )
    members = row.members if isinstance(row, ReplicationGroup) else [row]
    nodes = [node for member in members for node in member.nodes]
    shards = {}
    if isinstance(row, ReplicationGroup):
        shards = {shard.uid: shard.node_group_id for shard in row.node_groups}
    behind = frozenset(node.uid for node in nodes)
    updates.note_nodes(action, nodes, shards=shards, behind=behind, now=tx.now)


async def names(api: Api, **filters: Any) -> list[str]:
    rows = await api.listed("DescribeUpdateActions", "UpdateActions", **filters)
    return [row.get("ReplicationGroupId") or row["CacheClusterId"] for row in rows]


async def test_updates_are_listed_by_name_and_in_pages(api: Api) -> None:
    rows = await api.listed("DescribeServiceUpdates", "ServiceUpdates", MaxRecords=1)
    assert [row["ServiceUpdateName"] for row in rows] == [FIRST, SECOND]
    (one,) = (await api("DescribeServiceUpdates", ServiceUpdateName=SECOND.upper()))[
        "ServiceUpdates"
    ]
    assert one["Engine"] == "memcached"
    assert one["AutoUpdateAfterRecommendedApplyByDate"] is True
    assert one["ServiceUpdateType"] == "security-update"
    none = await api("DescribeServiceUpdates", ServiceUpdateStatus=["expired", "cancelled"])
    assert none["ServiceUpdates"] == []
    api.clock.advance(3 * 365 * 24 * 3600)
    rows = await api.listed(
        "DescribeServiceUpdates", "ServiceUpdates", ServiceUpdateStatus=["expired"]
    )
    assert {row["ServiceUpdateStatus"] for row in rows} == {"expired"}


async def test_actions_are_filtered_and_paged(api: Api) -> None:
    everything = ["g00", "g01", "g02", "mem"]
    assert await names(api) == everything
    assert await names(api, MaxRecords=1) == everything
    assert await names(api, Engine="Memcached") == ["mem"]
    assert await names(api, ServiceUpdateName=FIRST) == ["g00", "g01", "g02"]
    both = await names(api, ReplicationGroupIds=["G01"], CacheClusterIds=["mem"])
    assert both == ["g01", "mem"]
    assert await names(api, UpdateActionStatus=["not-applied", "stopped"]) == everything
    assert await names(api, ServiceUpdateStatus=["available"]) == everything
    assert await names(api, ServiceUpdateStatus=["cancelled"]) == []
    span = {"StartTime": api.clock.now(), "EndTime": api.clock.now()}
    assert await names(api, ServiceUpdateTimeRange=span) == everything


async def test_nodes_are_shown_where_they_are_asked_for(api: Api) -> None:
    (plain,) = (await api("DescribeUpdateActions", ReplicationGroupIds=["g00"]))["UpdateActions"]
    assert "NodeGroupUpdateStatus" not in plain
    assert (plain["NodesUpdated"], plain["SlaMet"]) == ("0/2", "n/a")
    (one,) = (
        await api(
            "DescribeUpdateActions", ReplicationGroupIds=["g00"], ShowNodeLevelUpdateStatus=True
        )
    )["UpdateActions"]
    (shard,) = one["NodeGroupUpdateStatus"]
    assert [n["CacheClusterId"] for n in shard["NodeGroupMemberUpdateStatus"]] == [
        "g00-001",
        "g00-002",
    ]
    (one,) = (
        await api("DescribeUpdateActions", CacheClusterIds=["mem"], ShowNodeLevelUpdateStatus=True)
    )["UpdateActions"]
    assert [n["CacheNodeId"] for n in one["CacheNodeUpdateStatus"]] == ["0001", "0002"]


async def test_items_are_filed_one_by_one(api: Api) -> None:
    answer = await api(
        "BatchApplyUpdateAction",
        ServiceUpdateName=FIRST,
        ReplicationGroupIds=["g00", "nobody", "G00", "g01"],
        CacheClusterIds=["mem"],
    )
    processed = answer["ProcessedUpdateActions"]
    assert [(one["ReplicationGroupId"], one["UpdateActionStatus"]) for one in processed] == [
        ("g00", "waiting-to-start"),
        ("g01", "waiting-to-start"),
    ]
    assert [one["ErrorType"] for one in answer["UnprocessedUpdateActions"]] == [
        "ReplicationGroupNotFoundFault",
        "InvalidParameterValue",
    ]
    async with api.store.read(SCOPE) as tx:
        rows = (await tx.session.scalars(select(Operation))).all()
        assert [row.kind for row in rows] == ["apply_update", "apply_update"]
    (group,) = (await api("DescribeReplicationGroups", ReplicationGroupId="g00"))[
        "ReplicationGroups"
    ]
    assert group["Status"] == "modifying"
    stopped = await api(
        "BatchStopUpdateAction", ServiceUpdateName=FIRST, ReplicationGroupIds=["g00"]
    )
    assert stopped["ProcessedUpdateActions"][0]["UpdateActionStatus"] == "stopping"


async def test_the_same_under_v1(api: Api) -> None:
    listed = await ask(api.app, "GET", "/v1/update-actions", query="Engine=memcached")
    assert listed.document["UpdateActions"][0]["CacheClusterId"] == "mem"
    body = {"CacheClusterIds": ["mem"]}
    applied = await ask(api.app, "POST", f"/v1/service-updates/{SECOND}:apply", body)
    assert applied.document["ProcessedUpdateActions"][0]["UpdateActionStatus"] == (
        "waiting-to-start"
    )


async def test_what_is_scheduled_can_be_run_now(api: Api) -> None:
    async with api.store.begin(SCOPE) as tx:
        group = await tx.get(ReplicationGroup, "g02")
        (action,) = await updates.actions_of(tx, group.uid)
        action.status = updates.Status.SCHEDULED
        group.pending = {"CacheNodeType": "cache.t4g.small"}
    run = await ask(api.app, "POST", "/v1/replication-groups/g02/maintenance:run")
    assert run.document["Applying"] == ["CacheNodeType", FIRST]
    async with api.store.read(SCOPE) as tx:
        rows = (await tx.session.scalars(select(Operation).order_by(Operation.id))).all()
        assert [row.kind for row in rows] == ["modify", "apply_update"]
    again = await ask(api.app, "POST", "/v1/replication-groups/g01/maintenance:run")
    assert again.document["Applying"] == []
