"""Rows of snapshots, written straight away."""

from __future__ import annotations

from typing import Any

from cachefleet.provisioner.state import ids
from cachefleet.provisioner.state.snapshot_tables import Snapshot
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup


async def snapshot_of(
    tx: Transaction,
    name: str,
    *,
    member: CacheCluster | None = None,
    group: ReplicationGroup | None = None,
    **changes: Any,
) -> Snapshot:
    """Add a snapshot of a node, or of a group in cluster mode."""
    source = member or group
    assert source is not None
    shards = (
        [("", "")] if group is None else [(s.node_group_id, s.slots) for s in group.node_groups]
    )
    columns = {
        "status": "available",
        "source": "manual",
        "source_uid": source.uid,
        "cache_cluster_id": None if member is None else member.name,
        "replication_group_id": None if group is None else group.name,
        "engine": source.engine,
        "engine_version": source.engine_version,
        "node_type": source.node_type,
        "details": {"port": source.port, "parameter_group_name": source.parameter_group_name},
        "node_snapshots": [
            {
                "node_group_id": node_group_id,
                "slots": slots,
                "replica_count": 1,
                "zones": ["us-east-1a", "us-east-1b"],
                "cache_cluster_id": f"{source.name}-001",
                "cache_node_id": "0001",
                "node_created_at": "2026-01-01T00:00:00+00:00",
                "taken_at": "2026-01-02T00:00:00.123456+00:00",
                "size_bytes": 3_000_000,
            }
            for node_group_id, slots in shards
        ],
        "created_at": tx.now,
        "export": {},
        "bytes_done": 0,
        **changes,
    }
    row = Snapshot(
        uid=ids.new_uid(), account=tx.scope.account, region=tx.scope.region, name=name, **columns
    )
    await tx.insert(row)
    await tx.new_subject(Snapshot.resource, row.uid)
    return row
