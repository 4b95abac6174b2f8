"""Service updates: what there is to update, on which caches, and having it done or left.

What there is is found by the provisioner, in the engines of this machine and in the certificates;
nothing is listed that no cache of this scope could have. Applying takes items one by one: what is
wrong with one is said of that one, and never fails the call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import and_, or_, select

from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault
from cachefleet.api.pagination import window
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.api.views.service_updates import service_update_view, update_action_view
from cachefleet.provisioner.state import lifecycle, updates
from cachefleet.provisioner.state.maintenance import Row, file_update
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup
from cachefleet.provisioner.state.update_tables import ServiceUpdate, UpdateAction

Item = tuple[str, str]  # the parameter's word for what it is, and its name
GROUP, CLUSTER = "ReplicationGroupId", "CacheClusterId"
Change = Callable[[Transaction, Row, UpdateAction], None]


@action("DescribeServiceUpdates")
async def describe_service_updates(ctx: RequestContext, params: Params) -> Result:
    """Return one update, or a page of those in any of the wanted states, in order of name."""
    asked = window(params, ctx.paging)
    wanted = params.get("ServiceUpdateStatus")
    async with ctx.read() as tx:
        criteria = []
        if params.get("ServiceUpdateName"):
            found = await tx.get(ServiceUpdate, params["ServiceUpdateName"])
            criteria.append(ServiceUpdate.uid == found.uid)
        if wanted:
            criteria.append(_has_status(wanted, ctx))
        rows = await tx.page(ServiceUpdate, *criteria, after=asked.after, limit=asked.fetch)
    shown, marker = asked.close(rows, lambda row: row.name)
    return {
        "ServiceUpdates": [service_update_view(row, now=ctx.now) for row in shown],
        "Marker": marker,
    }


@action("DescribeUpdateActions")
async def describe_update_actions(ctx: RequestContext, params: Params) -> Result:
    """Return a page of what updates mean to caches; completed ones are shown for seven days."""
    asked = window(params, ctx.paging, like=("", "", ""))
    query = (
        select(UpdateAction)
        .join(UpdateAction.update)
        .where(
            UpdateAction.account == ctx.account,
            UpdateAction.region == ctx.region,
            *_criteria(ctx, params),
        )
        .order_by(ServiceUpdate.name, UpdateAction.subject_kind, UpdateAction.name)
    )
    if asked.after is not None:
        query = query.where(_behind(asked.after))
    async with ctx.read() as tx:
        rows = (await tx.session.scalars(query.limit(asked.fetch))).all()
    shown, marker = asked.close(rows, lambda row: (row.update.name, row.subject_kind, row.name))
    with_nodes = bool(params.get("ShowNodeLevelUpdateStatus"))
    return {
        "UpdateActions": [
            update_action_view(row, now=ctx.now, with_nodes=with_nodes) for row in shown
        ],
        "Marker": marker,
    }


@action("BatchApplyUpdateAction")
async def batch_apply_update_action(ctx: RequestContext, params: Params) -> Result:
    """Have an update applied to caches; each is `modifying` until all its nodes are updated."""

    def apply(tx: Transaction, row: Row, entry: UpdateAction) -> None:
        if updates.update_status(entry.update, tx.now) != updates.AVAILABLE:
            raise wrong_value(f"The service update {entry.update.name} is not available.")
        if updates.target(entry.status, updates.Event.APPLY) is None:
            raise wrong_value(
                f"The update action of {row.name} is {entry.status} and cannot be applied."
            )
        _require_available(row)
        file_update(tx, row, entry, by=updates.CUSTOMER, token=ctx.request_id)

    return await _each(ctx, params, apply)


@action("BatchStopUpdateAction")
async def batch_stop_update_action(ctx: RequestContext, params: Params) -> Result:
    """Have no further node updated; the one that is being updated is gone through with."""

    def stop(tx: Transaction, row: Row, entry: UpdateAction) -> None:
        if updates.target(entry.status, updates.Event.STOP) is None:
            raise wrong_value(
                f"The update action of {row.name} is {entry.status} and cannot be stopped."
            )
        updates.fire(entry, updates.Event.STOP, now=tx.now)

    return await _each(ctx, params, stop)


# -- one by one ------------------------------------------------------------------------------------


async def _each(ctx: RequestContext, params: Params, change: Change) -> Result:
    items = _items(params)
    processed, unprocessed = [], []
    async with ctx.begin() as tx:
        update = await tx.get(ServiceUpdate, params["ServiceUpdateName"])
        for what, name in items:
            said = {what: name, "ServiceUpdateName": update.name}
            try:
                row = await _row(tx, what, name)
                entry = await _action_of(tx, update, row)
                change(tx, row, entry)
            except Fault as refusal:
                told = {"ErrorType": refusal.code, "ErrorMessage": refusal.message}
                unprocessed.append({**said, **told})
            else:
                said[what] = row.name
                processed.append({**said, "UpdateActionStatus": entry.status})
    return {"ProcessedUpdateActions": processed, "UnprocessedUpdateActions": unprocessed}


def _items(params: Params) -> list[Item]:
    named = [
        *((GROUP, name) for name in params.get("ReplicationGroupIds") or ()),
        *((CLUSTER, name) for name in params.get("CacheClusterIds") or ()),
    ]
    if not named:
        raise wrong_value("At least one of ReplicationGroupIds and CacheClusterIds must be given.")
    return list({(what, name.lower()): (what, name) for what, name in named}.values())


async def _row(tx: Transaction, what: str, name: str) -> Row:
    if what == GROUP:
        group = await tx.find(ReplicationGroup, name, lock=True)
        if group is None:
            raise Fault("ReplicationGroupNotFoundFault", f"Replication group not found: {name}")
        return group
    cluster = await tx.find(CacheCluster, name, lock=True)
    if cluster is None:
        raise Fault("CacheClusterNotFoundFault", f"CacheCluster not found: {name}")
    if cluster.replication_group_uid is not None:
        raise wrong_value(
            f"{cluster.name} is a member of a replication group, which is updated as a whole."
        )
    return cluster


async def _action_of(tx: Transaction, update: ServiceUpdate, row: Row) -> UpdateAction:
    query = select(UpdateAction).where(
        UpdateAction.update_uid == update.uid, UpdateAction.subject_uid == row.uid
    )
    entry = (await tx.session.scalars(query.with_for_update(of=UpdateAction))).one_or_none()
    if entry is None:
        raise wrong_value(f"The service update {update.name} does not apply to {row.name}.")
    return entry


def _require_available(row: Row) -> None:
    if lifecycle.target(row.resource, row.status, lifecycle.Event.MODIFY) is not None:
        return
    if isinstance(row, ReplicationGroup):
        raise Fault(
            "InvalidReplicationGroupStateFault", f"Replication group {row.name} is {row.status}."
        )
    raise Fault("InvalidCacheClusterStateFault", f"CacheCluster {row.name} is {row.status}.")


# -- filters ---------------------------------------------------------------------------------------


def _criteria(ctx: RequestContext, params: Params) -> list[Any]:
    criteria: list[Any] = [
        or_(
            UpdateAction.completed_at.is_(None),
            UpdateAction.completed_at > ctx.now - updates.COMPLETE_SHOWN,
        )
    ]
    if params.get("ServiceUpdateName"):
        criteria.append(ServiceUpdate.name == params["ServiceUpdateName"].lower())
    named = [
        *_named(ReplicationGroup.resource, params.get("ReplicationGroupIds") or ()),
        *_named(CacheCluster.resource, params.get("CacheClusterIds") or ()),
    ]
    if named:
        criteria.append(or_(*named))
    if params.get("Engine"):
        criteria.append(ServiceUpdate.engine == params["Engine"].lower())
    if params.get("ServiceUpdateStatus"):
        criteria.append(_has_status(params["ServiceUpdateStatus"], ctx))
    if params.get("UpdateActionStatus"):
        criteria.append(UpdateAction.status.in_(params["UpdateActionStatus"]))
    span = params.get("ServiceUpdateTimeRange") or {}
    start, end = span.get("StartTime"), span.get("EndTime")
    if start is not None and end is not None and end < start:
        raise wrong_combination("EndTime must not be before StartTime.")
    if start is not None:
        criteria.append(ServiceUpdate.released_at >= start)
    if end is not None:
        criteria.append(ServiceUpdate.released_at <= end)
    return criteria


def _named(kind: str, names: Iterable[str]) -> list[Any]:
    wanted = [name.lower() for name in names]
    if not wanted:
        return []
    return [and_(UpdateAction.subject_kind == kind, UpdateAction.name.in_(wanted))]


def _has_status(wanted: Iterable[str], ctx: RequestContext) -> Any:
    """Return what is true of updates that have one of the *wanted* states now."""
    open_ = ServiceUpdate.status == updates.AVAILABLE
    states = {
        updates.AVAILABLE: and_(open_, ServiceUpdate.ends_at > ctx.now),
        updates.EXPIRED: and_(open_, ServiceUpdate.ends_at <= ctx.now),
        updates.CANCELLED: ServiceUpdate.status == updates.CANCELLED,
    }
    return or_(*(states[status] for status in wanted))


def _behind(key: tuple[str, str, str]) -> Any:
    """Return what is true of rows behind *key* in the order of the listing."""
    update, kind, name = key
    same = ServiceUpdate.name == update
    return or_(
        ServiceUpdate.name > update,
        and_(same, UpdateAction.subject_kind > kind),
        and_(same, UpdateAction.subject_kind == kind, UpdateAction.name > name),
    )
