"""Actions that show and delete replication groups.

They are created by :mod:`.replication_group_creation` and changed by
:mod:`.replication_group_changes` and :mod:`.replica_counts`.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import lazyload, load_only, selectinload

from cachefleet.api import references
from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault
from cachefleet.api.pagination import window
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation.global_groups import refuse_member
from cachefleet.api.validation.refusals import wrong_combination
from cachefleet.api.validation.snapshots import check_snapshot_name, no_snapshots
from cachefleet.api.views.replication_groups import (
    SHOWN_OF_NODES,
    deleted_replication_group_view,
    replication_group_view,
)
from cachefleet.engine.types import NodeRole
from cachefleet.provisioner.state import lifecycle, snapshots, tags
from cachefleet.provisioner.state.errors import NotFound
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.snapshots import Source
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster, NodeGroup, ReplicationGroup


@action("DescribeReplicationGroups")
async def describe_replication_groups(ctx: RequestContext, params: Params) -> Result:
    """Return one group, or a page of them in order of name."""
    asked = window(params, ctx.paging)
    name = params.get("ReplicationGroupId")
    query = (
        select(ReplicationGroup)
        .where(ReplicationGroup.account == ctx.account, ReplicationGroup.region == ctx.region)
        .options(
            # Of members only the names are shown; their nodes come with the shards.
            selectinload(ReplicationGroup.members).options(
                load_only(CacheCluster.name), lazyload(CacheCluster.nodes)
            ),
            selectinload(ReplicationGroup.node_groups)
            .selectinload(NodeGroup.nodes)
            .load_only(*SHOWN_OF_NODES),
        )
        .order_by(ReplicationGroup.name)
        .limit(asked.fetch)
    )
    if name:
        query = query.where(ReplicationGroup.name == name.lower())
    if asked.after is not None:
        query = query.where(ReplicationGroup.name > asked.after)
    async with ctx.read() as tx:
        rows = (await tx.session.scalars(query)).all()
        if name and not rows:
            raise NotFound(ReplicationGroup.resource, name)
        groups, marker = asked.close(rows, lambda group: group.name)
        endpoints = await references.read_endpoints(tx, [group.uid for group in groups])
        return {
            "ReplicationGroups": [
                replication_group_view(group, endpoints=endpoints) for group in groups
            ],
            "Marker": marker,
        }


@action("DeleteReplicationGroup")
async def delete_replication_group(ctx: RequestContext, params: Params) -> Result:
    """Mark a group and its members as ``deleting``; the primary may stay as a cluster of its own.

    A group whose creation failed can always be deleted, whatever its members have come to.
    """
    retains = bool(params.get("RetainPrimaryCluster"))
    snapshot = params.get("FinalSnapshotIdentifier")
    if retains and snapshot:
        raise wrong_combination(
            "RetainPrimaryCluster and FinalSnapshotIdentifier cannot be used together."
        )
    async with ctx.begin() as tx:
        group = await tx.get(ReplicationGroup, params["ReplicationGroupId"], lock=True)
        failed = group.status == lifecycle.CREATE_FAILED
        if not failed:
            refuse_member(group)
        _check_may_go(group, failed=failed)
        if retains and group.cluster_enabled:
            raise wrong_combination(
                "RetainPrimaryCluster cannot be used with cluster mode enabled."
            )
        if snapshot:
            return await _delete_after_snapshot(ctx, tx, group, snapshot)
        lifecycle.fire(group, lifecycle.Event.DELETE)
        for shard in group.node_groups:
            shard.status = lifecycle.DELETING
        for member in group.members:
            if retains and not failed and _is_primary(member):
                lifecycle.fire(member, lifecycle.Event.MODIFY)
                continue
            member.status = lifecycle.DELETING
            for node in member.nodes:
                node.status = lifecycle.NODE_DELETING
        tx.enqueue(OperationKind.SETTLE, subject_uid=group.uid, token=ctx.request_id)
        return {"ReplicationGroup": deleted_replication_group_view(group)}


async def _delete_after_snapshot(
    ctx: RequestContext, tx: Transaction, group: ReplicationGroup, wanted: str
) -> Result:
    """Have a snapshot taken, of the primaries, that the deletion follows."""
    name = check_snapshot_name(wanted)
    node_type = ctx.catalog.node_type(group.node_type)
    if node_type is not None and not node_type.snapshots:
        raise no_snapshots(group.node_type)
    member = None
    if not group.cluster_enabled:
        member = next(member for member in group.members if _is_primary(member))
    source = Source(group=group, member=member)
    snapshot = await snapshots.begin(tx, source, name=name, final=True, token=ctx.request_id)
    inherited = await tags.listed(tx, ReplicationGroup.arn_kind, group.name)
    await tags.put(tx, snapshot.arn_kind, snapshot.name, inherited)
    return {"ReplicationGroup": deleted_replication_group_view(group)}


def _check_may_go(group: ReplicationGroup, *, failed: bool) -> None:
    """Refuse to delete a group while something else is being done to it or to a member."""
    if lifecycle.target(group.resource, group.status, lifecycle.Event.DELETE) is None:
        raise Fault(
            "InvalidReplicationGroupStateFault",
            f"Replication group {group.name} has status {group.status} which is not valid "
            "for deletion.",
        )
    for member in group.members:
        if failed or lifecycle.target(member.resource, member.status, lifecycle.Event.DELETE):
            continue
        raise Fault(
            "InvalidReplicationGroupStateFault",
            f"Cache cluster {member.name} is not in a valid state to be deleted",
        )


def _is_primary(member: CacheCluster) -> bool:
    return any(node.role == NodeRole.PRIMARY for node in member.nodes)
