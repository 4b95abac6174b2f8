"""What clients feel while a group goes from 3 shards to 6 and back, and how long that takes.

Every key holds a number; clients read and write at random all the time and remember what they were
promised. An audit at the end counts keys that are missing or older than that.
"""

from __future__ import annotations

import argparse
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.cluster import RedisCluster
from redis.exceptions import RedisError

from bench.fleet import client, percentile, running, seconds_until

GROUP = "bench"
ENGINES = {"valkey": "8.0", "redis": "7.0"}
CLIENTS = 2
KEYS_PER_PIPELINE = 2_000
VALUE_BYTES = 100
RESHARD_TIMEOUT_S = 1_800.0


def main() -> None:
    """Print a table with a row for each change of each engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES))
    parser.add_argument("--network", default="127.151.0.0/16")
    options = parser.parse_args()
    print("| engine | change | took | calls/s | p50 | p99 | worst | failed | lost or stale |")
    print("|---|---|---|---|---|---|---|---|---|")
    for engine in options.engines:
        with running(network=options.network) as (url, _):
            measure(client(url), engine, options.keys)


def measure(api: Any, engine: str, key_count: int) -> None:
    """Fill a group of 3 shards, then change it under load."""
    api.create_replication_group(
        ReplicationGroupId=GROUP,
        ReplicationGroupDescription="bench",
        Engine=engine,
        EngineVersion=ENGINES[engine],
        CacheNodeType="cache.m5.large",
        NumNodeGroups=3,
        ReplicasPerNodeGroup=1,
        AutomaticFailoverEnabled=True,
    )
    seconds_until(lambda: group(api)["Status"] == "available", timeout_s=60)
    load = Load(group(api)["ConfigurationEndpoint"], key_count)
    load.fill()
    with load.running():
        time.sleep(5)
        load.row(f"{engine} {ENGINES[engine]}", "none (3 shards, 5 s)", 5.0)
        for count, options in ((6, {}), (3, {"NodeGroupsToRemove": ["0001", "0003", "0005"]})):
            before = len(group(api)["NodeGroups"])
            load.forget()
            api.modify_replication_group_shard_configuration(
                ReplicationGroupId=GROUP, NodeGroupCount=count, ApplyImmediately=True, **options
            )
            took_s = seconds_until(
                lambda: group(api)["Status"] == "available", timeout_s=RESHARD_TIMEOUT_S
            )
            load.row(f"{engine} {ENGINES[engine]}", f"{before} to {count} shards", took_s)
    print(f"| {engine} | audit of {key_count:,} keys | | | | | | | {load.audit()} |", flush=True)


def group(api: Any) -> dict[str, Any]:
    """Describe the group."""
    time.sleep(0.05)
    found: dict[str, Any] = api.describe_replication_groups(ReplicationGroupId=GROUP)
    return dict(found["ReplicationGroups"][0])


class Load:
    """Clients, what they were promised, and what they felt."""

    def __init__(self, entry: dict[str, Any], key_count: int) -> None:
        self._entry = entry
        self._acknowledged = [0] * key_count
        self._tried = [0] * key_count
        self._stopping = threading.Event()
        self.forget()

    def forget(self) -> None:
        """Begin to count anew."""
        self._latencies_ms: list[float] = []
        self._failed = 0
        self._stale = 0

    def connect(self) -> Any:
        """Return a cluster client."""
        return RedisCluster(host=self._entry["Address"], port=self._entry["Port"], socket_timeout=5)

    def fill(self) -> None:
        """Write every key once."""
        cluster = self.connect()
        for numbers in self._portions():
            pipeline = cluster.pipeline()
            for number in numbers:
                pipeline.set(f"key-{number}", value(1))
                self._acknowledged[number] = self._tried[number] = 1
            pipeline.execute()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have all clients at work."""
        threads = [
            threading.Thread(target=self._work, args=(index,), daemon=True)
            for index in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join()

    def audit(self) -> int:
        """Return how many keys are missing or older than was acknowledged."""
        cluster = self.connect()
        wrong = 0
        for numbers in self._portions():
            pipeline = cluster.pipeline()
            for number in numbers:
                pipeline.get(f"key-{number}")
            for number, found in zip(numbers, pipeline.execute(), strict=True):
                wrong += not self._acknowledged[number] <= read(found) <= self._tried[number]
        return wrong

    def row(self, engine: str, change: str, took_s: float) -> None:
        """Print what was felt since :meth:`forget`."""
        felt = list(self._latencies_ms)
        print(
            f"| {engine} | {change} | {took_s:.1f} s | {len(felt) / took_s:,.0f} "
            f"| {percentile(felt, 0.5):.2f} ms | {percentile(felt, 0.99):.2f} ms "
            f"| {max(felt):.0f} ms | {self._failed} | {self._stale} |",
            flush=True,
        )

    def _work(self, index: int) -> None:
        cluster, dice = self.connect(), random.Random(index)
        while not self._stopping.is_set():
            # A key belongs to one client, so that its numbers come in order.
            number = dice.randrange(index, len(self._tried), CLIENTS)
            began = time.perf_counter()
            try:
                self._call(cluster, number, writes=dice.random() < 0.5)
            # redis-py raises AttributeError where its map of the slots changes under a call.
            except (RedisError, OSError, AttributeError):
                self._failed += 1
            self._latencies_ms.append((time.perf_counter() - began) * 1000)

    def _call(self, cluster: Any, number: int, *, writes: bool) -> None:
        if writes:
            self._tried[number] += 1
            cluster.set(f"key-{number}", value(self._tried[number]))
            self._acknowledged[number] = self._tried[number]
        elif read(cluster.get(f"key-{number}")) < self._acknowledged[number]:
            self._stale += 1

    def _portions(self) -> Iterator[range]:
        for first in range(0, len(self._tried), KEYS_PER_PIPELINE):
            yield range(first, min(first + KEYS_PER_PIPELINE, len(self._tried)))


def value(number: int) -> bytes:
    """Return a value that carries a number."""
    return str(number).encode().ljust(VALUE_BYTES)


def read(found: bytes | None) -> int:
    """Return the number of a value; -1 for none."""
    return -1 if found is None else int(found)


if __name__ == "__main__":
    main()
