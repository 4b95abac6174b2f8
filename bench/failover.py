"""How long clients cannot write when a primary is lost, as a distribution.

``crash`` kills the primary's process, ``hang`` stops it, ``switchover`` promotes a replica in
order while a writer writes all the time and counts what it was promised.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
import time
from functools import partial
from typing import Any

import psutil
import redis
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from bench.fleet import client, percentile, running, seconds_until

ATTEMPT_TIMEOUT_S = 0.25
GIVE_UP_S = 15.0
GROUP = "bench"


def main() -> None:
    """Print a row a scenario."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--hangs", type=int, default=20)
    options = parser.parse_args()
    print("| scenario | runs | p50 | p99 | worst | target |\n|---|---|---|---|---|---|")
    with running() as (url, _):
        api = client(url)
        create(api, NumCacheClusters=3)
        row("crash, cluster mode disabled", crashes(api, options.runs), "30 / 200 ms")
        row("hang (timeout 1 s)", crashes(api, options.hangs, signal.SIGSTOP), "1300 ms")
        create(api, NumNodeGroups=3, ReplicasPerNodeGroup=1)
        row("crash, cluster mode enabled", cluster_crashes(api, options.runs), "150 / 500 ms")


def row(title: str, gaps_ms: list[float], target: str) -> None:
    """Print one row of the table."""
    print(
        f"| {title} | {len(gaps_ms)} | {percentile(gaps_ms, 0.5):.0f} ms "
        f"| {percentile(gaps_ms, 0.99):.0f} ms | {max(gaps_ms):.0f} ms | {target} |",
        flush=True,
    )


def create(api: Any, **request: Any) -> None:
    """Create the group anew and wait for it."""
    for old in api.describe_replication_groups()["ReplicationGroups"]:
        api.delete_replication_group(ReplicationGroupId=old["ReplicationGroupId"])
    seconds_until(lambda: not api.describe_replication_groups()["ReplicationGroups"])
    api.create_replication_group(
        ReplicationGroupId=GROUP,
        ReplicationGroupDescription="bench",
        Engine="valkey",
        CacheNodeType="cache.t3.micro",
        AutomaticFailoverEnabled=True,
        **request,
    )
    seconds_until(lambda: group(api)["Status"] == "available")


def group(api: Any) -> dict[str, Any]:
    """Describe the group."""
    found: dict[str, Any] = api.describe_replication_groups(ReplicationGroupId=GROUP)
    return dict(found["ReplicationGroups"][0])


def listener(host: str) -> int:
    """Return the pid of the process that listens at *host*."""
    for link in psutil.net_connections("tcp"):
        if link.status == psutil.CONN_LISTEN and link.laddr.ip == host and link.pid:
            return int(link.pid)
    raise LookupError(f"nobody listens at {host}")


def crashes(api: Any, runs: int, number: int = signal.SIGKILL) -> list[float]:
    """Return the gaps, in ms, between the loss of the primary and the next write that is taken."""
    host = group(api)["NodeGroups"][0]["PrimaryEndpoint"]["Address"]
    gaps = []
    for run in range(runs):
        seconds_until(lambda: replicas_in_sync(host) == 2)
        writer = connect(host)
        writer.set("run", run)
        pid = listener(host)
        os.kill(pid, number)
        began = time.perf_counter()
        seconds_until(partial(write_once, host, run), timeout_s=GIVE_UP_S)
        gaps.append((time.perf_counter() - began) * 1000)
    return gaps


def write_once(host: str, value: int) -> bool:
    """Tell whether a new connection's write was taken."""
    return written(partial(connect(host).set, "run", value))


def cluster_crashes(api: Any, runs: int) -> list[float]:
    """The same, as a cluster client of one shard sees it."""
    entry = group(api)["ConfigurationEndpoint"]
    gaps = []
    for run in range(runs):
        seconds_until(partial(reachable, entry))
        cluster = cluster_client(entry)
        cluster.set("run", run)
        node = cluster.get_node_from_key("run")
        assert node is not None
        seconds_until(partial(is_whole, node.host, replicas=1))
        os.kill(listener(node.host), signal.SIGKILL)
        began = time.perf_counter()
        seconds_until(partial(written, partial(cluster.set, "run", run)), timeout_s=GIVE_UP_S)
        gaps.append((time.perf_counter() - began) * 1000)
        cluster.close()
    return gaps


def cluster_client(entry: dict[str, Any]) -> Any:
    """Return a cluster client that starts at the configuration endpoint."""
    return RedisCluster(
        host=entry["Address"],
        port=entry["Port"],
        socket_timeout=ATTEMPT_TIMEOUT_S,
        socket_connect_timeout=ATTEMPT_TIMEOUT_S,
    )


def reachable(entry: dict[str, Any]) -> bool:
    """Tell whether the endpoint answers."""
    return written(connect(entry["Address"]).ping)


def is_whole(host: str, *, replicas: int) -> bool:
    """Tell whether the primary at *host* has its replicas, in sync."""
    return replicas_in_sync(host) == replicas


def connect(host: str) -> Any:
    """Return a client that gives up soon and never tries twice."""
    return redis.Redis(
        host=host,
        socket_timeout=ATTEMPT_TIMEOUT_S,
        socket_connect_timeout=ATTEMPT_TIMEOUT_S,
        retry=None,
    )


def written(write: Any) -> bool:
    """Tell whether a write was taken."""
    try:
        write()
    except (RedisError, RedisClusterException, OSError):
        return False
    return True


def replicas_in_sync(host: str) -> int:
    """Return how many replicas the primary at *host* has, in sync; 0 where it does not answer."""
    try:
        info = connect(host).info("replication")
    except (RedisError, OSError):
        return 0
    return sum(
        1
        for name, value in info.items()
        if name.startswith("slave") and isinstance(value, dict) and value["state"] == "online"
    )


class Writer(threading.Thread):
    """Writes numbers without a pause; knows which were acknowledged and the longest gap."""

    def __init__(self, host: str) -> None:
        super().__init__(daemon=True)
        self._host = host
        self.stop = threading.Event()
        self.acknowledged: list[int] = []
        self.gap_ms_max = 0.0

    def run(self) -> None:
        link, number, last = connect(self._host), 0, time.perf_counter()
        while not self.stop.is_set():
            number += 1
            try:
                link.set(f"n:{number}", number)
            except (RedisError, OSError):
                link = connect(self._host)
                continue
            now = time.perf_counter()
            self.gap_ms_max = max(self.gap_ms_max, (now - last) * 1000)
            last = now
            self.acknowledged.append(number)


if __name__ == "__main__":
    main()
