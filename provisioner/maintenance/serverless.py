"""Serverless caches grow with their data: they get shards before those they have are full.

Whoever holds the lease of what stands behind a cache looks after it. How many shards there are to
be is decided in :mod:`cachefleet.provisioner.planning.serverless`; the slots are moved by the same
operation that moves them for everybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import NodeRole
from cachefleet.provisioner.planning.serverless import Limits, node_memory_bytes, shards_wanted
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.state import leases, lifecycle, serverless
from cachefleet.provisioner.state.errors import Stale
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.serverless_tables import ServerlessCache
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheNode, ReplicationGroup

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 2.0
EVERYTHING = Scope("", "")

Held = Callable[[], Mapping[str, Lease]]


class ServerlessGrowth:
    """Runs until cancelled. *held* tells which subjects are ours at the moment."""

    def __init__(self, fleet: Fleet, *, held: Held) -> None:
        self._fleet = fleet
        self._held = held
        self._full: set[str] = set()  # those that were to grow when they were last looked at

    async def run(self) -> None:
        """Look again and again. A database that is away is asked at the next look."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except (DBAPIError, Stale) as error:
                log.warning("serverless_growth_postponed", reason=str(error))

    async def look(self) -> list[str]:
        """File shards where there are to be more; return the names of the caches."""
        held = self._held()
        async with self._fleet.store.read(EVERYTHING) as tx:
            caches = await _growing(tx)
            found = [
                (cache, group, _primaries(group))
                for cache in caches
                if cache.backing_uid in held
                and not cache.migration  # it has the shards of its source
                and isinstance(group := await serverless.backing_of(tx, cache), ReplicationGroup)
                and group.status == lifecycle.AVAILABLE
            ]
        grown = []
        full: set[str] = set()
        for cache, group, primaries in found:
            used = await self._used_bytes(primaries)
            if used is None or len(used) != len(group.node_groups):
                continue
            wanted = shards_wanted(self._limits(cache), used)
            if wanted > len(used):
                full.add(group.uid)
            # Seen twice: a moment's peak is not worth moving keys for.
            if group.uid not in full & self._full:
                continue
            if await self._grow(cache, held[group.uid], wanted):
                grown.append(cache.name)
        self._full = full
        return grown

    def _limits(self, cache: ServerlessCache) -> Limits:
        return Limits.of(cache.limits, gb_bytes=self._fleet.settings.serverless_gb_bytes)

    async def _used_bytes(self, primaries: list[CacheNode]) -> list[int] | None:
        """Return what each shard's data takes; None where one does not say."""
        try:
            told = await asyncio.gather(
                *(self._fleet.valkey(node).info("memory") for node in primaries)
            )
        except (NodeUnreachable, CommandRefused):
            return None
        return [data_bytes(info) for info in told]

    async def _grow(self, cache: ServerlessCache, lease: Lease, wanted: int) -> bool:
        async with self._fleet.store.begin(lease.scope) as tx:
            await leases.require(tx, lease, holder=self._fleet.holder)
            group = await tx.session.get(ReplicationGroup, lease.subject_uid, with_for_update=True)
            # It may have been changed, or asked to go, since it was looked at.
            if group is None or group.status != lifecycle.AVAILABLE:
                return False
            added = wanted - len(group.node_groups)
            if added <= 0:
                return False
            serverless.set_memory(group, node_memory_bytes(self._limits(cache), wanted))
            await serverless.add_shards(
                tx, group, added, zones=serverless.zones_of(group), token=""
            )
        log.info("serverless_cache_grows", cache=cache.name, shards=wanted)
        return True


def data_bytes(info: Mapping[str, str]) -> int:
    """Return what a node's data takes, by its ``INFO memory``. Pure.

    The engine's own difference of these two is unsigned: right after a start it can be enormous.
    """
    used, overhead = int(info.get("used_memory", "0")), int(info.get("used_memory_overhead", "0"))
    return max(0, used - overhead)


async def _growing(tx: Transaction) -> list[ServerlessCache]:
    query = select(ServerlessCache).where(
        ServerlessCache.status == lifecycle.AVAILABLE, ServerlessCache.engine != "memcached"
    )
    return list((await tx.session.scalars(query)).all())


def _primaries(group: ReplicationGroup) -> list[CacheNode]:
    nodes = [node for shard in group.node_groups for node in shard.nodes]
    return [
        node
        for node in nodes
        if node.role == NodeRole.PRIMARY and node.status == lifecycle.NODE_AVAILABLE
    ]
