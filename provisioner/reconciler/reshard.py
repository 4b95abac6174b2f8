"""Carry out ``reshard``: make a group have the shards of its record, each with its share of slots.

New shards join without slots; slots move, as few as can be; shards that are to go are emptied and
then removed. Each pass reads who owns what from the engines, so one that was cut off anywhere, by
our end or a node's, goes on from what is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import structlog

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import NodeRole
from cachefleet.engine.valkey.cluster import format_slots
from cachefleet.engine.valkey.config import effective_maxmemory_bytes
from cachefleet.provisioner.planning.resharding import (
    SLOT_COUNT,
    SlotMove,
    plan_moves,
    ranges_of,
    side_by_side,
    slots_of,
)
from cachefleet.provisioner.reconciler.fleet import ADMIN_USER, Fleet
from cachefleet.provisioner.reconciler.outcomes import Done, GiveUp, Outcome, Requeue
from cachefleet.provisioner.reconciler.records import SubjectRecord, load_subject, own_endpoint
from cachefleet.provisioner.reconciler.settle import Permanent, converge, settle
from cachefleet.provisioner.reconciler.slot_moves import (
    ATOMIC_SINCE,
    Login,
    Peer,
    move_atomically,
    move_key_by_key,
)
from cachefleet.provisioner.state import leases, lifecycle
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.tables import CacheNode, Operation

log = structlog.get_logger(__name__)

RETRY_S = 1.0
ATTEMPTS_MAX = 20  # failures in a row of one operation before the layout stays as it is

Owned = Mapping[str, set[int]]  # by NodeGroupId


async def reshard(operation: Operation, lease: Lease, fleet: Fleet) -> Outcome:
    """Move slots until the wanted shards own them evenly; the payload names those to remove."""
    record = await _load(lease, fleet)
    if record is None or record.group is None:
        return Done("it is gone")
    removed = frozenset(operation.payload.get("remove", ()))
    try:
        record = await converge(record, fleet)
        if not await _fits(record, removed, fleet):
            return await _refuse(operation, record, fleet, "the data would not fit")
        while moves := plan_moves(await _owned(record, fleet), wanted=_wanted(record, removed)):
            await _tell_progress(record, moves, operation, fleet)
            await asyncio.gather(*(_move(move, record, fleet) for move in side_by_side(moves)))
    except (NodeUnreachable, CommandRefused) as error:
        if operation.attempt >= ATTEMPTS_MAX:
            return await _refuse(operation, record, fleet, str(error))
        return Requeue(after_s=RETRY_S, reason=str(error))
    except Permanent as error:
        return await _refuse(operation, record, fleet, str(error))
    await _write_layout(record, removed, fleet, failure=None)
    return await settle(lease, fleet, operation_id=operation.id)


def _wanted(record: SubjectRecord, removed: frozenset[str]) -> list[str]:
    assert record.group is not None
    return [
        shard.node_group_id
        for shard in record.group.node_groups
        if shard.node_group_id not in removed
    ]


def _primaries(record: SubjectRecord) -> dict[str, CacheNode]:
    """Return the primary of each shard, by NodeGroupId."""
    assert record.group is not None
    names = {shard.uid: shard.node_group_id for shard in record.group.node_groups}
    return {
        names[node.node_group_uid]: node
        for node in record.live_nodes
        if node.role == NodeRole.PRIMARY and node.node_group_uid in names
    }


async def _owned(record: SubjectRecord, fleet: Fleet) -> Owned:
    """Ask every primary what it owns.

    Raises:
        NodeUnreachable: one did not answer, or the answers are not whole yet; look again.
    """
    primaries = _primaries(record)
    replies = await asyncio.gather(
        *(fleet.valkey(node).cluster_nodes() for node in primaries.values())
    )
    owned = {
        shard: slots_of(next(peer.slots for peer in peers if peer.myself))
        for shard, peers in zip(primaries, replies, strict=True)
    }
    if sum(len(slots) for slots in owned.values()) != SLOT_COUNT:
        raise NodeUnreachable("the primaries do not agree yet on who owns what")
    return owned


async def _move(move: SlotMove, record: SubjectRecord, fleet: Fleet) -> None:
    primaries = _primaries(record)
    source, target = (_peer(primaries[shard], fleet) for shard in (move.source, move.target))
    log.info(
        "slots_moving",
        group=record.settings.name,
        source=move.source,
        target=move.target,
        slots=move.slot_count,
    )
    binary = fleet.inventory.choose(record.engine, record.settings.engine_version)
    if binary.kind.value == "valkey" and binary.version >= ATOMIC_SINCE:
        await move_atomically(source, target, move.ranges)
        return
    others = [
        _peer(node, fleet)
        for shard, node in primaries.items()
        if shard not in (move.source, move.target)
    ]
    login = Login(ADMIN_USER, primaries[move.target].admin_secret)
    await move_key_by_key(source, target, move.ranges, others, login=login)


def _peer(node: CacheNode, fleet: Fleet) -> Peer:
    return Peer(node.engine_node_id, own_endpoint(node), fleet.valkey(node))


async def _fits(record: SubjectRecord, removed: frozenset[str], fleet: Fleet) -> bool:
    """Tell whether what the removed shards hold has room in the others."""
    primaries = _primaries(record)
    if not removed & primaries.keys():
        return True
    node_type = fleet.catalog.node_type(record.settings.node_type)
    assert node_type is not None, record.settings.node_type
    limit = effective_maxmemory_bytes(node_type.maxmemory_bytes, fleet.effective_parameters(record))
    infos = await asyncio.gather(
        *(fleet.valkey(node).info("memory") for node in primaries.values())
    )
    used = {
        shard: int(info.get("used_memory_dataset", "0"))
        for shard, info in zip(primaries, infos, strict=True)
    }
    room = sum(max(0, limit - used[shard]) for shard in used if shard not in removed)
    return sum(used[shard] for shard in used if shard in removed) <= room


async def _tell_progress(
    record: SubjectRecord, moves: Sequence[SlotMove], operation: Operation, fleet: Fleet
) -> None:
    left = sum(move.slot_count for move in moves)
    async with fleet.store.begin(record.lease.scope) as tx:
        await leases.require(tx, record.lease, holder=fleet.holder)
        stored = await tx.session.get(Operation, operation.id)
        assert stored is not None, "the operation is running"
        total = max(int(stored.payload.get("total", 0)), left)
        stored.payload = {**stored.payload, "total": total}
        stored.progress = f"{total - left} of {total} slots have moved"
        fresh = await load_subject(tx, record.lease)
        assert fresh is not None, "the lease is held, so the subject is there"
        percentage = round(100.0 * (total - left) / total, 1)
        fresh.settings.pending = {
            **fresh.settings.pending,
            "Resharding": {"SlotMigration": {"ProgressPercentage": percentage}},
        }


async def _refuse(
    operation: Operation, record: SubjectRecord, fleet: Fleet, reason: str
) -> Outcome:
    """Leave the layout as far as it got; shards that own nothing go, and the event says why."""
    log.warning("resharding_given_up", group=record.settings.name, reason=reason)
    try:
        owned = await _owned(record, fleet)
    except (NodeUnreachable, CommandRefused) as error:
        return Requeue(after_s=RETRY_S, reason=str(error))
    empty = frozenset(shard for shard in _wanted(record, frozenset()) if not owned.get(shard))
    await _write_layout(record, empty, fleet, failure=reason)
    await settle(record.lease, fleet, operation_id=operation.id)
    return GiveUp(reason)


async def _write_layout(
    record: SubjectRecord, removed: frozenset[str], fleet: Fleet, *, failure: str | None
) -> None:
    owned = {} if failure and not record.live_nodes else await _owned(record, fleet)
    async with fleet.store.begin(record.lease.scope) as tx:
        await leases.require(tx, record.lease, holder=fleet.holder)
        fresh = await load_subject(tx, record.lease)
        assert fresh is not None, "the lease is held, so the subject is there"
        assert fresh.group is not None, "only groups have shards"
        gone = set()
        for shard in fresh.group.node_groups:
            shard.slots = format_slots(ranges_of(owned.get(shard.node_group_id, ())))
            if shard.node_group_id in removed:
                shard.status = lifecycle.DELETING
                gone.add(shard.uid)
        for cluster in fresh.clusters:
            for node in cluster.nodes:
                if node.node_group_uid in gone:
                    node.status = lifecycle.NODE_DELETING
                    cluster.status = lifecycle.DELETING
        fresh.group.pending = {
            key: value for key, value in fresh.group.pending.items() if key != "Resharding"
        }
        text = f"Resharding of replication group {fresh.group.name} "
        tx.emit(
            "replication-group",
            fresh.group.name,
            text + ("completed" if failure is None else f"failed: {failure}"),
        )


async def _load(lease: Lease, fleet: Fleet) -> SubjectRecord | None:
    async with fleet.store.read(lease.scope) as tx:
        return await load_subject(tx, lease)
