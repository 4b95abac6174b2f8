"""How long clients cannot write when a primary hands over in order, and whether a write is lost.

A writer writes numbers all the time while ``ModifyReplicationGroup`` promotes one replica after the
other. At the end every number that was acknowledged has to be there.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import redis

from bench.failover import Writer, connect, replicas_in_sync
from bench.fleet import client, percentile, running, seconds_until

GROUP = "bench"
KEYS_PER_READ = 1000


def main() -> None:
    """Print a row an engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--network", default="127.149.0.0/16")
    options = parser.parse_args()
    print("| engine | switchovers | acknowledged | lost | gap p50 | p99 | worst | target |")
    print("|---|---|---|---|---|---|---|---|")
    with running(network=options.network) as (url, _):
        api = client(url)
        for engine, version in (("valkey", "9.0"), ("redis", "7.1")):
            row(f"{engine} {version}", *switchovers(api, engine, version, options.runs))


def row(title: str, gaps_ms: list[float], acknowledged: int, lost: int) -> None:
    """Print one row of the table."""
    print(
        f"| {title} | {len(gaps_ms)} | {acknowledged} | {lost} | {percentile(gaps_ms, 0.5):.0f} ms "
        f"| {percentile(gaps_ms, 0.99):.0f} ms | {max(gaps_ms):.0f} ms | 0 lost, p99 100 ms |",
        flush=True,
    )


def switchovers(api: Any, engine: str, version: str, runs: int) -> tuple[list[float], int, int]:
    """Return the longest gap around each switchover, in ms, and what was acknowledged and lost."""
    name = f"{GROUP}-{engine}"
    api.create_replication_group(
        ReplicationGroupId=name,
        ReplicationGroupDescription="measured",
        Engine=engine,
        EngineVersion=version,
        CacheNodeType="cache.t3.small",
        NumCacheClusters=2,
    )
    seconds_until(lambda: available(api, name))
    host = describe(api, name)["NodeGroups"][0]["PrimaryEndpoint"]["Address"]
    seconds_until(lambda: replicas_in_sync(host) == 1)
    writer = Writer(host)
    writer.start()
    seconds_until(lambda: len(writer.acknowledged) > 0)
    gaps = []
    for run in range(runs):
        writer.gap_ms_max = 0.0
        seen = len(writer.acknowledged)
        api.modify_replication_group(
            ReplicationGroupId=name,
            PrimaryClusterId=f"{name}-{2 - run % 2:03d}",
            ApplyImmediately=True,
        )
        seconds_until(lambda: available(api, name))
        seconds_until(partial(wrote_more, writer, seen))
        gaps.append(writer.gap_ms_max)
    writer.stop.set()
    writer.join()
    lost = missing(connect(host), writer.acknowledged)
    api.delete_replication_group(ReplicationGroupId=name)
    return gaps, len(writer.acknowledged), lost


def wrote_more(writer: Writer, seen: int) -> bool:
    """Tell whether the writer has had more than *seen* numbers acknowledged."""
    return len(writer.acknowledged) > seen


def missing(link: redis.Redis, numbers: list[int]) -> int:
    """Return how many of the acknowledged *numbers* are not there."""
    lost = 0
    for start in range(0, len(numbers), KEYS_PER_READ):
        part = numbers[start : start + KEYS_PER_READ]
        values: Any = link.mget([f"n:{number}" for number in part])
        lost += sum(value != str(n).encode() for n, value in zip(part, values, strict=True))
    return lost


def describe(api: Any, name: str) -> dict[str, Any]:
    """Describe a group."""
    found = api.describe_replication_groups(ReplicationGroupId=name)
    return dict(found["ReplicationGroups"][0])


def available(api: Any, name: str) -> bool:
    """Tell whether a group is available."""
    return bool(describe(api, name)["Status"] == "available")


if __name__ == "__main__":
    main()
