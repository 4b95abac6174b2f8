"""Write new values of a parameter group down, and file what they change for who uses it."""

from __future__ import annotations

from collections.abc import Mapping

from cachefleet.engine.catalog import ParameterFamily
from cachefleet.provisioner.state import parameter_groups, parameters
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.parameter_groups import Users
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import ParameterGroup


def record_values(
    tx: Transaction,
    row: ParameterGroup,
    family: ParameterFamily,
    values: Mapping[str, str],
    users: Users,
    *,
    token: str = "",
) -> None:
    """Give a group *values*, all that it differs in from its family; *users* are who uses it.

    *tx* is as seen from the group's own region.
    """
    before = parameter_groups.effective_values(family, row.values)
    after = parameter_groups.effective_values(family, values)
    changed = parameters.changed_names(before, after)
    row.values = dict(values)
    if not changed:
        return
    rows = [one for one in family.parameters if one.name in changed]
    for node in users.nodes:
        node.parameter_group_status = parameters.node_status(node.parameter_group_status, rows)
    for uid in users.subject_uids:
        tx.enqueue(
            OperationKind.APPLY_PARAMETERS,
            subject_uid=uid,
            payload={"parameter_group": row.name, "changed": changed},
            token=token,
        )
