"""Carry out ``reshard``: make a group have the shards of its record, each with its share of slots.

New shards join without slots and become ``available``; slots move, as few as can be; shards that
are to go are emptied and then removed. A pass lasts some two seconds, and each reads who owns what
from the engines: one that was cut off anywhere, by our end or a node's, goes on from what is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Mapping, Sequence
from typing import Any

import structlog

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import ClusterNodeView, NodeRole
from cachefleet.engine.valkey.cluster import format_slots, parse_slots
from cachefleet.provisioner.planning.resharding import (
    SLOT_COUNT,
    ShardSlots,
    SlotMove,
    open_moves,
    plan_layout,
    plan_moves,
    ranges_of,
    side_by_side,
    slots_of,
    stale_marks,
)
from cachefleet.provisioner.reconciler.conclude import conclude_growth
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.functions import copy_functions
from cachefleet.provisioner.reconciler.memory import usable_bytes
from cachefleet.provisioner.reconciler.milestones import Milestone, reached
from cachefleet.provisioner.reconciler.outcomes import Done, GiveUp, Outcome, Requeue
from cachefleet.provisioner.reconciler.records import SubjectRecord, load_subject
from cachefleet.provisioner.reconciler.settle import Permanent, converge, settle
from cachefleet.provisioner.reconciler.slot_moves import (
    ValueTooBig,
    adopt_orphans,
    migrations_ended,
    move_atomically,
    move_key_by_key,
    moves_atomically,
    peer_of,
    put_back,
    readdress_imports,
)
from cachefleet.provisioner.state import events, leases, lifecycle
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheNode, NodeGroup, Operation

log = structlog.get_logger(__name__)

RETRY_S = 0.5
FAILURES_MAX = 40  # in a row, without a slot moved between them; then the layout stays as it is
PASS_S = 2.0  # then the claim is given back: others may look at the subject, progress is kept
AGREE_TIMEOUT_S = 2.0  # gossip tells of a new owner within a fraction of this
AGREE_POLL_S = 0.02

Shards = Mapping[str, ShardSlots]  # by NodeGroupId
Payload = dict[str, Any]


async def reshard(operation: Operation, lease: Lease, fleet: Fleet) -> Outcome:
    """Move slots until the wanted shards own them evenly.

    The payload names the shards to ``remove`` and those that were added for it (``add``); with a
    ``layout`` (slots by shard) they are to own exactly that.
    """
    record = await _load(lease, fleet)
    if record is None or record.group is None:
        return Done("it is gone")
    try:
        return await _pass(operation, record, fleet)
    except (NodeUnreachable, CommandRefused, TimeoutError) as error:
        reason = str(error) or "it took too long"
        if await _count_failure(operation, record, fleet) < FAILURES_MAX:
            return Requeue(after_s=RETRY_S, reason=reason)
        return await _give_up(operation, lease, fleet, reason)
    except Permanent as error:
        return await _give_up(operation, lease, fleet, str(error))


async def _pass(operation: Operation, record: SubjectRecord, fleet: Fleet) -> Outcome:
    lease, removed = record.lease, frozenset(operation.payload.get("remove", ()))
    housed = [node for node in _primaries(record).values() if node.host is not None]
    await readdress_imports([peer_of(node, fleet) for node in housed])
    async with asyncio.timeout(fleet.settings.create_timeout_s):
        record = await _open_new_shards(operation, await converge(record, fleet), fleet)
    await _end_what_was_begun(operation, record, fleet)
    shards = await _read_shards(record, fleet)
    if "total" not in operation.payload and not await _fits(record, removed, fleet):
        return await _give_up(operation, lease, fleet, "the data would not fit")
    ends_at_s = fleet.clock.monotonic_s() + PASS_S
    while moves := _moves(operation, shards, wanted=_wanted(record, removed)):
        await _tell_progress(operation, record, shards, moves, fleet)
        reached(Milestone.PROGRESS_WRITTEN)
        if fleet.clock.monotonic_s() > ends_at_s:
            return Requeue(after_s=0, reason=_progress(operation.payload))
        try:
            await _all([_move(move, record, fleet) for move in side_by_side(moves)])
        except ValueTooBig as refusal:
            await _leave(refusal.slots, operation, record, fleet)
        shards = await _read_shards(record, fleet)
    return await _conclude(operation, record, shards, fleet)


def _moves(operation: Operation, shards: Shards, *, wanted: Sequence[str]) -> list[SlotMove]:
    owned = {shard: view.owned for shard, view in shards.items()}
    stuck, layout = operation.payload.get("stuck", ()), operation.payload.get("layout")
    if layout is None:
        return plan_moves(owned, wanted=wanted, stuck=stuck)
    slots = {shard: slots_of(parse_slots(text)) for shard, text in layout.items()}
    return plan_layout(owned, slots, stuck=stuck)


# -- what is -----------------------------------------------------------------------------------


def _shard_names(record: SubjectRecord) -> dict[str, str]:
    """Return the NodeGroupId of each shard that stays or has yet to be emptied, by row."""
    assert record.group is not None
    return {
        shard.uid: shard.node_group_id
        for shard in record.group.node_groups
        if shard.status != lifecycle.DELETING
    }


def _wanted(record: SubjectRecord, removed: Collection[str]) -> list[str]:
    return [name for name in _shard_names(record).values() if name not in removed]


def _primaries(record: SubjectRecord) -> dict[str, CacheNode]:
    """Return the primary of each shard, by NodeGroupId."""
    names = _shard_names(record)
    return {
        names[node.node_group_uid]: node
        for node in record.live_nodes
        if node.role == NodeRole.PRIMARY and node.node_group_uid in names
    }


async def _read_shards(record: SubjectRecord, fleet: Fleet) -> Shards:
    """Ask every primary what it owns.

    Raises:
        NodeUnreachable: one did not answer, or they do not agree in time; look again. Slots that
            nobody claims have been given to those who have their keys by then.
    """
    primaries = _primaries(record)
    names = _shard_names(record)
    by_engine_id = {
        node.engine_node_id: names[node.node_group_uid]
        for node in record.nodes
        if node.node_group_uid in names
    }
    ends_at_s = fleet.clock.monotonic_s() + AGREE_TIMEOUT_S
    while True:
        replies = await asyncio.gather(
            *(fleet.valkey(node).cluster_nodes() for node in primaries.values())
        )
        shards = {
            shard: _shard_slots(next(peer for peer in peers if peer.myself), by_engine_id)
            for shard, peers in zip(primaries, replies, strict=True)
        }
        owned = [slot for view in shards.values() for slot in view.owned]
        if len(owned) == len(set(owned)) == SLOT_COUNT:
            return shards
        if fleet.clock.monotonic_s() > ends_at_s:
            break
        await asyncio.sleep(AGREE_POLL_S)
    orphans = sorted(set(range(SLOT_COUNT)) - set(owned))
    if orphans:
        await adopt_orphans(orphans, [peer_of(node, fleet) for node in primaries.values()])
    raise NodeUnreachable("the primaries do not agree on who owns what")


def _shard_slots(myself: ClusterNodeView, names: Mapping[str, str]) -> ShardSlots:
    return ShardSlots(
        owned=frozenset(slots_of(myself.slots)),
        migrating={slot: names[peer] for slot, peer in myself.migrating if peer in names},
        importing={slot: names.get(peer, "") for slot, peer in myself.importing},
    )


async def _fits(record: SubjectRecord, removed: Collection[str], fleet: Fleet) -> bool:
    """Tell whether what the removed shards hold has room in the others."""
    primaries = _primaries(record)
    if not set(removed) & primaries.keys():
        return True
    limit = usable_bytes(record, fleet)
    infos = await asyncio.gather(
        *(fleet.valkey(node).info("memory") for node in primaries.values())
    )
    used = {
        shard: int(info.get("used_memory_dataset", "0"))
        for shard, info in zip(primaries, infos, strict=True)
    }
    room = sum(max(0, limit - used[shard]) for shard in used if shard not in removed)
    return sum(used[shard] for shard in used if shard in removed) <= room


# -- what is done ------------------------------------------------------------------------------


async def _open_new_shards(
    operation: Operation, record: SubjectRecord, fleet: Fleet
) -> SubjectRecord:
    """Say that new shards are available, before they own a slot.

    From then on they are failed over like any other; a node that is being created is not, because
    it has nothing to lose.
    """
    added = frozenset(operation.payload.get("add", ()))
    if not added or operation.payload.get("opened"):
        return record
    primaries = _primaries(record)
    sources = [node for shard, node in primaries.items() if shard not in added]
    targets = [node for shard, node in primaries.items() if shard in added]
    await copy_functions(sources, targets, fleet)
    await fleet.sync_endpoints(record.lease.subject_uid)
    await conclude_growth(record, fleet)
    reached(Milestone.SHARDS_OPENED)
    await _remember(operation, record, fleet, {"opened": True})
    reloaded = await _load(record.lease, fleet)
    assert reloaded is not None, "the lease is held, so the subject is there"
    return reloaded


async def _end_what_was_begun(operation: Operation, record: SubjectRecord, fleet: Fleet) -> None:
    """Take up moves that were cut off: nothing new is planned over slots that are half moved."""
    peers = {shard: peer_of(node, fleet) for shard, node in _primaries(record).items()}
    if await moves_atomically(next(iter(peers.values()))):
        ended = await asyncio.gather(
            *(migrations_ended(peer, timeout_s=PASS_S) for peer in peers.values())
        )
        if not all(ended):
            raise NodeUnreachable("slots are still being moved")
        return
    shards = await _read_shards(record, fleet)
    for shard, slot in stale_marks(shards):
        await peers[shard].adapter.cluster_setslot(slot, "STABLE")
    for move in open_moves(shards):
        log.info("slot_taken_up", source=move.source, target=move.target)
        try:
            await _move(move, record, fleet)
        except ValueTooBig as refusal:
            await _leave(refusal.slots, operation, record, fleet)


async def _move(move: SlotMove, record: SubjectRecord, fleet: Fleet) -> None:
    primaries = _primaries(record)
    source, target = (peer_of(primaries[shard], fleet) for shard in (move.source, move.target))
    log.info(
        "slots_moving",
        group=record.settings.name,
        source=move.source,
        target=move.target,
        slots=move.slot_count,
    )
    if await moves_atomically(source) and await moves_atomically(target):
        await move_atomically(source, target, move.ranges)
        return
    others = [
        peer_of(node, fleet)
        for shard, node in primaries.items()
        if shard not in (move.source, move.target)
    ]
    await move_key_by_key(source, target, move.ranges, others)


async def _all(works: Sequence[Awaitable[None]]) -> None:
    """Run *works* side by side to their ends; then raise the first failure.

    None is left running behind: the next pass would meet it.
    """
    outcomes = await asyncio.gather(*works, return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if failures:
        raise next((f for f in failures if not isinstance(f, ValueTooBig)), failures[0])


# -- what is written down ----------------------------------------------------------------------


async def _tell_progress(
    operation: Operation,
    record: SubjectRecord,
    shards: Shards,
    moves: Sequence[SlotMove],
    fleet: Fleet,
) -> None:
    left = sum(move.slot_count for move in moves)
    payload = operation.payload
    total = max(int(payload.get("total", 0)), left)
    changes: Payload = {"total": total, "left": left}
    if left < int(payload.get("left", left)):
        changes["failures"] = 0
    percentage = round(100.0 * (total - left) / total, 1)
    async with fleet.store.begin(record.lease.scope) as tx:
        fresh = await _fresh(tx, record, fleet)
        await _note(tx, operation, changes)
        for shard in _node_groups(fresh):
            if shard.node_group_id in shards:
                shard.slots = _slots_text(shards[shard.node_group_id])
        fresh.settings.pending = {
            **fresh.settings.pending,
            "Resharding": {"SlotMigration": {"ProgressPercentage": percentage}},
        }


def _progress(payload: Payload) -> str:
    return f"{payload['total'] - payload['left']} of {payload['total']} slots have moved"


async def _leave(
    slots: Collection[int], operation: Operation, record: SubjectRecord, fleet: Fleet
) -> None:
    """Remember slots that cannot be moved, and go on with the others."""
    log.warning("slots_not_movable", group=record.settings.name, slots=sorted(slots))
    stuck = {*operation.payload.get("stuck", ()), *slots}
    await _remember(operation, record, fleet, {"stuck": sorted(stuck)})


async def _count_failure(operation: Operation, record: SubjectRecord, fleet: Fleet) -> int:
    failures = int(operation.payload.get("failures", 0)) + 1
    await _remember(operation, record, fleet, {"failures": failures})
    return failures


async def _remember(
    operation: Operation, record: SubjectRecord, fleet: Fleet, changes: Payload
) -> None:
    async with fleet.store.begin(record.lease.scope) as tx:
        await leases.require(tx, record.lease, holder=fleet.holder)
        await _note(tx, operation, changes)


async def _note(tx: Transaction, operation: Operation, changes: Payload) -> None:
    stored = await tx.session.get(Operation, operation.id)
    assert stored is not None, "the operation is running"
    stored.payload = {**stored.payload, **changes}
    operation.payload = stored.payload


async def _give_up(operation: Operation, lease: Lease, fleet: Fleet, reason: str) -> Outcome:
    """Leave the layout as far as it got; new shards that own nothing go, and the event says why."""
    record = await _load(lease, fleet)
    assert record is not None, "the lease is held, so the subject is there"
    log.warning("resharding_given_up", group=record.settings.name, reason=reason)
    try:
        await _put_back_what_was_begun(record, fleet)
        shards = await _read_served_shards(record, fleet)
    except (NodeUnreachable, CommandRefused) as error:
        return Requeue(after_s=RETRY_S, reason=str(error))
    await _write_layout(operation, record, shards, fleet, failure=reason)
    settled = await settle(lease, fleet, operation_id=operation.id)
    return settled if isinstance(settled, Requeue) else GiveUp(reason)


async def _put_back_what_was_begun(record: SubjectRecord, fleet: Fleet) -> None:
    primaries = _primaries(record)
    for move in open_moves(await _read_served_shards(record, fleet)):
        source, target = primaries[move.source], primaries[move.target]
        slots = sorted(slots_of(move.ranges))
        await put_back(slots, peer_of(source, fleet), peer_of(target, fleet))


async def _read_served_shards(record: SubjectRecord, fleet: Fleet) -> Shards:
    """Read all shards but those that never came up: they own nothing, and would not answer."""
    assert record.group is not None
    silent = {s.uid for s in record.group.node_groups if s.status == lifecycle.CREATING}
    served = [c for c in record.clusters if not any(n.node_group_uid in silent for n in c.nodes)]
    part = SubjectRecord(
        lease=record.lease,
        group=record.group,
        clusters=served,
        addresses=record.addresses,
        user_parameters=record.user_parameters,
    )
    return await _read_shards(part, fleet)


async def _conclude(
    operation: Operation, record: SubjectRecord, shards: Shards, fleet: Fleet
) -> Outcome:
    failure = None
    if operation.payload.get("stuck"):
        failure = f"values in {len(operation.payload['stuck'])} of the slots are too big to move"
    missing = set(operation.payload.get("add", ())) - shards.keys()
    if missing:
        failure = f"node groups {', '.join(sorted(missing))} could not be added"
    await _write_layout(operation, record, shards, fleet, failure=failure)
    reached(Milestone.LAYOUT_WRITTEN)
    settled = await settle(record.lease, fleet, operation_id=operation.id)
    return GiveUp(failure) if failure and isinstance(settled, Done) else settled


async def _write_layout(
    operation: Operation,
    record: SubjectRecord,
    shards: Shards,
    fleet: Fleet,
    *,
    failure: str | None,
) -> None:
    """Write who owns what, have empty shards go that were to go, and say how it ended, once."""
    removed, added = (set(operation.payload.get(name, ())) for name in ("remove", "add"))
    leaving = removed | added if failure else removed
    async with fleet.store.begin(record.lease.scope) as tx:
        fresh = await _fresh(tx, record, fleet)
        assert fresh.group is not None, "only groups have shards"
        before = len(fresh.group.node_groups) - len(added)
        gone = set()
        for shard in fresh.group.node_groups:
            view = shards.get(shard.node_group_id)
            shard.slots = "" if view is None else _slots_text(view)
            if shard.node_group_id in leaving and not shard.slots:
                shard.status = lifecycle.DELETING
                gone.add(shard.uid)
        for cluster in fresh.clusters:
            for node in cluster.nodes:
                if node.node_group_uid in gone:
                    node.status = lifecycle.NODE_DELETING
                    cluster.status = lifecycle.DELETING
        if "Resharding" not in fresh.group.pending:
            return  # a former attempt has written it and said so
        fresh.group.pending = {
            key: value for key, value in fresh.group.pending.items() if key != "Resharding"
        }
        name, after = fresh.group.name, len(fresh.group.node_groups) - len(gone)
        if failure is None:
            events.record(
                tx, fleet.catalog, "resharding_finished", name, rg=name, old=before, new=after
            )
        else:
            text = f"Failed to change the shards of replication group {name}: {failure}"
            tx.emit("replication-group", name, text)


def _slots_text(view: ShardSlots) -> str:
    return format_slots(ranges_of(view.owned))


def _node_groups(record: SubjectRecord) -> list[NodeGroup]:
    assert record.group is not None, "only groups have shards"
    return list(record.group.node_groups)


async def _fresh(tx: Transaction, record: SubjectRecord, fleet: Fleet) -> SubjectRecord:
    """Return the record as it is in *tx*, under a lease that is still ours."""
    await leases.require(tx, record.lease, holder=fleet.holder)
    fresh = await load_subject(tx, record.lease)
    assert fresh is not None, "the lease is held, so the subject is there"
    return fresh


async def _load(lease: Lease, fleet: Fleet) -> SubjectRecord | None:
    async with fleet.store.read(lease.scope) as tx:
        return await load_subject(tx, lease)
