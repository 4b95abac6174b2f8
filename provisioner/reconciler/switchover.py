"""Hand a primary's role to one of its replicas, without losing a write that was acknowledged.

Writes are held back on the primary until the replica has every byte; then the replica is promoted
and the old primary follows it. This takes some milliseconds, where the engine's own ``FAILOVER``
waits for its rounds and takes a second. Clients of the primary endpoint are led away first, so that
none of them is told that its primary is a replica now: they connect once more, and find the new
one. In cluster mode, where clients ask the engines, the engines do it (``CLUSTER FAILOVER``).

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

log = structlog.get_logger(__name__)

SWITCHOVER_TIMEOUT_S = 10.0
# How long writes are held back at most, and until when a promotion may begin: the difference is
# more than a command takes, so that none is acknowledged by the old primary after its replica rose.
HELD_MS_MAX = 10_000
CATCH_UP_TIMEOUT_S = 4.0
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
        await _until(_swapped, successor, primary, fleet, what="take over")
        return await ensure_primaries(record, fleet)
    # Clients are not led away to wait for a full copy.
    await _until(_follows, successor, primary, fleet, what="follow")
    await release_endpoint(primary, record, fleet)
    try:
        await _swap(successor, primary, fleet)
    except CommandRefused:
        await fleet.valkey(primary).set_binds(
            wanted_binds(primary, record, fleet, configuration_holder=None)
        )
        raise
    await learn_primary(primary, successor, record, fleet)
    log.info("primary_switched", group=record.settings.name, primary=successor.member_name)
    return await reload_subject(record, fleet.store)


async def _swap(successor: CacheNode, primary: CacheNode, fleet: Fleet) -> None:
    old, new = fleet.valkey(primary), fleet.valkey(successor)
    began_s = fleet.clock.monotonic_s()
    await old.command("CLIENT", "PAUSE", HELD_MS_MAX, "WRITE")
    try:
        offset = (await old.replication()).offset
        while (await new.replication()).offset < offset:
            if fleet.clock.monotonic_s() - began_s > CATCH_UP_TIMEOUT_S:
                raise CommandRefused(
                    f"{successor.member_name} did not catch up within {CATCH_UP_TIMEOUT_S:g} s"
                )
            await asyncio.sleep(POLL_S)
        await new.promote()
        # Before any client is led to the new primary: see above.
        await old.follow(own_endpoint(successor))
    finally:
        await old.command("CLIENT", "UNPAUSE")


async def _follows(successor: CacheNode, primary: CacheNode, fleet: Fleet) -> bool:
    """Tell whether both sides call the replica in sync.

    After a full copy the primary sends nothing more until the replica has reported, which it does
    once a second.
    """
    below, above = await asyncio.gather(
        fleet.valkey(successor).replication(), fleet.valkey(primary).replication()
    )
    own = own_endpoint(successor)
    online = any(link.endpoint == own and link.state == "online" for link in above.replicas)
    return online and below.link_up and not below.sync_in_progress


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
