"""How long it takes from a creation call until the cache is available and answers a client."""

from __future__ import annotations

import argparse
import socket
import time
from collections.abc import Callable
from typing import Any

from bench.fleet import client, median, percentile, running, seconds_until

TARGETS_MS = {"single node": 150, "1 primary + 2 replicas": 1000, "3 shards x 2": 2500}
TARGETS_MS["memcached, 3 nodes"] = 400


def answers(endpoint: dict[str, Any], question: bytes, answer: bytes) -> bool:
    """Tell whether the engine behind an endpoint answers now."""
    with socket.create_connection((endpoint["Address"], endpoint["Port"]), timeout=2) as link:
        link.sendall(question)
        return link.recv(64).startswith(answer)


def cluster(api: Any, name: str, **request: Any) -> None:
    """Create a cache cluster and return once its first node answers."""
    api.create_cache_cluster(CacheClusterId=name, CacheNodeType="cache.t3.micro", **request)

    def there() -> bool:
        row = api.describe_cache_clusters(CacheClusterId=name, ShowCacheNodeInfo=True)
        row = row["CacheClusters"][0]
        if row["CacheClusterStatus"] != "available":
            return False
        memcached = row["Engine"] == "memcached"
        question, answer = (b"version\r\n", b"VERSION") if memcached else (b"PING\r\n", b"+PONG")
        return all(answers(node["Endpoint"], question, answer) for node in row["CacheNodes"])

    seconds_until(there)


def group(api: Any, name: str, **request: Any) -> None:
    """Create a replication group and return once its endpoint answers."""
    api.create_replication_group(
        ReplicationGroupId=name,
        ReplicationGroupDescription="bench",
        Engine="valkey",
        CacheNodeType="cache.t3.micro",
        AutomaticFailoverEnabled=True,
        **request,
    )

    def there() -> bool:
        row = api.describe_replication_groups(ReplicationGroupId=name)["ReplicationGroups"][0]
        if row["Status"] != "available":
            return False
        endpoint = row.get("ConfigurationEndpoint") or row["NodeGroups"][0]["PrimaryEndpoint"]
        return answers(endpoint, b"PING\r\n", b"+PONG")

    seconds_until(there)


CASES: dict[str, Callable[[Any, str], None]] = {
    "single node": lambda api, name: cluster(api, name, Engine="redis", NumCacheNodes=1),
    "1 primary + 2 replicas": lambda api, name: group(api, name, NumCacheClusters=3),
    "3 shards x 2": lambda api, name: group(api, name, NumNodeGroups=3, ReplicasPerNodeGroup=1),
    "memcached, 3 nodes": lambda api, name: cluster(api, name, Engine="memcached", NumCacheNodes=3),
}


def main() -> None:
    """Print a row a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=11)
    runs = parser.parse_args().runs
    print("| create -> available and answering | median | p90 | target |\n|---|---|---|---|")
    with running() as (url, _):
        for title, create in CASES.items():
            taken = []
            for number in range(runs):
                api = client(url, account=f"2222{abs(hash(title)) % 10**4:04d}{number:04d}")
                began = time.perf_counter()
                create(api, "bench")
                taken.append((time.perf_counter() - began) * 1000)
                _delete(api)
            print(
                f"| {title} | {median(taken):.0f} ms | {percentile(taken, 0.9):.0f} ms "
                f"| {TARGETS_MS[title]} ms |"
            )


def _delete(api: Any) -> None:
    for row in api.describe_replication_groups()["ReplicationGroups"]:
        api.delete_replication_group(ReplicationGroupId=row["ReplicationGroupId"])
    pages = api.describe_cache_clusters(ShowCacheClustersNotInReplicationGroups=True)
    for row in pages["CacheClusters"]:
        api.delete_cache_cluster(CacheClusterId=row["CacheClusterId"])
    seconds_until(
        lambda: (
            not api.describe_replication_groups()["ReplicationGroups"]
            and not api.describe_cache_clusters()["CacheClusters"]
        )
    )


if __name__ == "__main__":
    main()
