"""Listening for HTTP: the socket, and uvicorn inside a loop that is not its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.types import ASGIApp

HTTP_BACKLOG = 2048
STOP_TIMEOUT_S = 5


class CannotStart(Exception):
    """Something that the operator has to put right; the message is one line."""


@contextlib.asynccontextmanager
async def listening(host: str, port: int) -> AsyncIterator[socket.socket]:
    """Give a listening socket; port 0 is a free one.

    Raises:
        CannotStart: the address is not ours, or somebody has the port.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=HTTP_BACKLOG)
    except OSError as error:
        raise CannotStart(f"cannot listen on {host}:{port}: {error.strerror}") from error
    try:
        yield listener
    finally:
        listener.close()


def url_of(host: str, port: int) -> str:
    """Return the URL of what listens there."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class HttpServer(uvicorn.Server):
    """Uvicorn inside our loop: we handle the signals, and say when it listens."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                loop="none",
                ws="none",
                lifespan="off",
                access_log=False,
                proxy_headers=False,  # nobody's word is taken for where he comes from
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=STOP_TIMEOUT_S,
            )
        )
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@contextlib.asynccontextmanager
async def served(app: ASGIApp, listener: socket.socket) -> AsyncIterator[HttpServer]:
    """Serve *app* while the block runs; it takes requests when the block begins."""
    server = HttpServer(app)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await server.listening.wait()
    try:
        yield server
    finally:
        server.should_exit = True
        await serving
