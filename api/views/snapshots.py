"""Snapshots as the API shows them: of one node, or of all shards of a group in cluster mode.

The two differ in their fields: the former tells of a cluster, the latter of a replication group.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from cachefleet.provisioner.state.snapshot_tables import Snapshot

MB: Final = 1 << 20


def snapshot_view(snapshot: Snapshot, *, with_shards: bool = False) -> dict[str, Any]:
    """Return ``Snapshot``; *with_shards* tells the slots and zones of each shard as well."""
    told = snapshot.details
    view: dict[str, Any] = {
        "SnapshotName": snapshot.name,
        "SnapshotStatus": snapshot.status,
        "SnapshotSource": snapshot.source,
        "CacheNodeType": snapshot.node_type,
        "Engine": snapshot.engine,
        "EngineVersion": snapshot.engine_version,
        "PreferredMaintenanceWindow": told.get("maintenance_window"),
        "TopicArn": told.get("topic_arn"),
        "Port": told.get("port"),
        "CacheParameterGroupName": told.get("parameter_group_name"),
        "CacheSubnetGroupName": told.get("subnet_group_name"),
        "VpcId": told.get("vpc_id"),
        "AutoMinorVersionUpgrade": told.get("auto_minor_version_upgrade"),
        "SnapshotRetentionLimit": told.get("snapshot_retention_limit"),
        "SnapshotWindow": told.get("snapshot_window"),
        "KmsKeyId": snapshot.kms_key_id,
        "ARN": snapshot.arn,
        "DataTiering": "disabled",
    }
    if snapshot.cluster_enabled:
        view |= {
            "ReplicationGroupId": snapshot.replication_group_id,
            "ReplicationGroupDescription": told.get("description"),
            "NumNodeGroups": len(snapshot.node_snapshots),
            "AutomaticFailover": told.get("automatic_failover"),
        }
    else:
        view |= {
            "CacheClusterId": snapshot.cache_cluster_id,
            "NumCacheNodes": 1,
            "PreferredAvailabilityZone": told.get("zone"),
            "CacheClusterCreateTime": _instant(told.get("created_at")),
        }
    view["NodeSnapshots"] = [
        _node_view(entry, in_cluster=snapshot.cluster_enabled, with_shard=with_shards)
        for entry in snapshot.node_snapshots
    ]
    return view


def _node_view(entry: Mapping[str, Any], *, in_cluster: bool, with_shard: bool) -> dict[str, Any]:
    size_bytes = entry.get("size_bytes")
    done = size_bytes is not None
    view: dict[str, Any] = {
        "CacheSize": "" if size_bytes is None else size_text(size_bytes),
        "SnapshotCreateTime": _instant(entry.get("taken_at")) if done else None,
    }
    if in_cluster:
        view["NodeGroupId"] = entry["node_group_id"]
    if in_cluster and done:
        view["CacheClusterId"] = entry.get("cache_cluster_id")
    if done or not in_cluster:
        view["CacheNodeId"] = entry.get("cache_node_id")
        view["CacheNodeCreateTime"] = _instant(entry.get("node_created_at"))
    if in_cluster and with_shard:
        primary, *replicas = entry["zones"] or [None]
        view["NodeGroupConfiguration"] = {
            "NodeGroupId": entry["node_group_id"],
            "Slots": entry["slots"],
            "ReplicaCount": entry["replica_count"],
            "PrimaryAvailabilityZone": primary,
            "ReplicaAvailabilityZones": replicas,
        }
    return view


def size_text(size_bytes: int) -> str:
    """Return a size as the service writes it: whole megabytes, one at least."""
    return f"{max(1, -(-size_bytes // MB))} MB"


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
