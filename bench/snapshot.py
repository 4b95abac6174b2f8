"""How fast a snapshot and a restore of one shard are, and what clients of the source feel of it."""

from __future__ import annotations

import argparse
import os
import threading
import time
from typing import Any

import psutil
import redis

from bench.fleet import client, percentile, running

MB = 1_000_000
BATCH = 200
TARGETS = {"plain": 250, "encrypted": 150, "restore": 150}
PAUSE_S = 0.005
POLL_S = 0.1  # asking takes processor time from what is measured


def group(api: Any, name: str, **options: Any) -> dict[str, Any]:
    """Create a group and return it once it is available."""
    api.create_replication_group(
        ReplicationGroupId=name, ReplicationGroupDescription="bench", **options
    )
    while True:
        [row] = api.describe_replication_groups(ReplicationGroupId=name)["ReplicationGroups"]
        if row["Status"] == "available":
            return dict(row)
        if row["Status"] != "creating":
            told = api.describe_events(SourceIdentifier=name, SourceType="replication-group")
            reasons = [event["Message"] for event in told["Events"]]
            raise SystemExit(f"{name} is {row['Status']}: {reasons}")
        time.sleep(POLL_S)


def connect(row: dict[str, Any]) -> redis.Redis:
    """Return a client of a group's primary."""
    told = row["NodeGroups"][0]["PrimaryEndpoint"]
    return redis.Redis(host=told["Address"], port=told["Port"])


def fill(engine: redis.Redis, size_mb: int, value_bytes: int) -> int:
    """Write so much that cannot be packed; return how many keys."""
    values = [os.urandom(value_bytes) for _ in range(BATCH)]
    count = size_mb * MB // value_bytes
    for start in range(0, count, BATCH):
        with engine.pipeline(transaction=False) as pipe:
            for offset in range(min(BATCH, count - start)):
                pipe.set(f"key:{start + offset}", values[offset])
            pipe.execute()
    return count


class Latency:
    """A client that asks the source all the while."""

    def __init__(self, engine: redis.Redis) -> None:
        self._engine = engine
        self._ends = threading.Event()
        self.taken_ms: list[float] = []
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Latency:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._ends.is_set():
            began = time.perf_counter()
            self._engine.get("key:1")
            self.taken_ms.append((time.perf_counter() - began) * 1000)
            time.sleep(PAUSE_S)


def take(api: Any, source: str, name: str) -> tuple[float, int]:
    """Take a snapshot; return how long it took and how large it is in bytes as shown."""
    began = time.perf_counter()
    api.create_snapshot(SnapshotName=name, ReplicationGroupId=source)
    while True:
        [row] = api.describe_snapshots(SnapshotName=name)["Snapshots"]
        if row["SnapshotStatus"] == "available":
            size = int(row["NodeSnapshots"][0]["CacheSize"].split()[0])
            return time.perf_counter() - began, size << 20
        if row["SnapshotStatus"] != "creating":
            raise SystemExit(f"{name} is {row['SnapshotStatus']}")
        time.sleep(POLL_S)


class Spent:
    """Processor time of the engine (its forks included) and of the control plane, in seconds."""

    def __init__(self, engine: redis.Redis, control_plane: psutil.Process) -> None:
        self._engine = psutil.Process(int(engine.info("server")["process_id"]))
        self._control_plane = control_plane
        self._before = self._now()

    def per_gb(self, size: int) -> str:
        """Return what a gigabyte has taken since the beginning."""
        each = [
            (after - before) / size * 1e9
            for before, after in zip(self._before, self._now(), strict=True)
        ]
        return "engine {:.2f} s, control plane {:.2f} s".format(*each)

    def _now(self) -> tuple[float, float]:
        engine, ours = self._engine.cpu_times(), self._control_plane.cpu_times()
        forks = engine.children_user + engine.children_system
        return engine.user + engine.system + forks, ours.user + ours.system


def main() -> None:
    """Print a row a measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=1000)
    parser.add_argument("--value-bytes", type=int, default=1000)
    options = parser.parse_args()
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print("| one shard | size | measured | target |\n|---|---|---|---|")
    with running() as (url, pid):
        api, process = client(url), psutil.Process(pid)
        for kind, more in (("plain", {}), ("encrypted", {"AtRestEncryptionEnabled": True})):
            measure(api, process, kind, more, options.mb, options.value_bytes)


def measure(
    api: Any, process: psutil.Process, kind: str, more: dict[str, Any], mb: int, value_bytes: int
) -> None:
    """Print the rows of one kind of group."""
    row = group(
        api, kind, Engine="valkey", CacheNodeType="cache.r6g.large", NumCacheClusters=1, **more
    )
    engine = connect(row)
    fill(engine, mb, value_bytes)
    memory_before = peak = process.memory_info().rss
    spent = Spent(engine, process)
    with Latency(connect(row)) as latency:
        taken_s, size = take(api, kind, f"{kind}-1")
        peak = max(peak, process.memory_info().rss)
    rate = size / taken_s / MB
    print(f"| snapshot, {kind} | {size / MB:.0f} MB | {rate:.0f} MB/s | {TARGETS[kind]} MB/s |")
    print(f"| processor time a GB, {kind} | | {spent.per_gb(size)} | |")
    grown = (peak - memory_before) / MB
    print(f"| control plane grows by, {kind} | | {grown:.0f} MB | 64 MB |")
    p99 = percentile(latency.taken_ms, 0.99)
    print(f"| p99 of a client of the source, {kind} | | {p99:.1f} ms | 10 ms |")
    engine.flushall(asynchronous=True)
    began, before = time.perf_counter(), process.cpu_times()
    back = group(api, f"{kind}-back", SnapshotName=f"{kind}-1", NumCacheClusters=1)
    rate = size / (time.perf_counter() - began) / MB
    print(f"| restore, {kind} | {size / MB:.0f} MB | {rate:.0f} MB/s | 150 MB/s |")
    after, node = process.cpu_times(), Spent(connect(back), process)._now()[0]
    ours = (after.user + after.system - before.user - before.system) / size * 1e9
    told = f"engine {node / size * 1e9:.2f} s, control plane {ours:.2f} s"
    print(f"| processor time a GB, restore, {kind} | | {told} | |")
    for name in (kind, f"{kind}-back"):
        api.delete_replication_group(ReplicationGroupId=name)


if __name__ == "__main__":
    main()
