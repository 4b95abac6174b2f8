"""Move slots between two primaries while clients read and write.

Valkey 9 moves them atomically (``CLUSTER MIGRATESLOTS``) and is only watched. Older engines move
key by key: the slot is marked on both sides, its keys are sent, its owner is changed; clients are
led by ASK and MOVED meanwhile. Both ways can be cut off anywhere and taken up again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import structlog

from cachefleet.engine.errors import CommandRefused
from cachefleet.engine.types import Endpoint, SlotRange
from cachefleet.engine.valkey.adapter import ValkeyAdapter
from cachefleet.provisioner.planning.resharding import slots_of

log = structlog.get_logger(__name__)

ATOMIC_SINCE = (9, 0)
MIGRATION_TIMEOUT_S = 300.0
POLL_S = 0.01
ENDED = frozenset({"success", "failed", "canceled", "cancelled"})

KEYS_PER_LOOK_MAX = 100
# What one MIGRATE sends: the source serves nobody meanwhile, some 10 ms for this much.
BYTES_PER_MIGRATE_MAX = 4 * 1024 * 1024
VALUE_BYTES_MAX = 256 * 1024 * 1024  # the service does not move larger ones either
MIGRATE_TIMEOUT_MS = 5_000
SLOTS_MARKED_AT_ONCE = 32


class ValueTooBig(CommandRefused):
    """A slot holds a value that is not moved; the slot stays where it is."""

    def __init__(self, slot: int) -> None:
        limit_mb = VALUE_BYTES_MAX // (1024 * 1024)
        super().__init__(f"slot {slot} holds a value of more than {limit_mb} MB")
        self.slot = slot


@dataclass(frozen=True, slots=True)
class Login:
    """What another node says to be let in."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Peer:
    """A primary that takes part in a move, and how others get in there."""

    node_id: str
    endpoint: Endpoint
    adapter: ValkeyAdapter
    login: Login


async def moves_atomically(peer: Peer) -> bool:
    """Tell whether the engine moves slots as a whole by itself."""
    info = await peer.adapter.info("server")
    version = info.get("valkey_version", "0").split(".")
    return tuple(int(part) for part in version[:2] if part.isdecimal()) >= ATOMIC_SINCE


async def move_atomically(source: Peer, target: Peer, ranges: Sequence[SlotRange]) -> None:
    """Have the engine move *ranges* as a whole; return once the target owns them.

    Raises:
        CommandRefused: it failed; the source still owns them.
        NodeUnreachable: it is not known how it ended.
    """
    await source.adapter.migrate_slots(ranges, target.node_id)
    if not await migrations_ended(source):
        await source.adapter.cancel_slot_migrations()
        raise CommandRefused(f"slots did not move within {MIGRATION_TIMEOUT_S:g} s")
    owned = await _owned(target)
    if not slots_of(ranges) <= owned:
        last = next(iter(await source.adapter.slot_migrations()), None)
        raise CommandRefused(f"slots were not moved: {last.message if last else 'no reason told'}")


async def migrations_ended(peer: Peer, *, timeout_s: float = MIGRATION_TIMEOUT_S) -> bool:
    """Return True once no atomic migration runs on this node, or False after *timeout_s*."""
    try:
        async with asyncio.timeout(timeout_s):
            while any(
                view.state.lower() not in ENDED for view in await peer.adapter.slot_migrations()
            ):
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        return False
    return True


async def move_key_by_key(
    source: Peer, target: Peer, ranges: Sequence[SlotRange], others: Sequence[Peer]
) -> None:
    """Move *ranges* slot by slot; every primary hears of the new owner.

    Raises:
        ValueTooBig: a slot cannot be moved; it was put back, those before it have moved.
        CommandRefused, NodeUnreachable: the slot under way stays marked, and can be taken up again.
    """
    slots = sorted(slots_of(ranges))
    for first in range(0, len(slots), SLOTS_MARKED_AT_ONCE):
        batch = slots[first : first + SLOTS_MARKED_AT_ONCE]
        # Alone this mark changes nothing for clients; only slots one by one are opened.
        await target.adapter.commands(
            [("CLUSTER", "SETSLOT", slot, "IMPORTING", source.node_id) for slot in batch]
        )
        for index, slot in enumerate(batch):
            try:
                await _move_slot(slot, source, target)
            except ValueTooBig:
                await put_back(slot, source, target)
                await _close(batch[index + 1 :], target)
                await _tell(batch[:index], target, others)
                raise
        await _tell(batch, target, others)


async def put_back(slot: int, source: Peer, target: Peer) -> None:
    """Undo a move that was begun: the target's keys return to the source, which still owns them."""
    await _send_keys(slot, target, source)
    await _close([slot], target)
    await _close([slot], source)


async def _move_slot(slot: int, source: Peer, target: Peer) -> None:
    await source.adapter.cluster_setslot(slot, "MIGRATING", target.node_id)
    await _send_keys(slot, source, target)
    # The target first: should we die in between, it has the keys and says so.
    for peer in (target, source):
        await peer.adapter.cluster_setslot(slot, "NODE", target.node_id)


async def _send_keys(slot: int, sender: Peer, receiver: Peer) -> None:
    while keys := await sender.adapter.keys_in_slot(slot, KEYS_PER_LOOK_MAX):
        sizes = await sender.adapter.commands([("MEMORY", "USAGE", key) for key in keys])
        for chunk in chunks(keys, [int(size or 0) for size in sizes], slot=slot):
            await sender.adapter.migrate_keys(
                receiver.endpoint,
                chunk,
                timeout_ms=MIGRATE_TIMEOUT_MS,
                username=receiver.login.username,
                password=receiver.login.password,
            )


def chunks(keys: Sequence[bytes], sizes: Sequence[int], *, slot: int) -> Iterator[list[bytes]]:
    """Yield *keys* in lots that are sent at a time; pure.

    Raises:
        ValueTooBig: one of them is not moved at all; nothing was yielded.
    """
    if max(sizes, default=0) > VALUE_BYTES_MAX:
        raise ValueTooBig(slot)
    lot: list[bytes] = []
    filled = 0
    for key, size in zip(keys, sizes, strict=True):
        if lot and filled + size > BYTES_PER_MIGRATE_MAX:
            yield lot
            lot, filled = [], 0
        lot.append(key)
        filled += size
    if lot:
        yield lot


async def _close(slots: Sequence[int], peer: Peer) -> None:
    await peer.adapter.commands([("CLUSTER", "SETSLOT", slot, "STABLE") for slot in slots])


async def _tell(slots: Sequence[int], owner: Peer, others: Sequence[Peer]) -> None:
    """Tell the primaries that were not part of it; they would hear by gossip, a little later."""
    commands = [("CLUSTER", "SETSLOT", slot, "NODE", owner.node_id) for slot in slots]
    await asyncio.gather(*(peer.adapter.commands(commands) for peer in others))


async def _owned(peer: Peer) -> set[int]:
    for node in await peer.adapter.cluster_nodes():
        if node.myself:
            return slots_of(node.slots)
    return set()
