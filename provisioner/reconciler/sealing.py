"""Encryption at rest of a node's data: sealed when it leaves the memory, opened when it comes back.

A group has one data key, made and wrapped when its first node is started. Every start of a node
has it unwrapped again: where that fails, the node is not started at all, data or none.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from datetime import timedelta
from pathlib import Path

import structlog
from sqlalchemy import select

from cachefleet.engine.rdb.reader import HEADER_BYTES
from cachefleet.engine.valkey.config import CLUSTER_CONFIG_FILE, DUMP_FILE
from cachefleet.provisioner.reconciler.binaries import SAVED_DUMP_FILE
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.places import (
    forget_sealed,
    is_sealed,
    kept_picture,
    new_sealed_dump,
    node_directory,
    sealed_dump,
)
from cachefleet.provisioner.reconciler.records import SubjectRecord
from cachefleet.provisioner.snapshots.keys import KeyUnavailable
from cachefleet.provisioner.snapshots.sealing import DataKey, Sealer, Tampered, unseal
from cachefleet.provisioner.snapshots.store import READ_BYTES
from cachefleet.provisioner.state import leases
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.tables import CacheNode, Event, ReplicationGroup

log = structlog.get_logger(__name__)

CLUSTER = "cache-cluster"
ASIDE_SUFFIX = ".aside"
TOLD_AGAIN_AFTER = timedelta(hours=1)


class SealedData(Exception):
    """A node's data cannot be opened: it is not started without it. The message says why."""


async def ensure_key(record: SubjectRecord, fleet: Fleet) -> SubjectRecord:
    """Give an encrypted group its data key, where it has none yet.

    Raises:
        SealedData: the key that is to wrap it cannot be used.
    """
    group = record.group
    if group is None or not is_sealed(record) or group.data_key is not None:
        return record
    try:
        key = await asyncio.to_thread(fleet.keys.generate, group.kms_key_id)
    except KeyUnavailable as error:
        raise SealedData(str(error)) from error
    async with fleet.store.begin(record.lease.scope) as tx:
        await leases.require(tx, record.lease, holder=fleet.holder)
        row = await tx.session.get(ReplicationGroup, group.uid)
        assert row is not None, "the lease is held, so the group is there"
        row.data_key = dict(key.wrapped)
    group.data_key = dict(key.wrapped)
    return record


async def bring_back(node: CacheNode, record: SubjectRecord, fleet: Fleet) -> None:
    """Make an encrypted node's directory, with what was kept of it at its last orderly stop.

    Raises:
        SealedData: the key is not to be had, or what was kept is not what was written.
        NoMemoryDirectory: there is no place for it.
    """
    directory = node_directory(node, record, fleet)
    group = record.group
    if group is None or not is_sealed(record):
        return
    assert group.data_key is not None, "a key comes before the first node"
    wrapped = group.data_key

    def work() -> None:
        # Also without anything to open: a node whose key is gone does not come back.
        fleet.keys.unwrap(wrapped)
        kept, saved = sealed_dump(node.uid, fleet), directory / SAVED_DUMP_FILE
        if kept is not None and not saved.exists():
            _open(kept, saved, fleet)
        picture, file = kept_picture(node.uid, fleet), directory / CLUSTER_CONFIG_FILE
        if picture.exists() and not file.exists():
            shutil.copy(picture, file)

    try:
        await asyncio.to_thread(work)
    except (KeyUnavailable, Tampered) as error:
        await _tell(node, record, fleet, str(error))
        raise SealedData(str(error)) from error


def _open(kept: Path, saved: Path, fleet: Fleet) -> None:
    aside = saved.with_name(saved.name + ASIDE_SUFFIX)
    with kept.open("rb") as sealed, aside.open("wb") as clear:
        for part in unseal(sealed, fleet.keys.unwrap):
            clear.write(part)
    aside.rename(saved)


async def keep_sealed(node: CacheNode, fleet: Fleet) -> None:
    """Seal what an orderly stop has written into a node's memory-backed directory.

    Without its key there is nothing to seal it with: it stays in memory, and is gone with that.
    """
    directory = fleet.driver.directory(node.uid)
    dump = directory / DUMP_FILE
    async with fleet.store.read(Scope("", "")) as tx:
        group = await tx.session.get(ReplicationGroup, node.subject_uid)
    if group is None or group.data_key is None or not dump.exists():
        return
    wrapped = group.data_key

    def work() -> None:
        key = DataKey(fleet.keys.unwrap(wrapped), wrapped)
        _seal(dump, node.uid, key, fleet)
        picture = directory / CLUSTER_CONFIG_FILE
        if picture.exists():
            shutil.copy(picture, kept_picture(node.uid, fleet))
        dump.unlink()

    try:
        await asyncio.to_thread(work)
    except (KeyUnavailable, OSError) as error:
        log.warning("node_not_sealed", node=node.uid, reason=str(error))
        dump.unlink(missing_ok=True)


def _seal(dump: Path, uid: str, key: DataKey, fleet: Fleet) -> None:
    with dump.open("rb") as clear:
        header = clear.read(HEADER_BYTES)
        clear.seek(0)
        forget_sealed(uid, fleet)
        kept = new_sealed_dump(uid, header.decode("ascii", "replace"), fleet)
        aside = kept.with_name(kept.name + ASIDE_SUFFIX)
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as sealed:
            sealer = Sealer(sealed.write, key)
            while part := clear.read(READ_BYTES):
                sealer.write(part)
            sealer.close()
            sealed.flush()
            os.fsync(sealed.fileno())
    aside.rename(kept)


async def _tell(node: CacheNode, record: SubjectRecord, fleet: Fleet, reason: str) -> None:
    """Say why a node is not started, once an hour at most: it is tried again and again."""
    if record.is_creating:
        return  # the failure of the creation says it
    text = f"Cache node {node.cache_node_id} cannot be started: {reason}"
    async with fleet.store.begin(record.lease.scope) as tx:
        query = select(Event.id).where(
            Event.account == tx.scope.account,
            Event.region == tx.scope.region,
            Event.source_identifier == node.member_name,
            Event.message == text,
            Event.occurred_at > tx.now - TOLD_AGAIN_AFTER,
        )
        if (await tx.session.scalars(query.limit(1))).first() is None:
            tx.emit(CLUSTER, node.member_name, text)
