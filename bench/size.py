"""What a fleet of 100 nodes costs while nothing happens: processor time and memory."""

from __future__ import annotations

import argparse
import time

import psutil

from bench.fleet import client, median, running, seconds_until

MIB = 1 << 20


def main() -> None:
    """Create the nodes, wait, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--idle-s", type=float, default=20.0)
    options = parser.parse_args()
    with running() as (url, pid):
        api = client(url)
        began = time.perf_counter()
        for number in range(options.nodes // 2):
            api.create_replication_group(
                ReplicationGroupId=f"g{number}",
                ReplicationGroupDescription="bench",
                Engine="valkey",
                CacheNodeType="cache.t3.micro",
                NumCacheClusters=2,
                AutomaticFailoverEnabled=True,
            )
        seconds_until(lambda: _all_available(api), timeout_s=120)
        created_s = time.perf_counter() - began
        control_plane = psutil.Process(pid)
        before = control_plane.cpu_times()
        time.sleep(options.idle_s)
        after = control_plane.cpu_times()
        cpu_s = after.user + after.system - before.user - before.system
        children = control_plane.children(recursive=True)
        nodes = [c for c in children if "valkey-server" in c.cmdline()[0]]
        others = [c for c in children if "cachefleet.engine.gateway" in c.cmdline()]
        print("| what | measured | target |\n|---|---|---|")
        print(f"| creating {len(nodes)} nodes | {created_s:.1f} s | |")
        print(f"| control plane, idle CPU of a core | {100 * cpu_s / options.idle_s:.1f} % | 5 % |")
        print(
            f"| control plane, memory | {control_plane.memory_info().rss / MIB:.0f} MB | 200 MB |"
        )
        rss = [node.memory_info().rss / MIB for node in nodes]
        print(f"| a Valkey node, memory (median) | {median(rss):.1f} MB | 8 MB |")
        for gateway in others:
            print(f"| the gateway, memory | {gateway.memory_info().rss / MIB:.0f} MB | |")


def _all_available(api: object) -> bool:
    pages = api.get_paginator("describe_replication_groups").paginate()  # type: ignore[attr-defined]
    return all(row["Status"] == "available" for page in pages for row in page["ReplicationGroups"])


if __name__ == "__main__":
    main()
