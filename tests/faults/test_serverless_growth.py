"""A serverless cache grows under its clients and loses a primary meanwhile; nothing is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.length import at_length
from tests.support.server import Server
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.engine, pytest.mark.slow, at_length]

MB = 1 << 20
WRITERS = 3
KEYS = 50
REST_S = 0.001


class Writer(threading.Thread):
    """Counts up, one key after the other, and remembers what it was told."""

    def __init__(self, client: Any, number: int, stopping: threading.Event) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._number = number
        self._stopping = stopping
        self.told: dict[str, int] = {}
        self.failures = 0

    def run(self) -> None:
        turn = 0
        while not self._stopping.is_set():
            key = f"count:{self._number}:{turn % KEYS}"
            turn += 1
            try:
                self.told[key] = self._client.incr(key)
            except redis.RedisError:
                self.failures += 1
                time.sleep(REST_S)


def connect(server: Server, cache: Any) -> Any:
    return redis.Redis(
        host=cache["Endpoint"]["Address"],
        ssl=True,
        ssl_ca_certs=str(server.data_dir / "tls" / "ca.crt"),
        socket_timeout=20,
        retry=Retry(NoBackoff(), 0),
    )


def shard_count(server: Server) -> int:
    return sum(name.endswith("-001/0001") for name in server.node_pids())


@pytest.mark.timeout(180)
def test_grows_under_load_and_loses_nothing(tmp_path: Path) -> None:
    with Server(tmp_path / "data", serverless_gb_bytes=str(MB)) as server:
        api = server.client()
        api.create_serverless_cache(ServerlessCacheName="grow", Engine="valkey")

        def shown() -> Any:
            return api.describe_serverless_caches(ServerlessCacheName="grow")["ServerlessCaches"][0]

        cache = wait_until(shown, lambda one: one["Status"] == "available", what="it is there")
        stopping = threading.Event()
        writers = [Writer(connect(server, cache), number, stopping) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        client = connect(server, cache)
        for number in range(90):
            client.set(f"fill:{number}", os.urandom(100_000))
        wait_until(lambda: shard_count(server) > 1, what="it has grown")
        os.kill(server.node_pids()["grow-0001-001/0001"], signal.SIGKILL)
        wait_until(
            lambda: client.get("fill:0"), what="it serves again", passing=(redis.RedisError,)
        )
        stopping.set()
        for writer in writers:
            writer.join(30)
        reader = connect(server, cache)
        assert reader.dbsize() == 90 + WRITERS * KEYS
        for writer in writers:
            assert writer.failures < 100
            for key, value in writer.told.items():
                # Acknowledged by a primary that was killed before its replica had it: one at most
                # of each writer, which had one command under way.
                assert int(reader.get(key)) >= value - 1
        assert all(len(reader.get(f"fill:{number}")) == 100_000 for number in range(90))
        with contextlib.closing(reader):
            assert shown()["Status"] == "available"
