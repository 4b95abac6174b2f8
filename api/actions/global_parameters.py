"""A change of one region's copy of a global datastore's parameters reaches all regions' copies.

Each member has a parameter group of its own (:func:`.global_groups.give_parameters`). They began
with the same values and are kept that way. Where another cachefleet leads, the change is made to
its member's copy, by it; ours hears of that as of anything else that it says.
"""

from __future__ import annotations

from cachefleet.api.actions import global_peers
from cachefleet.api.context import RequestContext
from cachefleet.api.registry import Params, Result
from cachefleet.api.validation.global_groups import require_at_rest
from cachefleet.provisioner.state import global_groups, peered
from cachefleet.provisioner.state.global_tables import GlobalGroup
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import ParameterGroup, ReplicationGroup


async def at_leader(ctx: RequestContext, params: Params) -> Result:
    """Have the cachefleet that leads change its member's copy of a parameter group of ours.

    None where the group is no global datastore's, or we lead that ourselves.

    Raises:
        Fault: it refused, or does not answer.
    """
    name = params["CacheParameterGroupName"]
    async with ctx.read() as tx:
        row = await tx.find(ParameterGroup, name)
        datastore = None if row is None else await _datastore_of(tx, row)
        if row is None or datastore is None or peered.is_led_here(datastore):
            return None
        leader = global_groups.primary_of(datastore)
        require_at_rest(datastore, "modify")
    theirs = f"{global_groups.PARAMETERS_PREFIX}{leader.group_name}"
    await global_peers.call_leader(
        ctx, datastore.name, leader.region, {**params, "CacheParameterGroupName": theirs}
    )
    ctx.peers.news.set()  # it is heard of at once
    return {"CacheParameterGroupName": row.name}


async def _datastore_of(
    tx: Transaction, row: ParameterGroup, *, lock: bool = False
) -> GlobalGroup | None:
    """Return the global datastore whose parameters these are."""
    if not row.name.startswith(global_groups.PARAMETERS_PREFIX):
        return None
    group = await tx.find(ReplicationGroup, row.name.removeprefix(global_groups.PARAMETERS_PREFIX))
    if group is None or group.global_name is None or group.parameter_group_name != row.name:
        return None  # left behind by a member that is none any more
    return await global_groups.find(tx, group.global_name, lock=lock)


async def other_copies(
    tx: Transaction, row: ParameterGroup
) -> list[tuple[Transaction, ParameterGroup]]:
    """Return the copies of the other regions, each with *tx* as seen from its region.

    There are none of a group that is no global datastore's.

    Raises:
        IllegalTransition: something is being done to the global datastore.
    """
    datastore = await _datastore_of(tx, row, lock=True)
    if datastore is None:
        return []
    require_at_rest(datastore, "modify")
    found = []
    for member in (await global_groups.groups_of(tx, datastore)).values():
        inside = tx.within(member.scope)
        copy = await inside.find(ParameterGroup, member.parameter_group_name, lock=True)
        if copy is not None and copy is not row and copy.family == row.family:
            found.append((inside, copy))
    return found
