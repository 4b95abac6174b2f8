"""Where snapshots lie: a folder of files, or a bucket of objects. Blocking: called in threads.

A snapshot is written under a name that nobody reads, and gets its own only when all of it is there
and has been read back. So a crash at any instant leaves either the whole or a leftover that
:meth:`discard` removes; it is called before every attempt and when the snapshot goes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from cachefleet.provisioner.snapshots.following import Frontier
from cachefleet.provisioner.snapshots.manifest import (
    MANIFEST_BYTES_MAX,
    MANIFEST_FILE,
    Manifest,
    parse_manifest,
)
from cachefleet.provisioner.snapshots.sealing import Part

ASIDE_SUFFIX = ".aside"
READ_BYTES = 1 << 20
# Written back as it comes, so that the last flush does not wait for gigabytes.
FLUSH_EVERY_BYTES = 32 << 20
# So much of a file that goes by stays in the cache of the system: gigabytes that nobody reads again
# would push out what others need, and fresh memory for them costs more than reading and writing.
CACHED_BYTES_MAX = 32 << 20


class SnapshotMissing(Exception):
    """What the record calls a snapshot is not in the store, or not whole."""


class StoreUnavailable(Exception):
    """The store does not answer: nothing is known of what is in it."""


class ShardWriter(Protocol):
    """Takes the bytes of one file. It counts only after :meth:`close`.

    *frontier*: how far it can be read while it is written; None where that has to wait for the end.
    """

    @property
    def frontier(self) -> Frontier | None: ...

    def write(self, data: Part) -> None:
        """Take some bytes; they are good until this returns."""

    def close(self) -> None:
        """Make what was written last; the file is whole from here on."""

    def suspend(self) -> None:
        """Stop. What was written may be kept for a writer that goes on with it."""

    def abandon(self) -> None:
        """Throw away what was written."""


class SnapshotStore(Protocol):
    """Keeps snapshots by their uid."""

    def create(self, uid: str, name: str, *, resume: bool = False) -> ShardWriter:
        """Begin a file of a snapshot that is being written.

        With *resume* its bytes are those that a former attempt may have begun to write.
        """
        ...

    def open_written(self, uid: str, name: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """Open a file of a snapshot that is still being written, to read it back.

        What is read is what the store has, and nothing that was kept on the way there. A file
        itself may still be written: as far as its writer's frontier it can be read.
        """
        ...

    def publish(self, uid: str, manifest: Manifest) -> None:
        """Make what was written the snapshot. May be repeated."""
        ...

    def manifest(self, uid: str) -> Manifest:
        """Return the manifest of a whole snapshot.

        Raises:
            SnapshotMissing: there is none.
        """
        ...

    def open(self, uid: str, name: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """Open a file of a whole snapshot.

        Raises:
            SnapshotMissing: there is none.
        """
        ...

    def local_path(self, uid: str, name: str) -> Path | None:
        """Return where a file of a whole snapshot lies; None where that is not on this machine."""
        ...

    def discard(self, uid: str) -> None:
        """Remove what was written of a snapshot that did not come about. May be repeated."""
        ...

    def remove(self, uid: str) -> None:
        """Remove a snapshot and whatever was left of it. May be repeated."""
        ...

    def known(self) -> set[str]:
        """Return the uids of which there is anything here."""
        ...


class FolderStore:
    """A directory for each snapshot, written under another name and renamed. Private to us."""

    def __init__(
        self,
        root: Path,
        *,
        flush_every_bytes: int = FLUSH_EVERY_BYTES,
        sync: Callable[[int], None] | None = None,
    ) -> None:
        self._root = root
        self._flush_every_bytes = flush_every_bytes
        self._sync = sync or _sync_data  # tests bring a disk that refuses

    def create(self, uid: str, name: str, *, resume: bool = False) -> ShardWriter:
        # On this machine all of it is written anew as fast as it is compared.
        directory = self._aside(uid)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._writer(directory / name)

    @contextlib.contextmanager
    def open_written(self, uid: str, name: str) -> Iterator[BinaryIO]:
        # Without a buffer: it would hold bytes from beyond what may be read.
        with (self._aside(uid) / name).open("rb", buffering=0) as file:
            yield cast("BinaryIO", _PassingBy(cast("BinaryIO", file)))

    def publish(self, uid: str, manifest: Manifest) -> None:
        aside, final = self._aside(uid), self._root / uid
        if final.exists():
            return  # a former attempt got as far as this
        writer = self._writer(aside / MANIFEST_FILE)
        writer.write(manifest.render())
        writer.close()
        _sync_directory(aside)
        aside.rename(final)
        _sync_directory(self._root)

    def manifest(self, uid: str) -> Manifest:
        with self.open(uid, MANIFEST_FILE) as file:
            return parse_manifest(file.read(MANIFEST_BYTES_MAX))

    @contextlib.contextmanager
    def open(self, uid: str, name: str) -> Iterator[BinaryIO]:
        try:
            file = (self._root / uid / name).open("rb")
        except FileNotFoundError as error:
            raise SnapshotMissing(f"{name} of snapshot {uid} is not there") from error
        with file:
            yield cast("BinaryIO", _PassingBy(cast("BinaryIO", file)))

    def local_path(self, uid: str, name: str) -> Path | None:
        return self._root / uid / name

    def discard(self, uid: str) -> None:
        shutil.rmtree(self._aside(uid), ignore_errors=True)

    def remove(self, uid: str) -> None:
        self.discard(uid)
        final = self._root / uid
        if final.exists():
            # Out of its name first: half a snapshot must never be found under it.
            final.rename(self._aside(uid))
            self.discard(uid)

    def known(self) -> set[str]:
        if not self._root.is_dir():
            return set()
        return {entry.name.removesuffix(ASIDE_SUFFIX) for entry in self._root.iterdir()}

    def _writer(self, path: Path) -> _FileWriter:
        return _FileWriter(path, flush_every_bytes=self._flush_every_bytes, sync=self._sync)

    def _aside(self, uid: str) -> Path:
        return self._root / f"{uid}{ASIDE_SUFFIX}"


class _FileWriter:
    def __init__(self, path: Path, *, flush_every_bytes: int, sync: Callable[[int], None]) -> None:
        self.frontier = Frontier()
        self._path = path
        self._flush_every_bytes = flush_every_bytes
        self._sync = sync
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._written = 0
        self._flushed = 0
        self._flusher = ThreadPoolExecutor(max_workers=1)
        self._flushing: Future[None] | None = None

    def write(self, data: Part) -> None:
        view = memoryview(data)
        while view:
            count = os.write(self._descriptor, view)
            view = view[count:]
            self._written += count
        if self._written - self._flushed >= self._flush_every_bytes:
            self._start_flush()

    def close(self) -> None:
        try:
            self._end_flush()
            os.fsync(self._descriptor)
            _forget_cached(self._descriptor)  # reading back is from the disk
        finally:
            os.close(self._descriptor)
            self._descriptor = -1
        self.frontier.end()

    def suspend(self) -> None:
        self.abandon()

    def abandon(self) -> None:
        self.frontier.give_up()
        self._flusher.shutdown(wait=True)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._path.unlink(missing_ok=True)

    def _start_flush(self) -> None:
        """Have what there is written to the disk beside our own work, unless that is under way."""
        if self._flushing is not None:
            if not self._flushing.done():
                return
            self._flushing.result()  # what the disk refused is said once, and not to the next
        self._flushing = self._flusher.submit(self._flush, self._written)
        self._flushed = self._written

    def _flush(self, size_bytes: int) -> None:
        self._sync(self._descriptor)
        _forget_cached(self._descriptor, size_bytes)
        self.frontier.advance(size_bytes)

    def _end_flush(self) -> None:
        self._flusher.shutdown(wait=True)
        if self._flushing is not None:
            self._flushing.result()  # what the disk refused is not to be overlooked


class _PassingBy:
    """A file that is read from its beginning to its end, once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._position = 0
        self._forgotten = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._position += len(data)
        if self._position - self._forgotten >= CACHED_BYTES_MAX:
            _forget_cached(self._file.fileno(), self._position)
            self._forgotten = self._position
        return data


def _sync_data(descriptor: int) -> None:
    getattr(os, "fdatasync", os.fsync)(descriptor)


def _forget_cached(descriptor: int, size_bytes: int = 0) -> None:
    """Let go of the system's copy of a file's beginning, or of all of it: what is on the disk."""
    if sys.platform == "linux":
        os.posix_fadvise(descriptor, 0, size_bytes, os.POSIX_FADV_DONTNEED)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
