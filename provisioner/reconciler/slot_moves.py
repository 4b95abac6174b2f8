"""Move slots between two primaries while clients read and write.

Valkey 9 moves them atomically (``CLUSTER MIGRATESLOTS``) and is only watched. Older engines move
key by key: the slot is marked on both sides, its keys are sent, its owner is changed; clients are
led by ASK and MOVED meanwhile. Both ways can be cut off anywhere and taken up again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import ClusterNodeView, Endpoint, SlotRange
from cachefleet.engine.valkey.adapter import ValkeyAdapter
from cachefleet.provisioner.planning.resharding import claims_count, slots_of
from cachefleet.provisioner.reconciler.fleet import ADMIN_USER, Fleet
from cachefleet.provisioner.reconciler.milestones import Milestone, reached
from cachefleet.provisioner.reconciler.records import replication_endpoint
from cachefleet.provisioner.state.tables import CacheNode

log = structlog.get_logger(__name__)

ATOMIC_SINCE = (9, 0)
MIGRATION_TIMEOUT_S = 300.0
POLL_S = 0.01
EPOCHS_TIMEOUT_S = 20.0

KEYS_PER_LOOK_MAX = 64
# What one MIGRATE sends: the source serves nobody meanwhile, some 10 ms for this much.
BYTES_PER_MIGRATE_MAX = 4 * 1024 * 1024
VALUE_BYTES_MAX = 256 * 1024 * 1024  # the service does not move larger ones either
MIGRATE_TIMEOUT_MS = 5_000
# The engine writes and syncs its cluster file for every change of marks, and once for a batch of
# them.
SLOTS_OPEN_MAX = 16


class ValueTooBig(CommandRefused):
    """Slots hold values that are not moved; they stay where they are."""

    def __init__(self, slots: Collection[int]) -> None:
        limit_mb = VALUE_BYTES_MAX // (1024 * 1024)
        super().__init__(f"slots {sorted(slots)} hold values of more than {limit_mb} MB")
        self.slots = frozenset(slots)


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


def peer_of(node: CacheNode, fleet: Fleet) -> Peer:
    """Return a primary as a party to moves."""
    return Peer(
        node_id=node.engine_node_id,
        endpoint=replication_endpoint(node),
        adapter=fleet.valkey(node),
        login=Login(ADMIN_USER, node.admin_secret),
    )


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
    await _drop_leftovers(ranges, target)
    await source.adapter.migrate_slots(ranges, target.node_id)
    reached(Milestone.MIGRATION_BEGUN)
    if not await migrations_ended(source):
        await source.adapter.cancel_slot_migrations()
        raise CommandRefused(f"slots did not move within {MIGRATION_TIMEOUT_S:g} s")
    reached(Milestone.MIGRATION_ENDED)
    owned = await _owned(target)
    if not slots_of(ranges) <= owned:
        last = next(iter(await source.adapter.slot_migrations()), None)
        raise CommandRefused(f"slots were not moved: {last.message if last else 'no reason told'}")


async def _drop_leftovers(ranges: Sequence[SlotRange], target: Peer) -> None:
    """Delete what *target* has of slots that are not its own; Valkey 9.1 crashes over an import.

    A primary that took over from one that died before it told of slots it was given has their keys.
    """
    slots = sorted(slots_of(ranges) - await _owned(target))
    counts = await target.adapter.commands([("CLUSTER", "COUNTKEYSINSLOT", it) for it in slots])
    stale = [slot for slot, count in zip(slots, counts, strict=True) if int(count)]
    if stale:
        log.warning("leftovers_dropped", node=target.node_id, slots=stale)
        await target.adapter.commands([("CLUSTER", "FLUSHSLOT", slot, "SYNC") for slot in stale])


async def migrations_ended(peer: Peer, *, timeout_s: float = MIGRATION_TIMEOUT_S) -> bool:
    """Return True once no atomic migration runs on this node, or False after *timeout_s*."""
    try:
        async with asyncio.timeout(timeout_s):
            while any(view.runs for view in await peer.adapter.slot_migrations()):
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        return False
    return True


async def move_key_by_key(
    source: Peer, target: Peer, ranges: Sequence[SlotRange], others: Sequence[Peer]
) -> None:
    """Move *ranges* some slots at a time; every primary hears of the new owner.

    Raises:
        ValueTooBig: some slots cannot be moved and were put back; the others have moved.
        CommandRefused, NodeUnreachable: slots under way stay marked, and can be taken up again.
    """
    await until_claims_count(source, target, others)
    slots = sorted(slots_of(ranges))
    stuck: set[int] = set()
    for first in range(0, len(slots), SLOTS_OPEN_MAX):
        stuck |= await _move_batch(slots[first : first + SLOTS_OPEN_MAX], source, target, others)
    if stuck:
        raise ValueTooBig(stuck)


async def put_back(slots: Sequence[int], source: Peer, target: Peer) -> None:
    """Undo moves that were begun: the target's keys return to the source, which still owns them."""
    # Marked, the source would lead the keys that come back to where they come from.
    await source.adapter.commands([("CLUSTER", "SETSLOT", slot, "STABLE") for slot in slots])
    await target.adapter.commands(_setslot(slots, "NODE", source))
    await _send_keys(slots, target, source, imported=True)
    await target.adapter.commands([("CLUSTER", "SETSLOT", slot, "STABLE") for slot in slots])


async def readdress_imports(peers: Sequence[Peer]) -> None:
    """Tell primaries that import slots who owns those now, after a failover.

    An importing node does not listen to gossip about such slots. It keeps to the owner it knew, and
    once that one is back as a replica it takes the slots to be nobody's, and refuses them.
    """
    views = await asyncio.gather(*(_myself(peer) for peer in peers))
    owners = {
        slot: peer
        for peer, view in zip(peers, views, strict=True)
        if view is not None
        for slot in slots_of(view.slots)
    }
    for peer, view in zip(peers, views, strict=True):
        if view is None:
            continue
        commands = [
            ("CLUSTER", "SETSLOT", slot, "NODE", owners[slot].node_id)
            for slot, _ in view.importing
            if slot in owners and owners[slot] is not peer
        ]
        try:
            await peer.adapter.commands(commands)
        except (NodeUnreachable, CommandRefused) as error:
            # The next pass says it again, before it moves anything.
            log.info("imports_not_readdressed", node=peer.node_id, reason=str(error))


async def adopt_orphans(slots: Sequence[int], peers: Sequence[Peer]) -> None:
    """Give slots that no primary claims to the one that has their keys.

    A target that dies while it tells of slots it was given leaves such slots: the source has let go
    of them, and the target's successor has their keys but has not heard of it.
    """
    counts = await asyncio.gather(
        *(
            peer.adapter.commands([("CLUSTER", "COUNTKEYSINSLOT", slot) for slot in slots])
            for peer in peers
        )
    )
    given: dict[int, list[int]] = {}
    for number, slot in enumerate(slots):
        held = [int(counts[index][number]) for index in range(len(peers))]
        given.setdefault(held.index(max(held)), []).append(slot)
    for index, its in given.items():
        owner = peers[index]
        log.warning("orphaned_slots_adopted", node=owner.node_id, slots=its)
        # Whoever remembers a former owner believes the higher epoch.
        await owner.adapter.command("CLUSTER", "BUMPEPOCH")
        await owner.adapter.commands(_setslot(its, "NODE", owner))
        await _tell(its, owner, [peer for peer in peers if peer is not owner])


async def until_claims_count(source: Peer, target: Peer, others: Sequence[Peer]) -> None:
    """Return once what the target will claim of the source's slots counts with everybody.

    Primaries that began at once, or took over at once, have the same epoch and settle it among
    themselves, within seconds. A claim made before that is lost if the source dies with it.

    Raises:
        CommandRefused: they have not settled it in time; nothing was marked.
        NodeUnreachable: the source or the target does not answer.
    """
    try:
        async with asyncio.timeout(EPOCHS_TIMEOUT_S):
            while True:
                seen = await target.adapter.cluster_nodes()
                views = await asyncio.gather(*(_myself(peer) for peer in (source, target, *others)))
                owners = [view for view in views if view is not None]
                if not any(view.id == source.node_id for view in owners):
                    raise NodeUnreachable(f"{source.endpoint} does not say what its epoch is")
                if claims_count(source.node_id, seen, owners):
                    return
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise CommandRefused(
            f"primaries did not agree on epochs within {EPOCHS_TIMEOUT_S:g} s"
        ) from None


async def _move_batch(
    slots: Sequence[int], source: Peer, target: Peer, others: Sequence[Peer]
) -> set[int]:
    """Move some slots; return those that stay. The engine syncs its file once for a whole batch."""
    # The target first: the source leads clients there as soon as it is marked. Whose the slots are
    # it is told as well: what it knows may be of before a failover.
    await target.adapter.commands(
        _setslot(slots, "NODE", source) + _setslot(slots, "IMPORTING", source)
    )
    reached(Milestone.TARGET_MARKED)
    await source.adapter.commands(_setslot(slots, "MIGRATING", target))
    reached(Milestone.SOURCE_MARKED)
    stuck = await _send_keys(slots, source, target)
    reached(Milestone.KEYS_SENT)
    if stuck:
        await put_back(sorted(stuck), source, target)
    moved = [slot for slot in slots if slot not in stuck]
    # The target first again: should we die in between, it has the keys and says so.
    await target.adapter.commands(_setslot(moved, "NODE", target))
    reached(Milestone.TARGET_OWNS)
    await source.adapter.commands(_setslot(moved, "NODE", target))
    reached(Milestone.SOURCE_GAVE_UP)
    # The rest would hear by gossip, a little later.
    await _tell(moved, target, others)
    return stuck


async def _tell(slots: Sequence[int], owner: Peer, others: Sequence[Peer]) -> None:
    await asyncio.gather(
        *(peer.adapter.commands(_setslot(slots, "NODE", owner)) for peer in others)
    )


def _setslot(slots: Sequence[int], state: str, peer: Peer) -> list[tuple[str | int, ...]]:
    return [("CLUSTER", "SETSLOT", slot, state, peer.node_id) for slot in slots]


async def _send_keys(
    slots: Sequence[int], sender: Peer, receiver: Peer, *, imported: bool = False
) -> set[int]:
    """Send all keys of *slots*; return the slots with a value that is too big, left as they are.

    *imported*: the sender does not own them.
    """
    left, stuck = list(slots), set[int]()
    while left:
        keys_by_slot = await _keys(left, sender)
        keys_here = [key for keys in keys_by_slot.values() for key in keys]
        sizes = await _sizes(keys_here, sender, imported=imported)
        for slot, keys in keys_by_slot.items():
            if any(sizes[key] > VALUE_BYTES_MAX for key in keys):
                stuck.add(slot)
                continue
            for lot in lots(keys, sizes):
                await sender.adapter.migrate_keys(
                    receiver.endpoint,
                    lot,
                    timeout_ms=MIGRATE_TIMEOUT_MS,
                    username=receiver.login.username,
                    password=receiver.login.password,
                )
        left = [slot for slot in keys_by_slot if slot not in stuck]
    return stuck


async def _keys(slots: Sequence[int], peer: Peer) -> dict[int, list[bytes]]:
    """Return some keys of each slot that has any."""
    replies = await peer.adapter.commands(
        [("CLUSTER", "GETKEYSINSLOT", slot, KEYS_PER_LOOK_MAX) for slot in slots]
    )
    return {
        slot: [key.encode("utf-8", "surrogateescape") for key in keys]
        for slot, keys in zip(slots, replies, strict=True)
        if keys
    }


async def _sizes(keys: Sequence[bytes], peer: Peer, *, imported: bool) -> dict[bytes, int]:
    asking: list[tuple[str | bytes, ...]] = [("ASKING",)] if imported else []
    replies = await peer.adapter.commands(
        [words for key in keys for words in (*asking, ("MEMORY", "USAGE", key))]
    )
    replies = replies[len(asking) :: len(asking) + 1]
    return {key: int(size or 0) for key, size in zip(keys, replies, strict=True)}


def lots(keys: Sequence[bytes], sizes: Mapping[bytes, int]) -> Iterator[list[bytes]]:
    """Yield *keys* in lots that are sent at a time. Pure."""
    lot: list[bytes] = []
    filled = 0
    for key in keys:
        if lot and filled + sizes[key] > BYTES_PER_MIGRATE_MAX:
            yield lot
            lot, filled = [], 0
        lot.append(key)
        filled += sizes[key]
    if lot:
        yield lot


async def _owned(peer: Peer) -> set[int]:
    view = next(node for node in await peer.adapter.cluster_nodes() if node.myself)
    return slots_of(view.slots)


async def _myself(peer: Peer) -> ClusterNodeView | None:
    """Return what a node says of itself, or None where it does not answer."""
    try:
        return next(node for node in await peer.adapter.cluster_nodes() if node.myself)
    except NodeUnreachable:
        return None
