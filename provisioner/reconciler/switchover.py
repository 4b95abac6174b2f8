"""Hand a primary's role to one of its replicas, without losing a write that was acknowledged.

The engine does it: ``FAILOVER TO`` (cluster mode: ``CLUSTER FAILOVER``) holds writes back until
the replica has every byte, then swaps the roles. The record learns the outcome from the engines, as
it learns of a failover that happened while nobody looked; so a crash at any point leaves nothing to
undo.
"""

from __future__ import annotations

import asyncio

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import NodeRole
from cachefleet.provisioner.reconciler.failover import ensure_primaries
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.records import SubjectRecord, own_endpoint
from cachefleet.provisioner.state.tables import CacheNode

SWITCHOVER_TIMEOUT_S = 10.0
POLL_S = 0.002


async def switch_over(record: SubjectRecord, successor: CacheNode, fleet: Fleet) -> SubjectRecord:
    """Make *successor* the primary of its shard; return the record as it is afterwards.

    Raises:
        CommandRefused: the engines would not; nothing changed.
        NodeUnreachable: it is not known how it ended; the next settling finds out.
    """
    primary = record.shard_primary(successor)
    if primary is None or primary.uid == successor.uid:
        return record
    if record.cluster_enabled:
        await fleet.valkey(successor).cluster_failover()
    else:
        await fleet.valkey(primary).failover_to(
            own_endpoint(successor), timeout_ms=int(SWITCHOVER_TIMEOUT_S * 1000)
        )
    try:
        async with asyncio.timeout(SWITCHOVER_TIMEOUT_S):
            while not await _risen(successor, primary, fleet):
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise CommandRefused(
            f"{successor.member_name} did not take over within {SWITCHOVER_TIMEOUT_S:g} s"
        ) from None
    return await ensure_primaries(record, fleet)


async def _risen(successor: CacheNode, primary: CacheNode, fleet: Fleet) -> bool:
    """Tell whether both sides agree that the roles have been swapped."""
    try:
        risen = await fleet.valkey(successor).replication()
        stood_down = await fleet.valkey(primary).replication()
    except NodeUnreachable:
        return False
    return risen.role is NodeRole.PRIMARY and stood_down.role is NodeRole.REPLICA
