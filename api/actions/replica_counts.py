"""Actions that change how many replicas the shards of a replication group have."""

from __future__ import annotations

from collections.abc import Sequence

from cachefleet.api import references
from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation import replicas
from cachefleet.api.validation.group_changes import (
    nodes_of,
    refuse_while_compatible,
    require_available,
)
from cachefleet.api.validation.shards import CLUSTER_NODES_MAX
from cachefleet.api.views.replication_groups import replication_group_view
from cachefleet.engine.types import NodeRole
from cachefleet.provisioner.state import events, lifecycle, tags
from cachefleet.provisioner.state.layout import NodePlan, free_member_names, member_prefix
from cachefleet.provisioner.state.members import add_member
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup


@action("IncreaseReplicaCount")
async def increase_replica_count(ctx: RequestContext, params: Params) -> Result:
    """Record more replicas; the group is ``modifying`` until they are in sync."""
    replicas.check_exactly_one(params, "NewReplicaCount", "ReplicaConfiguration")
    replicas.check_immediately(params)
    async with ctx.begin() as tx:
        group = await tx.get(ReplicationGroup, params["ReplicationGroupId"], lock=True)
        require_available(group)
        refuse_while_compatible(group, "The number of replicas")
        chosen = await references.zones_for(tx, group.subnet_group_name, name=group.name)
        wanted = replicas.targets(group, params, zones=chosen.zones)
        replicas.check_grows(wanted)
        added = sum(
            target.replica_count - len(replicas.replicas_of(target.node_group)) for target in wanted
        )
        if group.cluster_enabled and len(nodes_of(group)) + added > CLUSTER_NODES_MAX:
            raise Fault(
                "NodeQuotaForCustomerExceededFault",
                f"A replication group can have at most {CLUSTER_NODES_MAX} nodes.",
            )
        await references.check_node_quota(tx, added)
        lifecycle.fire(group, lifecycle.Event.MODIFY)
        taken = await references.names_like(tx, group.name)
        names = [
            name for target in wanted for name in _add_replicas(group, target, chosen, taken, tx)
        ]
        inherited = await tags.listed(tx, ReplicationGroup.arn_kind, group.name)
        for name in names if inherited else ():
            await tags.put(tx, CacheCluster.arn_kind, name, inherited)
        about = {"rg": group.name}
        announced = []
        for name in names:
            events.record(
                tx, ctx.catalog, "replica_count_increasing", group.name, about=name, **about
            )
            announced.append(
                events.later("replica_count_increased", group.name, about=name, **about)
            )
        return await _answer(ctx, tx, group, announced)


@action("DecreaseReplicaCount")
async def decrease_replica_count(ctx: RequestContext, params: Params) -> Result:
    """Mark replicas as ``deleting``; the group is ``modifying`` until they are gone."""
    by = replicas.check_exactly_one(
        params, "NewReplicaCount", "ReplicasToRemove", "ReplicaConfiguration"
    )
    replicas.check_immediately(params)
    async with ctx.begin() as tx:
        group = await tx.get(ReplicationGroup, params["ReplicationGroupId"], lock=True)
        require_available(group)
        refuse_while_compatible(group, "The number of replicas")
        if by == "ReplicasToRemove":
            names = replicas.check_named_removals(group, params["ReplicasToRemove"])
        else:
            chosen = await references.zones_for(tx, group.subnet_group_name, name=group.name)
            wanted = replicas.targets(group, params, zones=chosen.zones)
            replicas.check_shrinks(group, wanted)
            names = [name for target in wanted for name in replicas.names_to_remove(target)]
        lifecycle.fire(group, lifecycle.Event.MODIFY)
        _retire(group, names)
        return await _answer(ctx, tx, group)


def _add_replicas(
    group: ReplicationGroup,
    target: replicas.Target,
    chosen: references.Zones,
    taken: frozenset[str],
    tx: Transaction,
) -> list[str]:
    shard = target.node_group
    zones = replicas.zones_for_new(target, zones=chosen.zones)
    if not zones:
        return []
    shard.status = lifecycle.MODIFYING
    prefix = member_prefix(group.name, shard.node_group_id if group.cluster_enabled else None)
    names = free_member_names(prefix, taken)
    return [
        add_member(
            group,
            shard,
            NodePlan(member_name=next(names), role=NodeRole.REPLICA, zone=zone),
            now=tx.now,
            requested_zone=zone if target.zones else None,
        ).name
        for zone in zones
    ]


def _retire(group: ReplicationGroup, names: Sequence[str]) -> None:
    for member in group.members:
        if member.name not in names:
            continue
        lifecycle.fire(member, lifecycle.Event.DELETE)
        for node in member.nodes:
            node.status = lifecycle.NODE_DELETING
    for shard in group.node_groups:
        if any(node.member_name in names for node in shard.nodes):
            shard.status = lifecycle.MODIFYING
    if group.snapshotting_cluster_id in names:
        group.snapshotting_cluster_id = None


async def _answer(
    ctx: RequestContext,
    tx: Transaction,
    group: ReplicationGroup,
    announced: Sequence[events.Announcement] = (),
) -> Result:
    tx.enqueue(
        OperationKind.SETTLE,
        subject_uid=group.uid,
        payload={"announce": list(announced)} if announced else None,
        token=ctx.request_id,
    )
    await tx.session.flush()
    endpoints = await references.read_endpoints(tx, [group.uid])
    return {"ReplicationGroup": replication_group_view(group, endpoints=endpoints)}
