"""End every node in order, so that its data is there at the next start."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import structlog
from sqlalchemy import select
from sqlalchemy.orm import joinedload

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import Engine
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.launch import keep_saved
from cachefleet.provisioner.reconciler.sealing import keep_sealed
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.tables import CacheNode

log = structlog.get_logger(__name__)

NODES_AT_ONCE_MAX = 8  # saving is the disk's work: more at once only makes each slower


OnNode = Callable[[int, int], None]  # nodes that have ended, of how many


def ignore_nodes(done: int, total: int) -> None:
    """Tell nobody."""


async def stop_nodes(fleet: Fleet, *, save: bool, on_node: OnNode = ignore_nodes) -> None:
    """End all nodes; with *save*, each writes its data first. A node that cannot is killed."""
    async with fleet.store.read(Scope("", "")) as tx:
        query = select(CacheNode).options(joinedload(CacheNode.cache_cluster))
        nodes = (await tx.session.scalars(query)).unique().all()
    slots = asyncio.Semaphore(NODES_AT_ONCE_MAX)
    ended = 0

    async def stop(node: CacheNode) -> None:
        nonlocal ended
        async with slots:
            await end_node(node, Engine(node.cache_cluster.engine), fleet, save=save)
        ended += 1
        on_node(ended, len(nodes))

    on_node(0, len(nodes))

    await asyncio.gather(*(stop(node) for node in nodes))


async def end_node(node: CacheNode, engine: Engine, fleet: Fleet, *, save: bool) -> None:
    """End one node's process by order; with *save*, its data is there at its next start."""
    fleet.watched.pop(node.uid, None)
    if await fleet.driver.find(node.uid) is None:
        return
    with fleet.ending_node(node.uid):
        if save:
            try:
                async with asyncio.timeout(fleet.settings.save_timeout_s):
                    await _save(node, engine, fleet)
            except (NodeUnreachable, CommandRefused, TimeoutError) as error:
                log.warning("node_not_saved", node=node.uid, reason=str(error))
        await fleet.forget(node.uid)
        await fleet.driver.kill(node.uid)


async def _save(node: CacheNode, engine: Engine, fleet: Fleet) -> None:
    if engine is Engine.MEMCACHED:
        if not fleet.stock_memcached:  # a stock one keeps nothing
            await fleet.memcached(node).save()
        return
    await fleet.valkey(node).shutdown(save=True)
    if not await fleet.driver.wait_gone(node.uid, timeout_s=fleet.settings.save_timeout_s):
        await fleet.driver.signal(node.uid, signal.SIGKILL)
        return
    directory = fleet.driver.directory(node.uid)
    if directory.is_symlink():  # in memory: what leaves it is sealed
        await keep_sealed(node, fleet)
    else:
        keep_saved(directory)
