"""RDB files put together by hand."""

from __future__ import annotations

from collections.abc import Iterable

END = b"\xff" + bytes(8)


def text(value: bytes) -> bytes:
    """Return a string of less than 64 bytes, or with a length of 14 bits."""
    if len(value) < 64:
        return bytes([len(value)]) + value
    return bytes([0x40 | len(value) >> 8, len(value) & 0xFF]) + value


def pair(key: bytes, value: bytes = b"v") -> bytes:
    """Return the record of a string."""
    return b"\x00" + text(key) + text(value)


def rdb(*records: bytes, header: bytes = b"REDIS0011", database: int = 0) -> bytes:
    """Return a whole file."""
    aux = b"\xfa" + text(b"redis-ver") + text(b"7.2.0") + b"\xfa" + text(b"repl-id") + text(b"x")
    return header + aux + b"\xfe" + bytes([database]) + b"".join(records) + END


def with_keys(keys: Iterable[bytes]) -> bytes:
    """Return a file of strings."""
    return rdb(*(pair(key) for key in keys))
