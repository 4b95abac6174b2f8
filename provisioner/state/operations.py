"""Durable work: claimed in order, one operation a subject at a time, by whoever holds its lease.

An operation has no lease of its own. Whoever holds the subject's lease may run the subject's
operations; when the lease passes on, the operations that were running go back to the queue and the
new holder takes the very same steps again, which is why every step may happen twice.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete, exists, or_, select, update
from sqlalchemy.orm import aliased

from cachefleet.provisioner.state import prepared
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.prepared import Prepared
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import Operation, Subject

CLAIMS_PER_CALL_MAX = 50
FINISHED_KEPT = timedelta(days=14)  # as long as events: the two are read together


class OperationKind(enum.StrEnum):
    """What can be asked of the provisioner. One reconciler module a kind."""

    SETTLE = "settle"  # bring what runs into agreement with the record, then say so
    APPLY_PARAMETERS = "apply_parameters"  # push a parameter group's values to running nodes
    MODIFY = "modify"  # make what is pending true, then settle
    CHANGE_CLUSTER_MODE = "change_cluster_mode"  # restart a shard in, or without, cluster mode
    CHANGE_PRIMARY = "change_primary"  # hand a shard's primary role to a named member
    TEST_FAILOVER = "test_failover"  # end a shard's primary
    APPLY_ACCESS = "apply_access"  # push users and their rights to running nodes
    RESHARD = "reshard"  # move slots to the shards that the record wants
    SNAPSHOT = "snapshot"  # copy the data of a subject's shards into a snapshot
    TEST_MIGRATION = "test_migration"  # look at a source outside, and change nothing
    START_MIGRATION = "start_migration"  # follow it until it is in sync
    SETTLE_GLOBAL = "settle_global"  # do what is pending on a global datastore
    LOG_DELIVERY = "log_delivery"  # look where logs are to go, and say whether they can
    COMPLETE_MIGRATION = "complete_migration"  # lead again
    PREPARE_MIGRATION = "prepare_migration"  # look at what a serverless cache is to take over
    SYNC_MIGRATION = "sync_migration"  # feed a serverless cache until it is in sync
    STOP_MIGRATION = "stop_migration"  # feed it no more
    CUT_OVER = "cut_over"  # have it serve its clients itself
    APPLY_UPDATE = "apply_update"  # bring a service update to each node in turn


class OperationState(enum.StrEnum):
    """Where an operation is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


OPEN_STATES = (OperationState.QUEUED, OperationState.RUNNING)

_NOW = bindparam("now", type_=Operation.due_at.type)
_ANYTHING_TO_CLAIM = Prepared(
    select(
        or_(
            exists().where(Operation.state == OperationState.QUEUED, Operation.due_at <= _NOW),
            exists().where(
                or_(Subject.lease_expires_at.is_(None), Subject.lease_expires_at < _NOW)
            ),
        )
    )
)


async def claim(
    tx: Transaction, *, subject_uids: Collection[str], limit: int = CLAIMS_PER_CALL_MAX
) -> Sequence[Operation]:
    """Mark as running, and return, the next due operation of each of *subject_uids*."""
    earlier = aliased(Operation)
    blocked = exists().where(
        earlier.subject_uid == Operation.subject_uid,
        (earlier.state == OperationState.RUNNING)
        | ((earlier.state == OperationState.QUEUED) & (earlier.id < Operation.id)),
    )
    query = (
        select(Operation)
        .where(
            Operation.state == OperationState.QUEUED,
            Operation.due_at <= tx.now,
            Operation.subject_uid.in_(subject_uids),
            ~blocked,
        )
        .order_by(Operation.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    claimed = (await tx.session.scalars(query)).all()
    for operation in claimed:
        operation.state = OperationState.RUNNING
        operation.attempt += 1
    return claimed


async def is_anything_to_claim(tx: Transaction) -> bool:
    """Tell whether a queued operation is due or nobody holds a subject, over all scopes.

    Asked four times a second for ever, and so in one query.
    """
    [(found,)] = await prepared.rows(tx.connection, _ANYTHING_TO_CLAIM, {"now": tx.now})
    return bool(found)


async def ensure_settle(tx: Transaction, lease: Lease) -> None:
    """File a settling of the lease's subject, unless one waits already."""
    query = select(Operation.id).where(
        Operation.subject_uid == lease.subject_uid,
        Operation.kind == OperationKind.SETTLE,
        Operation.state == OperationState.QUEUED,
    )
    if (await tx.session.scalars(query.limit(1))).first() is not None:
        return
    operation = tx.enqueue(OperationKind.SETTLE, subject_uid=lease.subject_uid)
    operation.account, operation.region = lease.scope.account, lease.scope.region
    await tx.session.flush()


async def requeue_running(tx: Transaction, *, subject_uids: Collection[str]) -> None:
    """Give back what a former lease holder was working on; called with a fresh lease."""
    await tx.session.execute(
        update(Operation)
        .where(Operation.subject_uid.in_(subject_uids), Operation.state == OperationState.RUNNING)
        .values(state=OperationState.QUEUED, due_at=tx.now)
    )


async def finish(tx: Transaction, operation_id: int, state: OperationState, progress: str) -> None:
    """Close an operation for good."""
    await tx.session.execute(
        update(Operation)
        .where(Operation.id == operation_id)
        .values(state=state, progress=progress, finished_at=tx.now)
    )


async def snooze(tx: Transaction, operation_id: int, *, due_at: datetime, progress: str) -> None:
    """Put a running operation back until *due_at*."""
    await tx.session.execute(
        update(Operation)
        .where(Operation.id == operation_id)
        .values(state=OperationState.QUEUED, due_at=due_at, progress=progress)
    )


async def next_due_at(tx: Transaction) -> datetime | None:
    """Return when the next queued operation is due, over all scopes."""
    query = (
        select(Operation.due_at)
        .where(Operation.state == OperationState.QUEUED)
        .order_by(Operation.due_at)
        .limit(1)
    )
    return (await tx.session.scalars(query)).one_or_none()


async def open_operations(tx: Transaction, subject_uid: str) -> Sequence[Operation]:
    """Return what is queued or running on a subject, oldest first."""
    query = (
        select(Operation)
        .where(Operation.subject_uid == subject_uid, Operation.state.in_(OPEN_STATES))
        .order_by(Operation.id)
    )
    return (await tx.session.scalars(query)).all()


async def forget_subject(tx: Transaction, subject_uid: str) -> None:
    """Remove the row of a subject that is gone, and close what is open on it.

    Nobody can hold the lease of what is gone: an operation left open would stay so for ever.
    """
    for operation in await open_operations(tx, subject_uid):
        await finish(tx, operation.id, OperationState.DONE, "it is gone")
    await tx.session.execute(delete(Subject).where(Subject.uid == subject_uid))


async def forget_finished(tx: Transaction) -> None:
    """Remove what ended longer ago than is kept."""
    await tx.session.execute(
        delete(Operation).where(Operation.finished_at < tx.now - FINISHED_KEPT)
    )
