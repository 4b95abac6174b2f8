"""Keeps replicas that should not be read from out of the reader endpoint, and roles on record.

The primary knows best: it lists who is in sync and how long ago each was heard of. A replica that
loads, that is being sent a full copy, or that lags, serves old data or none; it comes back by
itself once it has caught up. Where the primary does not answer, nothing changes.

A primary that says it is none was deposed by its cluster, while nobody here decided it: its subject
is settled, which learns who is primary now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import Endpoint, NodeRole, ReplicationView
from cachefleet.provisioner.drivers.base import LaunchFailed
from cachefleet.provisioner.reconciler.endpoints import Endpoints
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.loop import SYSTEM_SCOPE, Provisioner
from cachefleet.provisioner.reconciler.records import own_endpoint
from cachefleet.provisioner.state import lifecycle, operations
from cachefleet.provisioner.state.tables import CacheNode, NodeGroup

log = structlog.get_logger(__name__)

CHECK_EVERY_S = 2.0
LAG_S_MAX = 10  # replicas report every second; this long without a word is no hiccup


def unfit(view: ReplicationView, replicas: Sequence[Endpoint]) -> set[Endpoint]:
    """Return those of *replicas* that clients should not be led to, by their primary's account."""
    fit = {
        link.endpoint
        for link in view.replicas
        if link.state == "online" and (link.lag_s is None or link.lag_s <= LAG_S_MAX)
    }
    return set(replicas) - fit


class ReaderWatch:
    """Looks at every shard with replicas from time to time."""

    def __init__(self, fleet: Fleet, provisioner: Provisioner, endpoints: Endpoints) -> None:
        self._fleet = fleet
        self._provisioner = provisioner
        self._endpoints = endpoints
        self._is_owed = False  # the gateway has yet to be told

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            try:
                await self.look()
            except (DBAPIError, LaunchFailed, NodeUnreachable) as error:
                log.warning("readers_not_checked", reason=str(error))

    async def look(self) -> None:
        """Compare once, and tell the gateway where something changed."""
        found: set[str] = set()
        for shard in await self._shards():
            found |= await self._unfit(shard)
        if found != self._fleet.unfit_readers:
            log.warning("readers_changed", unfit=sorted(found))
            self._fleet.unfit_readers = found
            self._is_owed = True
        if self._is_owed:
            await self._endpoints.sync()
            self._is_owed = False

    async def _shards(self) -> list[list[CacheNode]]:
        held = self._provisioner.leases
        query = select(CacheNode).where(
            CacheNode.status == lifecycle.NODE_AVAILABLE,
            CacheNode.role.is_not(None),
        )
        shards: dict[str | None, list[CacheNode]] = {}
        async with self._fleet.store.read(SYSTEM_SCOPE) as tx:
            nodes = (await tx.session.scalars(query)).all()
            self._fleet.replicas = {node.uid for node in nodes if node.role == NodeRole.REPLICA}
            for node in nodes:
                if node.subject_uid in held and node.node_group_uid is not None:
                    shards.setdefault(node.node_group_uid, []).append(node)
        return [shard for shard in shards.values() if len(shard) > 1]

    async def _follows(self, primary: CacheNode) -> bool:
        """Tell whether a shard's primary is another shard's replica, as its record wants it."""
        async with self._fleet.store.read(SYSTEM_SCOPE) as tx:
            shard = await tx.session.get(NodeGroup, primary.node_group_uid)
            return shard is not None and shard.upstream is not None

    async def _learn(self, primary: CacheNode) -> None:
        lease = self._provisioner.leases.get(primary.subject_uid)
        if lease is None or await self._follows(primary):
            return
        log.warning("primary_deposed", node=primary.member_name)
        async with self._fleet.store.begin(lease.scope) as tx:
            await operations.ensure_settle(tx, lease)

    async def _unfit(self, shard: Sequence[CacheNode]) -> set[str]:
        by_endpoint = {own_endpoint(n): n.uid for n in shard if n.role == NodeRole.REPLICA}
        primary = next((node for node in shard if node.role == NodeRole.PRIMARY), None)
        before = {uid for uid in by_endpoint.values() if uid in self._fleet.unfit_readers}
        if primary is None or primary.uid not in self._fleet.watched:
            return before
        try:
            view = await self._fleet.valkey(primary).replication()
        except (NodeUnreachable, CommandRefused):
            return before
        if view.role is not NodeRole.PRIMARY:
            await self._learn(primary)
            return before
        if primary.bus_port is not None:
            return set()  # in cluster mode there is no reader endpoint
        return {by_endpoint[endpoint] for endpoint in unfit(view, list(by_endpoint))}
