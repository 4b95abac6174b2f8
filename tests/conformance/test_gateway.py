"""What clients and backends of the gateway see: bytes both ways, and routes that change."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from cachefleet.engine.errors import CommandRefused
from cachefleet.engine.gateway.routes import (
    Address,
    RouteKind,
)
from tests.conformance.gateways import (
    DEADLINE_S,
    HOST,
    Worker,
    backend,
    connected,
    echoes,
    free_address,
    name_behind,
    named,
    read_to_end,
    route,
    tcp,
)


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
