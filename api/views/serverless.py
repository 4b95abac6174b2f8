"""Serverless caches and their snapshots as the service shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cachefleet.api.validation.serverless import major_of
from cachefleet.engine.types import Engine
from cachefleet.provisioner.state import lifecycle, snapshots
from cachefleet.provisioner.state import serverless_migration as words
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.serverless_tables import ServerlessCache
from cachefleet.provisioner.state.snapshot_tables import Snapshot

SNAPSHOT_ARN_KIND = "serverlesscachesnapshot"
TYPES: Mapping[str, str] = {snapshots.MANUAL: "manual", snapshots.AUTOMATED: "automatic"}
_WITHOUT_ENDPOINT = (lifecycle.CREATING, lifecycle.CREATE_FAILED)
# It is on its way out while its last snapshot is taken.
_STATUSES: Mapping[str, str] = {lifecycle.SNAPSHOTTING: lifecycle.DELETING}

Address = tuple[str, int, int]  # host, port, port for reads


def serverless_cache_view(
    cache: ServerlessCache, address: Address | None = None, *, status: str | None = None
) -> dict[str, Any]:
    """Return a ``ServerlessCache``; it has no endpoints until it serves."""
    view: dict[str, Any] = {
        "ServerlessCacheName": cache.name,
        "Description": cache.description,
        "CreateTime": cache.created_at,
        "Status": status or _STATUSES.get(cache.status, cache.status),
        "Engine": cache.engine,
        "MajorEngineVersion": cache.major_version,
        "FullEngineVersion": cache.engine_version,
        "CacheUsageLimits": dict(cache.limits) or None,
        "KmsKeyId": cache.kms_key_id,
        "SecurityGroupIds": list(cache.security_group_ids),
        "UserGroupId": cache.user_group_id,
        "SubnetIds": list(cache.subnet_ids),
        "SnapshotRetentionLimit": cache.snapshot_retention_limit,
        "DailySnapshotTime": cache.daily_snapshot_time,
        "NetworkType": cache.network_type,
        "ARN": cache.arn,
    }
    if address is not None and cache.status not in _WITHOUT_ENDPOINT:
        host, port, reads_port = address
        view["Endpoint"] = {"Address": host, "Port": port}
        view["ReaderEndpoint"] = {"Address": host, "Port": reads_port}
    if cache.migration:
        view["Migration"] = {
            "Status": cache.migration["phase"],
            "MigrationEndpoint": view.get("Endpoint"),
            "CutoverMode": words.AUTO if cache.migration.get("auto") else words.MANUAL,
        }
    return view


def serverless_snapshot_view(snapshot: Snapshot) -> dict[str, Any]:
    """Return a ``ServerlessCacheSnapshot``; its size and time are known once it is made."""
    view: dict[str, Any] = {
        "ServerlessCacheSnapshotName": snapshot.name,
        "ARN": snapshot_arn(snapshot.scope, snapshot.name),
        "KmsKeyId": snapshot.kms_key_id,
        "SnapshotType": TYPES[snapshot.source],
        "Status": snapshot.status if snapshot.status != lifecycle.RESTORING else "available",
        "ExpiryTime": snapshot.expires_at if snapshot.source == snapshots.AUTOMATED else None,
        "ServerlessCacheConfiguration": {
            "ServerlessCacheName": cache_of(snapshot),
            "Engine": snapshot.engine,
            "MajorEngineVersion": major_of(Engine(snapshot.engine), snapshot.engine_version),
        },
    }
    sizes = [entry.get("size_bytes") for entry in snapshot.node_snapshots]
    if snapshot.status != lifecycle.CREATING and all(size is not None for size in sizes):
        view["CreateTime"] = snapshot.created_at
        view["BytesUsedForCache"] = str(sum(size for size in sizes if size is not None))
    return view


def cache_of(snapshot: Snapshot) -> str:
    """Return the name of the cache that a serverless snapshot is of."""
    return snapshot.replication_group_id or snapshot.cache_cluster_id or ""


def snapshot_arn(scope: Scope, name: str) -> str:
    """Return the ARN of a serverless snapshot."""
    return scope.home.arn(SNAPSHOT_ARN_KIND, name)
