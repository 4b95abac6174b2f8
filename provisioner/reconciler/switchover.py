"""Hand a primary's role to one of its replicas, without losing a write that was acknowledged.

Writes are held back on the primary until the replica has every byte; then the replica is promoted
and the old primary follows it. This takes some milliseconds, where the engine's own failover on
request waits for its rounds, and in cluster mode for votes, and takes up to a second or fails.
Clients of the primary endpoint are led away first, so that none of them is told that its primary is
a replica now: they connect once more, and find the new one. In cluster mode they ask the engines.

If we die on the way: until the old primary follows, no client has been led to the new one, and the
next pass makes it a replica again; from then on the next pass learns who is primary. What is held
back is let go by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import NodeRole
from cachefleet.engine.valkey.adapter import ValkeyAdapter
from cachefleet.provisioner.reconciler.failover import (
    ensure_primaries,
    learn_primary,
    release_endpoint,
)
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.following import follow, lead
from cachefleet.provisioner.reconciler.observe import wanted_binds
from cachefleet.provisioner.reconciler.records import (
    SubjectRecord,
    reload_subject,
    replication_endpoint,
)
from cachefleet.provisioner.state.tables import CacheNode

log = structlog.get_logger(__name__)

SWITCHOVER_TIMEOUT_S = 10.0
# How long writes are held back at most, and until when a promotion may begin: the difference is
# more than a command takes, so that none is acknowledged by the old primary after its replica rose.
HELD_MS_MAX = 10_000
CATCH_UP_TIMEOUT_S = 4.0
POLL_S = 0.001  # clients wait for what is polled


async def switch_over(record: SubjectRecord, successor: CacheNode, fleet: Fleet) -> SubjectRecord:
    """Make *successor* the primary of its shard; return the record as it is afterwards.

    Raises:
        CommandRefused: the engines would not; nothing changed.
        NodeUnreachable: it is not known how it ended; the next settling finds out.
    """
    primary = record.shard_primary(successor)
    if primary is None or primary.uid == successor.uid:
        return record
    old, new = fleet.valkey(primary), fleet.valkey(successor)
    # Clients are not led away to wait for a full copy. Behind one, the primary sends nothing more
    # until the replica has reported, which takes it up to a second, though both call it in sync.
    offset = (await old.replication()).offset
    fleet.require_trusted(record.lease)
    await _until(lambda: _has(new, offset), f"{successor.member_name} is in sync")
    if record.cluster_enabled:
        await _swap_in_cluster(successor, primary, fleet)
        return await ensure_primaries(record, fleet)
    await release_endpoint(primary, record, fleet)
    try:
        await _swap(successor, primary, record, fleet)
    except CommandRefused:
        await old.set_binds(wanted_binds(primary, record, fleet, configuration_holder=None))
        raise
    await learn_primary(primary, successor, record, fleet)
    log.info("primary_switched", group=record.settings.name, primary=successor.member_name)
    return await reload_subject(record, fleet.store)


async def _swap(
    successor: CacheNode, primary: CacheNode, record: SubjectRecord, fleet: Fleet
) -> None:
    old, new = fleet.valkey(primary), fleet.valkey(successor)
    try:
        await _hold(old, new, successor)
        await lead(successor, record, fleet)
        # Before any client is led to the new primary: see above.
        await follow(primary, replication_endpoint(successor), record, fleet)
    finally:
        await old.command("CLIENT", "UNPAUSE")


async def _swap_in_cluster(successor: CacheNode, primary: CacheNode, fleet: Fleet) -> None:
    old, new = fleet.valkey(primary), fleet.valkey(successor)
    try:
        await _hold(old, new, successor)
    except CommandRefused:
        await old.command("CLIENT", "UNPAUSE")
        raise
    await new.cluster_takeover()
    # The old primary hears of it over the bus, at once. Should it not, what it would still take
    # would be lost: it stays held back until that is over by itself.
    await _until(lambda: _swapped(old, new), f"{successor.member_name} takes over")
    await old.command("CLIENT", "UNPAUSE")


async def _hold(old: ValkeyAdapter, new: ValkeyAdapter, successor: CacheNode) -> None:
    """Hold writes back on the old primary, and return once the new one has all that were taken."""
    await old.command("CLIENT", "PAUSE", HELD_MS_MAX, "WRITE")
    offset = (await old.replication()).offset
    caught_up = f"{successor.member_name} catches up"
    await _until(lambda: _has(new, offset), caught_up, timeout_s=CATCH_UP_TIMEOUT_S)


async def _has(replica: ValkeyAdapter, offset: int) -> bool:
    """Tell whether the replica follows and has everything up to *offset*."""
    view = await replica.replication()
    follows = view.role is NodeRole.REPLICA and view.link_up and not view.sync_in_progress
    return follows and view.offset >= offset


async def _swapped(old: ValkeyAdapter, new: ValkeyAdapter) -> bool:
    """Tell whether both sides agree that the roles have changed."""
    stood_down, risen = await asyncio.gather(old.replication(), new.replication())
    return risen.role is NodeRole.PRIMARY and stood_down.role is NodeRole.REPLICA


async def _until(
    true: Callable[[], Awaitable[bool]], what: str, *, timeout_s: float = SWITCHOVER_TIMEOUT_S
) -> None:
    """Ask until it is *true*; a node that does not answer is asked again.

    Raises:
        CommandRefused: it did not become true in time.
    """
    try:
        async with asyncio.timeout(timeout_s):
            while not await _answered(true):
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise CommandRefused(f"not within {timeout_s:g} s: {what}") from None


async def _answered(true: Callable[[], Awaitable[bool]]) -> bool:
    try:
        return await true()
    except NodeUnreachable:
        return False
