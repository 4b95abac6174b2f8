"""The action that modifies a replication group.

What needs no engine is written to the group and its members at once. What needs one is checked as
the service checks it and then becomes pending: the provisioner makes it true, at once where
``ApplyImmediately`` says so, else in the maintenance window.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cachefleet.api import references
from cachefleet.api.actions.engine_changes import cluster_mode_changes, engine_changes
from cachefleet.api.actions.replication_group_creation import token_columns
from cachefleet.api.context import RequestContext
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation import group_changes as checks
from cachefleet.api.validation import pending, settings
from cachefleet.api.validation.changes import announcements, setting_changes
from cachefleet.api.validation.global_groups import refuse_shared_settings
from cachefleet.api.validation.group_access import changed_user_groups
from cachefleet.api.validation.log_delivery import log_delivery_changes
from cachefleet.api.validation.unavailable import refuse_durability
from cachefleet.api.views.replication_groups import replication_group_view
from cachefleet.engine.catalog import Catalog
from cachefleet.engine.types import Engine
from cachefleet.provisioner.state import lifecycle, users
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup


@action("ModifyReplicationGroup")
async def modify_replication_group(ctx: RequestContext, params: Params) -> Result:
    """Change what was asked for; a request that changes nothing is accepted as it is."""
    async with ctx.begin() as tx:
        group = await tx.get(ReplicationGroup, params["ReplicationGroupId"], lock=True)
        refuse_shared_settings(group, params)
        checks.require_available(group)
        waiting = await _check_engine_changes(ctx, tx, group, params)
        shared = setting_changes(group, params)
        own = _own_changes(ctx, group, params)
        attachment = await changed_user_groups(tx, group, params)
        if attachment is not None:
            own["user_group_ids"] = list(attachment.user_group_ids)
            waiting["UserGroups"] = {k: list(v) for k, v in attachment.pending.items() if v}
        _change_tokens(tx, group, params, shared, own, waiting, ctx.catalog)
        logs, waiting_logs = log_delivery_changes(ctx.catalog, group, params)
        immediately = bool(params.get("ApplyImmediately"))
        failover = checks.check_failover_change(group, params)
        if immediately:
            own |= checks.failover_columns(group, failover)
            waiting |= dict.fromkeys(failover)
        else:
            now = {"AutomaticFailoverStatus": group.automatic_failover, "MultiAZ": group.multi_az}
            waiting |= {k: v if v != now[k] else None for k, v in failover.items()}
        own |= logs
        waiting |= waiting_logs
        _set_pending(group, waiting)
        due = pending.is_due(group.pending, immediately=immediately)
        _write(group, shared, own, due=due)
        announced = announcements(shared, group.members)
        _file(tx, group, ctx.request_id, due=due, settles=bool(shared or own), announced=announced)
        if attachment is not None:
            users.file_attachment(tx, group, attachment.change, token=ctx.request_id)
        if logs:
            tx.enqueue(OperationKind.LOG_DELIVERY, subject_uid=group.uid, token=ctx.request_id)
        endpoints = await references.read_endpoints(tx, [group.uid])
        return {"ReplicationGroup": replication_group_view(group, endpoints=endpoints)}


async def _check_engine_changes(
    ctx: RequestContext, tx: Transaction, group: ReplicationGroup, params: Params
) -> dict[str, Any]:
    """Check all that would change an engine, and return it."""
    mode = checks.check_cluster_mode(ctx.catalog, group, params)
    version = checks.check_version(ctx.catalog, group, params)
    if mode in (None, group.cluster_mode):
        waiting = await engine_changes(ctx, tx, group, version, params)
        if any(waiting.get(name) for name in ("CacheNodeType", "EngineVersion", "Engine")):
            checks.refuse_while_compatible(group, "The node type and the engine")
    else:
        waiting = {}
    waiting |= await cluster_mode_changes(ctx, tx, group, mode, params)
    pending.check_separate_upgrade(
        group.pending, waiting, immediately=bool(params.get("ApplyImmediately"))
    )
    waiting |= checks.check_transit(ctx.catalog, group, params)
    checks.check_user_groups(group, params)
    successor = checks.check_promotion(group, params.get("PrimaryClusterId"))
    if successor is not None:
        is_primary = successor == checks.primary_name(group)
        waiting["PrimaryClusterId"] = None if is_primary else successor
    _refuse_durability(ctx, group, params)
    return waiting


def _refuse_durability(ctx: RequestContext, group: ReplicationGroup, params: Params) -> None:
    version = ctx.catalog.version_of(Engine(group.engine), group.engine_version)
    assert version is not None, group.engine_version
    refuse_durability(
        ctx.catalog,
        params.get("Durability"),
        version=version,
        node_type=group.node_type,
        cluster_mode=group.cluster_mode == "enabled",
        in_transit=group.transit_encryption_enabled,
        multi_az=group.multi_az == "enabled",
        replicas_min=min((len(shard.nodes) for shard in group.node_groups), default=1) - 1,
        is_global=group.global_role is not None,
    )


def _change_tokens(
    tx: Transaction,
    group: ReplicationGroup,
    params: Params,
    shared: dict[str, Any],
    own: dict[str, Any],
    waiting: dict[str, Any],
    catalog: Catalog,
) -> None:
    """Add the columns of a change of the AUTH token, and what is shown until engines have it."""
    tokens = checks.check_token(catalog, group, params)
    if tokens is None:
        return
    columns = token_columns(tokens)
    shared["auth_token_enabled"] = columns.pop("auth_token_enabled")
    shared["auth_token_changed_at"] = tx.now if tokens.enabled else None
    own |= columns
    confirms = params.get("AuthTokenUpdateStrategy") == "SET"
    waiting["AuthTokenStatus"] = "SETTING" if confirms else "ROTATING"


def _own_changes(ctx: RequestContext, group: ReplicationGroup, params: Params) -> dict[str, Any]:
    """Return the columns of the group alone that change."""
    own: dict[str, Any] = {}
    description = params.get("ReplicationGroupDescription")
    if description and description != group.description:
        own["description"] = description
    own |= retention_changes(ctx, group, params)
    member = checks.check_snapshotting(group, params)
    if member is not None and member != group.snapshotting_cluster_id:
        own["snapshotting_cluster_id"] = member
    return own


def retention_changes(
    ctx: RequestContext, row: ReplicationGroup | CacheCluster, params: Params
) -> dict[str, Any]:
    """Return the columns that change for automatic snapshots to be kept as long as asked for."""
    days = params.get("SnapshotRetentionLimit")
    node_type = ctx.catalog.node_type(row.node_type)
    settings.check_retention(days, node_type_has_snapshots=node_type is None or node_type.snapshots)
    if days is None or days == row.snapshot_retention_limit:
        return {}
    changes: dict[str, Any] = {"snapshot_retention_limit": days}
    if days and not row.snapshot_retention_limit:
        changes["snapshots_since"] = ctx.now  # windows that have opened before are over
    return changes


def _set_pending(group: ReplicationGroup, changes: Mapping[str, Any]) -> None:
    after = pending.merged(group.pending, changes)
    if after == group.pending:
        return
    group.pending = after
    # Only members have a place for these in their description.
    shown = {name: after[name] for name in pending.SHOWN_ON_MEMBERS if name in after}
    for member in group.members:
        member.pending = shown


def _write(
    group: ReplicationGroup, shared: Mapping[str, Any], own: Mapping[str, Any], *, due: bool
) -> None:
    if not (shared or own or due):
        return
    lifecycle.fire(group, lifecycle.Event.MODIFY)
    for name, value in {**shared, **own}.items():
        setattr(group, name, value)
    if not (shared or due):
        return
    for member in group.members:
        lifecycle.fire(member, lifecycle.Event.MODIFY)
        for name, value in shared.items():
            setattr(member, name, value)


def _file(
    tx: Transaction,
    group: ReplicationGroup,
    token: str,
    *,
    due: bool,
    settles: bool,
    announced: Mapping[str, Any],
) -> None:
    """File what brings the change about."""
    if due and group.pending.keys() != {"PrimaryClusterId"}:
        tx.enqueue(OperationKind.MODIFY, subject_uid=group.uid, payload=announced, token=token)
    elif due:
        tx.enqueue(
            OperationKind.CHANGE_PRIMARY,
            subject_uid=group.uid,
            payload={"cache_cluster_id": group.pending["PrimaryClusterId"], **announced},
            token=token,
        )
    elif settles:
        tx.enqueue(OperationKind.SETTLE, subject_uid=group.uid, payload=announced, token=token)
