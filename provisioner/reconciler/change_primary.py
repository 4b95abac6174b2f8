"""Carry out the two operations that give a shard another primary on request.

``test_failover`` ends the primary's process, as hard as a real loss, and leaves the rest to what
deals with real losses. ``switch_over`` hands the role over in order.
"""

from __future__ import annotations

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import NodeRole
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.outcomes import Done, Outcome, Requeue
from cachefleet.provisioner.reconciler.records import load_subject
from cachefleet.provisioner.reconciler.settle import settle
from cachefleet.provisioner.reconciler.switchover import switch_over
from cachefleet.provisioner.state import leases
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.tables import Operation, ReplicationGroup

RETRY_S = 1.0


async def end_primary(operation: Operation, lease: Lease, fleet: Fleet) -> Outcome:
    """Kill the node that was primary when the test was asked for, once.

    The payload names it: when the record has another primary by now, the test has happened.
    """
    async with fleet.store.read(lease.scope) as tx:
        record = await load_subject(tx, lease)
    if record is None:
        return Done("it is gone")
    uid = operation.payload["primary_uid"]
    for node in record.live_nodes:
        if node.uid == uid and node.role == NodeRole.PRIMARY and not node.recovering:
            await fleet.driver.kill(node.uid)
            return Requeue(after_s=RETRY_S, reason="the primary was ended")
    return Done("the shard has another primary")


async def change_primary(operation: Operation, lease: Lease, fleet: Fleet) -> Outcome:
    """Hand the primary's role to the member that the payload names, then settle."""
    async with fleet.store.read(lease.scope) as tx:
        record = await load_subject(tx, lease)
    if record is None:
        return Done("it is gone")
    wanted, refusal = operation.payload["cache_cluster_id"], None
    successor = next((node for node in record.live_nodes if node.member_name == wanted), None)
    if successor is not None:
        try:
            await switch_over(record, successor, fleet)
        except NodeUnreachable as error:
            return Requeue(after_s=RETRY_S, reason=str(error))
        except CommandRefused as error:
            refusal = str(error)
    async with fleet.store.begin(lease.scope) as tx:
        await leases.require(tx, lease, holder=fleet.holder)
        group = await tx.session.get(ReplicationGroup, lease.subject_uid)
        assert group is not None, "the lease is held, so the group is there"
        group.pending = {k: v for k, v in group.pending.items() if k != "PrimaryClusterId"}
        if refusal is not None:
            tx.emit("replication-group", group.name, f"Failed to promote {wanted}: {refusal}")
    return await settle(lease, fleet, operation_id=operation.id)
