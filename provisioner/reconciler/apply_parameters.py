"""Carry out ``apply_parameters``: a parameter group's new values reach the nodes that use it.

The short way beside a settling, because a change is to be in force within a second on any number
of nodes: nothing is started, nobody's role changes.
"""

from __future__ import annotations

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.provisioner.reconciler.access import ensure_access
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.outcomes import Done, GiveUp, Outcome, Requeue
from cachefleet.provisioner.reconciler.reconfigure import reconfigure
from cachefleet.provisioner.reconciler.records import SubjectRecord, load_subject
from cachefleet.provisioner.reconciler.settle import settle
from cachefleet.provisioner.state import events, leases
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.parameters import APPLYING, IN_SYNC
from cachefleet.provisioner.state.tables import Operation

RETRY_S = 1.0


async def apply_parameters(operation: Operation, lease: Lease, fleet: Fleet) -> Outcome:
    """Set what changed on every node, read it back, and say that the nodes are in sync."""
    async with fleet.store.read(lease.scope) as tx:
        record = await load_subject(tx, lease)
    if record is None:
        return Done("it is gone")
    if not all(node.uid in fleet.watched for node in record.live_nodes):
        # A node is down or not looked at yet: what mends that sets its parameters as well.
        outcome = await settle(lease, fleet, operation_id=operation.id)
        if not isinstance(outcome, Done):
            return outcome
    try:
        await reconfigure(record, fleet)
        await ensure_access(record, fleet)  # a parameter says which channels users have
    except NodeUnreachable as error:
        return Requeue(after_s=RETRY_S, reason=str(error))
    except CommandRefused as error:
        await _conclude(operation, record, fleet, failure=str(error))
        return GiveUp(str(error))
    await _conclude(operation, record, fleet, failure=None)
    return Done("all nodes have the values of the parameter group")


async def _conclude(
    operation: Operation, record: SubjectRecord, fleet: Fleet, *, failure: str | None
) -> None:
    async with fleet.store.begin(record.lease.scope) as tx:
        await leases.require(tx, record.lease, holder=fleet.holder)
        fresh = await load_subject(tx, record.lease)
        assert fresh is not None, "the lease is held, so the subject is there"
        for cluster in fresh.clusters:
            for node in cluster.nodes:
                if node.parameter_group_status == APPLYING:
                    node.parameter_group_status = IN_SYNC
            if failure is not None:
                tx.emit("cache-cluster", cluster.name, f"Failed to apply parameters: {failure}")
                continue
            for name in operation.payload.get("changed", ()):
                value = fresh.user_parameters.get(name)
                shown = "its default" if value is None else value
                events.record(
                    tx,
                    fleet.catalog,
                    "cluster_parameter_updated",
                    cluster.name,
                    name=name,
                    value=shown,
                )
