"""Clients that people use, against our server: they must not notice."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.exceptions import MemcacheClientError, MemcacheServerError

from tests.unit.engine.memserver.processes import our_server

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module", name="port")
def _port() -> Iterator[int]:
    with our_server() as port:
        yield port


def test_pymemcache(port: int) -> None:
    client = Client(("127.0.0.1", port), default_noreply=False)
    client.flush_all()
    assert client.set("a", b"1")
    assert client.get("a") == b"1"
    assert client.gets("a")[0] == b"1"
    assert client.cas("a", b"2", client.gets("a")[1])
    assert client.cas("a", b"3", b"1") is False
    assert client.cas("none", b"3", b"1") is None
    assert client.incr("a", 5) == 7
    assert client.decr("a", 50) == 0
    assert client.add("a", b"x") is False
    assert client.append("a", b"!")
    assert client.prepend("a", b"!")
    assert client.get("a") == b"!0!"
    assert client.set_many({f"k{n}": b"v" * n for n in range(200)}) == []
    assert client.get_many([f"k{n}" for n in range(200)])["k199"] == b"v" * 199
    assert client.touch("a", 100)
    assert client.delete("a")
    assert client.delete("a") is False
    assert client.stats()[b"version"] == b"1.6.18"
    assert client.version() == b"1.6.18"
    assert client.set("big", b"x" * 1_000_000)
    assert client.get("big") == b"x" * 1_000_000
    with pytest.raises(MemcacheServerError, match="too large"):
        client.set("big", b"x" * 2_000_000)
    client.set("word", b"word")
    with pytest.raises(MemcacheClientError, match="non-numeric"):
        client.incr("word", 1)
    client.quit()


def test_pymemcache_with_noreply_and_a_pool(port: int) -> None:
    client = PooledClient(("127.0.0.1", port), max_pool_size=4)
    for number in range(500):
        client.set(f"n{number}", str(number).encode())
    assert client.get_many([f"n{number}" for number in range(500)])["n499"] == b"499"
    client.close()


def test_a_client_that_spreads_keys() -> None:
    with our_server() as one, our_server() as two:
        client = HashClient([("127.0.0.1", one), ("127.0.0.1", two)], default_noreply=False)
        client.set_many({f"k{n}": str(n).encode() for n in range(100)})
        assert len(client.get_many([f"k{n}" for n in range(100)])) == 100
        client.close()


@pytest.mark.parametrize("protocol", ["-a", "-b"])
def test_memcapable(port: int, protocol: str) -> None:
    """libmemcached's own conformance suite, text and binary."""
    path = shutil.which("memccapable")
    if path is None:
        pytest.skip("libmemcached-tools is not installed")
    run = [path, "-h", "127.0.0.1", "-p", str(port), protocol]
    result = subprocess.run(run, capture_output=True, text=True, timeout=120, check=False)
    failed = [line for line in result.stdout.splitlines() if "[FAIL]" in line]
    assert not failed
    assert "[pass]" in result.stdout.lower()


def test_memcstat(port: int) -> None:
    path = shutil.which("memcstat")
    if path is None:
        pytest.skip("libmemcached-tools is not installed")
    run = [path, f"--servers=127.0.0.1:{port}"]
    result = subprocess.run(run, capture_output=True, text=True, timeout=120, check=True)
    assert "version: 1.6.18" in result.stdout


def test_aiomcache(port: int) -> None:
    aiomcache = pytest.importorskip("aiomcache")

    async def talk() -> None:
        client = aiomcache.Client("127.0.0.1", port, pool_size=4)
        try:
            assert await client.set(b"aio", b"1", exptime=100)
            assert await client.multi_get(b"aio", b"none") == (b"1", None)
            value, token = await client.gets(b"aio")
            assert (value, await client.cas(b"aio", b"2", token)) == (b"1", True)
            assert await client.incr(b"aio", 5) == 7
            assert await client.touch(b"aio", 10)
            assert await client.append(b"aio", b"!")
            await asyncio.gather(*(client.set(b"n%d" % n, b"%d" % n) for n in range(50)))
            assert await client.get(b"n49") == b"49"
            assert (await client.stats())[b"version"] == b"1.6.18"
            assert await client.delete(b"aio")
        finally:
            await client.close()

    asyncio.run(talk())


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_pylibmc(port: int, binary: bool) -> None:
    """libmemcached underneath, with consistent hashing and compare-and-set."""
    pylibmc: Any = pytest.importorskip("pylibmc")
    client = pylibmc.Client(
        [f"127.0.0.1:{port}"], binary=binary, behaviors={"cas": True, "ketama": True}
    )
    assert client.set("lib", {"any": "thing"})
    assert client.get("lib") == {"any": "thing"}
    assert client.set_multi({f"m{n}": n for n in range(100)}) == []
    assert client.get_multi([f"m{n}" for n in range(100)])["m99"] == 99
    assert client.incr("m7", 3) == 10
    if not binary:
        value, token = client.gets("m8")
        assert client.cas("m8", value + 1, token)
        assert client.get("m8") == 9
    assert not client.add("lib", "x")
    assert client.delete("lib")
    assert client.get("lib") is None
    client.disconnect_all()


def test_python_binary_memcached_with_sasl(tmp_path: Path) -> None:
    bmemcached: Any = pytest.importorskip("bmemcached")
    people = tmp_path / "people"
    people.write_text("ann:se:cret\n")
    with our_server("-S", "--sasl-password-file", str(people)) as port:
        address = f"127.0.0.1:{port}"
        client = bmemcached.Client((address,), "ann", "se:cret")
        assert client.set("k", {"any": "thing"}, time=100)
        assert client.get("k") == {"any": "thing"}
        assert client.set_multi({f"k{n}": str(n) for n in range(100)}) == []
        assert client.get_multi([f"k{n}" for n in range(100)])["k99"] == "99"
        assert client.add("k", "x") is False
        assert client.incr("count", 1) == 0
        assert client.incr("count", 5) == 5
        _, token = client.gets("k1")
        assert client.cas("k1", "new", token)
        assert client.cas("k1", "again", token) is False
        assert client.delete("k")
        assert client.get("k") is None
        [stats] = client.stats().values()
        assert stats["auth_errors"] in ("0", b"0")
        client.disconnect_all()
        stranger = bmemcached.Client((address,), "ann", "wrong")
        try:
            with pytest.raises(bmemcached.exceptions.MemcachedException, match="Auth failure"):
                stranger.get("k1")
        finally:
            for server in stranger.servers:
                server.connection.close()
