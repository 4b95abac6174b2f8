"""The memory file: all items, written at an orderly stop and read at the next start.

A copy that is made while the server serves (:mod:`.dumping`) is the same, and ends in a backup.

Layout: magic, the CAS counter, then for each item a fixed header, key and rendered value;
last the SHA-256 of all before it. It is written beside and renamed, so that a crash leaves
the old file or the new one; a file whose digest is wrong is refused whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from cachefleet.engine.memserver.lru import ACTIVE, NEVER, SEGMENT_MASK
from cachefleet.engine.memserver.store import Store

MAGIC = b"cachefleet-memserver 1\n"
HEADER = ">qQBHI"  # expiry as a Unix time (0: never), CAS, bits, key bytes, value bytes
FLAGS_AND_SIZE = ">I"
BLOCK_BYTES = 1 << 20
DIGEST_BYTES = 32


TYPE_CHECKING = False  # importing typing for it would take longer than the rest
if TYPE_CHECKING:
    from typing import Protocol

    class Sink(Protocol):
        """What takes bytes, as a file does."""

        def write(self, data: bytes, /) -> object: ...


class Corrupt(Exception):
    """The file is not what was written; nothing of it was used."""


def _records(store: Store) -> Iterator[bytes]:
    import struct

    header = struct.Struct(HEADER)
    yield MAGIC + struct.pack(">Q", store.cas_id)
    for key, item in store.table.items():
        if item.exp <= store.now:
            continue
        exp = 0 if item.exp == NEVER else item.exp + store.process_started
        value = item.value
        bits = item.bits & ~SEGMENT_MASK & ~ACTIVE
        yield header.pack(exp, item.cas, bits, len(key), len(value))
        yield b"%b%b%b" % (struct.pack(FLAGS_AND_SIZE, item.flags), key, value)


def write(store: Store, file: Sink) -> int:
    """Write all living items, and what proves that they are all; how many bytes."""
    import hashlib

    digest = hashlib.sha256()
    size = 0
    for record in _records(store):
        digest.update(record)
        file.write(record)
        size += len(record)
    file.write(digest.digest())
    return size + DIGEST_BYTES


def save(store: Store, path: str) -> int:
    """Write all living items to *path*; how many bytes. OSError leaves the old file."""
    aside = f"{path}.{os.getpid()}.tmp"
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb", buffering=BLOCK_BYTES) as file:
            size = write(store, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError:
        os.unlink(aside)
        raise
    return size


def load(store: Store, path: str) -> int:
    """Fill an empty *store* from *path* and remove the file; how many items came back.

    Raises Corrupt, having changed nothing, and FileNotFoundError.
    """
    import hashlib
    import struct

    with open(path, "rb", buffering=BLOCK_BYTES) as file:
        length = os.fstat(file.fileno()).st_size - DIGEST_BYTES
        digest = hashlib.sha256()
        left = length
        while left > 0:
            block = file.read(min(left, BLOCK_BYTES))
            if not block:
                break
            left -= len(block)
            digest.update(block)
        if left or file.read() != digest.digest():
            raise Corrupt(f"checksum of {path}")
        file.seek(0)
        if file.read(len(MAGIC)) != MAGIC:
            raise Corrupt(f"{path} is of another version")
        header = struct.Struct(HEADER)
        (cas_id,) = struct.unpack(">Q", file.read(8))
        count = 0
        while file.tell() < length:
            exp, cas, bits, key_len, value_len = header.unpack(file.read(header.size))
            (flags,) = struct.unpack(FLAGS_AND_SIZE, file.read(4))
            key, value = file.read(key_len), file.read(value_len)
            expiry = NEVER if exp == 0 else exp - store.process_started
            if expiry <= store.now:
                continue
            item = store.put(key, flags, expiry, value + b"\r\n", bits)
            if item is not None:
                item.cas = cas
                count += 1
        store.cas_id = max(cas_id, store.cas_id)
        store.stats.reset()
    os.unlink(path)
    return count
