"""Carry out online migration: a group takes over the data of a server outside the fleet.

The primary of the group becomes a replica of the source; its own replicas follow it as ever, so the
group's endpoints stay where they are and answer reads, and writes with READONLY. The group is
``modifying`` until the customer completes the migration, whatever happens to either side meanwhile:
the engine itself connects again. Nothing here remembers anything: what the group follows is in the
record, and every pass makes it so again.
"""

from __future__ import annotations

import asyncio

import structlog

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import Endpoint, NodeRole
from cachefleet.engine.valkey.config import effective_maxmemory_bytes
from cachefleet.engine.valkey.source import read_offset, read_source
from cachefleet.provisioner.planning.migration import (
    MigrationTarget,
    is_in_sync,
    refuse_source,
    why_not_complete,
)
from cachefleet.provisioner.reconciler.binaries import binary_for, dump_format, format_of
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.outcomes import Done, GiveUp, Outcome, Requeue
from cachefleet.provisioner.reconciler.records import (
    SubjectRecord,
    load_subject,
    own_endpoint,
    reload_subject,
)
from cachefleet.provisioner.reconciler.settle import settle
from cachefleet.provisioner.state import leases, lifecycle
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheNode, Operation, ReplicationGroup

log = structlog.get_logger(__name__)

GROUP = "replication-group"
LOOK_EVERY_S = 0.1
SOURCE_TIMEOUT_S = 3.0  # a server outside may be a network away
SYNC_TIMEOUT_S = 120.0  # then a migration that never was in sync is given up
CATCH_UP_TIMEOUT_S = 10.0
CATCH_UP_POLL_S = 0.02


async def test_migration(operation: Operation, lease: Lease, fleet: Fleet) -> Outcome:
    """Look at the source and say in an event whether it could be migrated; change nothing."""
    record = await _load(lease, fleet)
    if record is None:
        return Done("it is gone")
    refusal = await _refuse(record, _sources(operation), fleet)
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
    if not any(shard.upstream for shard in record.group.node_groups):
        if not record.group.migration:
            return Done("it was ended")
        refusal = await _refuse(record, sources, fleet)
        if refusal is not None:
            return await _give_up(operation, lease, fleet, refusal)
        await _follow(record, sources, fleet)
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
    if any(shard.upstream for shard in record.group.node_groups):
        refusal = None if force else await _incomplete(record, fleet)
        async with fleet.store.begin(lease.scope) as tx:
            group = await _group(tx, lease, fleet)
            if refusal is not None:
                _stay(tx, group, operation, refusal)
            else:
                _lead(group)
                tx.emit(GROUP, group.name, f"Complete Migration successful for {group.name}")
        if refusal is not None:
            return GiveUp(refusal)
        log.info("migration_completed", group=record.group.name, force=force)
    return await settle(lease, fleet, operation_id=operation.id)


# -- the source ------------------------------------------------------------------------------------


def _sources(operation: Operation) -> list[Endpoint]:
    return [Endpoint(one["Address"], one["Port"]) for one in operation.payload["source"]]


async def _refuse(record: SubjectRecord, sources: list[Endpoint], fleet: Fleet) -> str | None:
    """Ask the source, and return why it cannot be migrated."""
    at = sources[0]
    try:
        report = await read_source(at, timeout_s=SOURCE_TIMEOUT_S)
    except NodeUnreachable:
        return f"nothing that speaks the protocol answers at {at}"
    except CommandRefused as error:
        if error.code in ("NOAUTH", "WRONGPASS", "NOPERM"):
            return f"the source at {at} asks for a password"
        if error.code == "DENIED":
            return f"the source at {at} is in protected mode"
        return f"the source at {at} refuses: {error.code}"
    return refuse_source(
        report,
        writes_format=format_of(report.engine, report.version),
        at=at,
        target=_target(record, fleet),
    )


def _target(record: SubjectRecord, fleet: Fleet) -> MigrationTarget:
    node_type = fleet.catalog.node_type(record.settings.node_type)
    assert node_type is not None, record.settings.node_type
    parameters = fleet.effective_parameters(record)
    return MigrationTarget(
        cluster_enabled=record.cluster_enabled,
        databases=int(parameters.get("databases", "16")),
        maxmemory_bytes=effective_maxmemory_bytes(node_type.maxmemory_bytes, parameters),
        reads_format=dump_format(binary_for(record, fleet)),
        own=frozenset(
            [*(own_endpoint(node) for node in record.live_nodes)]
            + [Endpoint(row.host, row.port) for row in record.addresses]
        ),
    )


async def _in_sync(record: SubjectRecord, fleet: Fleet) -> bool:
    for node in _primaries(record):
        upstream = record.upstream(node)
        try:
            view = await fleet.valkey(node).replication()
        except (NodeUnreachable, CommandRefused):
            return False
        if upstream is None or not is_in_sync(view, upstream.endpoint):
            return False
    return True


async def _incomplete(record: SubjectRecord, fleet: Fleet) -> str | None:
    """Return what is missing still; waits a while for what is on its way."""
    replaced = {
        node.member_name
        for node in record.nodes
        if node.recovering or node.status != lifecycle.NODE_AVAILABLE
    }
    ends_at_s = fleet.clock.monotonic_s() + CATCH_UP_TIMEOUT_S
    goals: dict[str, int] = {}
    while True:
        try:
            views = []
            for node in _primaries(record):
                upstream = record.upstream(node)
                assert upstream is not None, "every shard follows"
                if node.uid not in goals:
                    try:
                        goals[node.uid] = await _goal(upstream.endpoint)
                    except (NodeUnreachable, CommandRefused):
                        return f"the source at {upstream.endpoint} does not answer"
                view = await fleet.valkey(node).replication()
                views.append((view, upstream.endpoint, goals[node.uid]))
            reason = why_not_complete(views, replaced=replaced)
        except (NodeUnreachable, CommandRefused) as error:
            reason = str(error)
        if reason is None or fleet.clock.monotonic_s() > ends_at_s or replaced:
            return reason
        await asyncio.sleep(CATCH_UP_POLL_S)


async def _goal(source: Endpoint) -> int:
    """Return how far the source's stream has got by now."""
    _, offset = await read_offset(source, timeout_s=SOURCE_TIMEOUT_S)
    return offset


def _primaries(record: SubjectRecord) -> list[CacheNode]:
    return [node for node in record.live_nodes if node.role == NodeRole.PRIMARY]


# -- the record ------------------------------------------------------------------------------------


async def _follow(record: SubjectRecord, sources: list[Endpoint], fleet: Fleet) -> None:
    async with fleet.store.begin(record.lease.scope) as tx:
        group = await _group(tx, record.lease, fleet)
        for shard in group.node_groups:
            shard.upstream = {"host": sources[0].host, "port": sources[0].port, "outside": True}
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
        _lead(group)
        tx.emit(GROUP, group.name, f"Migration failed for replication group {group.name}: {reason}")
    outcome = await settle(lease, fleet, operation_id=operation.id)
    return outcome if isinstance(outcome, Requeue) else GiveUp(reason)


def _lead(group: ReplicationGroup) -> None:
    group.migration = {}
    for shard in group.node_groups:
        shard.upstream = None


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
