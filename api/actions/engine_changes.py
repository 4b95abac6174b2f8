"""What a replication group and a cache cluster have in common when an engine is to change.

Node type, engine version and parameter group are checked here as one, because each has to go with
the others as they will be: those of the request, else those that are pending, else those in force.
"""

from __future__ import annotations

from typing import Any

from cachefleet.api import references
from cachefleet.api.context import RequestContext
from cachefleet.api.registry import Params
from cachefleet.api.validation.engines import check_memcached_sizes, check_node_type
from cachefleet.api.validation.group_changes import check_new_node_type
from cachefleet.api.validation.refusals import wrong_combination
from cachefleet.engine.catalog import Catalog, EngineVersion
from cachefleet.engine.types import Engine
from cachefleet.provisioner.state import parameter_groups
from cachefleet.provisioner.state.parameter_groups import PENDING_MODE_GROUP, Group
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup

Row = ReplicationGroup | CacheCluster


def version_in_force(catalog: Catalog, row: Row) -> EngineVersion:
    """Return the version that the engines run as now."""
    version = catalog.version_of(Engine(row.engine), row.engine_version)
    assert version is not None, row.engine_version
    return version


def version_waiting(catalog: Catalog, row: Row) -> EngineVersion:
    """Return the version that is pending, else the one in force."""
    pending = row.pending
    version = catalog.version_of(
        Engine(pending.get("Engine", row.engine)), pending.get("EngineVersion", row.engine_version)
    )
    assert version is not None, pending
    return version


async def engine_changes(
    ctx: RequestContext,
    tx: Transaction,
    row: Row,
    wanted: EngineVersion | None,
    params: Params,
) -> dict[str, Any]:
    """Return what of the request needs the engine, under the names by which it is pending.

    *wanted* is the version that was asked for, checked already; None where none was. A value of
    None cancels what is pending under that name.

    Raises:
        Fault: something does not go with something else.
    """
    catalog = ctx.catalog
    changes: dict[str, Any] = {}
    if wanted is not None:
        in_force = version_in_force(catalog, row)
        moved = wanted != in_force
        changes["EngineVersion"] = wanted.cluster_version if moved else None
        changes["Engine"] = wanted.engine.value if wanted.engine != in_force.engine else None
    version = wanted or version_waiting(catalog, row)
    node_type = params.get("CacheNodeType")
    if node_type:
        check_new_node_type(
            catalog,
            engine=version.engine,
            engine_version=version.version,
            current=row.node_type,
            wanted=node_type,
        )
        changes["CacheNodeType"] = node_type if node_type != row.node_type else None
    after = changes.get("CacheNodeType", row.pending.get("CacheNodeType")) or row.node_type
    if wanted is not None:
        check_node_type(catalog, after, version)
    group = await _parameter_group(ctx, tx, row, version, params)
    if group.name != row.parameter_group_name:
        changes["CacheParameterGroupName"] = group.name
    elif "CacheParameterGroupName" in row.pending:
        changes["CacheParameterGroupName"] = None
    if version.engine is Engine.MEMCACHED and changes:
        size = catalog.node_type(after)
        assert size is not None, after
        check_memcached_sizes(catalog, version, size, group.values)
    return changes


async def _parameter_group(
    ctx: RequestContext, tx: Transaction, row: Row, version: EngineVersion, params: Params
) -> Group:
    """Return the parameter group as it is to be.

    A default group follows the version to its family by itself; a custom one does not.
    """
    catalog = ctx.catalog
    current = await references.find_parameter_group(tx, catalog, row.parameter_group_name)
    name = params.get("CacheParameterGroupName")
    if name:
        wanted = await references.find_parameter_group(tx, catalog, name)
        references.check_family(catalog, wanted, version)
        references.check_same_at_creation(catalog, current, wanted)
        return wanted
    waiting = row.pending.get("CacheParameterGroupName")
    if waiting is not None:
        group = await parameter_groups.find(tx, catalog, waiting)
        if group is not None and group.family == version.family:
            return group
    if current.family == version.family:
        return current
    if not current.is_default:
        raise wrong_combination(
            f"Expected a parameter group of family {version.family} but found one of family "
            f"{current.family}"
        )
    return references.default_parameter_group(
        catalog, version, cluster_mode=references.enables_cluster_mode(current)
    )


async def cluster_mode_changes(
    ctx: RequestContext,
    tx: Transaction,
    group: ReplicationGroup,
    mode: str | None,
    params: Params,
) -> dict[str, Any]:
    """Return what is pending of a change to cluster mode *mode*; None is no wish.

    The parameter group goes with it: a default one by its twin, a custom one by one that is named.

    Raises:
        Fault: the parameter group that is named, or stays, does not go with the mode.
    """
    if mode is None:
        return {}
    if mode == group.cluster_mode:
        return {"ClusterMode": None, PENDING_MODE_GROUP: None}
    name = params.get("CacheParameterGroupName")
    wanted = await references.find_parameter_group(
        tx, ctx.catalog, name or group.parameter_group_name
    )
    version = version_in_force(ctx.catalog, group)
    references.check_family(ctx.catalog, wanted, version)
    enables = mode != "disabled"
    if not name and wanted.is_default:
        wanted = references.default_parameter_group(ctx.catalog, version, cluster_mode=enables)
    if references.enables_cluster_mode(wanted) is not enables:
        raise wrong_combination(
            "Cluster mode updates require a parameter group whose cluster-enabled is "
            f"{'yes' if enables else 'no'}."
        )
    return {"ClusterMode": mode, PENDING_MODE_GROUP: wanted.name}
