"""The folder of snapshots: whole or not there, whatever breaks off and whatever is repeated."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from cachefleet.engine.rdb.reader import NotAnRdb
from cachefleet.provisioner.snapshots.following import PAGE_BYTES
from cachefleet.provisioner.snapshots.manifest import (
    BadManifest,
    Manifest,
    ShardFile,
    parse_manifest,
)
from cachefleet.provisioner.snapshots.sealing import DataKey, Tampered
from cachefleet.provisioner.snapshots.shards import (
    NotReadBack,
    Pull,
    Take,
    read_shard,
    write_shard,
)
from cachefleet.provisioner.snapshots.store import FolderStore, ShardWriter, SnapshotMissing
from tests.unit.engine.rdb.files import pair, rdb

UID = "0123456789abcdef"
RDB = rdb(*(pair(b"key%d" % number, b"v" * 60) for number in range(500)))
KEY = DataKey(b"k" * 32, {"provider": "test", "blob": "wrapped"})


def unwrap(wrapped: Mapping[str, Any]) -> bytes:
    assert wrapped == KEY.wrapped
    return KEY.clear


def pull(take: Take) -> None:
    for start in range(0, len(RDB), 1000):
        take(RDB[start : start + 1000])


def written(store: FolderStore, pull: Pull, key: DataKey | None = None) -> ShardFile:
    return write_shard(
        store, UID, "0001.rdb", pull, key=key, unwrap=unwrap, count=lambda _: None,
        check=lambda: None,
    )  # fmt: skip


def manifest(store: FolderStore, key: DataKey | None = None) -> Manifest:
    shard = written(store, pull, key)
    return Manifest(
        snapshot="s",
        engine="valkey",
        engine_version="9.1.0",
        cluster_enabled=False,
        created_at="2026-01-01T00:00:00+00:00",
        shards=(shard,),
    )


@pytest.mark.parametrize("key", [None, KEY], ids=["clear", "sealed"])
def test_what_was_written_is_read(tmp_path: Path, key: DataKey | None) -> None:
    store = FolderStore(tmp_path / "snapshots")
    whole = manifest(store, key)
    [shard] = whole.shards
    with pytest.raises(SnapshotMissing):
        store.manifest(UID)
    store.publish(UID, whole)
    store.publish(UID, whole)
    assert store.manifest(UID) == whole
    assert b"".join(read_shard(store, UID, shard, unwrap)) == RDB
    assert (shard.size_bytes, shard.sha256) == (len(RDB), hashlib.sha256(RDB).hexdigest())
    assert shard.sealed is (key is not None)
    raw = (tmp_path / "snapshots" / UID / "0001.rdb").read_bytes()
    assert hashlib.sha256(raw).hexdigest() == shard.stored_sha256
    assert (b"key1" in raw) is (key is None)
    assert (tmp_path / "snapshots" / UID / "0001.rdb").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("key", [None, KEY], ids=["clear", "sealed"])
@pytest.mark.parametrize("damage", ["flip", "cut", "grow"])
def test_damage_is_found_out(tmp_path: Path, key: DataKey | None, damage: str) -> None:
    store = FolderStore(tmp_path)
    whole = manifest(store, key)
    store.publish(UID, whole)
    path = tmp_path / UID / "0001.rdb"
    path.write_bytes(damaged(bytearray(path.read_bytes()), damage))
    with pytest.raises((NotReadBack, Tampered)):
        list(read_shard(store, UID, whole.shards[0], unwrap))


def test_a_copy_that_is_cut_short_leaves_no_file(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    with pytest.raises(NotAnRdb, match="cut short"):
        written(store, lambda take: take(RDB[:-50]))
    assert list(tmp_path.rglob("*.rdb")) == []


class Forgetful(FolderStore):
    """Takes everything, and gives back something else."""

    def __init__(self, root: Path, damage: str) -> None:
        super().__init__(root)
        self._damage = damage

    @contextlib.contextmanager
    def open_written(self, uid: str, name: str) -> Iterator[BinaryIO]:
        with super().open_written(uid, name) as file:
            data = bytearray(file.read())
        yield io.BytesIO(damaged(data, self._damage))


def damaged(data: bytearray, how: str) -> bytes:
    if how == "flip":
        data[len(data) // 2] ^= 1
    return bytes({"flip": data, "cut": data[:-1], "grow": data + b"x", "none": b""}[how])


@pytest.mark.parametrize("key", [None, KEY], ids=["clear", "sealed"])
@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "none"])
def test_what_is_not_read_back_is_not_written(
    tmp_path: Path, key: DataKey | None, damage: str
) -> None:
    with pytest.raises((NotReadBack, Tampered)):
        manifest(Forgetful(tmp_path, damage), key)


def test_reading_back_can_be_called_off(tmp_path: Path) -> None:
    def called_off() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        write_shard(
            FolderStore(tmp_path), UID, "0001.rdb", pull, key=None, unwrap=unwrap,
            count=lambda _: None, check=called_off,
        )  # fmt: skip


class FullDisk(FolderStore):
    """Takes some bytes, then no more."""

    def create(self, uid: str, name: str, *, resume: bool = False) -> ShardWriter:
        return _Full(super().create(uid, name, resume=resume))


class _Full:
    def __init__(self, inner: ShardWriter) -> None:
        self._inner = inner
        self._left = 5_000
        self.frontier = inner.frontier

    def write(self, data: bytes | memoryview) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._inner.write(data)

    def close(self) -> None:
        self._inner.close()

    def suspend(self) -> None:
        self._inner.suspend()

    def abandon(self) -> None:
        self._inner.abandon()


def test_a_full_disk_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space") as error:
        written(FullDisk(tmp_path), pull)
    assert error.value.errno == errno.ENOSPC
    assert list(tmp_path.rglob("*.rdb")) == []


class Watched(FolderStore):
    """Tells when a file is opened to be read back."""

    def __init__(self, root: Path, *, flush_every_bytes: int) -> None:
        super().__init__(root, flush_every_bytes=flush_every_bytes)
        self.opened = threading.Event()

    @contextlib.contextmanager
    def open_written(self, uid: str, name: str) -> Iterator[BinaryIO]:
        with super().open_written(uid, name) as file:
            self.opened.set()
            yield file


LARGE = rdb(*(pair(b"key%d" % number, b"v" * 9000) for number in range(300)))
BEFORE_THE_END = 2_200_000  # more than two chunks of a sealed file
DEADLINE_S = 20.0


@pytest.mark.parametrize("key", [None, KEY], ids=["clear", "sealed"])
def test_a_large_file_is_read_back_while_it_is_written(tmp_path: Path, key: DataKey | None) -> None:
    store = Watched(tmp_path, flush_every_bytes=PAGE_BYTES)
    before = threading.active_count()

    def pull_slowly(take: Take) -> None:
        for start in range(0, BEFORE_THE_END, 10_000):
            take(LARGE[start : start + 10_000])
        assert store.opened.wait(DEADLINE_S)
        take(LARGE[BEFORE_THE_END:])

    shard = written(store, pull_slowly, key)
    assert (shard.size_bytes, shard.sha256) == (len(LARGE), hashlib.sha256(LARGE).hexdigest())
    assert threading.active_count() == before


@pytest.mark.parametrize("key", [None, KEY], ids=["clear", "sealed"])
def test_what_changes_on_the_disk_meanwhile_is_found_out(
    tmp_path: Path, key: DataKey | None
) -> None:
    store = Watched(tmp_path, flush_every_bytes=PAGE_BYTES)

    assert len(LARGE) % PAGE_BYTES > 100

    def pull_and_damage(take: Take) -> None:
        take(LARGE)
        [path] = tmp_path.rglob("*.rdb")
        with path.open("r+b") as file:
            file.seek(-100, os.SEEK_END)  # on the page that is not full yet
            file.write(b"not what was written")

    with pytest.raises((NotReadBack, Tampered)):
        written(store, pull_and_damage, key)


def test_a_copy_that_breaks_off_ends_who_reads_it_back(tmp_path: Path) -> None:
    store = Watched(tmp_path, flush_every_bytes=PAGE_BYTES)
    before = threading.active_count()

    def pull_half(take: Take) -> None:
        take(LARGE[:BEFORE_THE_END])
        assert store.opened.wait(DEADLINE_S)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        written(store, pull_half)
    assert threading.active_count() == before
    assert list(tmp_path.rglob("*.rdb")) == []


def test_what_the_disk_refused_once_is_not_overlooked(tmp_path: Path) -> None:
    refusals = [OSError(errno.EIO, "the disk is bad")]
    asked = threading.Event()

    def refuse_once(_: int) -> None:
        asked.set()
        if refusals:
            raise refusals.pop()

    store = FolderStore(tmp_path, flush_every_bytes=PAGE_BYTES, sync=refuse_once)

    def pull_on(take: Take) -> None:
        for start in range(0, len(LARGE), PAGE_BYTES):
            take(LARGE[start : start + PAGE_BYTES])
            if not start:
                assert asked.wait(DEADLINE_S)

    with pytest.raises(OSError, match="the disk is bad"):
        written(store, pull_on)
    assert list(tmp_path.rglob("*.rdb")) == []


def test_what_did_not_come_about_is_discarded_and_what_did_is_not(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    whole = manifest(store)
    store.discard(UID)
    store.discard(UID)
    assert store.known() == set()
    whole = manifest(store)
    store.publish(UID, whole)
    store.discard(UID)
    assert store.manifest(UID) == whole
    store.remove(UID)
    store.remove(UID)
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_is_what_it_was_or_refused() -> None:
    whole = Manifest(
        snapshot="s", engine="redis", engine_version="7.1", cluster_enabled=True,
        created_at="x", shards=(),
    )  # fmt: skip
    assert parse_manifest(whole.render()) == whole
    assert parse_manifest(replace(whole, snapshot="t").render()).snapshot == "t"
    for broken in (b"", b"{}", b"[]", b'{"format": 2}', whole.render()[:-5], b'{"format": 1}'):
        with pytest.raises(BadManifest):
            parse_manifest(broken)
