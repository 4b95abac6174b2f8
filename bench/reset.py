"""How long ``POST /v1/reset`` takes, which the pytest fixtures call after each test."""

from __future__ import annotations

import argparse
import time
from typing import Any

import httpx

from bench.fleet import client, median, running, seconds_until

GROUPS = (0, 1, 3)


def main() -> None:
    """Print a row for each number of groups of two nodes that are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    print("| groups of two nodes | runs | median | worst | target |\n|---|---|---|---|---|")
    with running() as (url, _):
        api = client(url)
        reset(url)  # what a first call loads is none of the others'
        for groups in GROUPS:
            took = []
            for _ in range(options.runs):
                create(api, groups)
                took.append(reset(url))
                assert not found(api)
            print(
                f"| {groups} | {len(took)} | {median(took):.0f} ms | {max(took):.0f} ms | 100 ms |",
                flush=True,
            )


def create(api: Any, groups: int) -> None:
    """Create groups, and return once they are available."""
    for number in range(groups):
        api.create_replication_group(
            ReplicationGroupId=f"g{number}",
            ReplicationGroupDescription="measured",
            Engine="valkey",
            CacheNodeType="cache.t3.micro",
            NumCacheClusters=2,
            AutomaticFailoverEnabled=True,
        )
    seconds_until(lambda: found(api) == ["available"] * groups, timeout_s=60)


def found(api: Any) -> list[str]:
    """Return the status of each group."""
    return [group["Status"] for group in api.describe_replication_groups()["ReplicationGroups"]]


def reset(url: str) -> float:
    """Return how many milliseconds it took."""
    began = time.perf_counter()
    httpx.post(f"{url}/v1/reset", json={}, timeout=30).raise_for_status()
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
