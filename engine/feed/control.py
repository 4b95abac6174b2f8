"""The feed's control socket, both sides: a line for a request, a line of JSON for the answer."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cachefleet.engine.control_line import ControlLine
from cachefleet.engine.errors import NodeUnreachable
from cachefleet.engine.feed.links import IllegalLinks
from cachefleet.engine.feed.service import FeedService

REQUEST_BYTES_MAX = 1024
ANSWER_BYTES_MAX = 4 << 20
CLIENTS_MAX = 32
IDLE_S_MAX = 300.0
SOCKET_MODE = 0o600


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkStatus:
    """What the feed says of one link; ``applied`` is an offset of the source's stream."""

    token: str
    name: str
    state: str
    reason: str
    applied: int
    commands: int
    copies: int
    lag_s: float
    lag_max_s: float

    @property
    def streaming(self) -> bool:
        return self.state == "streaming"

    @property
    def is_moving(self) -> bool:
        """Tell whether data comes, or all has come."""
        return self.state != "connecting"


class ControlServer:
    """Answers for *service*; *stop* is called when asked to."""

    def __init__(self, path: Path, service: FeedService, stop: Callable[[], None]) -> None:
        self._path = path
        self._service = service
        self._stop = stop
        self._server: asyncio.Server | None = None
        self._clients = 0

    async def open(self) -> None:
        """Start to answer; raises OSError."""
        before = os.umask(0o777 & ~SOCKET_MODE)
        try:
            self._server = await asyncio.start_unix_server(
                self._serve, path=str(self._path), limit=REQUEST_BYTES_MAX
            )
        finally:
            os.umask(before)

    async def close(self) -> None:
        """Stop answering."""
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            while self._clients <= CLIENTS_MAX:
                async with asyncio.timeout(IDLE_S_MAX):
                    line = await reader.readline()
                if not line.endswith(b"\n"):
                    return
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError, TimeoutError, asyncio.CancelledError):
            return  # they left, or said nothing that is a request; or we end
        finally:
            self._clients -= 1
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        verb = line.strip().decode("ascii", "replace")
        try:
            if verb == "ping":
                return {"ok": True, "pid": os.getpid()}
            if verb == "status":
                return {"ok": True, "links": self._service.status()}
            if verb == "reload":
                return {"ok": True, "count": await self._service.reload()}
            if verb == "stop":
                self._stop()
                return {"ok": True}
        except IllegalLinks as error:
            return {"ok": False, "error": str(error)}
        return {"ok": False, "error": f"{verb[:40]!r} is no request"}


class FeedControl:
    """Speaks to the feed that owns *socket_path*."""

    def __init__(self, socket_path: Path, timeout_s: float) -> None:
        self._path = socket_path
        self._line = ControlLine(
            socket_path, timeout_s=timeout_s, answer_bytes_max=ANSWER_BYTES_MAX, worker="feed"
        )

    async def ping(self) -> None:
        """Return once the feed has answered."""
        await self._ask("ping")

    async def reload(self) -> None:
        """Have the links file read and carried out."""
        await self._ask("reload")

    async def stop(self) -> None:
        """Ask for an orderly end; the process exits soon after the answer."""
        await self._ask("stop")

    async def status(self) -> dict[str, LinkStatus]:
        """Return what each link is at, by token."""
        answer = await self._ask("status")
        try:
            links = [LinkStatus(**row) for row in answer["links"]]
        except (KeyError, TypeError) as error:
            raise NodeUnreachable(f"status at {self._path}: unreadable answer") from error
        return {link.token: link for link in links}

    async def _ask(self, verb: str) -> dict[str, Any]:
        return await self._line.ask(verb, verb.encode() + b"\n")
