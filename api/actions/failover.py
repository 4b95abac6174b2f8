"""The action that ends a shard's primary, so that customers can see what a failover does to them.

Nothing is put into another status: the group stays ``available``, as on the service.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func, select

from cachefleet.api import references
from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation.group_changes import require_available
from cachefleet.api.validation.replicas import primary_of, replicas_of
from cachefleet.api.views.replication_groups import replication_group_view
from cachefleet.provisioner.state import events
from cachefleet.provisioner.state.operations import OPEN_STATES, OperationKind
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import NodeGroup, Operation, ReplicationGroup

TESTS_PER_DAY_MAX = 15  # node groups an account may test in any 24 hours
TESTS_COUNTED = timedelta(hours=24)


@action("TestFailover")
async def test_failover(ctx: RequestContext, params: Params) -> Result:
    """File the end of a shard's primary."""
    async with ctx.begin() as tx:
        group = await tx.get(ReplicationGroup, params["ReplicationGroupId"], lock=True)
        shard = _find_shard(group, params["NodeGroupId"])
        require_available(group)
        _check_can_fail_over(group, shard)
        await _check_replaced(tx, group, shard)
        await _check_rate(tx)
        events.record(
            tx, ctx.catalog, "test_failover_called", group.name, shard=shard.node_group_id
        )
        tx.enqueue(
            OperationKind.TEST_FAILOVER,
            subject_uid=group.uid,
            payload={
                "node_group_id": shard.node_group_id,
                "primary_uid": primary_of(shard).uid,
            },
            token=ctx.request_id,
        )
        endpoints = await references.read_endpoints(tx, [group.uid])
        return {"ReplicationGroup": replication_group_view(group, endpoints=endpoints)}


def _find_shard(group: ReplicationGroup, wanted: str) -> NodeGroup:
    """Return the shard; it may be named with its group, as the service's examples do."""
    node_group_id = wanted.lower().removeprefix(f"{group.name}-")
    for shard in group.node_groups:
        if shard.node_group_id == node_group_id:
            return shard
    raise Fault(
        "NodeGroupNotFoundFault",
        f"Node group {wanted} is not in replication group {group.name}.",
    )


def _check_can_fail_over(group: ReplicationGroup, shard: NodeGroup) -> None:
    if group.automatic_failover != "enabled":
        raise _wrong_state(
            f"Automatic failover must be enabled on replication group {group.name} to test it."
        )
    if not replicas_of(shard):
        raise _wrong_state(
            f"Node group {shard.node_group_id} has no replica that could become the primary."
        )


async def _check_replaced(tx: Transaction, group: ReplicationGroup, shard: NodeGroup) -> None:
    """Refuse while the node that the last failover cost is not there again."""
    query = select(Operation).where(
        Operation.subject_uid == group.uid,
        Operation.kind == OperationKind.TEST_FAILOVER,
        Operation.state.in_(OPEN_STATES),
    )
    under_way = {
        operation.payload["node_group_id"] for operation in (await tx.session.scalars(query)).all()
    }
    recovering = any(node.recovering for node in shard.nodes)
    if recovering or shard.node_group_id in under_way:
        raise _wrong_state(
            f"The last failover of node group {shard.node_group_id} is not finished: a node is "
            "still being replaced."
        )


async def _check_rate(tx: Transaction) -> None:
    query = (
        select(func.count())
        .select_from(Operation)
        .where(
            Operation.account == tx.scope.account,
            Operation.kind == OperationKind.TEST_FAILOVER,
            Operation.created_at > tx.now - TESTS_COUNTED,
        )
    )
    if int(await tx.session.scalar(query) or 0) >= TESTS_PER_DAY_MAX:
        raise Fault(
            "APICallRateForCustomerExceededFault",
            f"Failover can be tested on at most {TESTS_PER_DAY_MAX} node groups in 24 hours.",
        )


def _wrong_state(message: str) -> Fault:
    return Fault("InvalidReplicationGroupStateFault", message)
