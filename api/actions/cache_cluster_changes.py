"""The action that modifies a cache cluster.

Settings that need no engine are written at once, as the service does whatever ``ApplyImmediately``
says. The rest becomes pending, and is applied at once or in the maintenance window. The number of
memcached nodes is changed by rows: new ones are ``creating``, those that leave are ``deleting``,
and ``pending`` holds the target until the provisioner has brought it about.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cachefleet.api import references
from cachefleet.api.actions.cache_clusters import group_of
from cachefleet.api.actions.engine_changes import engine_changes, version_in_force
from cachefleet.api.actions.replication_group_changes import retention_changes
from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation import cache_nodes, engines, features, pending
from cachefleet.api.validation.changes import announcements, setting_changes
from cachefleet.api.validation.log_delivery import log_delivery_changes
from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.api.views.cache_clusters import cache_cluster_view
from cachefleet.engine.catalog import EngineVersion
from cachefleet.engine.types import Engine
from cachefleet.provisioner.state import events, lifecycle
from cachefleet.provisioner.state.members import add_cache_nodes, retire_cache_nodes
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup

# What is changed on the group, never on one member.
_GROUP_ONLY = (
    "NumCacheNodes",
    "CacheNodeIdsToRemove",
    "AZMode",
    "NewAvailabilityZones",
    "CacheNodeType",
    "Engine",
    "EngineVersion",
    "AuthToken",
    "AuthTokenUpdateStrategy",
    "CacheParameterGroupName",
    "LogDeliveryConfigurations",
)
_MEMCACHED_ONLY = ("CacheNodeIdsToRemove", "NewAvailabilityZones", "ScaleConfig")
_NOT_FOR_MEMCACHED = ("SnapshotRetentionLimit", "SnapshotWindow", "AuthToken")


@action("ModifyCacheCluster")
async def modify_cache_cluster(ctx: RequestContext, params: Params) -> Result:
    """Change what was asked for; a request that changes nothing is accepted as it is."""
    async with ctx.begin() as tx:
        cluster = await tx.get(CacheCluster, params["CacheClusterId"], lock=True)
        lifecycle.require(cluster, lifecycle.Event.MODIFY)
        group = await group_of(tx, cluster)
        _check_applicable(cluster, group, params)
        waiting = await _check_engine_changes(ctx, tx, cluster, group, params)
        changes = setting_changes(cluster, params)
        logs, waiting_logs = log_delivery_changes(ctx.catalog, cluster, params)
        kept = retention_changes(ctx, group or cluster, params)
        if group is None:
            changes |= kept
        resized, az_mode = await _check_node_count(tx, cluster, params)
        if az_mode != cluster.az_mode:
            changes["az_mode"] = az_mode
        changes |= logs
        waiting |= waiting_logs
        # A member's pending values are its group's, and applied with them.
        immediately = bool(params.get("ApplyImmediately")) and group is None
        after = pending.merged(cluster.pending, {**waiting, **resized})
        due = pending.is_due(after, immediately=immediately)
        if after != cluster.pending:
            cluster.pending = after
        if kept and group is not None:
            _keep_snapshots_of(cluster, group, kept)
        if changes or due:
            lifecycle.fire(cluster, lifecycle.Event.MODIFY)
            for name, value in changes.items():
                setattr(cluster, name, value)
            tx.enqueue(
                OperationKind.MODIFY if due else OperationKind.SETTLE,
                subject_uid=cluster.uid if group is None else group.uid,
                payload=announcements(changes, [cluster]),
                token=ctx.request_id,
            )
        if logs:
            tx.enqueue(OperationKind.LOG_DELIVERY, subject_uid=cluster.uid, token=ctx.request_id)
        if due:
            _resize(ctx, tx, cluster)
        await tx.session.flush()
        endpoints = await references.read_endpoints(tx, [cluster.uid])
        view = cache_cluster_view(
            cluster, group_name=None if group is None else group.name, endpoints=endpoints
        )
        return {"CacheCluster": view}


def _keep_snapshots_of(
    cluster: CacheCluster, group: ReplicationGroup, kept: Mapping[str, Any]
) -> None:
    """Have the group's automatic snapshots be taken of this member; needs no engine."""
    if group.cluster_enabled:
        raise wrong_combination(
            f"SnapshotRetentionLimit cannot be modified for a member of a replication group with "
            f"cluster mode enabled. Modify replication group {group.name} instead."
        )
    for name, value in kept.items():
        setattr(group, name, value)
    group.snapshotting_cluster_id = cluster.name


def _check_applicable(
    cluster: CacheCluster, group: ReplicationGroup | None, params: Params
) -> None:
    """Refuse what does not go with the engine, or with being a member of a group."""
    if group is not None:
        for name in _GROUP_ONLY:
            if features.is_given(params, name):
                raise wrong_combination(
                    f"{name} cannot be modified for a member of a replication group. Modify "
                    f"replication group {group.name} instead."
                )
        if lifecycle.target(group.resource, group.status, lifecycle.Event.MODIFY) is None:
            raise Fault(
                "InvalidCacheClusterStateFault",
                f"Replication group {group.name} of cache cluster {cluster.name} is not available.",
            )
    memcached = cluster.engine == Engine.MEMCACHED
    for name in _NOT_FOR_MEMCACHED if memcached else _MEMCACHED_ONLY:
        if params.get(name):
            raise wrong_combination(f"{name} is not supported for engine {cluster.engine}.")
    if not memcached and params.get("AZMode") == cache_nodes.CROSS_AZ:
        raise wrong_combination(f"AZMode cross-az is not supported for engine {cluster.engine}.")
    if params.get("ScaleConfig") and not params.get("CacheNodeType"):
        raise wrong_combination("ScaleConfig requires a CacheNodeType.")


async def _check_engine_changes(
    ctx: RequestContext,
    tx: Transaction,
    cluster: CacheCluster,
    group: ReplicationGroup | None,
    params: Params,
) -> dict[str, Any]:
    """Check all that would change an engine, and return it."""
    waiting: dict[str, Any] = {}
    if group is None:
        version = _check_version(ctx, cluster, params)
        waiting = await engine_changes(ctx, tx, cluster, version, params)
        if cluster.engine != Engine.MEMCACHED:
            pending.check_separate_upgrade(
                cluster.pending, waiting, immediately=bool(params.get("ApplyImmediately"))
            )
        if "CacheNodeType" in waiting:
            pace = pending.check_scale_config(params.get("ScaleConfig"))
            waiting["ScaleConfig"] = pace if waiting["CacheNodeType"] else None
    if params.get("AuthToken") or params.get("AuthTokenUpdateStrategy"):
        raise features.token_without_encryption()
    return waiting


def _check_version(
    ctx: RequestContext, cluster: CacheCluster, params: Params
) -> EngineVersion | None:
    """Return the version that was asked for, where the cluster can have it; None for no wish."""
    current = version_in_force(ctx.catalog, cluster)
    engine = params.get("Engine")
    if engine and engine.lower() != cluster.engine:
        raise wrong_value(
            f"The engine of a cache cluster cannot be modified from {cluster.engine} to {engine}."
        )
    wanted = params.get("EngineVersion")
    if not wanted:
        return None
    if wanted == current.version:
        return current
    version = engines.resolve_version(ctx.catalog, current.engine, wanted)
    # memcached may go either way, because its nodes come back empty in any case.
    if current.engine is not Engine.MEMCACHED and version.numbers < current.numbers:
        raise wrong_combination(
            f"Cannot downgrade {cluster.engine} from {current.version} to {version.version}."
        )
    return version


async def _check_node_count(
    tx: Transaction, cluster: CacheCluster, params: Params
) -> tuple[Mapping[str, Any], str]:
    """Return the pending changes for a new number of nodes, and the AZ mode from now on.

    Raises:
        Fault: the numbers, zones or ids do not go together.
    """
    count = params.get("NumCacheNodes")
    to_remove = params.get("CacheNodeIdsToRemove") or ()
    listed = params.get("NewAvailabilityZones") or ()
    present = cluster.num_cache_nodes
    if count is None:
        if to_remove or listed:
            raise wrong_combination(
                "CacheNodeIdsToRemove and NewAvailabilityZones require NumCacheNodes."
            )
        return {}, _new_az_mode(cluster, params)
    if count < 1:
        raise wrong_value("NumCacheNodes must be at least 1.")
    if cluster.engine != Engine.MEMCACHED and count != 1:
        raise wrong_combination(f"A cluster that runs {cluster.engine} has exactly one cache node.")
    if count > cache_nodes.MEMCACHED_NODES_MAX:
        raise cache_nodes.too_many_nodes()
    if count <= present and listed:
        raise wrong_combination("NewAvailabilityZones is only valid when nodes are added.")
    if count >= present and to_remove:
        raise wrong_combination("CacheNodeIdsToRemove is only valid when nodes are removed.")
    if count > present:
        return await _check_growth(tx, cluster, params, count=count)
    if count < present:
        ids = cache_nodes.check_removal(
            to_remove,
            present={node.cache_node_id for node in cluster.nodes},
            removed=present - count,
        )
        return pending.fewer_nodes(count, ids), _new_az_mode(cluster, params)
    return pending.NO_NODES, _new_az_mode(cluster, params)


async def _check_growth(
    tx: Transaction, cluster: CacheCluster, params: Params, *, count: int
) -> tuple[Mapping[str, Any], str]:
    """Choose zones for the nodes that are added to those which wait to be added already."""
    present = cluster.num_cache_nodes
    waiting = pending.zones_waiting(cluster.pending, present=present, count=count)
    chosen = await references.zones_for(tx, cluster.subnet_group_name, name=cluster.name)
    az_mode, zones = cache_nodes.check_growth(
        params,
        az_mode=cluster.az_mode,
        zones_now=[*(node.availability_zone for node in cluster.nodes), *waiting],
        added=count - present - len(waiting),
        zones=chosen.zones,
    )
    await references.check_node_quota(tx, count - present)
    return pending.more_nodes(count, [*waiting, *zones]), az_mode


def _resize(ctx: RequestContext, tx: Transaction, cluster: CacheCluster) -> None:
    """Add or retire the rows of nodes for a number of nodes that is due; it stays shown as pending
    until the provisioner has brought it about.
    """
    added = cluster.pending.get("NewAvailabilityZones", ())
    if added:
        events.record(tx, ctx.catalog, "node_count_increase_requested", cluster.name)
    add_cache_nodes(cluster, added, now=tx.now)
    retire_cache_nodes(cluster, cluster.pending.get("CacheNodeIdsToRemove", ()))
    cluster.pending = {k: v for k, v in cluster.pending.items() if k != "NewAvailabilityZones"}


def _new_az_mode(cluster: CacheCluster, params: Params) -> str:
    """Return the AZ mode from now on; it concerns the nodes that come later."""
    mode = str(params.get("AZMode") or cluster.az_mode)
    if mode == cluster.az_mode:
        return mode
    zones = {node.availability_zone for node in cluster.nodes}
    if mode == cache_nodes.SINGLE_AZ and len(zones) > 1:
        raise wrong_combination("AZMode single-az requires all cache nodes to be in one zone.")
    if mode == cache_nodes.CROSS_AZ and len(cluster.nodes) < 2:
        raise wrong_combination("AZMode cross-az requires at least two cache nodes.")
    return mode
