"""Carry out online migration: a group takes over the data of a server outside the fleet.

The primary of the group becomes a replica of the source; its own replicas follow it as ever, so the
group's endpoints stay where they are and answer reads, and writes with READONLY. In cluster mode an
engine follows nobody outside its cluster: there the feed worker applies the stream of each of the
source's primaries to the shard that has the same slots. The group is ``modifying`` until the
customer completes the migration, whatever happens to either side meanwhile: the engine itself, or
the worker, connects again. Nothing here remembers anything: what the group follows is in the
record, and every pass makes it so again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.outside import OutsideAccess
from cachefleet.engine.types import Endpoint, NodeRole, ReplicationView
from cachefleet.engine.valkey.source import ANYBODY, read_offset
from cachefleet.provisioner.planning.migration import is_in_sync, why_not_complete, why_not_fed
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.migration_sources import (
    SOURCE_TIMEOUT_S,
    SourceRefused,
    choose_sources,
)
from cachefleet.provisioner.reconciler.outcomes import Done, GiveUp, Outcome, Requeue
from cachefleet.provisioner.reconciler.records import (
    SubjectRecord,
    load_subject,
    reload_subject,
)
from cachefleet.provisioner.reconciler.settle import is_fed_now, settle
from cachefleet.provisioner.state import leases, lifecycle
from cachefleet.provisioner.state.ids import new_uid
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheNode, Operation, ReplicationGroup

log = structlog.get_logger(__name__)

GROUP = "replication-group"
LOOK_EVERY_S = 0.1
SYNC_TIMEOUT_S = 120.0  # then a migration that never was in sync is given up
CATCH_UP_TIMEOUT_S = 10.0
CATCH_UP_POLL_S = 0.02


async def test_migration(operation: Operation, lease: Lease, fleet: Fleet) -> Outcome:
    """Look at the source and say in an event whether it could be migrated; change nothing."""
    record = await _load(lease, fleet)
    if record is None:
        return Done("it is gone")
    refusal = None
    try:
        await choose_sources(record, _sources(operation), fleet)
    except SourceRefused as error:
        refusal = str(error)
    async with fleet.store.begin(lease.scope) as tx:
        group = await _group(tx, lease, fleet)
        if group.migration:
            group.migration = {}
            tx.emit(GROUP, group.name, _verdict(group.name, refusal))
    return await settle(lease, fleet, operation_id=operation.id)


async def start_migration(operation: Operation, lease: Lease, fleet: Fleet) -> Outcome:
    """Follow the source until the first copy is there; the group stays ``modifying``."""
    record = await _load(lease, fleet)
    if record is None:
        return Done("it is gone")
    assert record.group is not None, "only groups migrate"
    sources = _sources(operation)
    if not is_following(record):
        if not record.group.migration:
            return Done("it was ended")
        try:
            pairs = await choose_sources(record, sources, fleet)
        except SourceRefused as refusal:
            return await _give_up(operation, lease, fleet, str(refusal))
        if record.cluster_enabled and not record.is_fed:
            # Customers lose the right to write before anybody else writes.
            await _fence(lease, fleet)
            outcome = await settle(lease, fleet, operation_id=operation.id)
            if isinstance(outcome, Requeue):
                return outcome
        await _follow(record, pairs, fleet)
        log.info("migration_started", group=record.group.name, source=str(sources[0]))
    outcome = await settle(lease, fleet, operation_id=operation.id)
    if isinstance(outcome, Requeue):
        return outcome
    record = await reload_subject(record, fleet.store)
    assert record.group is not None
    phase = record.group.migration.get("phase")
    if phase != "starting":
        return Done(f"its phase is {phase}")
    if await _in_sync(record, fleet):
        await _note_in_sync(lease, fleet)
        return await settle(lease, fleet, operation_id=operation.id)
    waited_s = (fleet.clock.now() - operation.created_at).total_seconds()
    if waited_s > SYNC_TIMEOUT_S:
        reason = f"no full copy of {sources[0]} arrived within {SYNC_TIMEOUT_S:g} s"
        return await _give_up(operation, lease, fleet, reason)
    return Requeue(after_s=LOOK_EVERY_S, reason="the copy is on its way")


async def complete_migration(operation: Operation, lease: Lease, fleet: Fleet) -> Outcome:
    """Have the group lead again, once it has everything; by force with whatever it has."""
    record = await _load(lease, fleet)
    if record is None:
        return Done("it is gone")
    assert record.group is not None, "only groups migrate"
    force = bool(operation.payload.get("force"))
    if is_following(record):
        refusal = None if force else await incomplete(record, fleet)
        async with fleet.store.begin(lease.scope) as tx:
            group = await _group(tx, lease, fleet)
            if refusal is not None:
                _stay(tx, group, operation, refusal)
            else:
                lead(group)
                tx.emit(GROUP, group.name, f"Complete Migration successful for {group.name}")
        if refusal is not None:
            return GiveUp(refusal)
        log.info("migration_completed", group=record.group.name, force=force)
    return await settle(lease, fleet, operation_id=operation.id)


# -- the source ------------------------------------------------------------------------------------


def _sources(operation: Operation) -> list[Endpoint]:
    return [Endpoint(one["Address"], one["Port"]) for one in operation.payload["source"]]


def is_following(record: SubjectRecord) -> bool:
    """Tell whether any shard follows a server outside."""
    assert record.group is not None, "only groups migrate"
    return any(shard.upstream or shard.feed for shard in record.group.node_groups)


async def _in_sync(record: SubjectRecord, fleet: Fleet) -> bool:
    if record.is_fed:
        return await is_fed_now(record, fleet)
    for node in _primaries(record):
        upstream = record.upstream(node)
        try:
            view = await fleet.valkey(node).replication()
        except (NodeUnreachable, CommandRefused):
            return False
        if upstream is None or not is_in_sync(view, upstream.endpoint):
            return False
    return True


async def incomplete(
    record: SubjectRecord, fleet: Fleet, *, access: OutsideAccess = ANYBODY
) -> str | None:
    """Return what is missing still; waits a while for what is on its way."""
    replaced = {
        node.member_name
        for node in record.nodes
        if node.recovering or node.status != lifecycle.NODE_AVAILABLE
    }
    ends_at_s = fleet.clock.monotonic_s() + CATCH_UP_TIMEOUT_S
    goals: dict[Endpoint, int] = {}
    for at in _followed(record):
        try:
            goals[at] = await _goal(at, access)
        except (NodeUnreachable, CommandRefused):
            return f"the source at {at} does not answer"
    while True:
        try:
            if record.is_fed:
                links = await _links(record, goals, fleet)
                reason = why_not_fed(links, replaced=replaced)
            else:
                views = await _views(record, goals, fleet)
                reason = why_not_complete(views, replaced=replaced)
        except (NodeUnreachable, CommandRefused) as error:
            reason = str(error)
        if reason is None or fleet.clock.monotonic_s() > ends_at_s or replaced:
            return reason
        await asyncio.sleep(CATCH_UP_POLL_S)


def _followed(record: SubjectRecord) -> set[Endpoint]:
    """Return the servers outside that the group follows."""
    assert record.group is not None, "only groups migrate"
    found = set()
    for shard in record.group.node_groups:
        told = (shard.feed or {}).get("outside") or shard.upstream
        assert told is not None, "every shard follows"
        found.add(Endpoint(told["host"], told["port"]))
    return found


async def _views(
    record: SubjectRecord, goals: Mapping[Endpoint, int], fleet: Fleet
) -> list[tuple[ReplicationView, Endpoint, int]]:
    views = []
    for node in _primaries(record):
        upstream = record.upstream(node)
        assert upstream is not None, "every shard follows"
        view = await fleet.valkey(node).replication()
        views.append((view, upstream.endpoint, goals[upstream.endpoint]))
    return views


async def _links(
    record: SubjectRecord, goals: Mapping[Endpoint, int], fleet: Fleet
) -> list[tuple[Endpoint, int | None, int]]:
    assert record.group is not None, "only groups migrate"
    status, links = await fleet.feeds.status(), []
    for shard in record.group.node_groups:
        assert shard.feed is not None, "every shard is fed"
        at = Endpoint(shard.feed["outside"]["host"], shard.feed["outside"]["port"])
        link = status.get(shard.feed["token"])
        applied = link.applied if link is not None and link.streaming else None
        links.append((at, applied, goals[at]))
    return links


async def _goal(source: Endpoint, access: OutsideAccess) -> int:
    """Return how far the source's stream has got by now."""
    _, offset = await read_offset(source, timeout_s=SOURCE_TIMEOUT_S, access=access)
    return offset


def _primaries(record: SubjectRecord) -> list[CacheNode]:
    return [node for node in record.live_nodes if node.role == NodeRole.PRIMARY]


# -- the record ------------------------------------------------------------------------------------


async def _fence(lease: Lease, fleet: Fleet) -> None:
    async with fleet.store.begin(lease.scope) as tx:
        group = await _group(tx, lease, fleet)
        group.migration = {**group.migration, "fed": True}


async def _follow(record: SubjectRecord, pairs: Mapping[str, Endpoint], fleet: Fleet) -> None:
    """Write down whom each shard follows, by its uid; the next settling makes it so."""
    async with fleet.store.begin(record.lease.scope) as tx:
        group = await _group(tx, record.lease, fleet)
        for shard in group.node_groups:
            at = {"host": pairs[shard.uid].host, "port": pairs[shard.uid].port}
            if group.cluster_enabled:
                shard.feed = {"outside": at, "token": new_uid()}
            else:
                shard.upstream = {**at, "outside": True}
        tx.emit(GROUP, group.name, f"Migration of replication group {group.name} started")


async def _note_in_sync(lease: Lease, fleet: Fleet) -> None:
    async with fleet.store.begin(lease.scope) as tx:
        group = await _group(tx, lease, fleet)
        if group.migration.get("phase") != "starting":
            return
        group.migration = {**group.migration, "phase": "in-sync"}
        tx.emit(
            GROUP,
            group.name,
            f"Replication group {group.name} is in sync with the source of its migration",
        )


async def _give_up(operation: Operation, lease: Lease, fleet: Fleet, reason: str) -> Outcome:
    """End a migration that has not come about; the group leads again, with the data it then has."""
    async with fleet.store.begin(lease.scope) as tx:
        group = await _group(tx, lease, fleet)
        lead(group)
        tx.emit(GROUP, group.name, f"Migration failed for replication group {group.name}: {reason}")
    outcome = await settle(lease, fleet, operation_id=operation.id)
    return outcome if isinstance(outcome, Requeue) else GiveUp(reason)


def lead(group: ReplicationGroup) -> None:
    """Write down that the group follows nobody any more."""
    group.migration = {}
    for shard in group.node_groups:
        shard.upstream = shard.feed = None


def _stay(tx: Transaction, group: ReplicationGroup, operation: Operation, reason: str) -> None:
    """Go on migrating after a completion that came too soon; it can be asked for again."""
    phase = group.migration.get("phase_before", "starting")
    group.migration = {**group.migration, "phase": phase}
    tx.emit(
        GROUP, group.name, f"Complete Migration failed for replication group {group.name}: {reason}"
    )
    tx.enqueue(
        OperationKind.START_MIGRATION,
        subject_uid=group.uid,
        payload={"source": group.migration["source"]},
    )


def _verdict(name: str, refusal: str | None) -> str:
    if refusal is None:
        return f"Test Migration successful for replication group {name}"
    return f"Test Migration failed for replication group {name}: {refusal}"


async def _group(tx: Transaction, lease: Lease, fleet: Fleet) -> ReplicationGroup:
    await leases.require(tx, lease, holder=fleet.holder)
    group = await tx.session.get(ReplicationGroup, lease.subject_uid)
    assert group is not None, "the lease is held, so the group is there"
    return group


async def _load(lease: Lease, fleet: Fleet) -> SubjectRecord | None:
    async with fleet.store.read(lease.scope) as tx:
        return await load_subject(tx, lease)
