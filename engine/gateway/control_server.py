"""The gateway's control socket: one unix socket, mode 0600, one gateway.

A lock file beside the socket, which the kernel gives back when the process dies, tells a dead
predecessor's socket file from a living gateway's.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cachefleet.engine.gateway.commands import (
    LINE_BYTES_MAX,
    Command,
    IllegalCommand,
    Verb,
    parse_command,
)
from cachefleet.engine.gateway.reports import render_reload, render_status
from cachefleet.engine.gateway.routes import IllegalRoutes
from cachefleet.engine.gateway.server import Gateway, UnknownRoute

CLIENTS_MAX = 32
IDLE_S_MAX = 300.0  # a control client that says nothing is sent away
SOCKET_MODE = 0o600

log = logging.getLogger(__name__)


class AnotherGateway(Exception):
    """The control path belongs to a gateway that runs."""


class ControlServer:
    """Answers on the control socket for *gateway*; *stop* is called when asked to."""

    def __init__(self, path: Path, *, gateway: Gateway, stop: Callable[[], None]) -> None:
        self._path = path
        self._gateway = gateway
        self._stop = stop
        self._server: asyncio.Server | None = None
        self._lock_fd: int | None = None
        self._clients: set[asyncio.Task[None]] = set()

    def claim(self) -> None:
        """Make the path ours until the process ends; raises :class:`AnotherGateway`, OSError."""
        fd = os.open(
            self._path.with_name(self._path.name + ".lock"),
            os.O_RDWR | os.O_CREAT | os.O_CLOEXEC,
            SOCKET_MODE,
        )
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            raise AnotherGateway(f"another gateway owns {self._path}") from error
        self._lock_fd = fd

    async def open(self) -> None:
        """Start to answer; raises OSError."""
        assert self._lock_fd is not None, "claim() goes first"
        # A dead predecessor's socket file is replaced, as asyncio does.
        before = os.umask(0o777 & ~SOCKET_MODE)
        try:
            self._server = await asyncio.start_unix_server(
                self._serve, path=str(self._path), limit=LINE_BYTES_MAX
            )
        finally:
            os.umask(before)

    async def close(self) -> None:
        """Stop answering and take the socket file away; the lock ends with the process."""
        if self._server is not None:
            self._server.close()
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        if self._lock_fd is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._lock_fd)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(self._clients) < CLIENTS_MAX:
                self._clients.add(task)
                await self._converse(reader, writer)
        except (OSError, ValueError, TimeoutError) as error:  # ValueError: an endless line
            log.info("control_client_left reason=%s", error)
        except asyncio.CancelledError:
            # The gateway stops. Swallowed, since nobody awaits this task but close().
            log.debug("control_client_closed")
        finally:
            self._clients.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(IDLE_S_MAX):
                line = await reader.readline()
            if not line.endswith(b"\n"):
                return
            stopping = False
            try:
                command = parse_command(line)
                answer = {"ok": True, **await self._answer(command)}
                stopping = command.verb is Verb.STOP
            except (IllegalCommand, IllegalRoutes, UnknownRoute) as error:
                answer = {"ok": False, "error": str(error)}
            writer.write(json.dumps(answer).encode() + b"\n")
            async with asyncio.timeout(IDLE_S_MAX):
                await writer.drain()
            if stopping:
                self._stop()

    async def _answer(self, command: Command) -> dict[str, Any]:
        match command.verb:
            case Verb.RELOAD:
                return render_reload(await self._gateway.reload())
            case Verb.STATUS:
                return render_status(self._gateway.status())
            case Verb.CUT:
                assert command.route is not None
                return {"cut": self._gateway.cut(command.route, command.backend)}
            case Verb.PING | Verb.STOP:
                return {"pid": os.getpid()}
