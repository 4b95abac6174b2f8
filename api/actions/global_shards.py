"""The shards of global datastores: added, removed and evened out in every region alike.

What new shards are made of is decided here, where it can be refused, for each region; the
provisioner changes the primary first, and then gives the others the very slots that it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from cachefleet.api import references
from cachefleet.api.actions import global_peers
from cachefleet.api.actions.global_groups import ask, shown
from cachefleet.api.actions.shards import lay_out_shards
from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation import global_groups as checks
from cachefleet.api.validation import global_shards
from cachefleet.api.validation.refusals import wrong_value
from cachefleet.api.validation.resharding import Resharding, plan_resharding
from cachefleet.provisioner.state import global_groups
from cachefleet.provisioner.state.global_tables import GlobalGroup
from cachefleet.provisioner.state.layout import ShardPlan
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import ReplicationGroup

Groups = Mapping[str, ReplicationGroup]


@action("IncreaseNodeGroupsInGlobalReplicationGroup")
async def increase_node_groups(ctx: RequestContext, params: Params) -> Result:
    """Add shards in every region, and have slots move to them."""
    if (elsewhere := await global_peers.led(ctx, params)) is not None:
        return elsewhere
    async with ctx.begin() as tx:
        row, groups, primary = await _at_rest(tx, params)
        global_shards.check_increase(primary, params["NodeGroupCount"])
        asked = global_shards.regional_configurations(row, params)
        plans: dict[str, list[dict[str, Any]]] = {}
        chosen: Resharding | None = None
        # The primary's comes first: it decides how the new shards are called.
        for group in sorted(groups.values(), key=lambda one: one is not primary):
            zones = await references.zones_for(
                _inside(tx, group), group.subnet_group_name, name=group.name
            )
            told = {"NodeGroupCount": params["NodeGroupCount"]}
            try:
                wanted = plan_resharding(
                    group,
                    {**told, "ReshardingConfiguration": asked.get(group.uid, ())},
                    zones=zones.zones,
                )
                chosen = chosen or wanted
                ids = global_shards.same_ids(wanted.added, chosen.added, group)
                named = [
                    replace(one, node_group_id=name)
                    for one, name in zip(wanted.added, ids, strict=True)
                ]
                plans[group.uid] = _stored(
                    await lay_out_shards(
                        _inside(tx, group), group, Resharding(added=tuple(named)), zones
                    )
                )
            except Fault as refusal:
                raise wrong_value(refusal.message) from refusal
        ask(tx, row, ctx.request_id, action="reshard", plans=plans, remove=[])
        return await shown(tx, row)


@action("DecreaseNodeGroupsInGlobalReplicationGroup")
async def decrease_node_groups(ctx: RequestContext, params: Params) -> Result:
    """Empty shards in every region, and remove them."""
    if (elsewhere := await global_peers.led(ctx, params)) is not None:
        return elsewhere
    async with ctx.begin() as tx:
        row, _, primary = await _at_rest(tx, params)
        removed = global_shards.removed_shards(row, primary, params)
        ask(tx, row, ctx.request_id, action="reshard", plans={}, remove=removed)
        return await shown(tx, row)


@action("RebalanceSlotsInGlobalReplicationGroup")
async def rebalance_slots(ctx: RequestContext, params: Params) -> Result:
    """Even out the slots of the shards, in every region alike."""
    if (elsewhere := await global_peers.led(ctx, params)) is not None:
        return elsewhere
    async with ctx.begin() as tx:
        row, _, primary = await _at_rest(tx, params)
        global_shards.require_uneven(primary)
        ask(tx, row, ctx.request_id, action="reshard", plans={}, remove=[])
        return await shown(tx, row)


async def _at_rest(tx: Transaction, params: Params) -> tuple[GlobalGroup, Groups, ReplicationGroup]:
    row = await global_groups.get(tx, params["GlobalReplicationGroupId"], lock=True)
    checks.require_at_rest(row, "modify")
    checks.require_now(params)
    groups = await global_groups.groups_of(tx, row)
    primary = groups[global_groups.primary_of(row).group_uid]
    global_shards.require_cluster_mode(primary)
    return row, groups, primary


def _inside(tx: Transaction, group: ReplicationGroup) -> Transaction:
    """Return the transaction as seen from the group's own region."""
    return tx.within(group.scope)


def _stored(plans: Sequence[ShardPlan]) -> list[dict[str, Any]]:
    return [
        {
            "node_group_id": plan.node_group_id,
            "nodes": [{**asdict(node), "role": node.role.value} for node in plan.nodes],
        }
        for plan in plans
    ]
