"""Move slots between two primaries while clients read and write.

Valkey 9 moves them atomically (``CLUSTER MIGRATESLOTS``) and is only watched. Older engines move
key by key: the slot is marked on both sides, its keys are sent, its owner is changed; clients are
led by ASK and MOVED meanwhile. Both ways can be cut off anywhere and taken up again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from cachefleet.engine.errors import CommandRefused
from cachefleet.engine.types import Endpoint, SlotRange
from cachefleet.engine.valkey.adapter import ValkeyAdapter
from cachefleet.provisioner.planning.resharding import slots_of

log = structlog.get_logger(__name__)

ATOMIC_SINCE = (9, 0)
KEYS_PER_MIGRATE_MAX = 100
MIGRATION_TIMEOUT_S = 300.0
POLL_S = 0.01
MIGRATE_TIMEOUT_MS = 5_000
ENDED = frozenset({"success", "failed", "canceled", "cancelled"})


@dataclass(frozen=True, slots=True)
class Peer:
    """A primary that takes part in a move."""

    node_id: str
    endpoint: Endpoint
    adapter: ValkeyAdapter


async def move_atomically(source: Peer, target: Peer, ranges: Sequence[SlotRange]) -> None:
    """Have the engine move *ranges* as a whole; return once the target owns them.

    Raises:
        CommandRefused: it failed; the source still owns them.
        NodeUnreachable: it is not known how it ended.
    """
    await source.adapter.migrate_slots(ranges, target.node_id)
    try:
        async with asyncio.timeout(MIGRATION_TIMEOUT_S):
            while True:
                running = [
                    view
                    for view in await source.adapter.slot_migrations()
                    if view.state.lower() not in ENDED
                ]
                if not running:
                    break
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        await source.adapter.cancel_slot_migrations()
        raise CommandRefused(f"slots did not move within {MIGRATION_TIMEOUT_S:g} s") from None
    owned = await _owned(target)
    if not slots_of(ranges) <= owned:
        last = next(iter(await source.adapter.slot_migrations()), None)
        raise CommandRefused(f"slots were not moved: {last.message if last else 'no reason told'}")


async def move_key_by_key(
    source: Peer, target: Peer, ranges: Sequence[SlotRange], others: Sequence[Peer], *, login: Login
) -> None:
    """Move *ranges* slot by slot; every primary hears of the new owner.

    Raises:
        CommandRefused, NodeUnreachable: the slot under way stays marked, and can be taken up again.
    """
    for slot in sorted(slots_of(ranges)):
        await target.adapter.cluster_setslot(slot, "IMPORTING", source.node_id)
        await source.adapter.cluster_setslot(slot, "MIGRATING", target.node_id)
        while keys := await source.adapter.keys_in_slot(slot, KEYS_PER_MIGRATE_MAX):
            await source.adapter.migrate_keys(
                target.endpoint,
                keys,
                timeout_ms=MIGRATE_TIMEOUT_MS,
                username=login.username,
                password=login.password,
            )
        # The target first: should we die in between, it has the keys and says so.
        for peer in (target, source, *others):
            await peer.adapter.cluster_setslot(slot, "NODE", target.node_id)


@dataclass(frozen=True, slots=True)
class Login:
    """What the source says to the target to be let in."""

    username: str
    password: str


async def _owned(peer: Peer) -> set[int]:
    for node in await peer.adapter.cluster_nodes():
        if node.myself:
            return slots_of(node.slots)
    return set()
