"""How far a second region lags, and how soon it takes writes: ``python -m bench.global_datastore``.

One server, two regions of one node each, first without cluster mode and then with it; with
``--peers``, a server for each region. A writer
sends pipelined batches at a steady rate to the leading region; each batch ends in a marker with the
time, which a reader looks for in the other.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import redis
from tests.faults.caches import primary_address
from tests.support.peers import two_fleets
from tests.support.server import Server, available_group, group_of, own_account
from tests.support.waiting import wait_until

RATE_PER_S = 10_000
BATCHES_PER_S = 200
DURATION_S = 5.0
FAILOVERS = 5
HERE, THERE = "us-east-1", "eu-west-1"
AWAY = (redis.ConnectionError, redis.ResponseError)


def main() -> None:
    """Measure, and print."""
    for clustered in (False, True):
        print("cluster mode enabled" if clustered else "cluster mode disabled")
        with tempfile.TemporaryDirectory() as directory, _servers(Path(directory)) as servers:
            _measure(*servers, clustered=clustered)


@contextlib.contextmanager
def _servers(folder: Path) -> Iterator[tuple[Server, Server]]:
    if "--peers" in sys.argv:
        with two_fleets(folder) as servers:
            yield servers
    else:
        with Server(folder / "data") as server:
            yield server, server


def _measure(here: Server, there: Server, *, clustered: bool) -> None:
    account = own_account()
    near, far = here.client(account, HERE), there.client(account, THERE)
    _create(near, far, clustered=clustered)
    find = _configuration if clustered else primary_address
    addresses = {HERE: find(near, "near"), THERE: find(far, "far")}
    feed = _feed(there) if clustered else None
    used_s = _processor_s(feed)
    lags_ms, rate = _lags(addresses[HERE], addresses[THERE])
    lags_ms.sort()
    print(f"writes/s          {rate:,.0f}")
    print(f"lag p50           {statistics.median(lags_ms):.2f} ms")
    print(f"lag p99           {lags_ms[int(len(lags_ms) * 0.99)]:.2f} ms")
    if feed is not None:
        share = (_processor_s(feed) - used_s) / DURATION_S
        print(f"feed              {100 * share:.0f} % of a core")
    promotions_s = [_promotion(near, addresses, number) for number in range(FAILOVERS)]
    print(f"promotion median  {statistics.median(promotions_s) * 1000:.0f} ms")
    print(f"promotion worst   {max(promotions_s) * 1000:.0f} ms")


def _feed(server: Server) -> psutil.Process:
    return psutil.Process(int((server.data_dir / "nodes" / "feed" / "pid").read_text().split()[0]))


def _processor_s(process: psutil.Process | None) -> float:
    if process is None:
        return 0.0
    times = process.cpu_times()
    return float(times.user + times.system)


def _configuration(client: Any, name: str) -> tuple[str, int]:
    """Return where the only shard is reached."""
    endpoint = group_of(client, name)["ConfigurationEndpoint"]
    return endpoint["Address"], endpoint["Port"]


def _create(near: Any, far: Any, *, clustered: bool) -> None:
    shape: dict[str, Any] = {"NumCacheClusters": 1}
    if clustered:
        shape = {
            "NumNodeGroups": 1,
            "ReplicasPerNodeGroup": 0,
            "ClusterMode": "enabled",
            "AutomaticFailoverEnabled": True,
        }
    near.create_replication_group(
        ReplicationGroupId="near",
        ReplicationGroupDescription="bench",
        Engine="valkey",
        CacheNodeType="cache.r7g.large",
        AtRestEncryptionEnabled=False,
        **shape,
    )
    available_group(near, "near")
    near.create_global_replication_group(
        GlobalReplicationGroupIdSuffix="bench", PrimaryReplicationGroupId="near"
    )
    _becomes(near, "primary-only")
    far.create_replication_group(
        ReplicationGroupId="far",
        ReplicationGroupDescription="bench",
        GlobalReplicationGroupId="ldgnf-bench",
        **({"ReplicasPerNodeGroup": 0} if clustered else {"NumCacheClusters": 1}),
    )
    _becomes(near, "available")


def _becomes(client: Any, status: str) -> None:
    wait_until(
        lambda: client.describe_global_replication_groups()["GlobalReplicationGroups"][0]["Status"],
        lambda seen: seen == status,
        what=f"it is {status}",
    )


def _lags(near: tuple[str, int], far: tuple[str, int]) -> tuple[list[float], float]:
    lags_ms: list[float] = []
    stopping = threading.Event()

    def read() -> None:
        last = b""
        with redis.Redis(*far) as there:
            while not stopping.is_set():
                seen = there.get("marker")
                if isinstance(seen, bytes) and seen != last:
                    lags_ms.append((time.monotonic() - float(seen)) * 1000)
                    last = seen

    reader = threading.Thread(target=read)
    reader.start()
    written, began_s = 0, time.monotonic()
    with redis.Redis(*near) as here:
        while (now_s := time.monotonic()) < began_s + DURATION_S:
            with here.pipeline(transaction=False) as batch:
                for number in range(RATE_PER_S // BATCHES_PER_S - 1):
                    batch.set(f"k:{number}", "v" * 100)
                batch.set("marker", repr(time.monotonic()))
                batch.execute()
            written += RATE_PER_S // BATCHES_PER_S
            time.sleep(max(0.0, 1 / BATCHES_PER_S - (time.monotonic() - now_s)))
    stopping.set()
    reader.join()
    return lags_ms, written / (time.monotonic() - began_s)


def _promotion(client: Any, addresses: dict[str, tuple[str, int]], number: int) -> float:
    """Return the seconds from the call to the first write that the other region takes."""
    region, name = ((THERE, "far"), (HERE, "near"))[number % 2]
    began_s = time.monotonic()
    client.failover_global_replication_group(
        GlobalReplicationGroupId="ldgnf-bench", PrimaryRegion=region, PrimaryReplicationGroupId=name
    )
    with redis.Redis(*addresses[region]) as there:
        while True:
            try:
                there.set("promoted", number)
                break
            except AWAY:
                time.sleep(0.001)
    took_s = time.monotonic() - began_s
    _becomes(client, "available")
    return took_s


if __name__ == "__main__":
    main()
