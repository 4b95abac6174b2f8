"""Turns the RDB of a full copy into commands that put its keys into a running engine. Pure.

Values are passed on as they lie in the file, each as the payload of one ``RESTORE``: type, bytes,
version of the format, checksum. What a file says beside its keys are libraries of functions; the
rest is about the server that wrote it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import anycrc

from cachefleet.engine.feed.wire import encode
from cachefleet.engine.rdb.reader import (
    OP_EXPIRE_MS,
    OP_EXPIRE_S,
    OP_FREQ,
    OP_IDLE,
    Buffer,
    Entry,
    parse_header,
    read_length,
    read_string,
    skip_string,
    walk,
)

_CHECKSUM = anycrc.Model("CRC64-REDIS")


@dataclass(frozen=True, slots=True)
class Restored:
    """A command, and the key that it makes (None: it makes none) in its database."""

    raw: bytes
    database: int
    key: bytes | None


def restore_commands(data: Buffer) -> Iterator[Restored]:
    """Give the commands that make every key and function of the RDB *data*, in its order.

    Raises:
        NotAnRdb: the file is broken, or newer than this reader.
    """
    version = parse_header(data).version.to_bytes(2, "little")
    for record in walk(data):
        if isinstance(record, Entry):
            yield Restored(_restore(data, record, version), record.database, record.key)
        elif record.kind == "function":
            code, _ = read_string(data, record.start + 1)
            yield Restored(encode((b"FUNCTION", b"LOAD", b"REPLACE", code)), 0, None)


def _restore(data: Buffer, entry: Entry, version: bytes) -> bytes:
    at, expires_ms = entry.start, 0
    extra: tuple[bytes, ...] = ()
    while True:
        opcode = data[at]
        at += 1
        if opcode == OP_EXPIRE_MS:
            expires_ms = int.from_bytes(data[at : at + 8], "little", signed=True)
            at += 8
        elif opcode == OP_EXPIRE_S:
            expires_ms = 1000 * int.from_bytes(data[at : at + 4], "little", signed=True)
            at += 4
        elif opcode == OP_IDLE:
            idle_s, at = read_length(data, at)
            extra = (b"IDLETIME", b"%d" % idle_s)
        elif opcode == OP_FREQ:
            extra = (b"FREQ", b"%d" % data[at])
            at += 1
        else:
            break
    value = bytes(data[skip_string(data, at) : entry.end])
    body = bytes((opcode,)) + value + version
    payload = body + _CHECKSUM.calc(body).to_bytes(8, "little")
    return encode(
        (b"RESTORE", entry.key, b"%d" % max(expires_ms, 0), payload, b"REPLACE", b"ABSTTL", *extra)
    )
