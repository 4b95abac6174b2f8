"""Replies of memcached's text protocol of which only the first line says where they end.

Each reader takes as much as belongs to one reply and refuses what is longer than it was allowed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from cachefleet.engine.errors import CommandRefused

UNAUTHENTICATED: Final = b"unauthenticated"
_LISTS: Final = frozenset({b"VALUE", b"STAT", b"ITEM", b"CONFIG"})
_ENDS: Final = frozenset({b"END", b"RESET"})
_WITH_DATA: Final = {b"VALUE": 3, b"CONFIG": 3, b"VA": 1}  # which word is the length


class ReplyTooLong(Exception):
    """A reply is longer than was allowed. The rest was not read: the connection is out of step."""


@dataclass(frozen=True, slots=True)
class DumpedKey:
    """One item as a dump tells of it; *expires_at_s* is Unix time, None for never."""

    key: bytes
    expires_at_s: int | None
    size_bytes: int


async def read_reply(reader: asyncio.StreamReader, *, bytes_max: int) -> list[bytes]:
    """Return one reply's lines; the data of a value is a line of its own.

    Raises:
        CommandRefused: the server wants a login first.
        ReplyTooLong: it has more than *bytes_max* bytes.
        EOFError: the server hung up in the midst of it.
    """
    lines: list[bytes] = []
    left = bytes_max
    while True:
        line = (await reader.readuntil(b"\n")).rstrip(b"\r\n")
        left -= len(line)
        words = line.split(b" ")
        if not lines and UNAUTHENTICATED in line:
            raise CommandRefused(line.decode("utf-8", "replace"), code="CLIENT_ERROR")
        lines.append(line)
        length = _data_length(words)
        left -= length or 0
        if left < 0:
            raise ReplyTooLong(f"more than {bytes_max} bytes")
        if length is not None:
            lines.append(await reader.readexactly(length))
            await reader.readexactly(2)
        if words[0] not in _LISTS:
            return lines


def _data_length(words: list[bytes]) -> int | None:
    at = _WITH_DATA.get(words[0])
    if at is None or len(words) <= at or not words[at].isdigit():
        return None
    return int(words[at])


async def read_dump(
    reader: asyncio.StreamReader,
    *,
    keep: Callable[[bytes], bool],
    keys_max: int,
    lines_max: int,
) -> tuple[list[DumpedKey], bool]:
    """Return the keys of a ``lru_crawler metadump`` that *keep* takes, and whether those are all.

    Stops in the midst of a dump that is longer; the connection is of no more use then.

    Raises:
        CommandRefused: there is no dump to be had: a login is wanted, or the crawler is busy.
        EOFError: the server hung up in the midst of it.
    """
    found: list[DumpedKey] = []
    for _ in range(lines_max):
        line = (await reader.readuntil(b"\n")).rstrip(b"\r\n")
        if line in _ENDS:
            return found, True
        if not line.startswith(b"key="):
            raise CommandRefused(line.decode("utf-8", "replace")[:200], code="REFUSED")
        fields = dict(part.partition(b"=")[::2] for part in line.split(b" "))
        key = unquote_to_bytes(fields[b"key"])
        if keep(key):
            expires = int(fields.get(b"exp", b"-1"))
            found.append(
                DumpedKey(key, None if expires < 0 else expires, int(fields.get(b"size", b"0")))
            )
            if len(found) >= keys_max:
                return found, False
    return found, False


def parse_cachedump(lines: Sequence[bytes], keep: Callable[[bytes], bool]) -> list[DumpedKey]:
    """Return the keys of a ``stats cachedump`` that *keep* takes: ``ITEM key [6 b; 0 s]``."""
    found: list[DumpedKey] = []
    for line in lines:
        head, _, facts = line.rpartition(b" [")
        key = head.removeprefix(b"ITEM ")
        numbers = re.fullmatch(rb"(\d+) b; (\d+) s\]", facts)
        if numbers is not None and keep(key):
            found.append(DumpedKey(key, int(numbers[2]) or None, int(numbers[1])))
    return found
