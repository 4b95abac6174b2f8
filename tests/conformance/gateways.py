"""Gateway workers as processes, servers for them to stand before, and clients."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from cachefleet.engine.gateway.control import GatewayControl
from cachefleet.engine.gateway.routes import (
    Address,
    Route,
    RouteKind,
    RouteOptions,
    RouteTable,
    render_routes,
)
from tests.support.ports import own_port

DEADLINE_S = 20.0
HOST = "127.0.0.1"
PAYLOAD = "7\ndemo.cfg|127.0.0.1|11211\n"
CONFIG = f"CONFIG cluster 0 {len(PAYLOAD)}\r\n{PAYLOAD}\r\nEND\r\n".encode()
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Worker:
    """A gateway process, and the files it lives by."""

    def __init__(self, folder: Path) -> None:
        self.routes_path = folder / "routes.json"
        self.control_path = folder / "control.sock"
        self.control = GatewayControl(self.control_path, timeout_s=DEADLINE_S)
        self.version = 0
        self.process: asyncio.subprocess.Process

    def write(self, *routes: Route, connections_max: int = 1000) -> None:
        self.version += 1
        table = RouteTable(version=self.version, routes=routes, connections_max=connections_max)
        aside = self.routes_path.with_suffix(".new")
        aside.write_text(render_routes(table))
        aside.replace(self.routes_path)

    async def start(self) -> None:
        # Development mode: a task or transport that is left behind shows on stderr.
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-X", "dev", "-W", "error", "-m", "cachefleet.engine.gateway",
            "--routes", str(self.routes_path), "--control", str(self.control_path),
            "--log-level", "ERROR",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            assert await self.process.stdout.readline() == b"ready\n", await self.stderr()

    async def stderr(self) -> str:
        assert self.process.stderr is not None
        async with asyncio.timeout(DEADLINE_S):
            return (await self.process.stderr.read()).decode()

    async def apply(self, *routes: Route, connections_max: int = 1000) -> None:
        self.write(*routes, connections_max=connections_max)
        report = await self.control.reload()
        assert report.version == self.version
        assert report.failures == ()

    async def end(self) -> None:
        """Stop it in order; it must leave nothing behind and have nothing to say."""
        if self.process.returncode is None:
            self.process.terminate()
            said = await self.stderr()
            assert (await self.process.wait(), said) == (0, "")
            assert not self.control_path.exists()


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def backend(handler: Handler, host: str = HOST) -> AsyncIterator[Address]:
    """A server in the test's own process."""
    tasks: set[asyncio.Task[None]] = set()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(served, host, 0)
    try:
        yield Address(*server.sockets[0].getsockname()[:2])
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def named(name: str) -> Handler:
    """A backend that says its name, then echoes."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(name.encode() + b"\n")
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

    return handler


def free_address(host: str = HOST) -> Address:
    return Address(host, own_port())


def tcp(name: str, listen: Address, *backends: Address, **options: object) -> Route:
    return route(name, RouteKind.TCP, listen, *backends, fallback=(), **options)


def route(
    name: str,
    kind: RouteKind,
    listen: Address,
    *backends: Address,
    fallback: tuple[Address, ...] = (),
    **options: object,
) -> Route:
    return Route(
        name=name,
        listen=(listen,),
        kind=kind,
        backends=backends,
        fallback=fallback,
        options=RouteOptions(**options),  # type: ignore[arg-type]
    )


@contextlib.asynccontextmanager
async def connected(address: Address) -> AsyncIterator[Streams]:
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    """What is left until the other side closes or resets."""
    out = b""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            out += data
    return out


async def name_behind(address: Address) -> str:
    async with connected(address) as (reader, _):
        return (await reader.readline()).decode().strip()


async def echoes(streams: Streams) -> bool:
    reader, writer = streams
    writer.write(b"ping\n")
    return await reader.readline() == b"ping\n"


def discovery(listen: Address, node: Address, payload: str = PAYLOAD) -> Route:
    return route("mc", RouteKind.MEMCACHED_DISCOVERY, listen, node, cluster_config=payload)
