"""Give the lead to another region in cluster mode, where each shard is brought by a feed.

The order is: hold writes back in the old region, wait until the feeds have brought everything, take
the right to write from the old region's users, stop the feeds, give it to the new one's. A crash in
between leaves no region that writes, and the next pass goes on; at no instant can two write. The
old region goes on from where it was: what it has is what the new one has at the place where its
stream stands then.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import structlog

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import NodeRole
from cachefleet.provisioner.reconciler.access import ensure_access
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.records import LIVE, load_subject
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.tables import CacheNode, ReplicationGroup

log = structlog.get_logger(__name__)

HELD_MS_MAX = 10_000
POLL_S = 0.005  # clients wait for what is polled
CATCH_UP_TIMEOUT_S = 4.0
AWAY = (NodeUnreachable, CommandRefused)

Offsets = Mapping[str, int]  # by NodeGroupId
Starts = dict[str, dict[str, Any]]


@contextlib.asynccontextmanager
async def writes_held(group: ReplicationGroup | None, fleet: Fleet) -> AsyncIterator[Offsets]:
    """Hold writes back in *group* while the block lasts; give how far each shard's stream is.

    A shard that is lost holds nothing up and is left out: what it had is lost with it.
    """
    held: list[CacheNode] = []
    offsets: dict[str, int] = {}
    try:
        for shard, node in primaries_of(group).items():
            with contextlib.suppress(*AWAY):
                adapter = fleet.valkey(node)
                await adapter.command("CLIENT", "PAUSE", HELD_MS_MAX, "WRITE")
                held.append(node)
                offsets[shard] = (await adapter.replication()).offset
        yield offsets
    finally:
        for node in held:
            with contextlib.suppress(*AWAY):
                await fleet.valkey(node).command("CLIENT", "UNPAUSE")


async def caught_up(
    groups: Iterable[ReplicationGroup], offsets: Offsets, fleet: Fleet
) -> frozenset[str]:
    """Wait until the feeds of *groups* have brought everything up to *offsets*; say whose have."""
    waiting, done = {group.uid: group for group in groups}, set()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CATCH_UP_TIMEOUT_S):
            while waiting:
                status = await fleet.feeds.status()
                for uid, group in [*waiting.items()]:
                    if all(
                        shard.feed is not None
                        and (link := status.get(shard.feed["token"])) is not None
                        and link.applied >= offsets.get(shard.node_group_id, 0)
                        for shard in group.node_groups
                    ):
                        done.add(uid)
                        del waiting[uid]
                await asyncio.sleep(POLL_S)
    if waiting:
        log.warning("feeds_behind", groups=sorted(group.name for group in waiting.values()))
    return frozenset(done)


async def standing(group: ReplicationGroup, fleet: Fleet) -> Starts:
    """Return where the stream of each shard stands, for those who have what it has.

    Raises:
        NodeUnreachable, CommandRefused: a shard does not say.
    """
    starts: Starts = {}
    for shard, node in primaries_of(group).items():
        view = await fleet.valkey(node).replication()
        if view.role is not NodeRole.PRIMARY:
            raise NodeUnreachable(f"{node.member_name} is no primary")
        starts[shard] = {"replication_id": view.replid, "offset": view.offset}
    return starts


async def give_rights(group: ReplicationGroup, fleet: Fleet, *, lost_is_fine: bool) -> None:
    """Make who may write to *group* what its record says, now and not when it is settled.

    Raises:
        NodeUnreachable, CommandRefused: a node did not take it, and that is not fine.
    """
    lease = Lease(group.uid, group.resource, group.scope, epoch=0)
    async with fleet.store.read(group.scope) as tx:
        record = await load_subject(tx, lease)
    if record is None:
        return
    try:
        await ensure_access(record, fleet)
    except AWAY:
        if not lost_is_fine:
            raise


def primaries_of(group: ReplicationGroup | None) -> dict[str, CacheNode]:
    """Return the primary of each shard that has one, by NodeGroupId."""
    return {
        shard.node_group_id: node
        for shard in (group.node_groups if group is not None else ())
        for node in shard.nodes
        if node.role == NodeRole.PRIMARY and node.status in LIVE
    }
