"""Puts into operation what waits for a maintenance window: by the calendar, or because it is asked.

A subject is worked on under one operation, whoever files it: what is pending goes along as a whole.
"""

from __future__ import annotations

from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup

Row = ReplicationGroup | CacheCluster


def can_change(row: Row) -> bool:
    """Tell whether nothing else is being done to the subject that *row* stands for."""
    return lifecycle.target(row.resource, row.status, lifecycle.Event.MODIFY) is not None


def file_pending(tx: Transaction, row: Row, *, token: str) -> None:
    """Have everything applied that is pending on *row*, which is held and can be changed."""
    lifecycle.fire(row, lifecycle.Event.MODIFY)
    for member in row.members if isinstance(row, ReplicationGroup) else ():
        if can_change(member):
            lifecycle.fire(member, lifecycle.Event.MODIFY)
    tx.enqueue(OperationKind.MODIFY, subject_uid=row.uid, token=token)
