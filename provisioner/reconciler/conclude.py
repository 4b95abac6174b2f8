"""Write down what a settled pass has brought about, with the events that customers read.

Only what the pass saw is concluded: rows that the API changed meanwhile have an operation of their
own in the queue, and that one concludes them.
"""

from __future__ import annotations

import functools
from typing import Any

from sqlalchemy import delete, select

from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.observe import is_kept_down
from cachefleet.provisioner.reconciler.records import LIVE, SubjectRecord, load_subject
from cachefleet.provisioner.state import events, leases, lifecycle, snapshots, users
from cachefleet.provisioner.state.lifecycle import Event
from cachefleet.provisioner.state.operations import (
    OPEN_STATES,
    OperationKind,
    OperationState,
    forget_subject,
    open_operations,
)
from cachefleet.provisioner.state.parameters import IN_SYNC
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import (
    CacheCluster,
    CacheNode,
    EndpointAddress,
    NodeGroup,
    Operation,
    ReplicationGroup,
    Tag,
)
from cachefleet.provisioner.state.update_tables import UpdateAction
from cachefleet.provisioner.state.users import Change

# What is pending of a change of the number of nodes.
NODE_COUNT = ("NumCacheNodes", "CacheNodeIdsToRemove", "NewAvailabilityZones")

BURSTABLE = "cache.t"
CLUSTER = "cache-cluster"
GROUP = "replication-group"

# While one of these is open, ``modifying`` is true, whatever else has been settled.
CONCLUDED_BY_THEMSELVES = (
    OperationKind.MODIFY,
    OperationKind.CHANGE_CLUSTER_MODE,
    OperationKind.CHANGE_PRIMARY,
    OperationKind.RESHARD,
    OperationKind.APPLY_ACCESS,
    OperationKind.LOG_DELIVERY,
    OperationKind.TEST_MIGRATION,
    OperationKind.START_MIGRATION,
    OperationKind.COMPLETE_MIGRATION,
    OperationKind.SYNC_MIGRATION,
    OperationKind.STOP_MIGRATION,
    OperationKind.CUT_OVER,
    OperationKind.APPLY_UPDATE,
)


async def conclude(record: SubjectRecord, fleet: Fleet, *, operation_id: int | None) -> None:
    """Make statuses true: what was being created is there, what was being deleted is gone."""
    away = {node.uid for node in record.live_nodes if await is_kept_down(node, fleet)}
    async with fleet.store.begin(record.lease.scope) as tx:
        await leases.require(tx, record.lease, holder=fleet.holder)
        fresh = await load_subject(tx, record.lease)
        if fresh is None:
            return
        seen = {node.uid for node in record.nodes} - away
        if await _superseded(tx, record, operation_id):
            return
        ended = not (fresh.is_held_open or await _is_part(tx, record, operation_id))
        await _conclude_nodes(tx, fresh, fleet, seen)
        for cluster in list(fresh.clusters):
            await _conclude_cluster(tx, cluster, fresh, fleet, ended=ended)
        if fresh.group is not None:
            await _conclude_group(tx, fresh.group, fresh, fleet, ended=ended)
        if fresh.restore is not None and not fresh.is_creating:
            await snapshots.end_restore(tx, fresh.lease.subject_uid)


async def conclude_growth(record: SubjectRecord, fleet: Fleet) -> None:
    """Make available what was added and serves, while the change that it is part of goes on."""
    async with fleet.store.begin(record.lease.scope) as tx:
        await leases.require(tx, record.lease, holder=fleet.holder)
        fresh = await load_subject(tx, record.lease)
        if fresh is None:
            return
        await _conclude_nodes(tx, fresh, fleet, {node.uid for node in record.live_nodes})
        for cluster in fresh.clusters:
            if cluster.status == lifecycle.CREATING:
                await _conclude_cluster(tx, cluster, fresh, fleet, ended=False)
        for shard in fresh.group.node_groups if fresh.group is not None else ():
            if shard.status == lifecycle.CREATING:
                shard.status = lifecycle.AVAILABLE


async def fail_creation(record: SubjectRecord, fleet: Fleet, *, reason: str) -> None:
    """Give up on a subject that could not be created; it can be deleted now, and says why."""
    what, failed = "create", Event.PROVISION_FAILED
    if record.restore is not None:
        what, failed = "restore", Event.RESTORE_FAILED
    async with fleet.store.begin(record.lease.scope) as tx:
        await leases.require(tx, record.lease, holder=fleet.holder)
        fresh = await load_subject(tx, record.lease)
        if fresh is None or not fresh.is_creating:
            return
        for cluster in fresh.clusters:
            lifecycle.fire(cluster, failed)
            if failed is Event.PROVISION_FAILED:
                events.record(tx, fleet.catalog, "cluster_network_incompatible", cluster.name)
            tx.emit(CLUSTER, cluster.name, f"Failed to {what} the cache cluster: {reason}")
        if fresh.group is not None:
            lifecycle.fire(fresh.group, Event.PROVISION_FAILED)
            for shard in fresh.group.node_groups:
                shard.status = lifecycle.CREATE_FAILED
            tx.emit(GROUP, fresh.group.name, f"Failed to {what} the replication group: {reason}")
        await snapshots.end_restore(tx, fresh.lease.subject_uid)


async def abandon_growth(record: SubjectRecord, fleet: Fleet, *, reason: str) -> None:
    """Take back nodes that could not be added to a subject which serves; say why."""
    async with fleet.store.begin(record.lease.scope) as tx:
        await leases.require(tx, record.lease, holder=fleet.holder)
        fresh = await load_subject(tx, record.lease)
        if fresh is None:
            return
        for node in fresh.nodes:
            if node.status == lifecycle.NODE_CREATING:
                node.status = lifecycle.NODE_DELETING
                tx.emit(CLUSTER, node.member_name, f"Failed to add a cache node: {reason}")
        for cluster in fresh.clusters:
            if "NumCacheNodes" in cluster.pending:
                events.record(
                    tx,
                    fleet.catalog,
                    "node_count_increase_failed",
                    cluster.name,
                    old=cluster.num_cache_nodes,
                    new=cluster.pending["NumCacheNodes"],
                )
            if cluster.status == lifecycle.CREATING:
                cluster.status = lifecycle.DELETING
            cluster.pending = _without_node_count(cluster.pending)
        for shard in fresh.group.node_groups if fresh.group is not None else ():
            if shard.status == lifecycle.CREATING:
                shard.status = lifecycle.DELETING
        tx.enqueue(OperationKind.SETTLE, subject_uid=fresh.lease.subject_uid)


async def tell_refusal(record: SubjectRecord, fleet: Fleet, *, reason: str) -> None:
    """Say that engines do not take a value of the parameter group."""
    async with fleet.store.begin(record.lease.scope) as tx:
        await leases.require(tx, record.lease, holder=fleet.holder)
        for cluster in record.clusters:
            tx.emit(CLUSTER, cluster.name, f"Failed to apply parameters: {reason}")


async def _superseded(tx: Transaction, record: SubjectRecord, operation_id: int | None) -> bool:
    """Tell whether the API has filed something newer: its pass will conclude for both."""
    query = select(Operation.id).where(
        Operation.subject_uid == record.lease.subject_uid,
        Operation.state == OperationState.QUEUED,
        Operation.kind == OperationKind.SETTLE,
    )
    if operation_id is not None:
        query = query.where(Operation.id > operation_id)
    return (await tx.session.scalars(query.limit(1))).first() is not None


async def _is_part(tx: Transaction, record: SubjectRecord, operation_id: int | None) -> bool:
    """Tell whether a longer change is under way, of which this pass is a repair in the middle."""
    query = select(Operation.id).where(
        Operation.subject_uid == record.lease.subject_uid,
        Operation.state.in_(OPEN_STATES),
        Operation.kind.in_(CONCLUDED_BY_THEMSELVES),
    )
    if operation_id is not None:
        query = query.where(Operation.id != operation_id)
    return (await tx.session.scalars(query.limit(1))).first() is not None


async def _conclude_nodes(
    tx: Transaction, fresh: SubjectRecord, fleet: Fleet, seen: set[str]
) -> None:
    for cluster in fresh.clusters:
        changed = [n for n in cluster.nodes if n.status != lifecycle.NODE_AVAILABLE]
        if changed and cluster.engine == "memcached":
            cluster.discovery_version = fresh.discovery_version
        tell = functools.partial(events.record, tx, fleet.catalog, source=cluster.name)
        # The cluster's own event comes first: the node events follow it within the same second.
        if cluster.status == lifecycle.CREATING:
            tell("cache_cluster_created")
            if _cannot_persist(cluster):
                tell("persistence_unsupported")
        rebooted = [
            node
            for node in cluster.nodes
            if node.uid in seen and node.status == lifecycle.NODE_REBOOTING
        ]
        for node in rebooted:
            tell("cache_node_shutdown", node=node.cache_node_id)
        removed = []
        for node in list(cluster.nodes):
            if node.uid not in seen:
                continue
            if node.status not in LIVE:
                await _forget_node(tx, cluster, node)
                removed.append(node.cache_node_id)
            elif node.status == lifecycle.NODE_CREATING:
                node.status = lifecycle.NODE_AVAILABLE
                node.created_at = tx.now
                tell("cache_node_added", node=node.cache_node_id, az=node.availability_zone)
            elif node.status == lifecycle.NODE_REBOOTING:
                node.status = lifecycle.NODE_AVAILABLE
                node.parameter_group_status = IN_SYNC
                tell("cache_node_restarted", node=node.cache_node_id)
            if node.recovering and node.status == lifecycle.NODE_AVAILABLE:
                node.recovering = False
                tell("cache_nodes_recovered", nodes=node.cache_node_id)
        if removed and cluster.status != lifecycle.DELETING:
            tell("cache_nodes_removed", nodes=", ".join(removed))


def _cannot_persist(cluster: CacheCluster) -> bool:
    """Tell whether the service warns of this, as it does for its burstable node types."""
    return cluster.engine != "memcached" and cluster.node_type.startswith(BURSTABLE)


async def _forget_node(tx: Transaction, cluster: CacheCluster, node: CacheNode) -> None:
    await tx.session.execute(delete(EndpointAddress).where(EndpointAddress.node_uid == node.uid))
    cluster.nodes.remove(node)


async def _conclude_cluster(
    tx: Transaction, cluster: CacheCluster, fresh: SubjectRecord, fleet: Fleet, *, ended: bool
) -> None:
    if cluster.status == lifecycle.DELETING:
        if not cluster.nodes:
            await _delete_cluster(tx, cluster, fresh, fleet)
        return
    if cluster.status == lifecycle.CREATING:
        lifecycle.fire(cluster, Event.PROVISIONED)
        cluster.created_at = tx.now
    elif cluster.status == lifecycle.MODIFYING and ended:
        lifecycle.fire(cluster, Event.MODIFIED)
        _conclude_node_count(tx, cluster, fleet)
    elif cluster.status == lifecycle.REBOOTING:
        lifecycle.fire(cluster, Event.REBOOTED)


def _conclude_node_count(tx: Transaction, cluster: CacheCluster, fleet: Fleet) -> None:
    wanted = cluster.pending.get("NumCacheNodes")
    if wanted != len(cluster.nodes):
        return  # nothing is asked for, or it waits for the maintenance window
    before, cluster.num_cache_nodes = cluster.num_cache_nodes, len(cluster.nodes)
    cluster.pending = _without_node_count(cluster.pending)
    # After nodes that left, the event of their removal is all that the service writes.
    if cluster.num_cache_nodes > before:
        events.record(
            tx,
            fleet.catalog,
            "node_count_increased",
            cluster.name,
            old=before,
            new=cluster.num_cache_nodes,
        )


def _without_node_count(pending: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in pending.items() if name not in NODE_COUNT}


async def _delete_cluster(
    tx: Transaction, cluster: CacheCluster, fresh: SubjectRecord, fleet: Fleet
) -> None:
    events.record(tx, fleet.catalog, "cache_cluster_deleted", cluster.name)
    await _forget_tags(tx, cluster)
    if fresh.group is not None:
        fresh.group.members.remove(cluster)
        await tx.session.delete(cluster)
        return
    await snapshots.retire_automated(tx, cluster.uid)
    await tx.session.delete(cluster)
    await tx.session.flush()
    await _forget_subject(tx, cluster.uid)


async def _conclude_group(
    tx: Transaction, group: ReplicationGroup, fresh: SubjectRecord, fleet: Fleet, *, ended: bool
) -> None:
    if group.status == lifecycle.DELETING:
        if not any(cluster.status == lifecycle.DELETING for cluster in group.members):
            await _delete_group(tx, group, fleet)
        return
    tell = functools.partial(events.record, tx, fleet.catalog, source=group.name, rg=group.name)
    for shard in list(group.node_groups):
        await tx.session.refresh(shard, ["nodes"])
        if shard.status == lifecycle.DELETING and not shard.nodes:
            group.node_groups.remove(shard)
        elif shard.status == lifecycle.CREATING or (shard.status == lifecycle.MODIFYING and ended):
            shard.status = lifecycle.AVAILABLE
    if group.automatic_failover in ("enabling", "disabling"):
        on = group.automatic_failover == "enabling"
        group.automatic_failover = "enabled" if on else "disabled"
        if group.status != lifecycle.CREATING:
            tell("automatic_failover_enabled" if on else "automatic_failover_disabled")
    if group.status == lifecycle.CREATING:
        lifecycle.fire(group, Event.PROVISIONED)
        tell("replication_group_created")
    elif group.status == lifecycle.MODIFYING and ended:
        lifecycle.fire(group, Event.MODIFIED)


async def _delete_group(tx: Transaction, group: ReplicationGroup, fleet: Fleet) -> None:
    """Remove the group's rows; a member that was to be kept goes on as a cluster of its own."""
    for cluster in list(group.members):
        await tx.new_subject("cache_cluster", cluster.uid)
        cluster.replication_group_uid = None
        group.members.remove(cluster)
        for node in cluster.nodes:
            node.subject_uid = cluster.uid
            node.node_group_uid = None
            await _move_address(tx, node, cluster.uid)
        if cluster.status == lifecycle.MODIFYING:
            lifecycle.fire(cluster, Event.MODIFIED)
        # Its listening addresses have to lose the group's endpoints.
        tx.enqueue(OperationKind.SETTLE, subject_uid=cluster.uid)
    events.record(tx, fleet.catalog, "replication_group_deleted", group.name, rg=group.name)
    await snapshots.retire_automated(tx, group.uid)
    await _forget_tags(tx, group)
    uid = group.uid
    await tx.session.flush()
    await tx.session.delete(group)
    await tx.session.flush()
    await _forget_subject(tx, uid)


async def _move_address(tx: Transaction, node: CacheNode, subject_uid: str) -> None:
    query = select(EndpointAddress).where(EndpointAddress.node_uid == node.uid)
    for row in (await tx.session.scalars(query)).all():
        row.subject_uid = subject_uid


async def _forget_subject(tx: Transaction, uid: str) -> None:
    for operation in await open_operations(tx, uid):
        if operation.kind == OperationKind.APPLY_ACCESS:
            await users.conclude_change(tx, operation.id, Change.of(operation.payload))
    for statement in (
        delete(EndpointAddress).where(EndpointAddress.subject_uid == uid),
        delete(NodeGroup).where(NodeGroup.replication_group_uid == uid),
        delete(UpdateAction).where(UpdateAction.subject_uid == uid),
    ):
        await tx.session.execute(statement)
    await forget_subject(tx, uid)


async def _forget_tags(tx: Transaction, row: CacheCluster | ReplicationGroup) -> None:
    await tx.session.execute(
        delete(Tag).where(
            Tag.account == row.account,
            Tag.region == row.region,
            Tag.arn_kind == row.arn_kind,
            Tag.resource_name == row.name,
        )
    )
