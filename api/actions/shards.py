"""The action that changes how many shards a group has, or evens their slots out.

New shards are written as rows without slots, shards that are to go are only named: slots move
first, and what becomes of the rows is decided by how far that got.
"""

from __future__ import annotations

from dataclasses import replace

from cachefleet.api import references
from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation.global_groups import refuse_member
from cachefleet.api.validation.group_changes import (
    nodes_of,
    refuse_while_compatible,
    require_available,
)
from cachefleet.api.validation.refusals import wrong_value
from cachefleet.api.validation.resharding import Resharding, plan_resharding
from cachefleet.api.validation.shards import CLUSTER_NODES_MAX, check_multi_az
from cachefleet.api.views.replication_groups import replication_group_view
from cachefleet.engine.types import Engine
from cachefleet.provisioner.state import events, lifecycle, tags
from cachefleet.provisioner.state.layout import ShardPlan, lay_out_group
from cachefleet.provisioner.state.members import add_member, new_node_group
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup

NOT_BEGUN = {"Resharding": {"SlotMigration": {"ProgressPercentage": 0.0}}}


@action("ModifyReplicationGroupShardConfiguration")
async def modify_shard_configuration(ctx: RequestContext, params: Params) -> Result:
    """Record new shards and file the move of slots; the group is ``modifying`` until it ends."""
    async with ctx.begin() as tx:
        group = await tx.get(ReplicationGroup, params["ReplicationGroupId"], lock=True)
        refuse_member(group)
        _check_applicable(ctx, group, params)
        require_available(group)
        chosen = await references.zones_for(tx, group.subnet_group_name, name=group.name)
        wanted = plan_resharding(group, params, zones=chosen.zones)
        plans = await lay_out_shards(tx, group, wanted, chosen)
        before = len(group.node_groups)
        after = before + len(wanted.added) - len(wanted.removed)
        lifecycle.fire(group, lifecycle.Event.MODIFY)
        group.pending = {**group.pending, **NOT_BEGUN}
        # The answer is given before the new shards are there, as on the service.
        endpoints = await references.read_endpoints(tx, [group.uid])
        view = replication_group_view(group, endpoints=endpoints)
        await _add_shards(tx, group, plans, params)
        tx.enqueue(
            OperationKind.RESHARD,
            subject_uid=group.uid,
            payload={
                "remove": list(wanted.removed),
                "add": [plan.node_group_id for plan in plans],
            },
            token=ctx.request_id,
        )
        events.record(
            tx, ctx.catalog, "resharding_started", group.name, rg=group.name, old=before, new=after
        )
        return {"ReplicationGroup": view}


def _check_applicable(ctx: RequestContext, group: ReplicationGroup, params: Params) -> None:
    if not group.cluster_enabled:
        raise wrong_value(
            "Operation is only applicable for cluster mode enabled replication groups."
        )
    refuse_while_compatible(group, "The shards")
    if not params.get("ApplyImmediately"):
        raise wrong_value("ApplyImmediately must be true to change the shard configuration.")
    if not ctx.catalog.supports("online_resharding", Engine(group.engine), group.engine_version):
        raise wrong_value(
            f"The shards of {group.engine} {group.engine_version} cannot be changed online."
        )


async def lay_out_shards(
    tx: Transaction, group: ReplicationGroup, wanted: Resharding, chosen: references.Zones
) -> list[ShardPlan]:
    """Return the new shards, without slots.

    Raises:
        Fault: there would be too many nodes, or too few zones for what the group promises.
    """
    if not wanted.added:
        return []
    added = sum(1 + request.replica_count for request in wanted.added)
    if len(nodes_of(group)) + added > CLUSTER_NODES_MAX:
        raise Fault(
            "NodeQuotaForCustomerExceededFault",
            f"A replication group can have at most {CLUSTER_NODES_MAX} nodes.",
        )
    await references.check_node_quota(tx, added)
    # Primaries go on spreading where those that are there left off.
    first = len(group.node_groups) % len(chosen.zones)
    plans = lay_out_group(
        group.name,
        wanted.added,
        cluster_mode=True,
        zones=[*chosen.zones[first:], *chosen.zones[:first]],
        taken_names=await references.names_like(tx, group.name),
    )
    if group.multi_az == "enabled":
        check_multi_az([[node.zone for node in plan.nodes] for plan in plans])
    return [replace(plan, slots="") for plan in plans]


async def _add_shards(
    tx: Transaction, group: ReplicationGroup, plans: list[ShardPlan], params: Params
) -> None:
    requested = bool(params.get("ReshardingConfiguration"))
    names = []
    for plan in plans:
        node_group = new_node_group(plan)
        group.node_groups.append(node_group)
        for node in plan.nodes:
            member = add_member(
                group,
                node_group,
                node,
                now=tx.now,
                requested_zone=node.zone if requested else None,
            )
            names.append(member.name)
    await tx.session.flush()
    inherited = await tags.listed(tx, ReplicationGroup.arn_kind, group.name)
    for name in names if inherited else ():
        await tags.put(tx, CacheCluster.arn_kind, name, inherited)
