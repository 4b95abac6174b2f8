"""Puts a full copy of the source into the target, which goes on answering reads meanwhile.

The copy is received into a file, and each of its keys restored over whatever the target has under
that name. What the target has and the copy has not is removed last. So nobody ever meets an empty
cache: each key is as it was, or as it is.
"""

from __future__ import annotations

import array
import asyncio
import bisect
import mmap
import os
from collections.abc import Callable
from pathlib import Path

from cachefleet.engine.errors import CommandRefused
from cachefleet.engine.feed.connection import ANSWER_TIMEOUT_S, Connection
from cachefleet.engine.feed.links import Position
from cachefleet.engine.feed.restoring import restore_commands
from cachefleet.engine.feed.wire import encode, error_of, words_of
from cachefleet.engine.replstream import BrokenStream, FullSyncReader
from cachefleet.engine.valkey.replication import parse_info

BATCH_BYTES = 256 * 1024
BATCHES_AHEAD = 4  # that are sent before the replies of the first are waited for
SILENCE_S_MAX = 60.0  # the source sends a line end each second while it prepares
SCAN_COUNT = 1000


async def receive(source: Connection, first_line: bytes, path: Path) -> Position:
    """Write the RDB that *source* sends to *path*; return where its stream goes on behind it.

    Raises:
        BrokenStream, NodeUnreachable: it did not arrive whole.
        TimeoutError: nothing arrived for too long.
    """
    reader = FullSyncReader()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for part in reader.feed(first_line + b"\r\n"):
            raise BrokenStream(f"{part[:20]!r} comes before its length")
        while not reader.whole:
            async with asyncio.timeout(SILENCE_S_MAX):
                data = await source.read()
            for part in reader.feed(data):
                file.write(part)
    if reader.rest:
        raise BrokenStream("the stream goes on before we said that we have the copy")
    return Position(replication_id=reader.replication_id, offset=reader.offset)


async def restore(path: Path, target: Connection, count: Callable[[int], None]) -> None:
    """Make *target* have exactly the keys and functions of the RDB at *path*.

    Raises:
        NotAnRdb: it cannot be read.
        CommandRefused: the target does not take something of it.
        NodeUnreachable: the target is gone.
    """
    databases = await _databases(target)
    kept: dict[int, array.array[int]] = {}
    try:
        await target.ask(b"FUNCTION", b"FLUSH")
    except CommandRefused as error:
        if "unknown command" not in str(error).lower():
            raise
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        sender = _Sender(target)
        database = 0
        for command in restore_commands(data):
            if command.database != database:
                database = command.database
                await sender.send(encode((b"SELECT", b"%d" % database)))
            if command.key is not None:
                kept.setdefault(database, array.array("q")).append(hash(command.key))
                count(1)
            await sender.send(command.raw)
        await sender.flush()
        await sender.finish()
    for database in sorted(databases):
        names = kept.get(database, array.array("q"))
        await _prune(target, database, sorted(names))
    await target.ask(b"SELECT", b"0")


class _Sender:
    """Sends commands in batches and sees that each succeeds, some batches ahead of the replies."""

    def __init__(self, target: Connection) -> None:
        self._target = target
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._sent: list[int] = []  # how many commands each batch had
        self._answered = 0  # of the oldest

    async def send(self, raw: bytes) -> None:
        self._batch.append(raw)
        self._batch_bytes += len(raw)
        if self._batch_bytes >= BATCH_BYTES:
            await self.flush()

    async def flush(self) -> None:
        if not self._batch:
            return
        self._target.send(b"".join(self._batch))
        self._sent.append(len(self._batch))
        self._batch, self._batch_bytes = [], 0
        while len(self._sent) > BATCHES_AHEAD:
            await self._take()

    async def finish(self) -> None:
        while self._sent:
            await self._take()

    async def _take(self) -> None:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            replies = await self._target.take()
        for reply in replies:
            if (told := error_of(reply)) is not None:
                raise CommandRefused(told, code=told.split(" ", 1)[0])
        self._answered += len(replies)
        while self._sent and self._answered >= self._sent[0]:
            self._answered -= self._sent.pop(0)


async def _databases(target: Connection) -> list[int]:
    """Return the databases that have keys."""
    reply = await target.ask(b"INFO", b"keyspace")
    names = parse_info(reply.decode("utf-8", "replace"))
    return [int(name[2:]) for name in names if name.startswith("db") and name[2:].isdigit()]


async def _prune(target: Connection, database: int, kept: list[int]) -> None:
    """Remove every key whose hash is not among *kept*, which is sorted."""
    await target.ask(b"SELECT", b"%d" % database)
    cursor = b"0"
    while True:
        reply = await target.ask(b"SCAN", cursor, b"COUNT", b"%d" % SCAN_COUNT)
        cursor, keys = _scanned(reply)
        gone = []
        for key in keys:
            number = hash(key)
            at = bisect.bisect_left(kept, number)
            if at == len(kept) or kept[at] != number:
                gone.append(encode((b"UNLINK", key)))
        if gone:
            await target.ask_all(gone)
        if cursor == b"0":
            return


def _scanned(reply: bytes) -> tuple[bytes, list[bytes]]:
    """Return the cursor and the keys of a reply to SCAN."""
    start = reply.index(b"\r\n") + 2
    end = reply.index(b"\r\n", start)
    length = int(reply[start + 1 : end])
    cursor = reply[end + 2 : end + 2 + length]
    rest = reply[end + 4 + length :]
    return cursor, words_of(rest)
