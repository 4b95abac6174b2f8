"""Migration of a cluster outside into a serverless cache: one endpoint, no error, nothing lost."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from cachefleet.engine.types import Engine
from tests.support.outside import OutsideCluster
from tests.support.server import Server
from tests.support.serverless import Caches
from tests.support.waiting import wait_until

pytestmark = pytest.mark.engine

SHARDS, KEYS = 2, 500
REST_S = 0.002


@pytest.fixture(scope="module")
def caches(server: Server) -> Iterator[Caches]:
    found = Caches(server)
    yield found
    found.close()


@pytest.fixture(scope="module")
def source() -> Iterator[OutsideCluster]:
    with OutsideCluster(SHARDS, Engine.REDIS) as outside:
        yield outside


class Writer(threading.Thread):
    """Counts up through the endpoint, over one connection, until it is told to stop."""

    def __init__(self, client: Any) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._stopping = threading.Event()
        self.count = 0
        self.failures: list[str] = []

    def run(self) -> None:
        while not self._stopping.wait(REST_S):
            try:
                self._client.set(f"n:{self.count}", self.count)
                self._client.incr(f"total:{self.count % 7}")
                self.count += 1
            except redis.RedisError as error:
                self.failures.append(str(error))
                return

    def stop(self) -> int:
        self._stopping.set()
        self.join(20)
        assert not self.is_alive()
        return self.count


def migration(caches: Caches, name: str) -> dict[str, Any]:
    return dict(caches.shown(name).get("Migration") or {})


def reached(caches: Caches, name: str, status: str) -> dict[str, Any]:
    return wait_until(
        lambda: migration(caches, name),
        lambda told: told.get("Status") == status,
        what=f"the migration into {name} is {status}",
    )


def prepare(caches: Caches, name: str, source: OutsideCluster) -> None:
    answer = caches.client.prepare_migration(
        ServerlessCacheName=name, CustomerNodeEndpointList=source.endpoints
    )["ServerlessCache"]
    assert answer["Status"] == "modifying"
    assert answer["Migration"]["Status"] == "preparing"
    told = reached(caches, name, "ready")
    assert told["MigrationEndpoint"] == caches.shown(name)["Endpoint"]
    assert caches.shown(name)["Status"] == "available"


def test_clients_stay_connected_and_nothing_is_lost(caches: Caches, source: OutsideCluster) -> None:
    caches.create("taker")
    with contextlib.closing(source.client()) as there:
        for number in range(KEYS):
            there.set(f"k:{number}", number)
        there.hset("hash", mapping={"a": "1", "b": "2"})
        there.set("short", "lived", ex=3600)
        prepare(caches, "taker", source)
        client = caches.connect("taker", single_connection_client=True)
        assert client.get("k:7") == "7", "the endpoint leads to the source"
        client.set("through", "the endpoint")
        assert there.get("through") == "the endpoint"
        (only,) = client.execute_command("CLUSTER SLOTS")
        assert only[:2] == [0, 16383]
        writer = Writer(caches.connect("taker", single_connection_client=True))
        writer.start()
        caches.client.start_migration(ServerlessCacheName="taker")
        assert reached(caches, "taker", "in-sync")["CutoverMode"] == "manual"
        wait_until(lambda: writer.count > 50, what="some was written meanwhile")
        before = writer.count
        answer = caches.client.complete_migration(ServerlessCacheName="taker")["ServerlessCache"]
        assert answer["Status"] == "modifying"
        wait_until(lambda: not migration(caches, "taker"), what="the migration is over")
        assert caches.settled("taker")["Status"] == "available"
        wait_until(lambda: writer.count > before + 50, what="it goes on")
        count = writer.stop()
        assert writer.failures == [], "no client saw anything of it"
        assert [n for n in range(KEYS) if client.get(f"k:{n}") != str(n)] == []
        assert [n for n in range(count) if client.get(f"n:{n}") != str(n)] == []
        assert sum(int(client.get(f"total:{n}") or 0) for n in range(7)) == count
        assert client.hgetall("hash") == {"a": "1", "b": "2"}
        assert 0 < client.ttl("short") <= 3600
        client.set("after", "1")
        assert there.get("after") is None
        assert there.get(f"n:{count - 1}") is None, "the source is on its own"
    assert "Migration into cache taker is complete." in caches.events("taker")
