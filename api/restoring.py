"""Requests for caches that begin with data: the snapshot says what they leave out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cachefleet.api import objects
from cachefleet.api.context import RequestContext
from cachefleet.api.registry import Params
from cachefleet.api.validation import snapshots as checks
from cachefleet.api.validation.features import is_given
from cachefleet.engine.catalog import EngineVersion
from cachefleet.engine.types import Engine
from cachefleet.provisioner.state import parameter_groups, snapshots, tags
from cachefleet.provisioner.state.snapshot_tables import Snapshot
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import SubnetGroup

_ANYWAY = ("NumNodeGroups", "NodeGroupConfiguration")


async def completed(ctx: RequestContext, params: Params) -> Params:
    """Return *params* with what is missing taken from the snapshot that they name.

    Raises:
        Fault: there is no such snapshot, or it cannot be restored now.
    """
    if not _name(params) or str(params.get("Engine", "")).lower() == Engine.MEMCACHED:
        return params  # memcached has no snapshots, and its own refusal of them
    async with ctx.read() as tx:
        snapshot = await _find(tx, params)
        if snapshot.cluster_enabled and params.get("ClusterMode") == "disabled":
            raise checks.needs_cluster_mode(snapshot)
        return {**await _told(ctx, tx, snapshot, params), **_given(params)}


async def check_seeds(ctx: RequestContext, params: Params) -> None:
    """Refuse files in S3 that cannot be read, and such as do not go with the shards.

    Raises:
        Fault: ``InvalidParameterValue`` or ``InvalidParameterCombination``.
    """
    arns = params.get("SnapshotArns")
    if not arns:
        return
    if _asks_for_cluster(params) or not params.get("CacheParameterGroupName"):
        # Otherwise the parameter group says whether it is a cluster: that is looked up later.
        entries = params.get("NodeGroupConfiguration") or ()
        checks.check_arns(arns, cluster_mode=_asks_for_cluster(params), entries=entries)
    await objects.check_objects(ctx, arns)


def _given(params: Params) -> dict[str, Any]:
    return {name: value for name, value in params.items() if is_given(params, name)}


async def _told(
    ctx: RequestContext, tx: Transaction, snapshot: Snapshot, params: Params
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "CacheNodeType": snapshot.node_type,
        "Port": snapshot.details.get("port"),
    }
    same_engine = not is_given(params, "Engine") or params["Engine"].lower() == snapshot.engine
    same_version = same_engine and not is_given(params, "EngineVersion")
    told["Engine"] = snapshot.engine
    taken = version_taken(ctx, snapshot)
    if same_engine and taken is not None:
        told["EngineVersion"] = taken.version
    is_group = ctx.operation.name == "CreateReplicationGroup"
    if is_group and snapshot.cluster_enabled:
        told |= _layout(snapshot, params)
    grown = not snapshot.cluster_enabled and _asks_for_cluster(params)
    parameter_group = snapshot.details.get("parameter_group_name")
    if same_version and not grown and parameter_group:
        found = await parameter_groups.find(tx, ctx.catalog, parameter_group)
        if found is not None:
            told["CacheParameterGroupName"] = parameter_group
    subnet_group = snapshot.details.get("subnet_group_name")
    if subnet_group and await tx.find(SubnetGroup, subnet_group) is not None:
        told["CacheSubnetGroupName"] = subnet_group
    return {name: value for name, value in told.items() if value is not None}


def _asks_for_cluster(params: Params) -> bool:
    return (
        (params.get("NumNodeGroups") or 1) > 1
        or len(params.get("NodeGroupConfiguration") or ()) > 1
        or params.get("ClusterMode") == "enabled"
    )


def _layout(snapshot: Snapshot, params: Params) -> dict[str, Any]:
    """Return the shards of the snapshot, unless the request has others."""
    told: dict[str, Any] = {"ClusterMode": "enabled"}
    if params.get("AutomaticFailoverEnabled") is None:
        told["AutomaticFailoverEnabled"] = True
    if is_given(params, "ClusterMode") or is_given(params, "CacheParameterGroupName"):
        del told["ClusterMode"]
    shards = snapshot.node_snapshots
    if is_given(params, "NodeGroupConfiguration"):
        return told
    if params.get("NumNodeGroups") not in (None, len(shards)):
        return told
    replicas = params.get("ReplicasPerNodeGroup")
    told["NodeGroupConfiguration"] = [
        {
            "NodeGroupId": shard["node_group_id"],
            "Slots": shard["slots"],
            "ReplicaCount": shard["replica_count"] if replicas is None else replicas,
        }
        for shard in shards
    ]
    return told


def version_taken(ctx: RequestContext, snapshot: Snapshot) -> EngineVersion | None:
    """Return the version that a snapshot was taken of; None where it is not known any more."""
    found: EngineVersion | None = ctx.catalog.version_of(
        Engine(snapshot.engine), snapshot.engine_version
    )
    return found


async def begin(
    ctx: RequestContext,
    tx: Transaction,
    params: Params,
    subject_uid: str,
    version: EngineVersion,
    *,
    cluster_mode: bool,
) -> Mapping[str, str]:
    """Write down where the new cache's data comes from; return the tags that it brings.

    Raises:
        Fault: the data does not go with what is being made.
    """
    arns = params.get("SnapshotArns") or ()
    if arns:
        await snapshots.begin_restore(tx, subject_uid, arns=arns)
        return {}
    if not _name(params):
        return {}
    snapshot = await _find(tx, params, lock=True)
    checks.check_into(snapshot, version, version_taken(ctx, snapshot), cluster_mode=cluster_mode)
    await snapshots.begin_restore(tx, subject_uid, of=[snapshot])
    if snapshot.scope.is_shadow:
        return {}  # tags of serverless snapshots are never passed on
    return await tags.listed(tx, Snapshot.arn_kind, snapshot.name)


def _name(params: Params) -> str:
    name: str = params.get("SnapshotName") or params.get("ServerlessCacheSnapshotName") or ""
    return name


async def _find(tx: Transaction, params: Params, *, lock: bool = False) -> Snapshot:
    """Return the snapshot that is named, which may be one of a serverless cache.

    Raises:
        Fault: there is none, or it cannot be restored now.
    """
    name = _name(params)
    inside = tx if params.get("SnapshotName") else tx.within(tx.scope.shadow)
    return checks.require_restorable(await inside.find(Snapshot, name, lock=lock), name)
