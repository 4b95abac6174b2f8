"""Carry out ``modify``: make what is pending on a subject true.

The record changes first, in one transaction, and with it what was pending; then the subject is
settled towards the new record. A change that the data does not allow is dropped, and the event says
why: the call had succeeded already.
"""

from __future__ import annotations

import asyncio
from typing import Any

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import Engine, NodeRole
from cachefleet.engine.valkey.config import effective_maxmemory_bytes
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.outcomes import Done, Outcome, Requeue
from cachefleet.provisioner.reconciler.records import SubjectRecord, load_subject
from cachefleet.provisioner.reconciler.settle import settle
from cachefleet.provisioner.state import leases
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster, Operation, ReplicationGroup

RETRY_S = 1.0

# Pending value -> column. Engine and version are columns of their own, so that a change of both
# is one change.
COLUMNS = {
    "CacheNodeType": "node_type",
    "EngineVersion": "engine_version",
    "Engine": "engine",
    "CacheParameterGroupName": "parameter_group_name",
}
EVENTS = {
    "CacheNodeType": "Succeeded applying modification to cache node type to {value}.",
    "CacheParameterGroupName": "Updated to use a CacheParameterGroup {value}",
    "EngineVersion": "Cache engine version was changed to {value}",
}


async def modify(operation: Operation, lease: Lease, fleet: Fleet) -> Outcome:
    """Apply what is pending, then settle with leave to restart nodes."""
    async with fleet.store.read(lease.scope) as tx:
        record = await load_subject(tx, lease)
    if record is None:
        return Done("it is gone")
    try:
        too_small = await _too_small(record, fleet)
    except (NodeUnreachable, CommandRefused) as error:
        return Requeue(after_s=RETRY_S, reason=str(error))
    await _record(operation, record, fleet, too_small=too_small)
    outcome = await settle(lease, fleet, operation_id=operation.id, may_restart=True)
    if isinstance(outcome, Done):
        async with fleet.store.begin(lease.scope) as tx:
            await _announce(tx, operation, record)
    return outcome


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


async def _record(
    operation: Operation, record: SubjectRecord, fleet: Fleet, *, too_small: bool
) -> None:
    async with fleet.store.begin(record.lease.scope) as tx:
        await leases.require(tx, record.lease, holder=fleet.holder)
        fresh = await load_subject(tx, record.lease)
        assert fresh is not None, "the lease is held, so the subject is there"
        changes = {k: v for k, v in fresh.settings.pending.items() if k in COLUMNS}
        if not changes:
            return  # a former attempt has written them
        if too_small:
            del changes["CacheNodeType"]
            tx.emit(
                _source(record),
                record.settings.name,
                "Failed to scale down to cache node type Replication Group "
                f"[{record.settings.name}] because the node has insufficient memory. Please select "
                "a different node type or reduce current memory usage and retry",
            )
        rows: list[ReplicationGroup | CacheCluster] = [*fresh.clusters]
        if fresh.group is not None:
            rows.append(fresh.group)
        for row in rows:
            for name, value in changes.items():
                setattr(row, COLUMNS[name], value)
            row.pending = {k: v for k, v in row.pending.items() if k not in COLUMNS}
        stored = await tx.session.get(Operation, operation.id)
        assert stored is not None, "the operation is running"
        stored.payload = {**stored.payload, "applied": changes}
        operation.payload = stored.payload


async def _announce(tx: Transaction, operation: Operation, record: SubjectRecord) -> None:
    applied: dict[str, Any] = operation.payload.get("applied", {})
    for name, value in applied.items():
        if name in EVENTS:
            tx.emit(_source(record), record.settings.name, EVENTS[name].format(value=value))


def _source(record: SubjectRecord) -> str:
    return "replication-group" if record.group is not None else "cache-cluster"
