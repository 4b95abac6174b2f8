"""Describe calls a second beside moto_server, in one run: by boto3 and raw, with eight connections.

Both hold the same: five replication groups and ten users' worth of subnet groups. One boto3 client
that calls again and again measures how long a call takes, most of which is the client's own time;
eight of them, spread over a process a core, measure what the server can do. The raw load is wrk's
where it is installed.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import functools
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.fleet import client, median, running, seconds_until, written_to

GROUPS = 5
CONNECTIONS = 8
WARM_UP_TIMEOUT_S = 60.0
BODY = "Action={action}&Version=2015-02-02"
SCRIPT = """wrk.method = "POST"
wrk.body = "{body}"
wrk.headers["Content-Type"] = "application/x-www-form-urlencoded; charset=utf-8"
wrk.headers["Authorization"] = "AWS4-HMAC-SHA256 Credential=111111111111/20260101/us-east-1/\
elasticache/aws4_request, SignedHeaders=host;x-amz-date, Signature={signature}"
wrk.headers["X-Amz-Date"] = "20260101T000000Z"
"""
CALLS = {
    "DescribeReplicationGroups (5 groups)": "DescribeReplicationGroups",
    "DescribeCacheSubnetGroups (10 groups)": "DescribeCacheSubnetGroups",
}
RESOURCES = {
    "DescribeReplicationGroups": "/v1/replication-groups",
    "DescribeCacheSubnetGroups": "/v1/subnet-groups",
}
POSTED = ("wrk.method", "wrk.body", 'wrk.headers["Content-Type"]')


def main() -> None:
    """Print a row a call and a kind of load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    print("| load | call | cachefleet | moto_server | ratio |\n|---|---|---|---|---|")
    with running() as (ours, _), moto() as theirs:
        for url in (ours, theirs):
            fill(url)
        for title, action in CALLS.items():
            compare("boto3, one client", title, action, (ours, theirs), options, by_boto3)
            eight = f"boto3, {CONNECTIONS} clients"
            compare(eight, title, action, (ours, theirs), options, by_many_boto3)
            if shutil.which("wrk"):
                compare("wrk", title, action, (ours, theirs), options, by_wrk)
                v1 = functools.partial(by_wrk, resource=RESOURCES[action])
                compare("wrk, /v1", title, action, (ours, theirs), options, by_wrk, ours_by=v1)


def compare(
    load: str,
    title: str,
    action: str,
    urls: tuple[str, str],
    options: Any,
    measure: Any,
    *,
    ours_by: Any = None,
) -> None:
    """Measure both in turn, several times, and print the medians; *ours_by* is our other door."""
    ours, theirs = [], []
    for _ in range(options.pairs):
        ours.append((ours_by or measure)(urls[0], action, options.seconds))
        theirs.append(measure(urls[1], action, options.seconds))
    ratio = median([a / b for a, b in zip(ours, theirs, strict=True)])
    print(
        f"| {load} | {title} | {median(ours):.0f}/s | {median(theirs):.0f}/s | {ratio:.1f}x |",
        flush=True,
    )


@contextlib.contextmanager
def moto() -> Iterator[str]:
    """Run moto's server on a free port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            found = re.search(r"Running on (http://127\.0\.0\.1:\d+)", line)
            if found:
                break
        else:
            raise SystemExit("moto_server did not start")
        drain = threading.Thread(target=process.stderr.read, daemon=True)
        drain.start()
        yield found.group(1)
    finally:
        process.terminate()
        process.wait(10)


def fill(url: str) -> None:
    """Create what is described."""
    api = client(url)
    for number in range(GROUPS):
        api.create_replication_group(
            ReplicationGroupId=f"g{number}",
            ReplicationGroupDescription="bench",
            Engine="redis",
            CacheNodeType="cache.t3.micro",
            NumCacheClusters=1,  # moto_server makes one member, whatever is asked of it
        )
    for number in range(10):
        written_to(
            api.create_cache_subnet_group,
            CacheSubnetGroupName=f"s{number}",
            CacheSubnetGroupDescription="bench",
            SubnetIds=["subnet-0123456789abcdef0"],
        )
    seconds_until(
        lambda: all(
            row["Status"] == "available"
            for row in api.describe_replication_groups()["ReplicationGroups"]
        )
    )


def by_boto3(url: str, action: str, seconds: float) -> float:
    """Return calls a second of one boto3 client."""
    call = _call(url, action)
    call()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        call()
        count += 1
    return count / (time.perf_counter() - began)


def by_many_boto3(url: str, action: str, seconds: float) -> float:
    """Return calls a second of eight boto3 clients, in as many processes as there are cores."""
    processes = min(os.cpu_count() or 1, CONNECTIONS)
    # Fresh interpreters: what this one holds, threads among it, is none of theirs.
    context = multiprocessing.get_context("spawn")
    with (
        concurrent.futures.ProcessPoolExecutor(processes, mp_context=context) as pool,
        context.Manager() as manager,
    ):
        ready = manager.Barrier(processes)
        shares = [CONNECTIONS // processes] * processes
        shares[0] += CONNECTIONS - sum(shares)
        done = [pool.submit(_share, ready, url, action, seconds, n) for n in shares]
        return sum(one.result() for one in done)


def _share(ready: Any, url: str, action: str, seconds: float, clients: int) -> float:
    """Return calls a second of *clients* threads of this process, each with its own client."""
    calls = [_call(url, action) for _ in range(clients)]
    for call in calls:
        call()
    ready.wait(WARM_UP_TIMEOUT_S)
    until = time.perf_counter() + seconds

    def ask(call: Any) -> int:
        count = 0
        while time.perf_counter() < until:
            call()
            count += 1
        return count

    with concurrent.futures.ThreadPoolExecutor(clients) as threads:
        return sum(threads.map(ask, calls)) / seconds


def _call(url: str, action: str) -> Any:
    """Return the call of a new client."""
    api = client(url)
    return {
        "DescribeReplicationGroups": api.describe_replication_groups,
        "DescribeCacheSubnetGroups": api.describe_cache_subnet_groups,
    }[action]


def by_wrk(url: str, action: str, seconds: float, *, resource: str | None = None) -> float:
    """Return requests a second of wrk with eight connections; of ``/v1`` where *resource* is."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "call.lua"
        text = SCRIPT.format(body=BODY.format(action=action), signature="0" * 64)
        if resource is not None:
            text = "\n".join(line for line in text.splitlines() if not line.startswith(POSTED))
        script.write_text(text)
        place = url + (resource or "/")
        printed = subprocess.run(
            ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "-s", str(script), place],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    if "Non-2xx" in printed:
        raise SystemExit(f"{url} refused: {printed}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", printed).group(1))  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
