"""The memcached adapter and command line against the bundled server and a stock one."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from cachefleet.engine.catalog import Catalog
from cachefleet.engine.discovery import EngineSettings, discover
from cachefleet.engine.errors import CommandRefused, NodeUnreachable, NoEngineBinary
from cachefleet.engine.memcached.adapter import MemcachedAdapter
from cachefleet.engine.memcached.config import MemcachedConfig, memory_mb, render_argv
from cachefleet.engine.types import Endpoint, Engine
from cachefleet.provisioner.health import memcached_visits
from tests.conformance.engines import NETWORK, eventually

pytestmark = pytest.mark.engine

OWN = Endpoint(f"{NETWORK}.101", 11211)
EXTRA = Endpoint(f"{NETWORK}.102", 11211)
FAMILY = "memcached1.6"


@pytest.fixture(params=["bundled", "stock"])
async def served(
    request: pytest.FixtureRequest,
) -> AsyncIterator[tuple[MemcachedConfig, MemcachedAdapter]]:
    flavor: Literal["bundled", "stock"] = request.param
    try:
        binary = discover(EngineSettings(memcached_flavor=flavor)).choose(
            Engine.MEMCACHED, "1.6.22"
        )
    except NoEngineBinary:
        pytest.skip("no stock memcached here")
    node_type = Catalog.load().node_type("cache.t3.micro")
    assert node_type is not None
    with tempfile.TemporaryDirectory(prefix="cachefleet-test-") as directory:
        config = MemcachedConfig(
            binary=binary,
            binds=(OWN.host,),
            port=OWN.port,
            max_cache_memory_mb=node_type.max_cache_memory_mb,
            num_threads=node_type.num_threads,
            parameters=Catalog.load().resolve_parameters(
                FAMILY, {"max_item_size": "2097152"}, node_type, cluster_enabled=False
            ),
            control_socket=str(Path(directory, "control")) if flavor == "bundled" else None,
            memory_file=str(Path(directory, "items")) if flavor == "bundled" else None,
            report_version="1.6.17",
        )
        process = subprocess.Popen(render_argv(config))  # noqa: ASYNC220 - a fork, no waiting
        adapter = MemcachedAdapter(unix_socket=config.control_socket, endpoint=OWN)
        try:

            async def answers() -> bool:
                assert process.poll() is None
                await adapter.ping()
                return True

            await eventually(answers)
            yield config, adapter
        finally:
            await adapter.aclose()
            process.kill()
            process.wait()


async def test_every_family_starts_with_its_defaults_and_says_so(
    served: tuple[MemcachedConfig, MemcachedAdapter],
) -> None:
    config, adapter = served
    settings = await adapter.stats("settings")
    assert int(settings["maxbytes"]) == memory_mb(config) * 1024 * 1024
    assert settings["item_size_max"] == "2097152"
    limit = 65000 if config.binary.source == "bundled" else min(65000, config.open_files_max)
    assert settings["maxconns"] == str(limit)
    assert settings["chunk_size"] == "48"
    assert settings["growth_factor"] == "1.25"
    assert settings["lru_crawler"] == "no"
    assert settings["hash_algorithm"] == "jenkins"
    assert settings["slab_chunk_max"] in ("524288", "512")  # the stock server's is in kilobytes
    assert settings["idle_timeout"] == "0"


async def test_stats_are_read_whole(served: tuple[MemcachedConfig, MemcachedAdapter]) -> None:
    _, adapter = served
    stats = await adapter.stats()
    assert int(stats["pid"]) > 0
    assert "curr_items" in stats
    assert (await adapter.listeners())[0] == OWN


async def test_a_refusal_is_told_from_silence(
    served: tuple[MemcachedConfig, MemcachedAdapter],
) -> None:
    _, adapter = served
    with pytest.raises(CommandRefused) as refused:
        await adapter._line("no-such-command")
    assert refused.value.code == "ERROR"
    await adapter.ping()
    nobody = MemcachedAdapter(endpoint=replace_host(OWN, "103"))
    with pytest.raises(NodeUnreachable):
        await nobody.ping()


def replace_host(endpoint: Endpoint, last: str) -> Endpoint:
    return Endpoint(f"{endpoint.host.rpartition('.')[0]}.{last}", endpoint.port)


@pytest.mark.parametrize("served", ["bundled"], indirect=True)
async def test_the_bundled_server_is_told_of_its_cluster_and_its_addresses(
    served: tuple[MemcachedConfig, MemcachedAdapter],
) -> None:
    _, adapter = served
    payload = b"3\nn1|127.0.0.1|11211 n2|127.0.0.2|11211\n"
    assert await adapter.version() == "1.6.17"
    assert await adapter.config_get_cluster() is None
    await adapter.config_set_cluster(payload)
    assert await adapter.config_get_cluster() == payload

    await adapter.set_binds([OWN.host, EXTRA.host], port=OWN.port)
    assert set(await adapter.binds()) == {OWN.host, EXTRA.host}
    client = MemcachedAdapter(endpoint=EXTRA)
    assert await client.config_get_cluster() == payload
    await adapter.set_binds([OWN.host], port=OWN.port)
    assert await adapter.binds() == (OWN.host,)
    await client.ping()  # moved, not cut
    await client.aclose()
    with pytest.raises(NodeUnreachable):
        await client.ping()
    with pytest.raises(CommandRefused):
        await adapter.unlisten(EXTRA)


@pytest.mark.parametrize("served", ["bundled"], indirect=True)
async def test_the_bundled_server_saves_its_items(
    served: tuple[MemcachedConfig, MemcachedAdapter],
) -> None:
    config, adapter = served
    assert config.memory_file is not None
    await adapter.save()
    assert await asyncio.to_thread(Path(config.memory_file).stat)
    await adapter.shutdown(save=False)
    with pytest.raises(NodeUnreachable):
        await adapter.ping()


@pytest.mark.parametrize("served", ["bundled"], indirect=True)
async def test_a_server_that_stops_half_way_is_unreachable(
    served: tuple[MemcachedConfig, MemcachedAdapter],
) -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"STAT pid 1\r\nSTAT half")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(half, EXTRA.host, 0)
    port = server.sockets[0].getsockname()[1]
    adapter = MemcachedAdapter(endpoint=replace(EXTRA, port=port))
    with pytest.raises(NodeUnreachable):
        await adapter.stats()
    await adapter.aclose()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("crawler", ["", "lru_crawler enable"])
async def test_a_visitor_pages_through_keys_and_runs_commands(
    served: tuple[MemcachedConfig, MemcachedAdapter], crawler: str
) -> None:
    _, adapter = served
    if crawler and adapter._unix_socket is None:  # closed in the bundled one
        await adapter._line(crawler)
    for number in range(30):
        words = ["set", f"user:{number:02}", "0", "100" if number == 0 else "0", "x" * number]
        assert await memcached_visits.command(adapter, words, writes=True) == "STORED"
    await memcached_visits.command(adapter, ["set", "other", "5", "0", "a\r\nb"], writes=True)

    async def page(skip: int) -> tuple[str, list[str]]:
        cursor, found = await memcached_visits.keys(
            adapter, skip=skip, match="user:*", count=20, now_s=time.time()
        )
        return cursor, [str(one["Key"]) for one in found]

    first = await page(0)
    assert first == ("20", [f"user:{number:02}" for number in range(20)])
    assert await page(20) == ("0", [f"user:{number:02}" for number in range(20, 30)])
    _, (zero,) = await memcached_visits.keys(
        adapter, skip=0, match="user:00", count=9, now_s=time.time()
    )
    assert 0 < zero["TtlMs"] <= 101_000
    told = await memcached_visits.command(adapter, ["get", "other"], writes=False)
    assert told == "VALUE other 5 4\na\r\nb\nEND"
    assert await memcached_visits.command(adapter, ["get", "none"], writes=False) == "END"
    assert "STAT pid" in await memcached_visits.command(adapter, ["stats"], writes=False)
    refused = await memcached_visits.command(adapter, ["incr", "user:05", "1"], writes=True)
    assert refused["Error"].startswith("CLIENT_ERROR")
    # One page of a dump that has been given up leaves the server ready for the next.
    assert await page(0) == first


async def test_a_visitor_is_not_answered_without_end(
    served: tuple[MemcachedConfig, MemcachedAdapter],
) -> None:
    _, adapter = served
    large = "x" * ((1 << 20) + 1)
    await memcached_visits.command(adapter, ["set", "large", "0", "0", large], writes=True)
    with pytest.raises(CommandRefused, match="larger than 1 MiB"):
        await memcached_visits.command(adapter, ["get", "large"], writes=False)
    assert await memcached_visits.command(adapter, ["get", "none"], writes=False) == "END"


async def test_the_bundled_server_tells_its_build(
    served: tuple[MemcachedConfig, MemcachedAdapter],
) -> None:
    config, adapter = served
    bundled = config.control_socket is not None
    assert await adapter.build() == (config.binary.build if bundled else "")
    assert bool(config.binary.build) == bundled
