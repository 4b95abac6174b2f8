"""Carry out ``snapshot``: copy the data of a subject's shards into the store.

A copy of each shard is written aside, read back, and published with a manifest; only then is the
snapshot ``available``. If we die before that, the next attempt begins anew; if we die after it, the
next one finds the published files and writes the record. A source that cannot be copied after some
attempts is made available again, and the snapshot is ``failed``: it says so, and holds nothing.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.memcached.copying import NotItems
from cachefleet.engine.rdb.reader import NotAnRdb
from cachefleet.engine.replstream import BrokenStream
from cachefleet.engine.types import Engine, NodeRole
from cachefleet.engine.valkey.copying import CopyHandle
from cachefleet.provisioner.reconciler.copying import (
    NoCopies,
    count_keys,
    data_bytes,
    is_copyable,
    pull_from,
    written_so_far,
)
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.milestones import Milestone, reached
from cachefleet.provisioner.reconciler.outcomes import Done, GiveUp, Outcome, Requeue
from cachefleet.provisioner.reconciler.records import SubjectRecord, load_subject
from cachefleet.provisioner.reconciler.snapshot_work import (
    Progress,
    all_or_none,
    discard,
    in_thread,
    progress_shown,
)
from cachefleet.provisioner.snapshots.keys import KeyUnavailable
from cachefleet.provisioner.snapshots.manifest import BadManifest, Manifest, ShardFile
from cachefleet.provisioner.snapshots.s3 import S3Refused
from cachefleet.provisioner.snapshots.sealing import DataKey, Tampered
from cachefleet.provisioner.snapshots.shards import NotReadBack, whole_of, write_shard
from cachefleet.provisioner.snapshots.store import SnapshotMissing, StoreUnavailable
from cachefleet.provisioner.state import leases, lifecycle, serverless, snapshots
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.snapshot_tables import Snapshot
from cachefleet.provisioner.state.tables import CacheNode, Operation

log = structlog.get_logger(__name__)

CLUSTER = "cache-cluster"
ATTEMPTS_MAX = 5  # a lost source has a successor within a second or two
RETRY_S = 1.0
SHARDS_AT_ONCE_MAX = 2  # each has a fork of the engine and a thread of ours at work

SUFFIXES: Mapping[Engine, str] = {
    Engine.VALKEY: "rdb",
    Engine.REDIS: "rdb",
    Engine.MEMCACHED: "items",
}

# Trying again may help: the node, the way to it or the store may be better by then.
Passing = (NodeUnreachable, BrokenStream, CommandRefused, NotItems, NotReadBack, StoreUnavailable)


class NoSource(Exception):
    """No node of a shard can be copied now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """One shard of the snapshot, and the node that is copied."""

    entry: dict[str, Any]
    node: CacheNode
    file: str


async def take_snapshot(operation: Operation, lease: Lease, fleet: Fleet) -> Outcome:
    """Make the snapshot that *operation* names whole, or failed."""
    async with fleet.store.read(lease.scope) as tx:
        record = await load_subject(tx, lease)
        snapshot = await tx.session.get(Snapshot, operation.payload["snapshot"])
    if record is None:
        return Done("it is gone")
    if snapshot is None or snapshot.status != lifecycle.CREATING:
        await _let_go(record, fleet)
        return Done("the snapshot is made")
    try:
        manifest = await _published(snapshot, fleet)
        if manifest is None:
            manifest = await _take(snapshot, record, fleet, final=operation.payload["final"])
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "no space is left for it" if full else error.strerror or str(error)
        return await _fail(operation, snapshot, record, fleet, reason)
    except (NotAnRdb, NoCopies, Tampered, KeyUnavailable, S3Refused, BadManifest) as error:
        return await _fail(operation, snapshot, record, fleet, str(error))
    except (*Passing, NoSource) as error:
        if operation.attempt < ATTEMPTS_MAX:
            return Requeue(after_s=RETRY_S, reason=str(error))
        return await _fail(operation, snapshot, record, fleet, str(error))
    await _complete(operation, snapshot, record, fleet, manifest)
    return Done("the snapshot is made")


async def _published(snapshot: Snapshot, fleet: Fleet) -> Manifest | None:
    """Return the manifest where a former attempt got as far as that."""
    try:
        return await asyncio.to_thread(fleet.snapshots.manifest, snapshot.uid)
    except SnapshotMissing:
        return None


async def _take(
    snapshot: Snapshot, record: SubjectRecord, fleet: Fleet, *, final: bool
) -> Manifest:
    store = fleet.snapshots
    await asyncio.to_thread(store.discard, snapshot.uid)
    parts = [
        await _choose(number, entry, snapshot, record, fleet, final=final)
        for number, entry in enumerate(snapshot.node_snapshots, start=1)
    ]
    key = await _key(snapshot, record, fleet)
    progress = Progress(await _expected_bytes(parts, record.engine, fleet))
    slots = asyncio.Semaphore(SHARDS_AT_ONCE_MAX)
    async with progress_shown(
        snapshot, progress, record.lease.scope, fleet, what=f"snapshot {snapshot.name}"
    ):
        files = await all_or_none(
            [_copy(part, snapshot, fleet, key, progress, slots) for part in parts]
        )
    for entry, part, file in zip(snapshot.node_snapshots, parts, files, strict=True):
        entry |= snapshots.known_of(part.node)
        entry["size_bytes"] = file.size_bytes
    manifest = Manifest(
        snapshot=snapshot.name,
        engine=snapshot.engine,
        engine_version=snapshot.engine_version,
        cluster_enabled=record.cluster_enabled,
        created_at=snapshot.created_at.isoformat(),
        shards=tuple(files),
    )
    await asyncio.to_thread(store.publish, snapshot.uid, manifest)
    reached(Milestone.SNAPSHOT_PUBLISHED)
    return manifest


async def _choose(
    number: int,
    entry: dict[str, Any],
    snapshot: Snapshot,
    record: SubjectRecord,
    fleet: Fleet,
    *,
    final: bool,
) -> _Part:
    """Return the node that a shard is copied from: a replica in sync where there is one.

    It has all that was written before it was chosen: what a client had acknowledged when it asked
    for the snapshot is in it. A final snapshot is of the primary, which nothing can be newer than.
    """
    wanted = snapshot.cache_cluster_id
    nodes = [node for node in record.live_nodes if _is_of(node, entry, snapshot, record)]
    primaries = [node for node in nodes if node.role == NodeRole.PRIMARY]
    replicas = [node for node in nodes if node not in primaries]
    replicas.sort(key=lambda node: (node.member_name != wanted, node.member_name))
    asked_primary = any(node.member_name == wanted for node in primaries)
    order = primaries + replicas if final or asked_primary else replicas + primaries
    written = await written_so_far(primaries, record.engine, fleet)
    for node in order:
        if await is_copyable(node, record.engine, fleet, written=written):
            return _Part(entry=entry, node=node, file=f"{number:04}.{SUFFIXES[record.engine]}")
    raise NoSource(f"no node of shard {entry['node_group_id'] or '0001'} can be copied")


def _is_of(
    node: CacheNode, entry: dict[str, Any], snapshot: Snapshot, record: SubjectRecord
) -> bool:
    if snapshot.cluster_enabled and record.group is not None:
        shards = {shard.uid: shard.node_group_id for shard in record.group.node_groups}
        return bool(shards.get(node.node_group_uid or "") == entry["node_group_id"])
    return True


async def _key(snapshot: Snapshot, record: SubjectRecord, fleet: Fleet) -> DataKey | None:
    """Return the key that the snapshot's files are sealed under; None where they are not."""
    if not snapshot.encrypted:
        return None
    group = record.group
    if group is not None and group.data_key and group.kms_key_id == snapshot.kms_key_id:
        clear = await asyncio.to_thread(fleet.keys.unwrap, group.data_key)
        return DataKey(clear, group.data_key)
    return await asyncio.to_thread(fleet.keys.generate, snapshot.kms_key_id)


async def _expected_bytes(parts: Sequence[_Part], engine: Engine, fleet: Fleet) -> int | None:
    """Return about how much there will be; None where nobody knows."""
    total = 0
    for part in parts:
        try:
            total += await data_bytes(part.node, engine, fleet)
        except (NodeUnreachable, CommandRefused):
            return None
    return total


async def _copy(
    part: _Part,
    snapshot: Snapshot,
    fleet: Fleet,
    key: DataKey | None,
    progress: Progress,
    slots: asyncio.Semaphore,
) -> ShardFile:
    async with slots:
        handle = CopyHandle()
        engine = Engine(snapshot.engine)
        keys = await count_keys(part.node, engine, fleet)
        log.info("shard_copying", snapshot=snapshot.name, member=part.node.member_name)

        def count(size_bytes: int) -> None:
            progress.count(size_bytes)
            reached(Milestone.SNAPSHOT_BEGUN)

        def work() -> ShardFile:
            return write_shard(
                fleet.snapshots,
                snapshot.uid,
                part.file,
                pull_from(part.node, engine, fleet, handle),
                whole=whole_of(engine),
                key=key,
                unwrap=fleet.keys.unwrap,
                count=count,
                check=handle.check,
                node_group_id=part.entry["node_group_id"],
                slots=part.entry["slots"],
                member=part.node.member_name,
                keys=keys,
            )

        part.entry["taken_at"] = fleet.clock.now().isoformat()
        file = await in_thread(work, handle)
        reached(Milestone.SNAPSHOT_SHARD_WRITTEN)
        return file


async def _complete(
    operation: Operation,
    snapshot: Snapshot,
    record: SubjectRecord,
    fleet: Fleet,
    manifest: Manifest,
) -> None:
    """Write down that the snapshot is whole, and let its source go, or go away."""
    entries = [dict(entry) for entry in snapshot.node_snapshots]
    for entry, shard in zip(entries, manifest.shards, strict=True):
        entry["size_bytes"] = shard.size_bytes
        entry["cache_cluster_id"] = shard.member
        entry.setdefault("taken_at", fleet.clock.now().isoformat())
        node = next((n for n in record.nodes if n.member_name == shard.member), None)
        if node is not None:
            entry |= snapshots.known_of(node)
    async with fleet.store.begin(record.lease.scope) as tx:
        await leases.require(tx, record.lease, holder=fleet.holder)
        row = await tx.session.get(Snapshot, snapshot.uid, with_for_update=True)
        assert row is not None, "nobody removes a snapshot that is being made"
        lifecycle.fire(row, lifecycle.Event.COMPLETED)
        row.node_snapshots = entries
        row.bytes_done = row.bytes_total = manifest.size_bytes
        what = _named(row)
        for member in {entry["cache_cluster_id"] for entry in entries}:
            tx.emit(CLUSTER, member, f"Snapshot succeeded for snapshot with ID '{row.name}' {what}")
        serverless.tell_of_snapshot(tx, row.name, f"Snapshot {row.name} is created.")
        fresh = await load_subject(tx, record.lease)
        assert fresh is not None, "the lease is held, so the subject is there"
        snapshots.unmark(fresh.group, fresh.clusters)
        if operation.payload["final"]:
            _delete(fresh)
            tx.enqueue(OperationKind.SETTLE, subject_uid=record.lease.subject_uid)
    reached(Milestone.SNAPSHOT_COMPLETED)
    log.info("snapshot_completed", snapshot=snapshot.name, bytes=manifest.size_bytes)


def _delete(record: SubjectRecord) -> None:
    """Begin the deletion that the final snapshot was taken for."""
    if record.group is not None:
        lifecycle.fire(record.group, lifecycle.Event.DELETE)
        for shard in record.group.node_groups:
            shard.status = lifecycle.DELETING
    for cluster in record.clusters:
        cluster.status = lifecycle.DELETING
        for node in cluster.nodes:
            node.status = lifecycle.NODE_DELETING


async def _fail(
    operation: Operation,
    snapshot: Snapshot,
    record: SubjectRecord,
    fleet: Fleet,
    reason: str,
) -> Outcome:
    """Write down that nothing came of it. What was to be deleted after it stays, with its data."""
    log.warning("snapshot_failed", snapshot=snapshot.name, reason=reason)
    await discard(snapshot.uid, fleet)
    async with fleet.store.begin(record.lease.scope) as tx:
        await leases.require(tx, record.lease, holder=fleet.holder)
        row = await tx.session.get(Snapshot, snapshot.uid, with_for_update=True)
        assert row is not None, "nobody removes a snapshot that is being made"
        lifecycle.fire(row, lifecycle.Event.FAILED)
        fresh = await load_subject(tx, record.lease)
        assert fresh is not None, "the lease is held, so the subject is there"
        snapshots.unmark(fresh.group, fresh.clusters)
        text = f"Snapshot failed for snapshot with ID '{row.name}' {_named(row)}: {reason}"
        tx.emit(CLUSTER, _member_of(row, fresh), text)
        serverless.tell_of_snapshot(tx, row.name, f"Failed to create snapshot {row.name}. {reason}")
        if operation.payload["final"]:
            tx.emit(
                CLUSTER,
                _member_of(row, fresh),
                f"{operation.payload['of']} was not deleted, because its final snapshot failed",
            )
    return GiveUp(reason)


def _named(row: Snapshot) -> str:
    if row.replication_group_id is not None:
        return f"of replication group with ID '{row.replication_group_id}'"
    return f"of cache cluster with ID '{row.cache_cluster_id}'"


def _member_of(row: Snapshot, record: SubjectRecord) -> str:
    return row.cache_cluster_id or min(cluster.name for cluster in record.clusters)


async def _let_go(record: SubjectRecord, fleet: Fleet) -> None:
    """Make the source available, where a former attempt died between two writes."""
    if not any(c.status == lifecycle.SNAPSHOTTING for c in record.clusters):
        return
    async with fleet.store.begin(record.lease.scope) as tx:
        await leases.require(tx, record.lease, holder=fleet.holder)
        fresh = await load_subject(tx, record.lease)
        if fresh is not None:
            snapshots.unmark(fresh.group, fresh.clusters)
