"""What is copied of a node for a snapshot: of each engine, how, and whether it can be now."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from cachefleet.engine.errors import CommandRefused, EngineError, NodeUnreachable
from cachefleet.engine.memcached.copying import copy_items
from cachefleet.engine.types import Engine, NodeRole
from cachefleet.engine.valkey.copying import CopyHandle, copy_data
from cachefleet.provisioner.reconciler.fleet import ADMIN_USER, Fleet
from cachefleet.provisioner.snapshots.shards import Pull
from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.tables import CacheNode

CATCH_UP_S = 5.0  # that a replica has to get to where its primary was
LOOK_S = 0.01


class NoCopies(EngineError):
    """The engine that runs here gives no copy of its data; trying again would change nothing."""


async def written_so_far(primaries: Sequence[CacheNode], engine: Engine, fleet: Fleet) -> int:
    """Return how far a shard's stream of writes is; 0 where no primary says so."""
    if engine is Engine.MEMCACHED:
        return 0
    for node in primaries:
        with contextlib.suppress(NodeUnreachable, CommandRefused):
            return (await fleet.valkey(node).replication()).offset
    return 0


async def is_copyable(
    node: CacheNode,
    engine: Engine,
    fleet: Fleet,
    *,
    written: int = 0,
    catch_up_s: float = CATCH_UP_S,
) -> bool:
    """Tell whether a node can be copied now; a replica once it has all that was *written*.

    A replica that does not get so far soon is no source: its primary is.

    Raises:
        NoCopies: it never can.
    """
    if engine is Engine.MEMCACHED and fleet.stock_memcached:
        raise NoCopies("a stock memcached gives no copy of its items")
    if node.status == lifecycle.NODE_CREATING or await fleet.driver.find(node.uid) is None:
        return False
    try:
        if engine is Engine.MEMCACHED:
            await fleet.memcached(node).ping()
            return True
        for _ in range(round(catch_up_s / LOOK_S)):
            view = await fleet.valkey(node).replication()
            if view.loading:
                return False
            if view.role is NodeRole.PRIMARY:
                return True
            if not view.link_up or view.sync_in_progress:
                return False
            if view.offset >= written:
                return True
            await asyncio.sleep(LOOK_S)
    except (NodeUnreachable, CommandRefused):
        return False
    return False


async def data_bytes(node: CacheNode, engine: Engine, fleet: Fleet) -> int:
    """Return about how much data a node has.

    Raises:
        NodeUnreachable, CommandRefused: it does not say.
    """
    if engine is Engine.MEMCACHED:
        return int((await fleet.memcached(node).stats()).get("bytes", "0"))
    info = await fleet.valkey(node).info("memory")
    return int(info.get("used_memory_dataset", 0))


async def count_keys(node: CacheNode, engine: Engine, fleet: Fleet) -> int:
    """Return how many keys a node has, by its own count.

    Raises:
        NodeUnreachable, CommandRefused: it does not say.
    """
    if engine is Engine.MEMCACHED:
        return int((await fleet.memcached(node).stats()).get("curr_items", "0"))
    keyspace = await fleet.valkey(node).info("keyspace")
    counts = [dict(p.split("=") for p in value.split(",")) for value in keyspace.values()]
    return sum(int(count["keys"]) for count in counts)


def pull_from(node: CacheNode, engine: Engine, fleet: Fleet, handle: CopyHandle) -> Pull:
    """Return what gives the parts of a copy of a node's data; blocking, for a thread."""
    socket_path = str(fleet.driver.socket_path(node.uid))
    if engine is Engine.MEMCACHED:
        return lambda take: copy_items(socket_path, take=take, handle=handle)
    return lambda take: copy_data(
        socket_path, username=ADMIN_USER, password=node.admin_secret, take=take, handle=handle
    )
