"""Carry out ``apply_access``: changed users and user groups reach the nodes that know them.

The short way beside a settling: rights first, because they are to be in force everywhere within
half a second. Only then the slower part, where a change of groups asks for it: connections have to
go through the gateway, or need not any more.
"""

from __future__ import annotations

import structlog

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.provisioner.reconciler.access import ensure_access
from cachefleet.provisioner.reconciler.conclude import conclude
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.outcomes import Done, GiveUp, Outcome, Requeue
from cachefleet.provisioner.reconciler.records import SubjectRecord, load_subject
from cachefleet.provisioner.reconciler.settle import settle
from cachefleet.provisioner.state import leases, lifecycle, users
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.tables import Operation
from cachefleet.provisioner.state.users import Change

RETRY_S = 1.0
GROUP = "replication-group"
FAILED = (lifecycle.CREATE_FAILED, lifecycle.INCOMPATIBLE_NETWORK)

log = structlog.get_logger(__name__)


async def apply_access(operation: Operation, lease: Lease, fleet: Fleet) -> Outcome:
    """Push users to every node of the subject, then say that the change is there."""
    change = Change.of(operation.payload)
    async with fleet.store.read(lease.scope) as tx:
        record = await load_subject(tx, lease)
    if record is None or not record.live_nodes or record.settings.status in FAILED:
        await _conclude(operation, lease, None, fleet, failure=None)
        return Done("no node has to know")
    failure: str | None = None
    try:
        if not all(node.uid in fleet.watched for node in record.live_nodes):
            # A node is down or not looked at yet: what mends that sets its users as well.
            await settle(lease, fleet)
        await ensure_access(record, fleet, severed=change.severed)
        if users.is_structural(operation.payload):
            outcome = await settle(lease, fleet)
            if not isinstance(outcome, Done):
                return Requeue(after_s=RETRY_S, reason=repr(outcome))
    except NodeUnreachable as error:
        return Requeue(after_s=RETRY_S, reason=str(error))
    except CommandRefused as error:
        failure = str(error)
        log.warning("access_refused", subject=record.settings.name, reason=failure)
    await _conclude(operation, lease, record, fleet, failure=failure)
    return Done("all nodes have the users") if failure is None else GiveUp(failure)


async def _conclude(
    operation: Operation,
    lease: Lease,
    record: SubjectRecord | None,
    fleet: Fleet,
    *,
    failure: str | None,
) -> None:
    async with fleet.store.begin(lease.scope) as tx:
        await leases.require(tx, lease, holder=fleet.holder)
        await users.conclude_change(tx, operation.id, Change.of(operation.payload))
        if failure is None and not users.is_structural(operation.payload):
            return  # nothing but the users was on its way
        fresh = await load_subject(tx, lease)
        if fresh is not None and fresh.group is not None:
            group = fresh.group
            if operation.payload.get("attachment"):
                group.pending = {k: v for k, v in group.pending.items() if k != "UserGroups"}
            if failure is not None:
                tx.emit(GROUP, group.name, f"Failed to apply user access: {failure}")
    if record is not None and (failure is not None or users.is_structural(operation.payload)):
        await conclude(record, fleet, operation_id=operation.id)
