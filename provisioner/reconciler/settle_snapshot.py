"""Bring one snapshot into agreement with its record: copied, exported, removed.

What is to be done is in the row, so this may be cut off anywhere and begun again elsewhere. Nothing
is published half-way: a copy is written aside and read back, an object is whole or not there.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Iterator

import structlog

from cachefleet.engine.memcached.copying import NotItems
from cachefleet.engine.rdb.reader import NotAnRdb
from cachefleet.engine.types import Engine
from cachefleet.engine.valkey.copying import CopyHandle
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.milestones import Milestone, reached
from cachefleet.provisioner.reconciler.outcomes import Done, GiveUp, Outcome, Requeue
from cachefleet.provisioner.reconciler.snapshot_work import (
    Progress,
    discard,
    in_thread,
    progress_shown,
)
from cachefleet.provisioner.snapshots.ahead import read_ahead
from cachefleet.provisioner.snapshots.keys import KeyUnavailable
from cachefleet.provisioner.snapshots.manifest import BadManifest, Manifest, ShardFile
from cachefleet.provisioner.snapshots.s3 import (
    PART_BYTES,
    ObjectName,
    S3Refused,
    mark_of,
    upload,
    withdraw,
)
from cachefleet.provisioner.snapshots.sealing import Tampered
from cachefleet.provisioner.snapshots.shards import (
    NotReadBack,
    Take,
    read_shard,
    whole_of,
    write_shard,
)
from cachefleet.provisioner.snapshots.store import SnapshotMissing, StoreUnavailable
from cachefleet.provisioner.state import leases, lifecycle, operations, serverless, snapshots, tags
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.snapshot_tables import Snapshot
from cachefleet.provisioner.state.tables import Operation

log = structlog.get_logger(__name__)

CLUSTER = "cache-cluster"
ATTEMPTS_MAX = 5
RETRY_S = 2.0

# The data cannot be had, or not be taken: trying again would change nothing.
Permanent = (
    NotAnRdb,
    NotItems,
    NotReadBack,
    Tampered,
    KeyUnavailable,
    S3Refused,
    SnapshotMissing,
    BadManifest,
)


async def settle_snapshot(operation: Operation, lease: Lease, fleet: Fleet) -> Outcome:
    """Do what the snapshot's row says is to be done."""
    async with fleet.store.read(lease.scope) as tx:
        snapshot = await tx.session.get(Snapshot, lease.subject_uid)
        of = snapshot.copy_of if snapshot is not None else None
        original = None if of is None else await tx.session.get(Snapshot, of)
    if snapshot is None:
        return Done("it is gone")
    try:
        if snapshot.status == lifecycle.DELETING:
            await _remove(snapshot, lease, fleet)
        elif snapshot.status == lifecycle.CREATING and snapshot.copy_of is not None:
            await _copy(snapshot, original, lease, fleet)
        elif snapshot.status == lifecycle.EXPORTING and snapshot.export:
            await _export(snapshot, lease, fleet)
        else:
            return Done("nothing is to be done")
    except StoreUnavailable as error:
        if operation.attempt < ATTEMPTS_MAX or snapshot.status == lifecycle.DELETING:
            return Requeue(after_s=RETRY_S, reason=str(error))
        return await _fail(snapshot, lease, fleet, str(error))
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "no space is left for it" if full else error.strerror or str(error)
        return await _fail(snapshot, lease, fleet, reason)
    except Permanent as error:
        return await _fail(snapshot, lease, fleet, str(error))
    return Done("it agrees with its record")


async def _remove(snapshot: Snapshot, lease: Lease, fleet: Fleet) -> None:
    """Remove the files, then the row: a row without files is found again, files without one not."""
    await asyncio.to_thread(fleet.snapshots.remove, snapshot.uid)
    reached(Milestone.SNAPSHOT_FILES_REMOVED)
    async with fleet.store.begin(lease.scope) as tx:
        await leases.require(tx, lease, holder=fleet.holder)
        row = await tx.session.get(Snapshot, snapshot.uid)
        if row is not None:
            await tags.forget(tx, Snapshot.arn_kind, row.name)
            await tx.session.delete(row)
            await tx.session.flush()
        await operations.forget_subject(tx, snapshot.uid)
    log.info("snapshot_removed", snapshot=snapshot.name)


async def _copy(snapshot: Snapshot, original: Snapshot | None, lease: Lease, fleet: Fleet) -> None:
    if original is None:
        raise SnapshotMissing("the snapshot that was to be copied is gone")
    store, handle = fleet.snapshots, CopyHandle()
    progress = Progress(original.bytes_total)

    def work() -> None:
        try:
            store.manifest(snapshot.uid)  # a former attempt got as far as this
        except SnapshotMissing:
            pass
        else:
            return
        manifest = store.manifest(original.uid)
        key = fleet.keys.generate(snapshot.kms_key_id) if snapshot.encrypted else None
        # What is not sealed is the same again: the store may go on with what it has of it.
        if key is not None:
            store.discard(snapshot.uid)
        files = []
        for shard in manifest.shards:

            def pull(take: Take, shard: ShardFile = shard) -> None:
                rdb = read_ahead(read_shard(store, original.uid, shard, fleet.keys.unwrap))
                with contextlib.closing(rdb):
                    for part in rdb:
                        handle.check()
                        take(part)

            file = write_shard(
                store,
                snapshot.uid,
                shard.name,
                pull,
                whole=whole_of(Engine(manifest.engine)),
                key=key,
                unwrap=fleet.keys.unwrap,
                count=progress.count,
                check=handle.check,
                resume=key is None,
                node_group_id=shard.node_group_id,
                slots=shard.slots,
                member=shard.member,
                keys=shard.keys,
            )
            files.append(file)
        copied = Manifest(
            snapshot=snapshot.name,
            engine=manifest.engine,
            engine_version=manifest.engine_version,
            cluster_enabled=manifest.cluster_enabled,
            created_at=manifest.created_at,
            shards=tuple(files),
        )
        store.publish(snapshot.uid, copied)
        reached(Milestone.SNAPSHOT_COPIED)

    async with progress_shown(snapshot, progress, lease.scope, fleet, what=f"copy {snapshot.name}"):
        await in_thread(work, handle)
    async with fleet.store.begin(lease.scope) as tx:
        await leases.require(tx, lease, holder=fleet.holder)
        row = await tx.session.get(Snapshot, snapshot.uid, with_for_update=True)
        assert row is not None, "the lease is held, so the snapshot is there"
        lifecycle.fire(row, lifecycle.Event.COMPLETED)
        row.bytes_done = row.bytes_total = original.bytes_total or progress.done
        source = await tx.session.get(Snapshot, original.uid, with_for_update=True)
        if source is not None and source.status == lifecycle.COPYING:
            await snapshots.release(tx, source)
    log.info("snapshot_copied", snapshot=snapshot.name, of=original.name)


async def _export(snapshot: Snapshot, lease: Lease, fleet: Fleet) -> None:
    """Upload a shard after the other. What arrived before we died, or S3 did, is not sent again."""
    place, handle = fleet.s3(lease.scope.home.region), CopyHandle()
    progress = Progress(snapshot.bytes_total)

    def work() -> None:
        manifest = fleet.snapshots.manifest(snapshot.uid)
        for target, shard in zip(_targets(snapshot), manifest.shards, strict=True):
            if mark_of(place, target) == _mark(snapshot):
                progress.count(shard.size_bytes)  # a former attempt got as far as this
                continue
            rdb = read_ahead(read_shard(fleet.snapshots, snapshot.uid, shard, fleet.keys.unwrap))
            with contextlib.closing(rdb):
                upload(place, target, _counted(rdb, progress, handle), mark=_mark(snapshot))
            reached(Milestone.OBJECT_WRITTEN)

    async with progress_shown(
        snapshot, progress, lease.scope, fleet, what=f"export {snapshot.name}"
    ):
        await in_thread(work, handle)
    bucket = snapshot.export["bucket"]
    await _end_export(
        snapshot, lease, fleet, f"Snapshot '{snapshot.name}' exported to S3 bucket {bucket}"
    )
    log.info("snapshot_exported", snapshot=snapshot.name, bucket=bucket)


def withdraw_export(snapshot: Snapshot, fleet: Fleet) -> None:
    """Take back what was exported so far: one shard without the others is nobody's backup."""
    place = fleet.s3(snapshot.scope.home.region)
    for target in _targets(snapshot):
        withdraw(place, target, _mark(snapshot))


def _targets(snapshot: Snapshot) -> list[ObjectName]:
    bucket, name = snapshot.export["bucket"], snapshot.export["name"]
    numbers = range(1, len(snapshot.node_snapshots) + 1)
    return [ObjectName(bucket, export_key(name, number)) for number in numbers]


def _mark(snapshot: Snapshot) -> str:
    """Return what the objects of an export are told by. Their keys were free when it was asked."""
    return f"snapshot {snapshot.uid}"


async def _end_export(
    snapshot: Snapshot, lease: Lease, fleet: Fleet, text: str, *, failed: bool = False
) -> None:
    async with fleet.store.begin(lease.scope) as tx:
        await leases.require(tx, lease, holder=fleet.holder)
        row = await tx.session.get(Snapshot, snapshot.uid, with_for_update=True)
        assert row is not None, "the lease is held, so the snapshot is there"
        row.export = {}
        row.bytes_done = row.bytes_total or 0
        await snapshots.release(tx, row)
        tx.emit(CLUSTER, source_of(row), text)
        if failed:
            serverless.tell_of_snapshot(tx, row.name, text)


async def _fail(snapshot: Snapshot, lease: Lease, fleet: Fleet, reason: str) -> Outcome:
    log.warning("snapshot_work_failed", snapshot=snapshot.name, reason=reason)
    if snapshot.status == lifecycle.EXPORTING:
        await asyncio.to_thread(withdraw_export, snapshot, fleet)
        text = f"Export of snapshot with ID '{snapshot.name}' failed: {reason}"
        await _end_export(snapshot, lease, fleet, text, failed=True)
        return GiveUp(reason)
    if snapshot.status == lifecycle.DELETING:
        return Requeue(after_s=RETRY_S, reason=reason)
    await discard(snapshot.uid, fleet)
    async with fleet.store.begin(lease.scope) as tx:
        await leases.require(tx, lease, holder=fleet.holder)
        row = await tx.session.get(Snapshot, snapshot.uid, with_for_update=True)
        assert row is not None, "the lease is held, so the snapshot is there"
        lifecycle.fire(row, lifecycle.Event.FAILED)
        source = await tx.session.get(Snapshot, row.copy_of, with_for_update=True)
        if source is not None and source.status == lifecycle.COPYING:
            await snapshots.release(tx, source)
        text = f"Copy of snapshot failed for snapshot with ID '{row.name}': {reason}"
        tx.emit(CLUSTER, source_of(row), text)
        serverless.tell_of_snapshot(tx, row.name, text)
    return GiveUp(reason)


def source_of(row: Snapshot) -> str:
    """Return the cluster that events about a snapshot are filed under."""
    entries = [entry.get("cache_cluster_id") for entry in row.node_snapshots]
    return row.cache_cluster_id or next((e for e in entries if e), row.replication_group_id or "")


def export_key(name: str, number: int) -> str:
    """Return the key of a shard's object, as the service names it."""
    return f"{name}-{number:04}.rdb"


def _counted(parts: Iterator[bytes], progress: Progress, handle: CopyHandle) -> Iterator[bytes]:
    given = 0
    for part in parts:
        handle.check()
        progress.count(len(part))
        yield part
        if given // PART_BYTES < (given + len(part)) // PART_BYTES:
            reached(Milestone.OBJECT_BEGUN)  # S3 has one part more
        given += len(part)
