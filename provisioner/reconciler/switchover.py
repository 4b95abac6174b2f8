"""Hand a primary's role to one of its replicas, without losing a write that was acknowledged.

The engine does it: ``FAILOVER TO`` (cluster mode: ``CLUSTER FAILOVER``) holds writes back until
the replica has every byte, then swaps the roles. Clients of the primary endpoint are led away
first, so that none of them is told that its primary is a replica now: they connect once more, and
find the new one. The record learns the outcome from the engines; a crash at any point leaves
nothing to undo, and the next pass gives the endpoint to whoever is primary.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import NodeRole
from cachefleet.provisioner.reconciler.failover import (
    ensure_primaries,
    learn_primary,
    release_endpoint,
)
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.observe import wanted_binds
from cachefleet.provisioner.reconciler.records import (
    SubjectRecord,
    own_endpoint,
    reload_subject,
)
from cachefleet.provisioner.state.tables import CacheNode

SWITCHOVER_TIMEOUT_S = 10.0
POLL_S = 0.001  # clients wait for what is polled

_Question = Callable[[CacheNode, CacheNode, Fleet], Awaitable[bool]]


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
        await _risen(successor, primary, fleet)
        return await ensure_primaries(record, fleet)
    await _in_sync(successor, fleet)
    await release_endpoint(primary, record, fleet)
    try:
        await fleet.valkey(primary).failover_to(
            own_endpoint(successor), timeout_ms=int(SWITCHOVER_TIMEOUT_S * 1000)
        )
        await _risen(successor, primary, fleet)
    except CommandRefused:
        await fleet.valkey(primary).set_binds(
            wanted_binds(primary, record, fleet, configuration_holder=None)
        )
        raise
    await learn_primary(primary, successor, record, fleet)
    return await reload_subject(record, fleet.store)


async def _in_sync(successor: CacheNode, fleet: Fleet) -> None:
    """Return once the replica follows: clients are not led away to wait for a full copy."""
    await _until(_follows, successor, successor, fleet, what="follow")


async def _risen(successor: CacheNode, primary: CacheNode, fleet: Fleet) -> None:
    """Return once both sides agree that the roles have been swapped."""
    await _until(_swapped, successor, primary, fleet, what="take over")


async def _follows(successor: CacheNode, _: CacheNode, fleet: Fleet) -> bool:
    view = await fleet.valkey(successor).replication()
    return view.role is NodeRole.REPLICA and view.link_up and not view.sync_in_progress


async def _swapped(successor: CacheNode, primary: CacheNode, fleet: Fleet) -> bool:
    risen, stood_down = await asyncio.gather(
        fleet.valkey(successor).replication(), fleet.valkey(primary).replication()
    )
    return risen.role is NodeRole.PRIMARY and stood_down.role is NodeRole.REPLICA


async def _until(
    true: _Question, successor: CacheNode, primary: CacheNode, fleet: Fleet, *, what: str
) -> None:
    try:
        async with asyncio.timeout(SWITCHOVER_TIMEOUT_S):
            while not await _answered(true, successor, primary, fleet):
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise CommandRefused(
            f"{successor.member_name} did not {what} within {SWITCHOVER_TIMEOUT_S:g} s"
        ) from None


async def _answered(
    true: _Question, successor: CacheNode, primary: CacheNode, fleet: Fleet
) -> bool:
    try:
        return await true(successor, primary, fleet)
    except NodeUnreachable:
        return False
