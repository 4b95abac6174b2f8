"""A change of one region's copy of a global datastore's parameters reaches all regions' copies.

Each member has a parameter group of its own (:func:`.global_groups.give_parameters`). They began
with the same values and are kept that way.
"""

from __future__ import annotations

from cachefleet.api.validation.global_groups import require_at_rest
from cachefleet.api.validation.refusals import not_built
from cachefleet.provisioner.state import global_groups, peered
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import ParameterGroup, ReplicationGroup


async def other_copies(
    tx: Transaction, row: ParameterGroup
) -> list[tuple[Transaction, ParameterGroup]]:
    """Return the copies of the other regions, each with *tx* as seen from its region.

    There are none of a group that is no global datastore's.

    Raises:
        IllegalTransition: something is being done to the global datastore.
    """
    if not row.name.startswith(global_groups.PARAMETERS_PREFIX):
        return []
    group = await tx.find(ReplicationGroup, row.name.removeprefix(global_groups.PARAMETERS_PREFIX))
    if group is None or group.global_name is None or group.parameter_group_name != row.name:
        return []  # left behind by a member that is none any more
    datastore = await global_groups.find(tx, group.global_name, lock=True)
    if datastore is None:
        return []
    require_at_rest(datastore, "modify")
    if peered.is_peered(datastore):
        raise not_built(
            "Parameters cannot be changed in a global replication group with members in several "
            "cachefleets."
        )
    found = []
    for member in (await global_groups.groups_of(tx, datastore)).values():
        if member.uid == group.uid:
            continue
        inside = tx.within(member.scope)
        copy = await inside.find(ParameterGroup, member.parameter_group_name, lock=True)
        if copy is not None and copy.family == row.family:
            found.append((inside, copy))
    return found
