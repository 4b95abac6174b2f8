"""The action that modifies a cache cluster.

Settings that need no engine are written at once, as the service does whatever ``ApplyImmediately``
says. The number of memcached nodes is changed by rows: new ones are ``creating``, those that leave
are ``deleting``, and ``pending`` holds the target until the provisioner has brought it about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cachefleet.api import references
from cachefleet.api.actions.cache_clusters import group_of
from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation import cache_nodes, engines, features, settings
from cachefleet.api.validation.changes import setting_changes
from cachefleet.api.validation.group_changes import check_new_node_type
from cachefleet.api.validation.refusals import not_built, wrong_combination, wrong_value
from cachefleet.api.views.cache_clusters import cache_cluster_view
from cachefleet.engine.catalog import EngineVersion
from cachefleet.engine.types import Engine
from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.layout import free_node_ids
from cachefleet.provisioner.state.members import new_node
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
        unbuilt = await _check_engine_changes(ctx, tx, cluster, params)
        changes = setting_changes(cluster, params)
        growth = await _resize(tx, cluster, params)
        if growth and not params.get("ApplyImmediately"):
            unbuilt = unbuilt or (
                "Changes that wait for the maintenance window are not built yet. "
                "Set ApplyImmediately to true."
            )
        if unbuilt is not None:
            raise not_built(unbuilt)
        changes |= growth
        if changes:
            lifecycle.fire(cluster, lifecycle.Event.MODIFY)
            for name, value in changes.items():
                setattr(cluster, name, value)
            tx.enqueue(
                OperationKind.SETTLE,
                subject_uid=cluster.uid if group is None else group.uid,
                token=ctx.request_id,
            )
            await tx.session.flush()
        endpoints = await references.read_endpoints(tx, [cluster.uid])
        view = cache_cluster_view(
            cluster, group_name=None if group is None else group.name, endpoints=endpoints
        )
        return {"CacheCluster": view}


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
    ctx: RequestContext, tx: Transaction, cluster: CacheCluster, params: Params
) -> str | None:
    """Check all that would change an engine; return why it cannot be done yet."""
    version, reason = _version_after(ctx, cluster, params)
    reasons = [reason]
    reasons.append(
        check_new_node_type(
            ctx.catalog,
            engine=version.engine,
            engine_version=version.version,
            current=cluster.node_type,
            wanted=params.get("CacheNodeType"),
        )
    )
    reasons.append(await _check_parameter_group(ctx, tx, cluster, version, params))
    if params.get("AuthToken") or params.get("AuthTokenUpdateStrategy"):
        raise features.token_without_encryption()
    node_type = ctx.catalog.node_type(cluster.node_type)
    if settings.check_retention(
        params.get("SnapshotRetentionLimit"),
        node_type_has_snapshots=node_type is None or node_type.snapshots,
    ):
        reasons.append("Automatic snapshots are not built yet.")
    if params.get("LogDeliveryConfigurations"):
        reasons.append("Log delivery is not built yet.")
    return next((reason for reason in reasons if reason is not None), None)


def _version_after(
    ctx: RequestContext, cluster: CacheCluster, params: Params
) -> tuple[EngineVersion, str | None]:
    current = ctx.catalog.version_of(Engine(cluster.engine), cluster.engine_version)
    assert current is not None, cluster.engine_version
    engine = params.get("Engine")
    if engine and engine.lower() != cluster.engine:
        raise wrong_value(
            f"The engine of a cache cluster cannot be modified from {cluster.engine} to {engine}."
        )
    if not params.get("EngineVersion"):
        return current, None
    version = engines.resolve_version(ctx.catalog, current.engine, params["EngineVersion"])
    if version == current:
        return current, None
    # memcached may go either way, because its nodes come back empty in any case.
    if current.engine is not Engine.MEMCACHED and version.numbers < current.numbers:
        raise wrong_combination(
            f"Cannot downgrade {cluster.engine} from {current.version} to {version.version}."
        )
    custom = not cluster.parameter_group_name.startswith("default.")
    if version.family != current.family and custom and not params.get("CacheParameterGroupName"):
        raise wrong_combination(
            f"Expected a parameter group of family {version.family} but found one of family "
            f"{current.family}"
        )
    return version, "Changing the engine version is not built yet."


async def _check_parameter_group(
    ctx: RequestContext,
    tx: Transaction,
    cluster: CacheCluster,
    version: EngineVersion,
    params: Params,
) -> str | None:
    name = params.get("CacheParameterGroupName")
    if not name:
        return None
    wanted = await references.find_parameter_group(tx, ctx.catalog, name)
    if wanted.name == cluster.parameter_group_name:
        return None
    references.check_family(ctx.catalog, wanted, version)
    current = await references.find_parameter_group(tx, ctx.catalog, cluster.parameter_group_name)
    references.check_same_at_creation(ctx.catalog, current, wanted)
    return "Changing the parameter group is not built yet."


async def _resize(tx: Transaction, cluster: CacheCluster, params: Params) -> Mapping[str, Any]:
    """Add or mark node rows for a new number of nodes; return the columns that change with it.

    Raises:
        Fault: the numbers, zones or ids do not go together. The transaction is rolled back then,
            as it is where the change turns out to be one that is not built.
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
        return _new_az_mode(cluster, params)
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
        return await _grow(tx, cluster, params, added=count - present)
    if count < present:
        return _shrink(cluster, to_remove, count=count)
    return _new_az_mode(cluster, params)


async def _grow(
    tx: Transaction, cluster: CacheCluster, params: Params, *, added: int
) -> Mapping[str, Any]:
    chosen = await references.zones_for(tx, cluster.subnet_group_name, name=cluster.name)
    az_mode, zones = cache_nodes.check_growth(
        params,
        az_mode=cluster.az_mode,
        zones_now=[node.availability_zone for node in cluster.nodes],
        added=added,
        zones=chosen.zones,
    )
    await references.check_node_quota(tx, added)
    taken = {node.cache_node_id for node in cluster.nodes}
    for node_id, zone in zip(free_node_ids(added, taken), zones, strict=True):
        cluster.nodes.append(
            new_node(
                subject_uid=cluster.uid,
                member_name=cluster.name,
                cache_node_id=node_id,
                zone=zone,
                role=None,
                now=tx.now,
            )
        )
    pending = {"NumCacheNodes": cluster.num_cache_nodes + added}
    return {"pending": pending, "az_mode": az_mode}


def _shrink(cluster: CacheCluster, to_remove: Sequence[str], *, count: int) -> Mapping[str, Any]:
    ids = cache_nodes.check_removal(
        to_remove,
        present={node.cache_node_id for node in cluster.nodes},
        removed=cluster.num_cache_nodes - count,
    )
    for node in cluster.nodes:
        if node.cache_node_id in ids:
            node.status = lifecycle.NODE_DELETING
    return {"pending": {"NumCacheNodes": count, "CacheNodeIdsToRemove": ids}}


def _new_az_mode(cluster: CacheCluster, params: Params) -> Mapping[str, Any]:
    """Return the AZ mode where it changes; it concerns the nodes that come later."""
    mode = params.get("AZMode")
    if mode is None or mode == cluster.az_mode:
        return {}
    zones = {node.availability_zone for node in cluster.nodes}
    if mode == cache_nodes.SINGLE_AZ and len(zones) > 1:
        raise wrong_combination("AZMode single-az requires all cache nodes to be in one zone.")
    if mode == cache_nodes.CROSS_AZ and len(cluster.nodes) < 2:
        raise wrong_combination("AZMode cross-az requires at least two cache nodes.")
    return {"az_mode": mode}
