"""The action that modifies a replication group.

What needs no engine is written to the group and its members at once. What needs one is checked as
the service checks it and then answered 501, until the provisioner can bring it about.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cachefleet.api import references
from cachefleet.api.context import RequestContext
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation import group_changes as checks
from cachefleet.api.validation import settings
from cachefleet.api.validation.changes import setting_changes
from cachefleet.api.validation.refusals import not_built, wrong_combination
from cachefleet.api.views.replication_groups import replication_group_view
from cachefleet.engine.catalog import EngineVersion
from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import ReplicationGroup

_DURABILITY_WITHOUT_EFFECT = (None, "default", "disabled")


@action("ModifyReplicationGroup")
async def modify_replication_group(ctx: RequestContext, params: Params) -> Result:
    """Change what was asked for; a request that changes nothing is accepted as it is."""
    async with ctx.begin() as tx:
        group = await tx.get(ReplicationGroup, params["ReplicationGroupId"], lock=True)
        checks.require_available(group)
        unbuilt = await _check_engine_changes(ctx, tx, group, params)
        shared = setting_changes(group, params)
        own, unbuilt_own = _own_changes(ctx, group, params)
        unbuilt = unbuilt or unbuilt_own
        if unbuilt is not None:
            raise not_built(unbuilt)
        if shared or own:
            _write(group, shared, own)
            tx.enqueue(OperationKind.SETTLE, subject_uid=group.uid, token=ctx.request_id)
        endpoints = await references.read_endpoints(tx, [group.uid])
        return {"ReplicationGroup": replication_group_view(group, endpoints=endpoints)}


async def _check_engine_changes(
    ctx: RequestContext, tx: Transaction, group: ReplicationGroup, params: Params
) -> str | None:
    """Check all that would change an engine; return why it cannot be done yet."""
    reasons = [checks.check_cluster_mode(ctx.catalog, group, params)]
    version, reason = checks.check_version(ctx.catalog, group, params)
    reasons.append(reason)
    reasons.append(
        checks.check_new_node_type(
            ctx.catalog,
            engine=version.engine,
            engine_version=version.version,
            current=group.node_type,
            wanted=params.get("CacheNodeType"),
        )
    )
    reasons.append(await _check_parameter_group(ctx, tx, group, version, params))
    reasons.append(checks.check_access(ctx.catalog, group, params))
    reasons.append(checks.check_promotion(group, params.get("PrimaryClusterId")))
    if params.get("LogDeliveryConfigurations"):
        reasons.append("Log delivery is not built yet.")
    if params.get("Durability") not in _DURABILITY_WITHOUT_EFFECT:
        reasons.append("Durability is not built yet.")
    return next((reason for reason in reasons if reason is not None), None)


async def _check_parameter_group(
    ctx: RequestContext,
    tx: Transaction,
    group: ReplicationGroup,
    version: EngineVersion,
    params: Params,
) -> str | None:
    name = params.get("CacheParameterGroupName")
    if not name:
        return None
    wanted = await references.find_parameter_group(tx, ctx.catalog, name)
    if wanted.name == group.parameter_group_name:
        return None
    references.check_family(ctx.catalog, wanted, version)
    if params.get("ClusterMode") in (None, group.cluster_mode):
        current = await references.find_parameter_group(tx, ctx.catalog, group.parameter_group_name)
        references.check_same_at_creation(ctx.catalog, current, wanted)
    elif not references.enables_cluster_mode(wanted):
        raise wrong_combination(
            "Cluster mode updates require a parameter group whose cluster-enabled is yes."
        )
    return "Changing the parameter group is not built yet."


def _own_changes(
    ctx: RequestContext, group: ReplicationGroup, params: Params
) -> tuple[dict[str, Any], str | None]:
    """Return the columns of the group alone that change, and why they cannot yet."""
    own: dict[str, Any] = {}
    description = params.get("ReplicationGroupDescription")
    if description and description != group.description:
        own["description"] = description
    node_type = ctx.catalog.node_type(group.node_type)
    settings.check_retention(
        params.get("SnapshotRetentionLimit"),
        node_type_has_snapshots=node_type is None or node_type.snapshots,
    )
    member, unbuilt = checks.check_snapshotting(group, params)
    if member is not None and member != group.snapshotting_cluster_id:
        own["snapshotting_cluster_id"] = member
    failover = checks.check_failover_change(group, params)
    if failover and not params.get("ApplyImmediately"):
        unbuilt = unbuilt or (
            "Changes that wait for the maintenance window are not built yet. "
            "Set ApplyImmediately to true."
        )
    return own | failover, unbuilt


def _write(group: ReplicationGroup, shared: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    lifecycle.fire(group, lifecycle.Event.MODIFY)
    for name, value in {**shared, **own}.items():
        setattr(group, name, value)
    if not shared:
        return
    for member in group.members:
        lifecycle.fire(member, lifecycle.Event.MODIFY)
        for name, value in shared.items():
            setattr(member, name, value)
