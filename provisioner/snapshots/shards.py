"""One shard's data on its way: from a node into the store, and read back. Blocking, for threads."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from cachefleet.engine.memcached.copying import ItemsCheck
from cachefleet.engine.rdb.reader import (
    CHECKSUM_BYTES,
    HEADER_BYTES,
    NotAnRdb,
    check_ends,
    parse_header,
)
from cachefleet.engine.types import Engine
from cachefleet.engine.valkey.copying import Abandoned
from cachefleet.provisioner.snapshots.ahead import read_ahead
from cachefleet.provisioner.snapshots.manifest import ShardFile
from cachefleet.provisioner.snapshots.sealing import (
    KEY_BYTES,
    DataKey,
    Part,
    Sealer,
    Unwrap,
    unseal,
)
from cachefleet.provisioner.snapshots.store import (
    READ_BYTES,
    ShardWriter,
    SnapshotStore,
    StoreUnavailable,
)

TAIL_BYTES = CHECKSUM_BYTES + 1
NONCE_BYTES = 12

Take = Callable[[Part], None]  # a part is good until it returns
Pull = Callable[[Take], None]  # calls it with the parts of an RDB, in order, then returns
Count = Callable[[int], None]  # told of every part's size
Check = Callable[[], None]  # raises where the work has been called off


class NotReadBack(Exception):
    """What the store gives back is not what was written."""


class _Hashing:
    """A file in the store that remembers what was written to it."""

    def __init__(self, writer: ShardWriter) -> None:
        self._writer = writer
        self.digest = hashlib.sha256()
        self.fingerprint = Fingerprint()
        self.size_bytes = 0

    def write(self, data: Part) -> None:
        self._writer.write(data)
        self.digest.update(data)
        self.fingerprint.update(data)
        self.size_bytes += len(data)


class Fingerprint:
    """Tells whether the same bytes come by a second time: 128 bits under a key of the moment.

    Good for one comparison in one process, which is all that reading back needs; it takes a tenth
    of the time of the SHA-256 that is kept.
    """

    def __init__(self, like: Fingerprint | None = None) -> None:
        self._secret: tuple[bytes, bytes] = (
            (os.urandom(KEY_BYTES), os.urandom(NONCE_BYTES)) if like is None else like._secret
        )
        key, nonce = self._secret
        self._mac = Cipher(AES(key), GCM(nonce)).encryptor()

    def update(self, data: Part) -> None:
        """Add some bytes."""
        self._mac.authenticate_additional_data(data)

    def conclude(self) -> bytes:
        """Return what the bytes are told by; nothing can be added any more."""
        self._mac.finalize()
        return self._mac.tag


class Whole(Protocol):
    """Sees whether what goes by is a whole copy."""

    def see(self, data: Part, /) -> None:
        """Look at the next part."""

    def conclude(self) -> str:
        """Return what its format is called; raises where it was not whole."""
        ...


class RdbEnds:
    """Keeps the first and the last bytes of what goes by: an RDB ends with its end."""

    def __init__(self) -> None:
        self.head = b""
        self.tail = b""

    def see(self, data: Part) -> None:
        if len(self.head) < HEADER_BYTES:
            self.head += bytes(data[: HEADER_BYTES - len(self.head)])
        self.tail = (self.tail + bytes(data[-TAIL_BYTES:]))[-TAIL_BYTES:]

    def conclude(self) -> str:
        """Return the header.

        Raises:
            NotAnRdb: it was no whole RDB.
        """
        check_ends(self.head, self.tail)
        return self.head.decode("ascii")


def whole_of(engine: Engine) -> Whole:
    """Return what knows a whole copy of an engine's data."""
    return ItemsCheck() if engine is Engine.MEMCACHED else RdbEnds()


def write_shard(
    store: SnapshotStore,
    uid: str,
    name: str,
    pull: Pull,
    *,
    key: DataKey | None,
    unwrap: Unwrap,
    count: Count,
    check: Check,
    whole: Whole | None = None,
    resume: bool = False,
    node_group_id: str = "",
    slots: str = "",
    member: str = "",
    keys: int | None = None,
) -> ShardFile:
    """Write what *pull* gives as a file of snapshot *uid*, sealed where there is a *key*.

    When this returns the file was read back, and is what was given. With *resume*, *pull* gives the
    same whenever this is repeated: what the store has of it need not be sent again.

    Raises:
        NotAnRdb, NotItems: it was no whole copy.
        NotReadBack, Tampered: the store gives back something else.
        OSError: the store took no more; whatever *pull*, *unwrap* and *check* raise.
    """
    assert not (resume and key), "a file that is sealed again is another one"
    writer = store.create(uid, name, resume=resume)
    stored = _Hashing(writer)
    clear, size_bytes = hashlib.sha256(), 0
    seen = RdbEnds() if whole is None else whole
    sealer = None if key is None else Sealer(stored.write, key)

    def take(data: Part) -> None:
        nonlocal size_bytes
        seen.see(data)
        size_bytes += len(data)
        if sealer is None:
            stored.write(data)
        else:
            clear.update(data)
            sealer.write(data)
        count(len(data))

    try:
        pull(take)
        kind = seen.conclude()
        if sealer is not None:
            sealer.close()
        writer.close()
    except (StoreUnavailable, Abandoned):
        writer.suspend()
        raise
    except BaseException:
        writer.abandon()
        raise
    digest = stored.digest if sealer is None else clear
    shard = ShardFile(
        name=name,
        node_group_id=node_group_id,
        slots=slots,
        member=member,
        size_bytes=size_bytes,
        sha256=digest.hexdigest(),
        stored_bytes=stored.size_bytes,
        stored_sha256=stored.digest.hexdigest(),
        sealed=sealer is not None,
        rdb=kind,
        keys=keys,
    )
    with store.open_written(uid, name) as file:
        _read_back(file, shard, stored.fingerprint, unwrap, check)
    return shard


def _read_back(
    file: BinaryIO, shard: ShardFile, written: Fingerprint, unwrap: Unwrap, check: Check
) -> None:
    """Read a written file again, and open it where it is sealed.

    Of a sealed file each chunk is proven by its tag, and so are their order and the end.
    """
    size_bytes, found = 0, Fingerprint(like=written)
    parts = read_ahead(unseal(file, unwrap) if shard.sealed else _parts(file))
    with contextlib.closing(parts):
        for part in parts:
            check()
            size_bytes += len(part)
            if not shard.sealed:
                found.update(part)
    same = shard.sealed or hmac.compare_digest(found.conclude(), written.conclude())
    if size_bytes != shard.size_bytes or not same:
        raise NotReadBack(f"{shard.name} is not what was written")


def read_shard(store: SnapshotStore, uid: str, shard: ShardFile, unwrap: Unwrap) -> Iterator[bytes]:
    """Give the RDB of a shard in parts. Only when the last was given is it known to be right.

    Raises:
        SnapshotMissing: it is not there.
        NotReadBack, Tampered: it is not what was written.
    """
    with store.open(uid, shard.name) as file:
        yield from _proven(file, shard, unwrap)


def _proven(file: BinaryIO, shard: ShardFile, unwrap: Unwrap) -> Iterator[bytes]:
    digest, size_bytes = hashlib.sha256(), 0
    parts = unseal(file, unwrap) if shard.sealed else _parts(file)
    for part in parts:
        digest.update(part)
        size_bytes += len(part)
        yield part
    if size_bytes != shard.size_bytes or digest.hexdigest() != shard.sha256:
        raise NotReadBack(f"{shard.name} is not what was written")


def _parts(file: BinaryIO) -> Iterator[bytes]:
    while part := file.read(READ_BYTES):
        yield part


def rdb_version(rdb: str) -> str:
    """Return a header as people read it."""
    try:
        header = parse_header(rdb.encode())
    except NotAnRdb:
        return rdb
    return f"{header.magic} {header.version}"


__all__ = [
    "NotReadBack",
    "RdbEnds",
    "Whole",
    "rdb_version",
    "read_shard",
    "whole_of",
    "write_shard",
]
