"""The shards of global datastores: added, removed and evened out in every region alike.

What new shards are made of is decided here, where it can be refused, for each region; the
provisioner changes the primary first, and then gives the others the very slots that it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from cachefleet.provisioner.state import global_groups, peered
from cachefleet.provisioner.state.global_tables import GlobalGroup
from cachefleet.provisioner.state.layout import ShardRequest
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import ReplicationGroup

Groups = Mapping[str, ReplicationGroup]


@action("IncreaseNodeGroupsInGlobalReplicationGroup")
async def increase_node_groups(ctx: RequestContext, params: Params) -> Result:
    """Add shards in every region, and have slots move to them."""
    if (elsewhere := await global_peers.led(ctx, params)) is not None:
        return elsewhere
    await global_peers.require_members(ctx, params["GlobalReplicationGroupId"])
    planned = await _plans_elsewhere(ctx, params)
    async with ctx.begin() as tx:
        row, groups, primary = await _at_rest(tx, params)
        global_shards.check_increase(primary, params["NodeGroupCount"])
        asked = global_shards.regional_configurations(row, params)
        plans: dict[str, list[dict[str, Any]]] = {**planned}
        chosen: Resharding | None = None
        # The primary's comes first: it decides how the new shards are called.
        for group in sorted(groups.values(), key=lambda one: one is not primary):
            zones = await references.zones_for(
                _inside(tx, group), group.subnet_group_name, name=group.name
            )
            told = _asked_of(params["NodeGroupCount"], asked.get(group.uid, ()))
            try:
                wanted = plan_resharding(group, told, zones=zones.zones)
                chosen = chosen or wanted
                plans[group.uid] = await _same(_inside(tx, group), group, wanted, chosen, zones)
            except Fault as refusal:
                raise wrong_value(refusal.message) from refusal
        ask(tx, row, ctx.request_id, action="reshard", plans=plans, remove=[])
        return await shown(tx, row)


async def _plans_elsewhere(ctx: RequestContext, params: Params) -> dict[str, list[dict[str, Any]]]:
    """Return what the new shards are made of in each region of another cachefleet, as these say."""
    async with ctx.read() as tx:
        row = await global_groups.find(tx, params["GlobalReplicationGroupId"])
        if row is None or not peered.is_peered(row):
            return {}
        members = [member for member in row.members if member.fleet is not None]
        asked = global_shards.regional_configurations(row, params)
        groups = await global_groups.groups_of(tx, row)
        primary = groups[global_groups.primary_of(row).group_uid]
        global_shards.require_cluster_mode(primary)
        global_shards.check_increase(primary, params["NodeGroupCount"])
        zones = await references.zones_for(
            _inside(tx, primary), primary.subnet_group_name, name=primary.name
        )
        wanted = _asked_of(params["NodeGroupCount"], asked.get(primary.uid, ()))
        try:
            chosen = plan_resharding(primary, wanted, zones=zones.zones)
        except Fault as refusal:
            raise wrong_value(refusal.message) from refusal
    ids = [one.node_group_id or "" for one in chosen.added]
    return {
        member.region: await global_peers.plan_shards(
            ctx, params["GlobalReplicationGroupId"], member, ids, asked.get(member.group_uid, ())
        )
        for member in members
    }


async def plan_same_shards(
    tx: Transaction,
    group: ReplicationGroup,
    ids: Sequence[str],
    configuration: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Return what new shards of a group are made of, under the names that they have elsewhere.

    Raises:
        Fault: they cannot be made here.
    """
    zones = await references.zones_for(tx, group.subnet_group_name, name=group.name)
    count = len(group.node_groups) + len(ids)
    try:
        wanted = plan_resharding(group, _asked_of(count, configuration), zones=zones.zones)
        chosen = Resharding(
            added=tuple(ShardRequest(replica_count=0, node_group_id=one) for one in ids)
        )
        return await _same(tx, group, wanted, chosen, zones)
    except Fault as refusal:
        raise wrong_value(refusal.message) from refusal


def _asked_of(count: int, configuration: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"NodeGroupCount": count, "ReshardingConfiguration": configuration}


async def _same(
    tx: Transaction,
    group: ReplicationGroup,
    wanted: Resharding,
    chosen: Resharding,
    zones: references.Zones,
) -> list[dict[str, Any]]:
    """Lay out the shards that are *wanted* of a group, named as those that are *chosen*."""
    ids = global_shards.same_ids(wanted.added, chosen.added, group)
    named = [replace(one, node_group_id=name) for one, name in zip(wanted.added, ids, strict=True)]
    return global_groups.stored_plans(
        await lay_out_shards(tx, group, Resharding(added=tuple(named)), zones)
    )


@action("DecreaseNodeGroupsInGlobalReplicationGroup")
async def decrease_node_groups(ctx: RequestContext, params: Params) -> Result:
    """Empty shards in every region, and remove them."""
    if (elsewhere := await global_peers.led(ctx, params)) is not None:
        return elsewhere
    await global_peers.require_members(ctx, params["GlobalReplicationGroupId"])
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
    await global_peers.require_members(ctx, params["GlobalReplicationGroupId"])
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
