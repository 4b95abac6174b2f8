"""What work on snapshots has in common: threads that can be called off, progress, keys, stores."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import update

from cachefleet.engine.valkey.copying import CopyHandle
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.snapshots.s3 import S3Refused
from cachefleet.provisioner.snapshots.store import StoreUnavailable
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.snapshot_tables import Restore, Snapshot

log = structlog.get_logger(__name__)

T = TypeVar("T")

PROGRESS_EVERY_S = 1.0
NICE = 5
WARM_BYTES = 8 << 20


async def in_thread(work: Callable[[], T], handle: CopyHandle) -> T:
    """Run *work* in a thread. Cancelled, it calls *handle* off and waits: two must not overlap.

    It is a thread of its own, which engines go before: gigabytes would keep the few threads that
    all others share for minutes, and processors from the clients of the node that is copied.
    """
    own = ThreadPoolExecutor(1, "moving", initializer=_step_back)
    context = contextvars.copy_context()
    task = asyncio.get_running_loop().run_in_executor(own, context.run, work)
    own.shutdown(wait=False)  # its thread ends with the work
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        handle.abandon()
        await asyncio.gather(task, return_exceptions=True)
        raise


def _step_back() -> None:
    if sys.platform == "linux":  # elsewhere this is the whole process's, and not to be taken back
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def warm(path: Path) -> None:
    """Have the system read a file that an engine is about to load, and return at once.

    The engine loads on one processor: what the reading takes of it is better taken of another.
    """
    if sys.platform == "linux":
        threading.Thread(target=_warm, args=(path,), name="warming", daemon=True).start()


def _warm(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("rb") as file:
        _step_back()
        for start in range(0, os.fstat(file.fileno()).st_size, WARM_BYTES):
            os.posix_fadvise(file.fileno(), start, WARM_BYTES, os.POSIX_FADV_WILLNEED)


async def all_or_none(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all side by side; the first that fails ends the others, and they have ended by then."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def discard(uid: str, fleet: Fleet) -> None:
    """Remove what was written of a snapshot that failed, as far as its store lets us.

    What a store keeps that does not answer now goes when the failed snapshot is deleted.
    """
    try:
        await asyncio.to_thread(fleet.snapshots.discard, uid)
    except (StoreUnavailable, S3Refused, OSError) as error:
        log.warning("snapshot_not_discarded", snapshot=uid, reason=str(error))


class Progress:
    """Bytes that have gone by, counted by threads and read by the loop."""

    def __init__(self, total: int | None = None) -> None:
        self._lock = threading.Lock()
        self.done = 0
        self.total = total

    def count(self, size_bytes: int) -> None:
        """Add to what is done."""
        with self._lock:
            self.done += size_bytes

    def reach(self, done: int) -> None:
        """Set what is done."""
        with self._lock:
            self.done = done


@asynccontextmanager
async def progress_shown(
    row: Snapshot | Restore, progress: Progress, scope: Scope, fleet: Fleet, *, what: str
) -> AsyncIterator[None]:
    """Write *progress* to the record and the log every second while the block lasts."""
    telling = asyncio.create_task(_tell(row, progress, scope, fleet, what))
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


async def _tell(
    row: Snapshot | Restore, progress: Progress, scope: Scope, fleet: Fleet, what: str
) -> None:
    table = type(row)
    key = Snapshot.uid if isinstance(row, Snapshot) else Restore.subject_uid
    uid = row.uid if isinstance(row, Snapshot) else row.subject_uid
    before = 0
    while True:
        await asyncio.sleep(PROGRESS_EVERY_S)
        done = progress.done
        log.info(
            "data_moving",
            what=what,
            bytes_done=done,
            bytes_total=progress.total,
            mb_per_s=round((done - before) / PROGRESS_EVERY_S / 1e6, 1),
        )
        before = done
        async with fleet.store.begin(scope) as tx:
            await tx.session.execute(
                update(table).where(key == uid).values(bytes_done=done, bytes_total=progress.total)
            )
