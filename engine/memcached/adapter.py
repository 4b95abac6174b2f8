"""The adapter for one memcached node: a small client of the text protocol.

Speaks to the bundled server's control socket, or to any memcached over TCP. A node that
answers ``ERROR`` has refused; one that answers nothing, or half of something, we know nothing
about. Calls on one adapter queue up, one connection is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.memcached.stats import parse_listeners, parse_stats
from cachefleet.engine.types import Endpoint

TIMEOUT_S_DEFAULT = 2.0
SAVE_TIMEOUT_S = 120.0
LINE_BYTES_MAX = 8192
LINES_MAX = 400_000  # of one reply: "stats conns" sends four for each of 65,000 clients
PAYLOAD_BYTES_MAX = 1 << 20
LOGIN_KEY = "login"  # any will do
UNAUTHENTICATED = "unauthenticated"
REFUSALS = (b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR")

T = TypeVar("T")


class MemcachedAdapter:
    """One memcached node; *unix_socket* is the bundled server's control socket.

    *login* (name, password) is said to a server that asks for one, and to no other: there it would
    become an item that anybody can read.
    """

    def __init__(
        self,
        *,
        unix_socket: str | None = None,
        endpoint: Endpoint | None = None,
        login: tuple[str, str] | None = None,
        timeout_s: float = TIMEOUT_S_DEFAULT,
    ) -> None:
        assert timeout_s > 0
        assert unix_socket is not None or endpoint is not None
        self.endpoint = endpoint
        self._unix_socket = unix_socket
        self._login = login
        self._timeout_s = timeout_s
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._turn = asyncio.Lock()

    async def ping(self) -> None:
        """Return once the node has answered."""
        await self.version()

    async def version(self) -> str:
        """The version that the node claims."""
        line = await self._line("version")
        word, _, version = line.partition(" ")
        if word != "VERSION":
            raise NodeUnreachable(f"version on {self._where}: {line[:60]!r} is no version")
        return version

    async def build(self) -> str:
        """Read which build of the bundled server runs; empty where it is too old to say."""
        try:
            word, _, build = (await self._line("cachefleet build")).partition(" ")
        except CommandRefused:
            return ""
        return build if word == "BUILD" else ""

    async def stats(self, group: str = "") -> dict[str, str]:
        """Read ``stats``, or one group of it (``settings``, ``items``, ``slabs``)."""
        command = f"stats {group}".strip()
        return parse_stats(await self._call(command, self._lines_to_end))

    async def config_set_cluster(self, payload: bytes) -> None:
        """Replace what ``config get cluster`` answers; *payload* is version, list and line ends."""
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise CommandRefused("config set cluster: the payload is too long", code="CLIENT_ERROR")
        await self._expect(f"config set cluster 0 {len(payload)}", b"STORED", body=payload)

    async def config_get_cluster(self) -> bytes | None:
        """What clients are told about the cluster; None where nobody has set it."""
        return await self._call("config get cluster", self._config)

    async def save(self) -> None:
        """Have the bundled server write its items to its memory file."""
        await self._expect("cachefleet save", b"OK", timeout_s=SAVE_TIMEOUT_S)

    async def shutdown(self, *, save: bool) -> None:
        """Have the bundled server end, with its items written first or not."""
        try:
            await self._call("shutdown graceful" if save else "shutdown", self._read_line)
        except NodeUnreachable:
            return  # a server that does as it is told hangs up without a word

    async def listen(self, endpoint: Endpoint) -> None:
        """Have the bundled server take connections at one more address."""
        await self._expect(f"cachefleet listen {endpoint}", b"OK")

    async def unlisten(self, endpoint: Endpoint, *, drop: bool = False) -> None:
        """Have the bundled server leave an address; *drop* cuts what came in through it."""
        await self._expect(f"cachefleet unlisten {endpoint}{' drop' if drop else ''}", b"OK")

    async def binds(self) -> tuple[str, ...]:
        """The addresses that the bundled server listens on, without their ports."""
        return tuple(endpoint.host for endpoint in await self.listeners())

    async def listeners(self) -> tuple[Endpoint, ...]:
        """Where the server listens, in the order in which it began to."""
        return parse_listeners(await self.stats("conns"))

    async def set_binds(self, addresses: Sequence[str], *, port: int) -> None:
        """Listen on exactly these addresses; connections made through others stay open.

        Those made at another port are cut: clients reach this server another way from now on.
        """
        present = await self.listeners()
        wanted = [Endpoint(address, port) for address in addresses]
        for endpoint in wanted:
            if endpoint not in present:
                await self.listen(endpoint)
        for endpoint in present:
            if endpoint not in wanted:
                await self.unlisten(endpoint, drop=endpoint.port != port)

    async def limit_memory(self, memory_mb: int) -> None:
        """Set how much memory items may take, while the server runs."""
        await self._expect(f"cache_memlimit {memory_mb}", b"OK")

    async def refresh_certificates(self) -> None:
        """Have the server read its certificate and key again."""
        await self._expect("refresh_certs", b"OK")

    async def reload_logins(self) -> None:
        """Have the bundled server read its file of logins again."""
        await self._expect("cachefleet logins", b"OK")

    async def log_in(self, user: str, password: str) -> None:
        """Log in, on the connection that there is.

        Raises:
            CommandRefused: the server does not take this login, or asks for none.
        """
        body = f"{user} {password}".encode()
        # Not by way of _call, which would log in first.
        line = await self._ask(f"set {LOGIN_KEY} 0 0 {len(body)}", self._read_line, body=body)
        if line != b"STORED":
            raise CommandRefused(f"login on {self._where}: {line[:80].decode('utf-8', 'replace')}")

    async def flush_all(self) -> None:
        """Drop every item."""
        await self._expect("flush_all", b"OK")

    async def ask(
        self,
        command: str,
        read: Callable[[asyncio.StreamReader], Awaitable[T]],
        *,
        body: bytes | None = None,
    ) -> T:
        """Send one command and have *read* take its reply, after a login where one is wanted.

        Raises:
            CommandRefused: *read* says so.
            NodeUnreachable: the node did not answer in time, or with something else.
        """
        return await self._call(command, read, body=body)

    async def aclose(self) -> None:
        """Close the connection; the next call would open another."""
        self._drop()

    async def _line(self, command: str) -> str:
        line = await self._call(command, self._read_line)
        return line.decode("utf-8", "replace")

    async def _expect(
        self,
        command: str,
        answer: bytes,
        *,
        body: bytes | None = None,
        timeout_s: float | None = None,
    ) -> None:
        line = await self._call(command, self._read_line, body=body, timeout_s=timeout_s)
        if line != answer:
            raise CommandRefused(
                f"{command} on {self._where}: {line[:80].decode('utf-8', 'replace')}"
            )

    async def _call(
        self,
        command: str,
        read: Callable[[asyncio.StreamReader], Awaitable[T]],
        *,
        body: bytes | None = None,
        timeout_s: float | None = None,
    ) -> T:
        try:
            return await self._ask(command, read, body=body, timeout_s=timeout_s)
        except CommandRefused as refusal:
            if self._login is None or UNAUTHENTICATED not in str(refusal):
                raise
        await self.log_in(*self._login)
        return await self._ask(command, read, body=body, timeout_s=timeout_s)

    async def _ask(
        self,
        command: str,
        read: Callable[[asyncio.StreamReader], Awaitable[T]],
        *,
        body: bytes | None = None,
        timeout_s: float | None = None,
    ) -> T:
        wire = command.encode() + b"\r\n" + (b"" if body is None else body + b"\r\n")
        whole = False
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s), self._turn:
                try:
                    reader, writer = await self._connected()
                    writer.write(wire)
                    await writer.drain()
                    reply = await read(reader)
                    whole = True
                except CommandRefused:
                    whole = True
                    raise
                finally:
                    # Half a reply may still be under way; only a new connection is in step.
                    if not whole:
                        self._drop()
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            what = "no answer in time" if isinstance(error, TimeoutError) else str(error)
            raise NodeUnreachable(f"{command} on {self._where}: {what}") from error
        return reply

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None or self._streams[0].at_eof():
            self._drop()
            if self._unix_socket is not None:
                opened = asyncio.open_unix_connection(self._unix_socket, limit=LINE_BYTES_MAX)
                self._streams = await opened
            else:
                assert self.endpoint is not None
                self._streams = await asyncio.open_connection(
                    self.endpoint.host, self.endpoint.port, limit=LINE_BYTES_MAX
                )
        return self._streams

    def _drop(self) -> None:
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()

    async def _read_line(self, reader: asyncio.StreamReader) -> bytes:
        line = (await reader.readuntil(b"\n")).rstrip(b"\r\n")
        word = line.split(b" ", 1)[0]
        if word in REFUSALS:
            text = line.decode("utf-8", "replace")
            raise CommandRefused(f"{self._where}: {text}", code=word.decode())
        return line

    async def _lines_to_end(self, reader: asyncio.StreamReader) -> list[bytes]:
        lines: list[bytes] = []
        while (line := await self._read_line(reader)) not in (b"END", b"RESET"):
            lines.append(line)
            if len(lines) > LINES_MAX:
                raise EOFError("a reply without end")
        return lines

    async def _config(self, reader: asyncio.StreamReader) -> bytes | None:
        header = await self._read_line(reader)
        if header == b"END":
            return None
        words = header.split(b" ")
        if len(words) != 4 or words[0] != b"CONFIG" or not words[3].isdigit():
            raise EOFError(f"{header[:60]!r} is no configuration")
        length = int(words[3])
        if length > PAYLOAD_BYTES_MAX:
            raise EOFError("a configuration without end")
        payload = await reader.readexactly(length)
        await reader.readexactly(2)
        if await self._read_line(reader) != b"END":
            raise EOFError("a configuration without END")
        return payload

    @property
    def _where(self) -> str:
        return str(self.endpoint or self._unix_socket)
