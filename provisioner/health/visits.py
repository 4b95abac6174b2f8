"""A person's visit to one node: keys to look at, a command to run, within limits.

Each visit has a connection of its own over the control socket, so that neither a slow answer nor a
large one is in the way of the control plane's own. What may be asked is decided by
:mod:`cachefleet.engine.valkey.command_line` and, of memcached, by
:mod:`cachefleet.engine.memcached.command_line`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import select

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.memcached.adapter import MemcachedAdapter
from cachefleet.engine.types import Engine
from cachefleet.engine.valkey.command_line import parse_facts, refusal
from cachefleet.engine.valkey.config import hidden_renames
from cachefleet.engine.valkey.replies import (
    NEED_DATA,
    ErrorReply,
    NotAReply,
    ReplyReader,
    ReplyTooLarge,
    packed,
)
from cachefleet.provisioner.health import memcached_visits
from cachefleet.provisioner.health.readable import REPLY_BYTES_MAX, TOO_LARGE, readable_bytes
from cachefleet.provisioner.reconciler.fleet import ADMIN_USER, Fleet, command_prefix
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.tables import CacheNode

COMMAND_TIMEOUT_S = 3.0
VISITS_AT_ONCE_MAX = 8
SCAN_STEPS_MAX = 20  # of one page of keys, each over SCAN_STEP_COUNT buckets
SCAN_STEP_COUNT = 200
READ_BYTES = 64 * 1024


class NodeVisits:
    """Lets people look into the nodes of one fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._visits = asyncio.Semaphore(VISITS_AT_ONCE_MAX)

    async def command(self, uid: str, words: Sequence[str], *, engine: Engine, writes: bool) -> Any:
        """Run one command; return its reply as JSON takes it.

        Raises:
            CommandRefused: it may not be run here, or its reply is too large.
            NodeUnreachable: the node does not answer in time.
        """
        if engine is Engine.MEMCACHED:
            async with self._memcached_visit(uid) as node:
                return await memcached_visits.command(node, words, writes=writes)
        async with self._visit(uid) as call:
            (row,) = await call(["COMMAND", "INFO", words[0]])
            first = row[0] if isinstance(row, list) and row else None
            reason = refusal(words, parse_facts(first, words), writes=writes)
            if reason is not None:
                raise CommandRefused(reason, code="REFUSED")
            (reply,) = await call(list(words))
            return readable(reply)

    async def keys(
        self, uid: str, *, engine: Engine, cursor: str, match: str, count: int, kind: str | None
    ) -> tuple[str, list[dict[str, Any]]]:
        """Return some keys and the cursor to go on from; ``0`` where those were the last.

        Raises:
            CommandRefused: the cursor or the kind is none.
            NodeUnreachable: the node does not answer in time.
        """
        if engine is Engine.MEMCACHED:
            async with self._memcached_visit(uid) as node:
                now_s = self._fleet.clock.now().timestamp()
                return await memcached_visits.keys(
                    node, skip=int(cursor), match=match, count=count, now_s=now_s
                )
        async with self._visit(uid) as call:
            found: list[bytes] = []
            for _ in range(SCAN_STEPS_MAX):
                words = ["SCAN", cursor, "MATCH", match, "COUNT", str(SCAN_STEP_COUNT)]
                (reply,) = await call([*words, *(["TYPE", kind] if kind else [])])
                if isinstance(reply, ErrorReply):
                    raise CommandRefused(reply.text)
                cursor = reply[0].decode()
                found += reply[1]
                if cursor == "0" or len(found) >= count:
                    break
            names = list(dict.fromkeys(found))
            asked: list[list[str | bytes]] = [words for key in names for words in _questions(key)]
            facts = await call(*asked) if asked else []
        rows = zip(names, facts[::3], facts[1::3], facts[2::3], strict=True)
        return cursor, [
            {
                "Key": readable(key),
                "Type": readable(type_),
                "TtlMs": ttl if isinstance(ttl, int) and ttl >= 0 else None,
                "MemoryBytes": memory if isinstance(memory, int) else None,
            }
            for key, type_, ttl, memory in rows
            if type_ != b"none"  # gone meanwhile
        ]

    async def _running(self, uid: str) -> CacheNode:
        fleet = self._fleet
        async with fleet.store.read(Scope("", "")) as tx:
            query = select(CacheNode).where(CacheNode.uid == uid)
            node = (await tx.session.scalars(query)).one_or_none()
        if node is None or await fleet.driver.find(uid) is None:
            raise NodeUnreachable("The node has no process.")
        return node

    @contextlib.asynccontextmanager
    async def _memcached_visit(self, uid: str) -> AsyncIterator[MemcachedAdapter]:
        node = await self._running(uid)
        async with self._visits:
            adapter = self._fleet.new_memcached(node, timeout_s=COMMAND_TIMEOUT_S)
            try:
                yield adapter
            finally:
                await adapter.aclose()

    @contextlib.asynccontextmanager
    async def _visit(self, uid: str) -> AsyncIterator[Any]:
        fleet = self._fleet
        node = await self._running(uid)
        async with self._visits:
            line = _Line(hidden_renames(command_prefix(node)))
            try:
                await line.open(str(fleet.driver.socket_path(uid)), node.admin_secret)
                yield line.call
            finally:
                line.close()


def _questions(key: bytes) -> tuple[list[str | bytes], ...]:
    return ["TYPE", key], ["PTTL", key], ["MEMORY", "USAGE", key]


class _Line:
    """One connection to one node."""

    def __init__(self, renamed: dict[str, str]) -> None:
        self._renamed = renamed
        self._replies = ReplyReader(bytes_max=REPLY_BYTES_MAX)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self, path: str, secret: str) -> None:
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                self._reader, self._writer = await asyncio.open_unix_connection(path)
        except (OSError, TimeoutError) as error:
            raise NodeUnreachable("The node does not take connections.") from error
        # A replica in a cluster answers about its own keys only to those who say so.
        answer, _ = await self.call(["AUTH", ADMIN_USER, secret], ["READONLY"])
        if isinstance(answer, ErrorReply):
            raise NodeUnreachable(f"The node did not let us in: {answer.text}")

    async def call(self, *commands: Sequence[str | bytes]) -> list[Any]:
        """Send commands and return their replies, errors among them."""
        assert self._reader is not None
        assert self._writer is not None
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                self._writer.write(b"".join(packed(self._named(words)) for words in commands))
                await self._writer.drain()
                return [await self._reply(self._reader) for _ in commands]
        except ReplyTooLarge:
            raise CommandRefused(TOO_LARGE, code="REFUSED") from None
        except TimeoutError as error:
            raise NodeUnreachable(
                f"The node did not answer within {COMMAND_TIMEOUT_S:g} s."
            ) from error
        except (OSError, NotAReply) as error:
            raise NodeUnreachable("The node hung up.") from error

    async def _reply(self, reader: asyncio.StreamReader) -> Any:
        while True:
            reply = self._replies.next_reply()
            if reply is not NEED_DATA:
                return reply
            data = await reader.read(READ_BYTES)
            if not data:
                raise ConnectionResetError
            self._replies.feed(data)

    def _named(self, words: Sequence[str | bytes]) -> list[str | bytes]:
        first = words[0].upper() if isinstance(words[0], str) else words[0].decode().upper()
        return [self._renamed.get(first, words[0]), *words[1:]]

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def readable(reply: Any) -> Any:
    """Return a reply as JSON takes it; bytes that are no text are shown as a shell would."""
    if isinstance(reply, ErrorReply):
        return {"Error": reply.text}
    if isinstance(reply, list):
        return [readable(item) for item in reply]
    if isinstance(reply, bytes):
        return readable_bytes(reply)
    return reply
