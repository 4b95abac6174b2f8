"""Carry out ``modify``: make what is pending on a subject true.

The record changes first, in one transaction, and with it what was pending; then the subject is
settled towards the new record. A change that the data does not allow is dropped, and the event says
why: the call had succeeded already.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import Engine, NodeRole
from cachefleet.engine.valkey.config import effective_maxmemory_bytes
from cachefleet.provisioner.drivers.base import LaunchFailed
from cachefleet.provisioner.reconciler.conclude import conclude
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.outcomes import Done, Outcome, Requeue
from cachefleet.provisioner.reconciler.records import SubjectRecord, load_subject, reload_subject
from cachefleet.provisioner.reconciler.renew import next_restart, renew
from cachefleet.provisioner.reconciler.settle import converge, settle
from cachefleet.provisioner.state import events, leases, lifecycle, parameter_groups, parameters
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.members import add_cache_nodes, retire_cache_nodes
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import (
    CacheCluster,
    Operation,
    ReplicationGroup,
)

RETRY_S = 1.0
CLUSTER, GROUP = "cache-cluster", "replication-group"

# Pending value -> column. Engine and version are columns of their own, so that a change of both
# is one change.
COLUMNS = {
    "CacheNodeType": "node_type",
    "EngineVersion": "engine_version",
    "Engine": "engine",
    "CacheParameterGroupName": "parameter_group_name",
    "TransitEncryptionEnabled": "transit_encryption_enabled",
    "TransitEncryptionMode": "transit_encryption_mode",
}
GROUP_COLUMNS = {"AutomaticFailoverStatus": "automatic_failover", "MultiAZ": "multi_az"}
ON_THE_WAY = {"enabled": "enabling", "disabled": "disabling"}
# What this operation deals with; the rest of what is pending is of other operations. The number of
# nodes stays pending until it is reached.
TAKEN = frozenset({*COLUMNS, *GROUP_COLUMNS, "PrimaryClusterId", "ScaleConfig"})
# Shown until the engines have it.
SHOWN_TO_THE_END = frozenset(
    {"AuthTokenStatus", "TransitEncryptionEnabled", "TransitEncryptionMode"}
)


@dataclass(frozen=True, slots=True)
class Pace:
    """How a memcached cluster takes a new node type: so many nodes, then a pause."""

    nodes: int
    interval_s: float


async def modify(operation: Operation, lease: Lease, fleet: Fleet) -> Outcome:
    """Apply what is pending, then settle with leave to restart nodes."""
    async with fleet.store.read(lease.scope) as tx:
        record = await load_subject(tx, lease)
    if record is None:
        return Done("it is gone")
    try:
        too_small = await _too_small(record, fleet)
        await _record(operation, record, fleet, too_small=too_small)
        pace = pace_of(operation.payload.get("scale"), len(record.live_nodes))
        if pace is not None and await _stale_after_batch(record, fleet, pace):
            return Requeue(after_s=pace.interval_s, reason="the next nodes follow")
    except (NodeUnreachable, CommandRefused, LaunchFailed) as error:
        return Requeue(after_s=RETRY_S, reason=str(error))
    # Not in this operation's name: it is concluded here, when its events can be read.
    outcome = await settle(lease, fleet, may_restart=True)
    if isinstance(outcome, Done):
        record = await reload_subject(record, fleet.store)
        async with fleet.store.begin(lease.scope) as tx:
            await leases.require(tx, lease, holder=fleet.holder)
            await _announce(tx, operation, record, fleet)
        await conclude(record, fleet, operation_id=operation.id)
    return outcome


def pace_of(scale: Mapping[str, int] | None, node_count: int) -> Pace | None:
    """Return how fast the nodes are to be restarted; None is as fast as it goes."""
    if not scale or "ScaleIntervalMinutes" not in scale:
        return None
    share = scale.get("ScalePercentage", 100) / 100
    return Pace(max(1, math.floor(node_count * share)), scale["ScaleIntervalMinutes"] * 60.0)


async def _stale_after_batch(record: SubjectRecord, fleet: Fleet, pace: Pace) -> bool:
    """Restart one batch of nodes; tell whether another is to follow."""
    record = await converge(await reload_subject(record, fleet.store), fleet)
    record = await renew(record, fleet, converge, steps_max=pace.nodes)
    return next_restart(record, fleet) is not None


async def _too_small(record: SubjectRecord, fleet: Fleet) -> bool:
    """Tell whether the pending node type has less memory than some primary's data takes."""
    wanted = record.settings.pending.get("CacheNodeType")
    if wanted is None or record.engine is Engine.MEMCACHED:
        return False
    node_type = fleet.catalog.node_type(wanted)
    assert node_type is not None, wanted
    limit = effective_maxmemory_bytes(node_type.maxmemory_bytes, fleet.effective_parameters(record))
    primaries = [node for node in record.live_nodes if node.role == NodeRole.PRIMARY]
    used = await asyncio.gather(*(fleet.valkey(node).info("memory") for node in primaries))
    return any(int(info.get("used_memory", "0")) > limit for info in used)


# -- the record ------------------------------------------------------------------------------------


async def _record(
    operation: Operation, record: SubjectRecord, fleet: Fleet, *, too_small: bool
) -> None:
    """Write what was pending where it belongs. A former attempt may have: then nothing is left."""
    async with fleet.store.begin(record.lease.scope) as tx:
        await leases.require(tx, record.lease, holder=fleet.holder)
        fresh = await load_subject(tx, record.lease)
        assert fresh is not None, "the lease is held, so the subject is there"
        pending = dict(fresh.settings.pending)
        changes = {name: value for name, value in pending.items() if name in COLUMNS}
        if changes.get("TransitEncryptionEnabled") is False:
            changes["TransitEncryptionMode"] = None
        if too_small and "CacheNodeType" in changes:
            _refuse_node_type(tx, fresh, fleet, changes.pop("CacheNodeType"))
        await _check_parameter_group(tx, fresh, fleet, changes)
        before = fresh.user_parameters, fresh.engine, fresh.settings.engine_version
        for row in _rows(fresh):
            for name, value in changes.items():
                setattr(row, COLUMNS[name], value)
            row.pending = {
                k: v for k, v in row.pending.items() if k not in TAKEN - SHOWN_TO_THE_END
            }
        if "CacheParameterGroupName" in changes:
            await _mark_nodes(tx, fresh, fleet, *before)
        if fresh.group is not None:
            _change_failover(fresh.group, pending)
            _promote(tx, fresh.group, pending.get("PrimaryClusterId"))
            if "ClusterMode" in pending:
                tx.enqueue(OperationKind.CHANGE_CLUSTER_MODE, subject_uid=fresh.group.uid)
        elif change_node_count(fresh.clusters[0], now=tx.now):
            events.record(tx, fleet.catalog, "node_count_increase_requested", fresh.settings.name)
        stored = await tx.session.get(Operation, operation.id)
        assert stored is not None, "the operation is running"
        if changes or pending.get("ScaleConfig"):
            stored.payload = {**stored.payload, "applied": changes}
            stored.payload |= {"scale": pending.get("ScaleConfig")}
        operation.payload = stored.payload


def _rows(record: SubjectRecord) -> list[ReplicationGroup | CacheCluster]:
    return [*record.clusters, *([record.group] if record.group is not None else [])]


def _refuse_node_type(tx: Transaction, record: SubjectRecord, fleet: Fleet, wanted: str) -> None:
    name = record.settings.name
    if record.group is not None:
        events.record(tx, fleet.catalog, "scale_down_refused", name, rg=name)
    else:
        events.record(tx, fleet.catalog, "cluster_scaling_failed", name, type=wanted)


async def _check_parameter_group(
    tx: Transaction, record: SubjectRecord, fleet: Fleet, changes: dict[str, Any]
) -> None:
    """Drop a parameter group that has gone since it was asked for, and what depends on it."""
    wanted = changes.get("CacheParameterGroupName")
    if wanted is None or await parameter_groups.find(tx, fleet.catalog, wanted) is not None:
        return
    for name in ("CacheParameterGroupName", "Engine", "EngineVersion"):
        changes.pop(name, None)
    source = GROUP if record.group is not None else CLUSTER
    tx.emit(source, record.settings.name, f"CacheParameterGroup not found: {wanted}")


async def _mark_nodes(
    tx: Transaction,
    record: SubjectRecord,
    fleet: Fleet,
    values_before: Mapping[str, str],
    engine_before: Engine,
    version_before: str,
) -> None:
    """Say of every node what the new parameter group means to it."""
    settings = record.settings
    after = await parameter_groups.get(tx, fleet.catalog, settings.parameter_group_name)
    family_before = fleet.catalog.family_of(engine_before, version_before)
    family = fleet.catalog.family(after.family)
    old = parameter_groups.effective_values(family_before, values_before)
    new = parameter_groups.effective_values(family, after.values)
    changed = [
        parameter
        for name in parameters.changed_names(old, new)
        if name in old and (parameter := family.parameter(name)) and parameter.is_modifiable
    ]
    for cluster in record.clusters:
        for node in cluster.nodes:
            status = parameters.node_status(node.parameter_group_status, changed)
            node.parameter_group_status = status


def _change_failover(group: ReplicationGroup, pending: Mapping[str, Any]) -> None:
    failover = pending.get("AutomaticFailoverStatus")
    if failover is not None and failover != group.automatic_failover:
        group.automatic_failover = ON_THE_WAY[failover]
    group.multi_az = pending.get("MultiAZ", group.multi_az)


def _promote(tx: Transaction, group: ReplicationGroup, member: str | None) -> None:
    """File a promotion, unless automatic failover has come in between: it decides then."""
    if member is None or group.automatic_failover in ("enabled", "enabling"):
        return
    tx.enqueue(
        OperationKind.CHANGE_PRIMARY,
        subject_uid=group.uid,
        payload={"cache_cluster_id": member},
    )


def change_node_count(cluster: CacheCluster, *, now: datetime) -> bool:
    """Add or retire nodes where the request left that to the maintenance window.

    Tells whether nodes were added. A second call changes nothing.
    """
    wanted = cluster.pending.get("NumCacheNodes")
    staying = [node for node in cluster.nodes if node.status != lifecycle.NODE_DELETING]
    if wanted is None or wanted == len(staying):
        return False
    if wanted < len(staying):
        retire_cache_nodes(cluster, cluster.pending.get("CacheNodeIdsToRemove", ()))
        return False
    add_cache_nodes(cluster, cluster.pending["NewAvailabilityZones"], now=now)
    cluster.pending = {k: v for k, v in cluster.pending.items() if k != "NewAvailabilityZones"}
    return True


# -- afterwards ------------------------------------------------------------------------------------


async def _announce(
    tx: Transaction, operation: Operation, record: SubjectRecord, fleet: Fleet
) -> None:
    """Say what has been applied, and that the nodes are in sync with it."""
    fresh = await load_subject(tx, record.lease)
    assert fresh is not None, "the lease is held, so the subject is there"
    for row in _rows(fresh):
        row.pending = {k: v for k, v in row.pending.items() if k not in SHOWN_TO_THE_END}
    for cluster in fresh.clusters:
        for node in cluster.nodes:
            if node.parameter_group_status == parameters.APPLYING:
                node.parameter_group_status = parameters.IN_SYNC
    applied: dict[str, Any] = operation.payload.get("applied", {})
    name, grouped = record.settings.name, record.group is not None
    if "CacheNodeType" in applied:
        key = "group_scaled" if grouped else "cluster_scaled"
        events.record(tx, fleet.catalog, key, name, type=applied["CacheNodeType"])
    if "EngineVersion" in applied:
        what = f"{record.engine.value} {applied['EngineVersion']}"
        tx.emit(GROUP if grouped else CLUSTER, name, f"Cache engine was changed to {what}")
    if "CacheParameterGroupName" in applied:
        for cluster in fresh.clusters:
            events.record(
                tx,
                fleet.catalog,
                "cluster_parameter_group_updated",
                cluster.name,
                group=applied["CacheParameterGroupName"],
            )
