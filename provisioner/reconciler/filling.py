"""Give the primaries of a new cache the data they start with: of snapshots, or of RDBs in S3.

Each primary finds a file ``restore.rdb`` in its directory and loads it at its start, before anybody
can reach it. Where the new shards are those that the data was taken from, the files are passed on
as they are; otherwise a process of its own sorts the keys by slot into new ones. Until the cache
has concluded its creation the files stay, so that a start that breaks off can be made again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from cachefleet.engine.memcached.copying import NotItems
from cachefleet.engine.rdb.reader import HEADER_BYTES, NotAnRdb, parse_header
from cachefleet.engine.types import Engine, NodeRole
from cachefleet.engine.valkey.cluster import parse_slots
from cachefleet.engine.valkey.copying import CopyHandle
from cachefleet.provisioner.reconciler.binaries import (
    RESTORE_FILE,
    RESTORE_ITEMS_FILE,
    can_read,
    restore_file,
)
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.memory import usable_bytes
from cachefleet.provisioner.reconciler.milestones import Milestone, reached
from cachefleet.provisioner.reconciler.places import node_directory, scratch_directory
from cachefleet.provisioner.reconciler.records import SubjectRecord
from cachefleet.provisioner.reconciler.snapshot_work import (
    Progress,
    in_thread,
    progress_shown,
    warm,
)
from cachefleet.provisioner.snapshots.ahead import read_ahead
from cachefleet.provisioner.snapshots.keys import KeyUnavailable
from cachefleet.provisioner.snapshots.manifest import BadManifest
from cachefleet.provisioner.snapshots.s3 import (
    S3Refused,
    check_object,
    download,
    parse_object_arn,
)
from cachefleet.provisioner.snapshots.sealing import Tampered
from cachefleet.provisioner.snapshots.shards import NotReadBack, RdbEnds, read_shard, whole_of
from cachefleet.provisioner.snapshots.store import SnapshotMissing, StoreUnavailable
from cachefleet.provisioner.state.snapshot_tables import Restore
from cachefleet.provisioner.state.tables import CacheNode

log = structlog.get_logger(__name__)

ASIDE_SUFFIX = ".aside"
PLAN_FILE = "plan.json"
LINE_BYTES_MAX = 1 << 20
UNITS = ("bytes", "KB", "MB", "GB", "TB")


class CannotRestore(Exception):
    """The data cannot be had, or not be loaded: the cache cannot be made from it."""


@dataclass(frozen=True, slots=True)
class _Source:
    """One RDB: what gives its bytes, the slots it is of (empty: any), and its size.

    *path* is a file of these very bytes, where there is one.
    """

    read: Callable[[], Iterator[bytes]]
    slots: str
    size_bytes: int
    path: Path | None = None


async def fill(record: SubjectRecord, fleet: Fleet) -> int:
    """Put its data into the directory of each primary that does not run yet; return its size.

    Raises:
        CannotRestore: there is no use in trying again.
        StoreUnavailable: there is.
    """
    restore = record.restore
    assert restore is not None
    if record.engine is Engine.MEMCACHED and fleet.stock_memcached:
        raise CannotRestore("a stock memcached cannot begin with items")
    primaries = _primaries(record)
    waiting = [node for node in primaries if await fleet.driver.find(node.uid) is None]
    directories = {node.uid: node_directory(node, record, fleet) for node in primaries}
    name = restore_file(record.engine)
    if all((directories[node.uid] / name).exists() for node in waiting):
        return _size(directories.values(), name)
    try:
        await _fetch(restore, record, fleet, primaries, directories)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise CannotRestore(
            "no space is left for its data" if full else error.strerror or str(error)
        ) from error
    except (
        NotAnRdb, NotItems, NotReadBack, Tampered, KeyUnavailable, S3Refused, SnapshotMissing,
        BadManifest,
    ) as error:  # fmt: skip
        raise CannotRestore(str(error)) from error
    finally:
        await asyncio.to_thread(_clear, scratch_directory(record, fleet))
    reached(Milestone.RESTORE_WRITTEN)
    return _size(directories.values(), name)


def _clear(scratch: Path) -> None:
    shutil.rmtree(scratch, ignore_errors=True)
    with contextlib.suppress(OSError):
        scratch.parent.rmdir()  # shared with others: only the last one can


async def _fetch(
    restore: Restore,
    record: SubjectRecord,
    fleet: Fleet,
    primaries: Sequence[CacheNode],
    directories: dict[str, Path],
) -> None:
    sources = await asyncio.to_thread(_sources, restore, record, fleet)
    total = sum(source.size_bytes for source in sources)
    pairs = _pairs(record, primaries, sources)
    progress, handle = Progress(total), CopyHandle()
    what = f"restore {record.settings.name}"
    async with progress_shown(restore, progress, record.lease.scope, fleet, what=what):
        if pairs is not None:
            for node, source in pairs:
                path = directories[node.uid] / restore_file(record.engine)

                def write(source: _Source = source, path: Path = path) -> None:
                    aside = path.with_name(path.name + ASIDE_SUFFIX)
                    _write(source, aside, progress, handle, record, fleet)
                    aside.rename(path)

                await in_thread(write, handle)
                warm(path)
            return
        scratch = scratch_directory(record, fleet)
        files = [scratch / f"{number:04}.rdb" for number in range(1, len(sources) + 1)]

        def gather() -> None:
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(mode=0o700, parents=True)
            for source, path in zip(sources, files, strict=True):
                _write(source, path, progress, handle, record, fleet)

        await in_thread(gather, handle)
        progress.reach(0)
        slots = [source.slots for source in sources]
        await _split(record, fleet, files, slots, primaries, directories, progress)


def _sources(restore: Restore, record: SubjectRecord, fleet: Fleet) -> list[_Source]:
    if restore.snapshot_uids:
        return [source for uid in restore.snapshot_uids for source in _sources_of(uid, fleet)]
    place = fleet.s3(record.lease.scope.home.region)
    names = [parse_object_arn(arn) for arn in restore.arns]
    return [
        _Source(lambda name=name: download(place, name), "", check_object(place, name))  # type: ignore[misc]
        for name in names
    ]


def _sources_of(uid: str, fleet: Fleet) -> list[_Source]:
    return [
        _Source(
            lambda shard=shard: read_shard(fleet.snapshots, uid, shard, fleet.keys.unwrap),  # type: ignore[misc]
            shard.slots,
            shard.size_bytes,
            None if shard.sealed else fleet.snapshots.local_path(uid, shard.name),
        )
        for shard in fleet.snapshots.manifest(uid).shards
    ]


def _pairs(
    record: SubjectRecord, primaries: Sequence[CacheNode], sources: Sequence[_Source]
) -> list[tuple[CacheNode, _Source]] | None:
    """Return which primary takes which file as it is; None where keys have to be sorted."""
    if not record.cluster_enabled:
        (primary,) = primaries
        return [(primary, sources[0])] if len(sources) == 1 else None
    by_slots = {source.slots: source for source in sources if source.slots}
    if len(by_slots) != len(sources) or len(sources) != len(primaries):
        return None
    wanted = [_slots(record, node) for node in primaries]
    if any(slots not in by_slots for slots in wanted):
        return None
    return [(node, by_slots[slots]) for node, slots in zip(primaries, wanted, strict=True)]


def may_overlap(slots: Sequence[str]) -> bool:
    """Tell whether sources of these slots may have the same key. Pure."""
    if len(slots) < 2:
        return False
    pieces = [parse_slots(one) if one else None for one in slots]
    if any(piece is None for piece in pieces):
        return True
    found = [(p.first, p.last) for piece in pieces for p in piece or ()]
    found.sort()
    return any(after[0] <= before[1] for before, after in itertools.pairwise(found))


def _write(
    source: _Source,
    path: Path,
    progress: Progress,
    handle: CopyHandle,
    record: SubjectRecord,
    fleet: Fleet,
) -> None:
    """Have one source's bytes at *path*, and see that they can be loaded here."""
    seen = whole_of(record.engine)
    asked = not isinstance(seen, RdbEnds)  # whether an engine here reads it
    path.unlink(missing_ok=True)
    with contextlib.ExitStack() as stack:
        file = None
        if source.path is None or not _linked(source.path, path):
            file = stack.enter_context(path.open("wb"))
            path.chmod(0o600)
        parts = stack.enter_context(contextlib.closing(read_ahead(source.read())))
        for part in parts:
            handle.check()
            seen.see(part)
            if not asked and isinstance(seen, RdbEnds) and len(seen.head) == HEADER_BYTES:
                asked = True
                _require_readable(seen.head, record, fleet)
            if file is not None:
                file.write(part)
            progress.count(len(part))
            reached(Milestone.RESTORE_BEGUN)
    seen.conclude()


def _linked(source: Path, path: Path) -> bool:
    """Give a file another name, where that can be done. Nobody writes into it under either one.

    An engine only reads what it begins with; what it saves later is a file of its own.
    """
    try:
        os.link(source, path)
    except OSError:  # on another file system, or one without links
        return False
    return True


def _require_readable(head: bytes, record: SubjectRecord, fleet: Fleet) -> None:
    header = parse_header(head)
    if not can_read(head, record.engine, fleet.inventory):
        raise CannotRestore(
            f"its data is an RDB of {header.magic} version {header.version}, which is newer than "
            f"what {record.engine.value} {record.settings.engine_version} reads here"
        )


async def _split(
    record: SubjectRecord,
    fleet: Fleet,
    files: Sequence[Path],
    slots: Sequence[str],
    primaries: Sequence[CacheNode],
    directories: dict[str, Path],
    progress: Progress,
) -> None:
    asides = {node.uid: directories[node.uid] / (RESTORE_FILE + ASIDE_SUFFIX) for node in primaries}
    plan = {
        "sources": [str(path) for path in files],
        "overlap": may_overlap(slots),
        "targets": [
            {"path": str(asides[node.uid]), "slots": _slots(record, node) or "0-16383"}
            for node in primaries
        ],
    }
    plan_file = files[0].with_name(PLAN_FILE)
    plan_file.write_text(json.dumps(plan))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cachefleet.engine.rdb.split", str(plan_file),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=LINE_BYTES_MAX,
    )  # fmt: skip
    try:
        told = await _listen(process, progress)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if "keys" not in told:
        raise CannotRestore(
            str(told.get("refused") or told.get("failed") or "its keys could not be sorted")
        )
    log.info("keys_sorted", subject=record.settings.name, keys=told["keys"])
    for node in primaries:
        asides[node.uid].chmod(0o600)
        asides[node.uid].rename(directories[node.uid] / RESTORE_FILE)


async def _listen(process: asyncio.subprocess.Process, progress: Progress) -> dict[str, Any]:
    assert process.stdout is not None
    told: dict[str, Any] = {}
    async for line in process.stdout:
        told = json.loads(line)
        if "read" in told:
            progress.reach(told["read"])
    await process.wait()
    return told


async def require_room(record: SubjectRecord, fleet: Fleet) -> None:
    """See that every primary's data is within its memory, and put the limit into force.

    Nodes are started without one: they would begin to evict what they have just been given.

    Raises:
        CannotRestore: there is more data than memory.
        NodeUnreachable, CommandRefused: a node did not answer.
    """
    if record.engine is Engine.MEMCACHED:
        await _require_room_for_items(record, fleet)
        return
    limit = usable_bytes(record, fleet)
    for node in _primaries(record):
        info = await fleet.valkey(node).info("memory")
        used = int(info.get("used_memory", "0"))
        if used > limit:
            raise CannotRestore(
                f"its data takes {_amount(used)}, and {_holder(record)} has {_amount(limit)}"
            )
        await fleet.valkey(node).configure({"maxmemory": str(limit)})


async def _require_room_for_items(record: SubjectRecord, fleet: Fleet) -> None:
    limit = record.settings.memory_limit_bytes
    assert limit is not None, "only serverless memcached caches are restored"
    for node in _primaries(record):
        used = int((await fleet.memcached(node).stats()).get("bytes", "0"))
        if used > limit:
            raise CannotRestore(
                f"its data takes {_amount(used)}, and {_holder(record)} has {_amount(limit)}"
            )


def _holder(record: SubjectRecord) -> str:
    serverless = record.settings.serverless_uid is not None
    return "the cache's limit" if serverless else record.settings.node_type


def drop_files(record: SubjectRecord, fleet: Fleet) -> None:
    """Remove what nodes were started with, once they are not to be started with it again."""
    for node in record.nodes:
        directory = fleet.driver.directory(node.uid)
        for name in (RESTORE_FILE, RESTORE_ITEMS_FILE):
            (directory / name).unlink(missing_ok=True)
            (directory / (name + ASIDE_SUFFIX)).unlink(missing_ok=True)


def _primaries(record: SubjectRecord) -> list[CacheNode]:
    if record.engine is Engine.MEMCACHED:
        return record.live_nodes
    return [node for node in record.live_nodes if node.role == NodeRole.PRIMARY]


def _slots(record: SubjectRecord, node: CacheNode) -> str:
    if not record.cluster_enabled or record.group is None:
        return ""
    shard = next(s for s in record.group.node_groups if s.uid == node.node_group_uid)
    assert parse_slots(shard.slots)
    return shard.slots


def _size(directories: Iterable[Path], name: str) -> int:
    files = [directory / name for directory in directories]
    return sum(file.stat().st_size for file in files if file.exists())


def _amount(size_bytes: int) -> str:
    size, unit = float(size_bytes), UNITS[0]
    for unit in UNITS:
        if size < 1024 or unit == UNITS[-1]:
            break
        size /= 1024
    return f"{size:.0f} {unit}"


__all__ = ["CannotRestore", "StoreUnavailable", "drop_files", "fill", "require_room"]
