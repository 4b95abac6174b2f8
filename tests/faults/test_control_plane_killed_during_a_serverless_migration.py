"""``kill -9`` of the control plane amid a migration into a serverless cache: no client notices.

Killed while the source is looked at, while the first copy is on its way, while the cache is in
sync, when it has lost a primary, and in the cut-over. A client that writes through the endpoint all
the time meets no error, and all that it wrote is in the cache afterwards.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cachefleet.engine.types import Engine
from tests.faults.caches import kill_node
from tests.support.audit import require_agreement
from tests.support.length import at_length
from tests.support.outside import OutsideCluster
from tests.support.server import Server
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.engine, pytest.mark.slow, at_length]

BALLAST = 60  # of 1 MiB
REST_S = 0.005
LONG_S = 60.0


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("taker") / "data") as running:
        yield running


class Writer(threading.Thread):
    """Writes numbers through the endpoint, over one connection that is never made again."""

    def __init__(self, server: Server, host: str) -> None:
        super().__init__(daemon=True)
        self.client = redis.Redis(
            host=host,
            ssl=True,
            ssl_ca_certs=str(server.data_dir / "tls" / "ca.crt"),
            socket_timeout=LONG_S,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
            single_connection_client=True,
        )
        self._stopping = threading.Event()
        self.count = 0
        self.failures: list[str] = []

    def run(self) -> None:
        while not self._stopping.wait(REST_S):
            try:
                self.client.set(f"n:{self.count}", self.count)
                self.count += 1
            except redis.RedisError as error:
                self.failures.append(str(error))
                return

    def stop(self) -> int:
        self._stopping.set()
        self.join(LONG_S)
        assert not self.is_alive()
        return self.count


def cache(server: Server) -> Any:
    return server.client().describe_serverless_caches()["ServerlessCaches"][0]


def reached(server: Server, status: str | None) -> None:
    wait_until(
        lambda: cache(server),
        lambda told: (
            (told.get("Migration") or {}).get("Status") == status and told["Status"] == "available"
        ),
        what=f"the migration is {status}",
        timeout_s=LONG_S,
    )


def killed(server: Server) -> None:
    server.kill()
    server.start()


@pytest.mark.timeout(300)
def test_killed_at_each_stage_no_client_notices(server: Server) -> None:
    server.client().create_serverless_cache(ServerlessCacheName="taker", Engine="valkey")
    wait_until(lambda: cache(server)["Status"] == "available", what="it is there")
    with OutsideCluster(2, Engine.REDIS) as source, contextlib.closing(source.client()) as there:
        for number in range(BALLAST):
            there.set(f"ballast:{number}", os.urandom(1 << 20).hex())
        server.client().prepare_migration(
            ServerlessCacheName="taker", CustomerNodeEndpointList=source.endpoints
        )
        killed(server)  # while the source is looked at
        reached(server, "ready")
        writer = Writer(server, cache(server)["Endpoint"]["Address"])
        writer.start()
        server.client().start_migration(ServerlessCacheName="taker")
        killed(server)  # while shards are made, or the first copy is on its way
        reached(server, "in-sync")
        killed(server)  # while it is fed
        kill_node(server, "taker-0001-001")
        before = writer.count
        wait_until(lambda: writer.count > before + 100, what="clients are served by the source")
        for _ in range(20):
            server.client().complete_migration(ServerlessCacheName="taker")
            killed(server)  # in the cut-over
            told = wait_until(
                lambda: cache(server),
                lambda told: told["Status"] == "available",
                what="the cut-over has ended",
                timeout_s=LONG_S,
            )
            if "Migration" not in told:
                break  # else a node was being replaced
        assert "Migration" not in cache(server)
        before = writer.count
        wait_until(lambda: writer.count > before + 100, what="clients are served by the cache")
        count = writer.stop()
        assert writer.failures == []
        client = writer.client
        assert [n for n in range(count) if client.get(f"n:{n}") != str(n)] == []
        assert all(client.exists(f"ballast:{number}") for number in range(BALLAST))
        assert there.get(f"n:{count - 1}") is None
        client.close()
    require_agreement(server)
