"""How long a parameter's new value takes to reach every node that uses the parameter group.

From the call to the moment when every node is called in sync: its engine has read the value back.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from bench.fleet import client, percentile, running, seconds_until

FAMILY = "valkey8"
NODES_PER_GROUP = 5


def main() -> None:
    """Print one row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--network", default="127.148.0.0/16")
    options = parser.parse_args()
    with running(network=options.network) as (url, _):
        api = client(url)
        api.create_cache_parameter_group(
            CacheParameterGroupName="bench",
            CacheParameterGroupFamily=FAMILY,
            Description="measured",
        )
        names = create(api, options.nodes // NODES_PER_GROUP)
        seconds_until(lambda: settled(api, names), timeout_s=300)
        took = [change(api, str(1000 + run)) for run in range(options.runs)]
    print("| nodes | runs | p50 | worst | target |\n|---|---|---|---|---|")
    print(
        f"| {len(names) * NODES_PER_GROUP} | {len(took)} | {percentile(took, 0.5):.0f} ms "
        f"| {max(took):.0f} ms | 500 ms |"
    )


def create(api: Any, groups: int) -> list[str]:
    """Create groups that use the parameter group; return their names."""
    names = [f"bench-{number}" for number in range(groups)]
    for name in names:
        api.create_replication_group(
            ReplicationGroupId=name,
            ReplicationGroupDescription="measured",
            Engine="valkey",
            EngineVersion="8.0",
            CacheNodeType="cache.t3.micro",
            NumCacheClusters=NODES_PER_GROUP,
            CacheParameterGroupName="bench",
        )
    return names


def settled(api: Any, names: list[str]) -> bool:
    """Tell whether all groups are available."""
    groups = api.describe_replication_groups()["ReplicationGroups"]
    return len([group for group in groups if group["Status"] == "available"]) == len(names)


def change(api: Any, value: str) -> float:
    """Change a parameter; return how many ms it took until every node was in sync with it.

    A node is called in sync only after its engine has read the value back.
    """
    began = time.perf_counter()
    api.modify_cache_parameter_group(
        CacheParameterGroupName="bench",
        ParameterNameValues=[{"ParameterName": "slowlog-log-slower-than", "ParameterValue": value}],
    )
    seconds_until(lambda: in_sync(api))
    return (time.perf_counter() - began) * 1000


def in_sync(api: Any) -> bool:
    """Tell whether no cluster is still applying."""
    clusters = api.describe_cache_clusters()["CacheClusters"]
    return all(
        cluster["CacheParameterGroup"]["ParameterApplyStatus"] == "in-sync" for cluster in clusters
    )


if __name__ == "__main__":
    main()
