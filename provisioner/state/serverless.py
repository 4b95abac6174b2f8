"""Serverless caches in the record: what stands behind one, made and changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import select

from cachefleet.engine.types import Engine
from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.errors import IllegalTransition
from cachefleet.provisioner.state.layout import (
    FIRST_NODE_ID,
    ShardPlan,
    ShardRequest,
    lay_out_group,
)
from cachefleet.provisioner.state.lifecycle import Event
from cachefleet.provisioner.state.members import add_member, new_node, new_node_group
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.serverless_tables import ServerlessCache
from cachefleet.provisioner.state.snapshots import Source
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster, EndpointAddress, ReplicationGroup
from cachefleet.provisioner.state.tables import Event as EventRow

Backing = ReplicationGroup | CacheCluster

REPLICAS_PER_SHARD: Final = 1  # serves reads, and takes over
# Any that has everything; how much a node may hold is said by the cache's limits.
NODE_TYPE: Final = "cache.r7g.large"
VALKEY_PORT, MEMCACHED_PORT = 6379, 11211
READS_OFFSET: Final = 1
SOURCE: Final = "serverless-cache"  # of events
SNAPSHOT_SOURCE: Final = "serverless-cache-snapshot"
_KINDS: Final = ("serverless", "serverless-reads")


async def backing_of(
    tx: Transaction, cache: ServerlessCache, *, lock: bool = False
) -> Backing | None:
    """Return what stands behind a cache; None where that is gone."""
    table: type[ReplicationGroup] | type[CacheCluster] = (
        CacheCluster if cache.is_memcached else ReplicationGroup
    )
    found: Backing | None = await tx.session.get(table, cache.backing_uid, with_for_update=lock)
    return found


def source_of(backing: Backing) -> Source:
    """Return what a snapshot of a cache is taken of."""
    if isinstance(backing, ReplicationGroup):
        return Source(group=backing, member=None)
    return Source(group=None, member=backing)


def require_free(cache: ServerlessCache, backing: Backing | None, event: Event) -> None:
    """Raise :class:`IllegalTransition` where *event* is illegal now.

    A backup is being made, data is taken over, or slots are moved.
    """
    lifecycle.require(cache, event)
    if cache.migration:
        raise IllegalTransition(cache.resource, cache.name, "migrating", event.value)
    if backing is None or cache.status == lifecycle.CREATE_FAILED:
        return
    if backing.status != lifecycle.AVAILABLE:
        status = "snapshotting" if backing.status == lifecycle.SNAPSHOTTING else "scaling"
        raise IllegalTransition(cache.resource, cache.name, status, event.value)


def plan_shards(name: str, count: int, *, zones: Sequence[str]) -> tuple[ShardPlan, ...]:
    """Return the shards of a new cache."""
    requests = [ShardRequest(replica_count=REPLICAS_PER_SHARD)] * count
    return lay_out_group(name, requests, cluster_mode=True, zones=zones)


async def add_group(
    tx: Transaction, group: ReplicationGroup, plans: Sequence[ShardPlan], *, token: str
) -> None:
    """Write a replication group with its shards; *tx* is of the shadow."""
    await tx.insert(group)
    await tx.new_subject(group.resource, group.uid)
    for plan in plans:
        node_group = new_node_group(plan)
        group.node_groups.append(node_group)
        for node in plan.nodes:
            add_member(group, node_group, node, now=tx.now)
    tx.enqueue(OperationKind.SETTLE, subject_uid=group.uid, token=token)


async def add_cluster(tx: Transaction, cluster: CacheCluster, *, zone: str, token: str) -> None:
    """Write a memcached cluster of one node; *tx* is of the shadow."""
    await tx.insert(cluster)
    await tx.new_subject(cluster.resource, cluster.uid)
    cluster.nodes.append(
        new_node(
            subject_uid=cluster.uid,
            member_name=cluster.name,
            cache_node_id=FIRST_NODE_ID,
            zone=zone,
            role=None,
            now=tx.now,
        )
    )
    tx.enqueue(OperationKind.SETTLE, subject_uid=cluster.uid, token=token)


def rows_of(backing: Backing) -> list[Backing]:
    """Return the row of what stands behind a cache, and those of its members."""
    members = list(backing.members) if isinstance(backing, ReplicationGroup) else []
    return [backing, *members]


def zones_of(backing: Backing) -> list[str]:
    """Return the zones that its nodes are in, in order of the nodes."""
    rows = rows_of(backing)
    nodes = [node for row in rows if isinstance(row, CacheCluster) for node in row.nodes]
    return list(dict.fromkeys(node.availability_zone for node in nodes))


def mark_modifying(backing: Backing) -> None:
    """Say that something is being done to it."""
    for row in rows_of(backing):
        if lifecycle.target(row.resource, row.status, Event.MODIFY) is not None:
            lifecycle.fire(row, Event.MODIFY)


def mark_deleting(backing: Backing) -> None:
    """Say that it is to go, whatever it has come to."""
    for row in rows_of(backing):
        row.status = lifecycle.DELETING
        if isinstance(row, CacheCluster):
            for node in row.nodes:
                node.status = lifecycle.NODE_DELETING
    if isinstance(backing, ReplicationGroup):
        for shard in backing.node_groups:
            shard.status = lifecycle.DELETING


def set_memory(backing: Backing, limit_bytes: int) -> None:
    """Say how much data each node may hold."""
    for row in rows_of(backing):
        row.memory_limit_bytes = limit_bytes


async def add_shards(
    tx: Transaction, group: ReplicationGroup, count: int, *, zones: Sequence[str], token: str
) -> None:
    """Write *count* shards more, without slots, and file the move of slots."""
    mark_modifying(group)
    added = _append_shards(tx, group, count, zones=zones)
    await tx.session.flush()
    tx.enqueue(
        OperationKind.RESHARD,
        subject_uid=group.uid,
        payload={"remove": [], "add": added},
        token=token,
    )


def reshape(
    tx: Transaction,
    group: ReplicationGroup,
    layout: Sequence[str],
    *,
    removed: Sequence[str],
    zones: Sequence[str],
) -> None:
    """Write the shards that a group lacks, and file the move of slots to exactly *layout*.

    *layout* has the slots of the shards that stay, in order of their ids, then of new ones.
    """
    mark_modifying(group)
    kept = sorted(
        one.node_group_id for one in group.node_groups if one.node_group_id not in removed
    )
    added = _append_shards(tx, group, len(layout) - len(kept), zones=zones)
    tx.enqueue(
        OperationKind.RESHARD,
        subject_uid=group.uid,
        payload={
            "remove": list(removed),
            "add": added,
            "layout": dict(zip([*kept, *added], layout, strict=True)),
        },
    )


def _append_shards(
    tx: Transaction, group: ReplicationGroup, count: int, *, zones: Sequence[str]
) -> list[str]:
    if not count:
        return []
    first = len(group.node_groups) % len(zones)
    plans = lay_out_group(
        group.name,
        [
            ShardRequest(replica_count=REPLICAS_PER_SHARD, node_group_id=node_group_id)
            for node_group_id in _free_ids(group, count)
        ],
        cluster_mode=True,
        zones=[*zones[first:], *zones[:first]],
        taken_names=[member.name for member in group.members],
    )
    for plan in plans:
        node_group = new_node_group(replace(plan, slots=""))
        group.node_groups.append(node_group)
        for node in plan.nodes:
            add_member(group, node_group, node, now=tx.now)
    return [plan.node_group_id for plan in plans]


def _free_ids(group: ReplicationGroup, count: int) -> list[str]:
    newest = max((int(shard.node_group_id) for shard in group.node_groups), default=0)
    return [f"{number:04}" for number in range(newest + 1, newest + count + 1)]


async def read_addresses(
    tx: Transaction, caches: Sequence[ServerlessCache]
) -> dict[str, tuple[str, int, int]]:
    """Return where clients reach caches, by what is behind them: host, port, port for reads."""
    uids = [cache.backing_uid for cache in caches]
    query = select(
        EndpointAddress.subject_uid, EndpointAddress.kind, EndpointAddress.host,
        EndpointAddress.port,
    ).where(EndpointAddress.subject_uid.in_(uids), EndpointAddress.kind.in_(_KINDS))  # fmt: skip
    found: dict[str, dict[str, Any]] = {}
    for uid, kind, host, port in (await tx.session.execute(query)).all():
        found.setdefault(uid, {})[kind] = (host, port)
    return {
        uid: (*at["serverless"], at.get("serverless-reads", ("", at["serverless"][1] + 1))[1])
        for uid, at in found.items()
        if "serverless" in at
    }


async def newest_event(tx: Transaction, name: str) -> str | None:
    """Return what was written last of a resource of this scope."""
    query = (
        select(EventRow.message)
        .where(
            EventRow.account == tx.scope.account,
            EventRow.region == tx.scope.region,
            EventRow.source_identifier == name,
        )
        .order_by(EventRow.id.desc())
        .limit(1)
    )
    return (await tx.session.scalars(query)).first()


def tell_of_snapshot(tx: Transaction, name: str, message: str) -> None:
    """Write what customers read of a serverless snapshot; nothing of any other."""
    if tx.scope.is_shadow:
        tx.within(tx.scope.home).emit(SNAPSHOT_SOURCE, name, message)


def engine_of(cache: ServerlessCache) -> Engine:
    """Return a cache's engine."""
    return Engine(cache.engine)
