"""Walks through an RDB file: each key with its database, type, expiry, and where its bytes lie.

Reads what Redis up to 7.4 and Valkey up to 9 write. Values are skipped, not read, so that a walk
costs a few microseconds a key whatever the keys hold. Refuses a file that is cut short, has bytes
behind its end, or holds something that this walk does not know the length of.
"""

from __future__ import annotations

import mmap
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from cachefleet.engine.errors import EngineError

MAGICS = (b"REDIS", b"VALKEY")
HEADER_BYTES = 9  # REDIS0011, VALKEY080
CHECKSUM_BYTES = 8
CHECKSUM_SINCE = 5
NESTING_UNITS_MAX = 1 << 32  # elements of one value: more is a broken length

OP_SLOT_INFO, OP_FUNCTION2, OP_MODULE_AUX = 0xF4, 0xF5, 0xF7
OP_IDLE, OP_FREQ, OP_AUX, OP_RESIZEDB = 0xF8, 0xF9, 0xFA, 0xFB
OP_EXPIRE_MS, OP_EXPIRE_S, OP_SELECTDB, OP_EOF = 0xFC, 0xFD, 0xFE, 0xFF

# What holds the bytes: mmap, bytes; both index to int and slice to bytes.
Buffer: TypeAlias = "bytes | memoryview | mmap.mmap"

_STRING_LIKE = frozenset({0, 9, 10, 11, 12, 13, 16, 17, 20})
_KINDS = {
    0: "string", 1: "list", 2: "set", 3: "zset", 4: "hash", 5: "zset", 6: "module", 7: "module",
    9: "hash", 10: "list", 11: "set", 12: "zset", 13: "hash", 14: "list", 15: "stream",
    16: "hash", 17: "zset", 18: "list", 19: "stream", 20: "set", 21: "stream", 22: "hash",
    24: "hash", 25: "hash",
}  # fmt: skip


class NotAnRdb(EngineError):
    """The file is no whole RDB that can be read here; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Header:
    """The first bytes: who wrote the file, and in which version of the format."""

    magic: str
    version: int

    @property
    def has_checksum(self) -> bool:
        return self.magic == "VALKEY" or self.version >= CHECKSUM_SINCE


@dataclass(frozen=True, slots=True)
class Entry:
    """One key. ``start`` to ``end`` is the record: its expiry, idle time, type, key and value."""

    database: int
    key: bytes
    kind: str
    expires: bool
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Extra:
    """Something that is no key: ``aux`` (name, value), ``function``, ``module``, ``hint``."""

    kind: str
    start: int
    end: int
    name: str = ""
    value: str = ""


def parse_header(data: Buffer) -> Header:
    """Return what the first bytes say.

    Raises:
        NotAnRdb: they are not those of an RDB.
    """
    head = bytes(data[:HEADER_BYTES])
    for magic in MAGICS:
        digits = head[len(magic) :]
        if head.startswith(magic) and len(head) == HEADER_BYTES and digits.isdigit():
            return Header(magic.decode(), int(digits))
    raise NotAnRdb("it does not begin as an RDB does")


def check_ends(head: bytes, tail: bytes) -> Header:
    """Refuse a file that is cut short, by its first and last bytes alone.

    What is in between is for the engine to check: the last bytes are its checksum of all others.
    """
    header = parse_header(head)
    wanted = 1 + (CHECKSUM_BYTES if header.has_checksum else 0)
    if len(tail) < wanted or tail[-wanted] != OP_EOF:
        raise NotAnRdb("it is cut short: its last record is missing")
    return header


def walk(data: Buffer) -> Iterator[Entry | Extra]:
    """Give every record of a file, in order.

    Raises:
        NotAnRdb: the file is broken, or newer than this reader.
    """
    header = parse_header(data)
    try:
        end = yield from _records(data, redis_7_4=header.magic == "REDIS" and header.version >= 12)
    except (IndexError, ValueError) as error:
        raise NotAnRdb("it is cut short") from error
    expected = end + (CHECKSUM_BYTES if header.has_checksum else 0)
    if len(data) != expected:
        what = "is cut short" if len(data) < expected else "goes on behind its end"
        raise NotAnRdb(f"it {what}")


def _records(data: Buffer, *, redis_7_4: bool) -> Generator[Entry | Extra, None, int]:
    position, database, size = HEADER_BYTES, 0, len(data)
    start, expires = position, False
    while True:
        opcode = data[position]
        position += 1
        if opcode <= 25:
            key, position = read_string(data, position)
            position = _skip_value(data, position, opcode, redis_7_4=redis_7_4)
            if position > size:
                raise IndexError
            yield Entry(database, key, _KINDS[opcode], expires, start, position)
            start, expires = position, False
        elif opcode == OP_EXPIRE_MS:
            position += 8
            expires = True
        elif opcode == OP_EXPIRE_S:
            position += 4
            expires = True
        elif opcode == OP_IDLE:
            _, position = read_length(data, position)
        elif opcode == OP_FREQ:
            position += 1
        elif opcode == OP_SELECTDB:
            database, position = read_length(data, position)
            start = position
        elif opcode == OP_EOF:
            return position
        else:
            position, extra = _read_extra(data, start, position, opcode)
            if position > size:
                raise IndexError
            yield extra
            start = position


def _read_extra(data: Buffer, start: int, position: int, opcode: int) -> tuple[int, Extra]:
    if opcode == OP_AUX:
        name, position = read_string(data, position)
        value, position = read_string(data, position)
        text = value.decode("utf-8", "replace")
        return position, Extra("aux", start, position, name.decode("utf-8", "replace"), text)
    if opcode == OP_FUNCTION2:
        position = skip_string(data, position)
        return position, Extra("function", start, position)
    if opcode in (OP_RESIZEDB, OP_SLOT_INFO):
        for _ in range(2 if opcode == OP_RESIZEDB else 3):
            _, position = read_length(data, position)
        return position, Extra("hint", start, position)
    if opcode == OP_MODULE_AUX:
        for _ in range(3):
            _, position = read_length(data, position)
        position = _skip_module(data, position)
        return position, Extra("module", start, position)
    raise NotAnRdb(f"it has a record of the unknown kind {opcode:#x}: a newer engine wrote it")


def read_length(data: Buffer, position: int) -> tuple[int, int]:
    """Return a length and where it ends; a string in one of the special codings is no length."""
    first = data[position]
    if first < 0x40:
        return first, position + 1
    if first < 0x80:
        return (first & 0x3F) << 8 | data[position + 1], position + 2
    if first == 0x80:
        return int.from_bytes(data[position + 1 : position + 5]), position + 5
    if first == 0x81:
        return int.from_bytes(data[position + 1 : position + 9]), position + 9
    raise ValueError(first)


def skip_string(data: Buffer, position: int) -> int:
    """Return where the string at *position* ends."""
    first = data[position]
    if first < 0x40:
        return position + 1 + first
    if first < 0xC0:
        length, position = read_length(data, position)
        return position + length
    if first < 0xC3:
        return position + 1 + (1 << (first & 0x3F))
    if first == 0xC3:
        packed, position = read_length(data, position + 1)
        _, position = read_length(data, position)
        return position + packed
    raise ValueError(first)


def read_string(data: Buffer, position: int) -> tuple[bytes, int]:
    """Return a string as the engine would see it, and where it ends."""
    first = data[position]
    end = skip_string(data, position)
    if end > len(data):
        raise IndexError(end)
    if first < 0xC0:
        length = end - read_length(data, position)[1]
        return bytes(data[end - length : end]), end
    if first < 0xC3:
        number = int.from_bytes(data[position + 1 : end], "little", signed=True)
        return str(number).encode(), end
    packed, position = read_length(data, position + 1)
    unpacked, position = read_length(data, position)
    return _unpack(bytes(data[position : position + packed]), unpacked), end


def _unpack(packed: bytes, size: int) -> bytes:
    """Undo LZF: literals, and references to what has been put out already."""
    out = bytearray()
    position = 0
    while position < len(packed):
        control = packed[position]
        position += 1
        if control < 0x20:
            out += packed[position : position + control + 1]
            position += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += packed[position]
            position += 1
        back = len(out) - ((control & 0x1F) << 8) - packed[position] - 1
        position += 1
        if back < 0 or len(out) > size:
            raise ValueError(back)
        for index in range(back, back + length + 2):
            out.append(out[index])
    if len(out) != size:
        raise ValueError(size)
    return bytes(out)


def _skip_value(data: Buffer, position: int, kind: int, *, redis_7_4: bool) -> int:
    if kind in _STRING_LIKE:
        return skip_string(data, position)
    if kind in (1, 2, 14):
        return _skip_strings(data, position, per_element=1)
    if kind == 4:
        return _skip_strings(data, position, per_element=2)
    if kind == 5:
        return _skip_elements(data, position, strings=1, fixed=8)
    if kind == 3:
        return _skip_old_zset(data, position)
    if kind == 18:
        return _skip_quicklist2(data, position)
    if kind in (15, 19, 21):
        return _skip_stream(data, position, version={15: 1, 19: 2, 21: 3}[kind])
    if kind == 7:
        _, position = read_length(data, position)
        return _skip_module(data, position)
    if kind == 22 and not redis_7_4:  # Valkey 9: fields with an expiry of their own
        return _skip_elements(data, position, strings=2, fixed=8)
    if kind == 24:  # Redis 7.4: the same
        count, position = read_length(data, position + 8)
        for _ in range(_sane(count)):
            _, position = read_length(data, position)
            position = skip_string(data, skip_string(data, position))
        return position
    if kind == 25:
        return skip_string(data, position + 8)
    raise NotAnRdb(f"it has a value of the unknown type {kind}: a newer engine wrote it")


def _sane(count: int) -> int:
    if count > NESTING_UNITS_MAX:
        raise ValueError(count)
    return count


def _skip_strings(data: Buffer, position: int, *, per_element: int) -> int:
    count, position = read_length(data, position)
    for _ in range(_sane(count) * per_element):
        position = skip_string(data, position)
    return position


def _skip_elements(data: Buffer, position: int, *, strings: int, fixed: int) -> int:
    count, position = read_length(data, position)
    for _ in range(_sane(count)):
        for _ in range(strings):
            position = skip_string(data, position)
        position += fixed
    return position


def _skip_old_zset(data: Buffer, position: int) -> int:
    count, position = read_length(data, position)
    for _ in range(_sane(count)):
        position = skip_string(data, position)
        digits = data[position]
        position += 1 + (digits if digits < 253 else 0)  # above: not a number, infinities
    return position


def _skip_quicklist2(data: Buffer, position: int) -> int:
    count, position = read_length(data, position)
    for _ in range(_sane(count)):
        _, position = read_length(data, position)
        position = skip_string(data, position)
    return position


def _skip_lengths(data: Buffer, position: int, count: int) -> int:
    for _ in range(count):
        _, position = read_length(data, position)
    return position


def _skip_stream(data: Buffer, position: int, *, version: int) -> int:
    position = _skip_strings(data, position, per_element=2)
    # How many items and the last id; since version 2 first id, last deleted id, items ever added.
    position = _skip_lengths(data, position, 3 if version == 1 else 8)
    groups, position = read_length(data, position)
    for _ in range(_sane(groups)):
        position = skip_string(data, position)
        position = _skip_lengths(data, position, 2 if version == 1 else 3)
        waiting, position = read_length(data, position)
        for _ in range(_sane(waiting)):
            _, position = read_length(data, position + 24)
        consumers, position = read_length(data, position)
        for _ in range(_sane(consumers)):
            position = skip_string(data, position) + (8 if version < 3 else 16)
            owned, position = read_length(data, position)
            position += 16 * _sane(owned)
    return position


def _skip_module(data: Buffer, position: int) -> int:
    while True:
        opcode, position = read_length(data, position)
        if opcode == 0:
            return position
        if opcode in (1, 2):
            _, position = read_length(data, position)
        elif opcode in (3, 4):
            position += 4 if opcode == 3 else 8
        elif opcode == 5:
            position = skip_string(data, position)
        else:
            raise ValueError(opcode)
