"""The parameters of members in several cachefleets: they are those of the one that leads.

It tells their values with all else that it says; whoever hears others than its own member has makes
them its own. So what was missed is made up for, and nothing is asked of anybody.
"""

from __future__ import annotations

from cachefleet.engine.catalog import Catalog
from cachefleet.provisioner.state import global_groups, parameter_groups
from cachefleet.provisioner.state.global_tables import GlobalGroup
from cachefleet.provisioner.state.parameter_changes import record_values
from cachefleet.provisioner.state.peer_records import Parameters
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import ParameterGroup, ReplicationGroup


async def told(tx: Transaction, row: GlobalGroup) -> Parameters | None:
    """Return the values of the group that leads, if that is one of ours with a group of its own."""
    leader = global_groups.primary_of(row)
    group = (await global_groups.groups_of(tx, row)).get(leader.group_uid)
    copy = None if leader.fleet is not None or group is None else await _copy(tx, group)
    return None if copy is None else Parameters(family=copy.family, values=copy.values)


async def others(
    tx: Transaction, row: GlobalGroup, wanted: Parameters | None, *, lock: bool = False
) -> list[tuple[ReplicationGroup, ParameterGroup]]:
    """Return our members' copies that have other values than *wanted*, with their groups.

    One of another family is left alone: its group is on its way to another version.
    """
    if wanted is None:
        return []
    found = []
    for group in (await global_groups.groups_of(tx, row)).values():
        copy = await _copy(tx, group, lock=lock)
        if copy is not None and copy.family == wanted.family and copy.values != wanted.values:
            found.append((group, copy))
    return found


async def take(tx: Transaction, catalog: Catalog, row: GlobalGroup, wanted: Parameters) -> None:
    """Make *wanted* the values of our members' copies, and file what that changes."""
    for group, copy in await others(tx, row, wanted, lock=True):
        inside = tx.within(group.scope)
        users = await parameter_groups.find_users(inside, copy.name)
        record_values(inside, copy, catalog.family(copy.family), wanted.values, users)


async def _copy(
    tx: Transaction, group: ReplicationGroup, *, lock: bool = False
) -> ParameterGroup | None:
    name = f"{global_groups.PARAMETERS_PREFIX}{group.name}"
    if group.parameter_group_name != name:
        return None
    return await tx.within(group.scope).find(ParameterGroup, name, lock=lock)
