"""The feed between two bare engines in cluster mode: everything arrives, once, whatever breaks."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from cachefleet.engine.feed.links import Link, Position, Side, render_links
from cachefleet.engine.feed.service import FeedService
from cachefleet.engine.types import Engine
from tests.support import contents as support
from tests.support.outside import OutsideServer
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.engine, pytest.mark.anyio]
DEADLINE_S = 30.0
AWAY = (redis.RedisError,)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Shard(OutsideServer):
    """One engine in cluster mode that owns every slot, with a unix socket."""

    def __init__(self, directory: Path, name: str, engine: Engine = Engine.VALKEY) -> None:
        self.socket = str(directory / f"{name}.sock")
        super().__init__(
            engine,
            **{
                "cluster-enabled": "yes",
                "unixsocket": self.socket,
                "repl-diskless-sync": "yes",
                "repl-backlog-ttl": "0",
                "enable-debug-command": "yes",
                "user": "admin on >secret ~* &* +@all",
            },
        )

    @property
    def side(self) -> Side:
        return Side(socket=self.socket, username="admin", password="secret")

    def own_all(self) -> Shard:
        with self.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        return self


async def until(ask: Any) -> Any:
    """Wait without holding up the feed, which runs on the same loop."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            with contextlib.suppress(redis.RedisError):
                found = await asyncio.to_thread(ask)
                if found:
                    return found
            await asyncio.sleep(0.02)


def contents(shard: Shard) -> tuple[str, dict[str, int]]:
    """Return a digest of every key with its value, and when each ends."""
    with redis.Redis(port=shard.port) as raw:
        ends = {
            key.decode("latin1"): raw.execute_command("PEXPIRETIME", key)
            for key in raw.scan_iter(count=1000)
        }
        return support.contents(raw), ends


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shard, Shard]]:
    directory = tmp_path_factory.mktemp("feed")
    with Shard(directory, "a") as a, Shard(directory, "b") as b:
        yield a.own_all(), b.own_all()


@pytest.fixture
def pair(shards: tuple[Shard, Shard]) -> tuple[Shard, Shard]:
    for shard in shards:
        wait_until(functools.partial(emptied, shard), what="it serves", passing=AWAY)
    return shards


def emptied(shard: Shard) -> object:
    with shard.client() as client:
        client.set("k", "1")
        client.execute_command("FUNCTION", "FLUSH")
        return client.flushall()


@contextlib.asynccontextmanager
async def feeding(
    tmp_path: Path, source: Shard, target: Shard, *, start: Position | None = None
) -> AsyncIterator[FeedService]:
    link = Link(
        token="t",
        name="a to b",
        source=source.side,
        target=target.side,
        scratch=str(tmp_path / "scratch"),
        start=start,
    )
    links = tmp_path / "links.json"
    links.write_text(render_links([link]))
    service = FeedService(links, tmp_path / "state.json")
    await service.reload()
    try:
        yield service
    finally:
        await service.stop()


def state(service: FeedService) -> dict[str, Any]:
    (row,) = service.status()
    return row


async def caught_up(service: FeedService, source: Shard) -> dict[str, Any]:
    def look() -> Any:
        with source.client() as client:
            wanted = client.info("replication")["master_repl_offset"]
        row = state(service)
        seen[:] = [wanted, row]
        return row if row["state"] == "streaming" and row["applied"] >= wanted else None

    seen: list[Any] = []
    try:
        return dict(await until(look))
    except TimeoutError:
        raise AssertionError(f"it has not caught up: {seen}") from None


ACROSS = "#!lua flags=allow-cross-slot-keys\nfor n = 1, 5 do redis.call('set', n, n) end"
LIBRARY = "#!lua name=lib\nredis.register_function('one', function() return 1 end)"


async def test_a_copy_and_then_the_stream(tmp_path: Path, pair: tuple[Shard, Shard]) -> None:
    source, target = pair
    with redis.Redis(port=source.port) as raw:
        support.fill(raw)
        raw.set("wire", b"\r\n-NOPERM\x00\xff*3\r\n$1")
        raw.execute_command("FUNCTION", "LOAD", LIBRARY)
    with target.client() as c:
        c.set("stale", "of before")
        c.set("text", "of before")
    async with feeding(tmp_path, source, target) as service:
        await caught_up(service, source)
        assert contents(target) == contents(source)
        with source.client() as c, target.client() as there:
            assert there.execute_command("FCALL", "one", 0) == 1
            c.incr("count")
            c.rpush("l1", "more")
            c.delete("z2")
            c.persist("e1")
            with c.pipeline() as block:
                block.set("{x}1", 1).incr("{x}1").expire("{x}1", 1000)
                block.execute()
            across = (
                "#!lua flags=allow-cross-slot-keys\nfor n = 1, 5 do redis.call('set', n, n) end"
            )
            c.execute_command("EVAL", across, 0)
            c.execute_command("FUNCTION", "DELETE", "lib")
            assert there.get("stale") is None
        await caught_up(service, source)
        assert contents(target) == contents(source)
        with source.client() as c, target.client() as there:
            assert there.execute_command("FUNCTION", "LIST") == []
            c.flushall()
            c.set("after", "1")
        row = await caught_up(service, source)
        assert contents(target)[1].keys() == {"after"}
        assert row["copies"] == 1


async def test_what_broke_goes_on_where_it_was(tmp_path: Path, pair: tuple[Shard, Shard]) -> None:
    source, target = pair
    async with feeding(tmp_path, source, target) as service:
        await caught_up(service, source)
        with source.client() as c, target.client() as there:
            for number in range(5):
                c.incr("count")
                c.rpush("list", number)
                # Neither side's hanging up costs a copy, as long as nothing was on its way.
                await caught_up(service, source)
                (c if number % 2 else there).execute_command("CLIENT", "KILL", "TYPE", "normal")
                c.client_kill_filter(_type="replica")
                c.incr("count")
                await caught_up(service, source)
            assert there.get("count") == "10"
            assert there.llen("list") == 5
        assert state(service)["copies"] == 1
        with source.client() as c:
            c.incr("count")
        await caught_up(service, source)
        service._keep()
    # A feed that begins anew finds its place by the target's own stream, or makes a copy.
    async with feeding(tmp_path, source, target) as service:
        await caught_up(service, source)
        with target.client() as there:
            assert there.get("count") == "11"
        with source.client() as c:
            c.incr("count")
        await caught_up(service, source)
        with target.client() as there:
            assert there.get("count") == "12"


async def test_a_target_that_strayed_gets_a_new_copy(
    tmp_path: Path, pair: tuple[Shard, Shard]
) -> None:
    source, target = pair
    async with feeding(tmp_path, source, target) as service:
        with source.client() as c:
            c.set("k", "1")
            await caught_up(service, source)
            with target.client() as there:
                there.delete("k")
                there.rpush("k", "of another type")
                there.set("strange", "1")
            c.append("k", "2")
        await caught_up(service, source)
        assert contents(target) == contents(source)
        assert state(service)["copies"] == 2


async def test_a_given_place_needs_no_copy(tmp_path: Path, pair: tuple[Shard, Shard]) -> None:
    source, target = pair
    async with feeding(tmp_path, source, target) as service:  # so that the source keeps a backlog
        with source.client() as c:
            c.set("n", 1)
        await caught_up(service, source)
    with source.client() as c:
        info = c.info("replication")
        c.incr("n")
    start = Position(replication_id=info["master_replid"], offset=int(info["master_repl_offset"]))
    (tmp_path / "state.json").unlink()
    async with feeding(tmp_path, source, target, start=start) as service:
        row = await caught_up(service, source)
        assert row["copies"] == 0
    with target.client() as there:
        assert there.get("n") == "2"
