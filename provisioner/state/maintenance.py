"""Puts into operation what waits for a maintenance window: by the calendar, or because it is asked.

A subject is worked on under one operation, whoever files it: what is pending goes along as a whole.
"""

from __future__ import annotations

from cachefleet.provisioner.state import lifecycle, updates
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup
from cachefleet.provisioner.state.update_tables import UpdateAction

Row = ReplicationGroup | CacheCluster


def can_change(row: Row) -> bool:
    """Tell whether nothing else is being done to the subject that *row* stands for."""
    return lifecycle.target(row.resource, row.status, lifecycle.Event.MODIFY) is not None


def file_update(tx: Transaction, row: Row, action: UpdateAction, *, by: str, token: str) -> None:
    """Have a service update applied to what *row* stands for, which is held and can be changed.

    Raises:
        IllegalTransition: the action is not one that can be applied now; nothing was changed.
    """
    updates.fire(action, updates.Event.APPLY, now=tx.now, by=by)
    _mark_modifying(row)
    payload = {"action": action.uid}
    tx.enqueue(OperationKind.APPLY_UPDATE, subject_uid=row.uid, payload=payload, token=token)


async def file_scheduled(tx: Transaction, row: Row, *, token: str) -> list[str]:
    """Have every service update applied that waits for the window of *row*; return their names."""
    filed = []
    for action in await updates.actions_of(tx, row.uid):
        if action.status == updates.Status.SCHEDULED:
            file_update(tx, row, action, by=updates.SYSTEM, token=token)
            filed.append(action.update.name)
    return filed


def _mark_modifying(row: Row) -> None:
    if row.status != lifecycle.MODIFYING:  # several things may wait for one window
        lifecycle.fire(row, lifecycle.Event.MODIFY)
    for member in row.members if isinstance(row, ReplicationGroup) else ():
        if can_change(member):
            lifecycle.fire(member, lifecycle.Event.MODIFY)


def file_pending(tx: Transaction, row: Row, *, token: str) -> None:
    """Have everything applied that is pending on *row*, which is held and can be changed."""
    _mark_modifying(row)
    tx.enqueue(OperationKind.MODIFY, subject_uid=row.uid, token=token)
