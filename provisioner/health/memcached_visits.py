"""A person's visit to one memcached node: what its crawler tells of keys, and single commands.

memcached has no cursor to go on from: ``lru_crawler metadump`` tells of every item, in an order
that changes. So a page is cut from what one walk has found, in the order of the keys, and a walk
that would be too long ends: then there are more keys than can be paged through, and a narrower
pattern finds them. Where there is no crawler to be had, as by default, ``stats cachedump`` tells of
a part of each slab class.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Sequence
from fnmatch import translate
from typing import Any, Final

from cachefleet.engine.errors import CommandRefused
from cachefleet.engine.memcached.adapter import MemcachedAdapter
from cachefleet.engine.memcached.command_line import NotRunHere, request
from cachefleet.engine.memcached.replies import (
    DumpedKey,
    ReplyTooLong,
    parse_cachedump,
    read_dump,
    read_reply,
)
from cachefleet.provisioner.health.readable import REPLY_BYTES_MAX, TOO_LARGE, readable_bytes

DUMP_LINES_MAX: Final = 100_000  # items that one page looks at
DUMP_KEYS_MAX: Final = 10_000  # matching keys that one page is cut from
ERRORS: Final = ("ERROR", "CLIENT_ERROR", "SERVER_ERROR")
METADUMP: Final = "lru_crawler metadump all"
CACHEDUMP_BYTES_MAX: Final = 4 << 20  # servers stop at half of that


async def command(node: MemcachedAdapter, words: Sequence[str], *, writes: bool) -> Any:
    """Run one command; return its lines as text, or ``{"Error": line}``.

    Raises:
        CommandRefused: it is not run here, or its reply is too large.
        NodeUnreachable: the node does not answer in time.
    """
    try:
        asked = request(words, writes=writes)
    except NotRunHere as reason:
        raise CommandRefused(str(reason), code="REFUSED") from reason
    read = functools.partial(read_reply, bytes_max=REPLY_BYTES_MAX)
    try:
        lines = await node.ask(asked.line, read, body=asked.body)
    except ReplyTooLong:
        raise CommandRefused(TOO_LARGE, code="REFUSED") from None
    if lines[0].split(b" ")[0].decode("latin-1") in ERRORS:
        return {"Error": readable_bytes(lines[0])}
    return "\n".join(map(readable_bytes, lines))


async def keys(
    node: MemcachedAdapter, *, skip: int, match: str, count: int, now_s: float
) -> tuple[str, list[dict[str, Any]]]:
    """Return *count* keys behind the first *skip* ones, and how many to skip next; 0 at the end.

    Raises:
        CommandRefused: the node tells nobody of its keys.
        NodeUnreachable: the node does not answer in time.
    """
    pattern = re.compile(translate(match).encode(), re.DOTALL)
    found = await _items(node, lambda key: pattern.fullmatch(key) is not None)
    found.sort(key=lambda one: one.key)
    page = found[skip : skip + count]
    end = skip + len(page)
    return str(end if end < len(found) else 0), [
        {
            "Key": readable_bytes(one.key),
            "Type": "item",
            "TtlMs": None
            if one.expires_at_s is None
            else max(0, round((one.expires_at_s - now_s) * 1000)),
            "MemoryBytes": one.size_bytes,
        }
        for one in page
    ]


async def _items(node: MemcachedAdapter, keep: Callable[[bytes], bool]) -> list[DumpedKey]:
    read = functools.partial(read_dump, keep=keep, keys_max=DUMP_KEYS_MAX, lines_max=DUMP_LINES_MAX)
    with contextlib.suppress(CommandRefused):  # off, busy, or closed as in AWS's engine
        return (await node.ask(METADUMP, read))[0]
    found: list[DumpedKey] = []
    dump = functools.partial(read_reply, bytes_max=CACHEDUMP_BYTES_MAX)
    for name in await node.stats("items"):
        _, slab_class, what = name.split(":")
        if what == "number" and len(found) < DUMP_KEYS_MAX:
            lines = await node.ask(f"stats cachedump {slab_class} {DUMP_KEYS_MAX}", dump)
            found += parse_cachedump(lines, keep)
    return found
