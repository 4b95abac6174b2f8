"""Connections of a feed: to a source as a replica makes them, to a target as a client does.

Both come by a node's unix socket under the control plane's user. To a source outside it is TCP or
TLS: under no name or the customer's, to another cachefleet's node under that of its own replicas.
Whatever breaks is an :class:`EngineError`; the connection is closed then, and not used again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.feed.links import Position, Side
from cachefleet.engine.feed.marks import TargetView
from cachefleet.engine.feed.wire import Replies, encode, error_of
from cachefleet.engine.outside import trusting
from cachefleet.engine.valkey.replication import parse_info

CHUNK_BYTES = 256 * 1024
BUFFER_BYTES = 1 << 20
ANSWER_TIMEOUT_S = 10.0


class Connection:
    """One connection; requests are answered in order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._replies = Replies()
        self._ready: list[bytes] = []

    @classmethod
    async def open(cls, side: Side) -> Connection:
        """Connect and log in.

        Raises:
            NodeUnreachable: nobody answers there.
            CommandRefused: we are not let in.
        """
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                reader, writer = await _connected(side)
        except (OSError, TimeoutError) as error:
            raise NodeUnreachable(f"{side.socket}: {error or 'no answer in time'}") from error
        connection = cls(reader, writer)
        if side.outside is not None and not side.password:
            return connection
        named = (side.username.encode(),) if side.username else ()
        try:
            await connection.ask(b"AUTH", *named, side.password.encode())
        except BaseException:
            connection.close()
            raise
        return connection

    async def ask(self, *words: bytes) -> bytes:
        """Return the reply to one command, as it came.

        Raises:
            CommandRefused: it is an error.
            NodeUnreachable: there is none in time.
        """
        (reply,) = await self.ask_all([encode(words)])
        return reply

    async def ask_all(self, commands: Sequence[bytes]) -> list[bytes]:
        """Return the replies to several commands; the first error is raised behind the last."""
        self.send(b"".join(commands))
        found: list[bytes] = []
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                while len(found) < len(commands):
                    found += await self.take()
        except TimeoutError as error:
            raise NodeUnreachable("no answer in time") from error
        for reply in found:
            if (told := error_of(reply)) is not None:
                raise CommandRefused(told, code=told.split(" ", 1)[0])
        return found

    def send(self, data: bytes) -> None:
        """Send without waiting for anything."""
        self.writer.write(data)

    async def drained(self) -> None:
        """Wait until most of what was sent has left.

        Raises:
            NodeUnreachable: the other side is gone.
        """
        try:
            await self.writer.drain()
        except OSError as error:
            raise NodeUnreachable(str(error)) from error

    async def take(self) -> list[bytes]:
        """Wait for replies, and return those that are whole.

        Raises:
            NodeUnreachable: the other side hung up.
        """
        while True:
            found = self._replies.feed(await self.read())
            if found:
                return found

    async def read(self) -> bytes:
        """Return what comes next.

        Raises:
            NodeUnreachable: the other side hung up.
        """
        try:
            data = await self.reader.read(CHUNK_BYTES)
        except OSError as error:
            raise NodeUnreachable(str(error)) from error
        if not data:
            raise NodeUnreachable("it hung up")
        return data

    async def read_line(self) -> bytes:
        """Return the next line that is not empty, without its end."""
        try:
            while True:
                line = await self.reader.readuntil(b"\n")
                if line.strip():
                    return line.strip()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise NodeUnreachable(f"it hung up: {error}") from error

    def close(self) -> None:
        """Close at once."""
        self.writer.transport.abort()


async def _connected(side: Side) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if side.outside is None:
        return await asyncio.open_unix_connection(side.socket, limit=BUFFER_BYTES)
    host, port = side.outside
    tls = trusting(side.ca) if side.ca else None
    return await asyncio.open_connection(host, port, limit=BUFFER_BYTES, ssl=tls)


async def open_target(side: Side) -> tuple[Connection, TargetView | None]:
    """Connect to a primary that is to be fed; return it with where its own stream stands.

    None is said of a target that keeps no count of its stream.

    Raises:
        NodeUnreachable, CommandRefused: it is not there, or no primary.
    """
    connection = await Connection.open(side)
    try:
        info = await read_replication(connection)
        _require_primary(info)
        # What it is given neither expires nor is seen expired by us: the source says when.
        with contextlib.suppress(CommandRefused):  # engines before Valkey 8.1 have no such word
            await connection.ask(b"CLIENT", b"IMPORT-SOURCE", b"ON")
    except BaseException:
        connection.close()
        raise
    return connection, target_view(info)


def _require_primary(info: dict[str, str]) -> None:
    if info.get("role") != "master":
        raise CommandRefused("the target is no primary", code="READONLY")


def _require_granted(line: bytes) -> None:
    if line.startswith(b"-"):
        told = line[1:].decode("utf-8", "replace")
        raise CommandRefused(told, code=told.split(" ", 1)[0])


async def read_replication(connection: Connection) -> dict[str, str]:
    """Return ``INFO replication``."""
    reply = await connection.ask(b"INFO", b"replication")
    return parse_info(reply.decode("utf-8", "replace"))


def target_view(info: dict[str, str]) -> TargetView | None:
    """Return where a primary's stream stands, by what it says of its replication."""
    if info.get("repl_backlog_active") != "1":
        return None  # some engines count nothing while nobody could ask for it
    return TargetView(
        replication_id=info.get("master_replid", ""),
        former_id=info.get("master_replid2", ""),
        former_end=int(info.get("second_repl_offset", "-1")),
        offset=int(info.get("master_repl_offset", "0")),
    )


async def open_source(
    side: Side, position: Position | None, *, shown_as: str = ""
) -> tuple[Connection, bytes]:
    """Connect as a replica that has what *position* says, or nothing.

    The source tells of us as of one at *shown_as*, HOST:PORT. Returns the connection with the line
    that it answers: ``+CONTINUE`` or ``+FULLRESYNC``.

    Raises:
        NodeUnreachable: it is not there.
        CommandRefused: it takes no replicas now.
    """
    connection = await Connection.open(side)
    try:
        # Without these it would write the copy to its disk first, and could not take us back.
        await connection.ask(b"REPLCONF", b"capa", b"eof", b"capa", b"psync2")
        host, _, port = shown_as.encode().rpartition(b":")
        if host:
            await connection.ask(b"REPLCONF", b"listening-port", port, b"ip-address", host)
        wanted = (b"?", b"-1")
        if position is not None:
            wanted = (position.replication_id.encode(), b"%d" % (position.offset + 1))
        connection.send(encode((b"PSYNC", *wanted)))
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            line = await connection.read_line()
        _require_granted(line)
    except TimeoutError as error:
        connection.close()
        raise NodeUnreachable("the source does not answer") from error
    except BaseException:
        connection.close()
        raise
    return connection, line
