"""How soon a serverless cache is there, and what its endpoint carries.

Creation is timed by a client that asks again and again. Throughput is that of redis-benchmark
through the endpoint's TLS, beside an engine in plain; processor time beside it, because wall time
on two cores is shared with the client.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from tests.support.audit import gateway_pid
from tests.support.server import Server, available_group, own_account
from tests.support.waiting import wait_until

CREATIONS = 5
REQUESTS = 100_000
CLIENTS = 20
PIPELINES = (1, 16)


def main() -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory() as directory, Server(Path(directory) / "data") as server:
        client = server.client(own_account())
        took_s = [_creation(client, f"c{number}") for number in range(CREATIONS)]
        print(f"creation first    {took_s[0] * 1000:.0f} ms (the gateway starts)")
        print(f"creation median   {statistics.median(took_s[1:]) * 1000:.0f} ms")
        print(f"creation worst    {max(took_s) * 1000:.0f} ms")
        if shutil.which("redis-benchmark") is None:
            print("redis-benchmark is not there: no throughput")
            return
        _throughput(server, client)


def _creation(client: Any, name: str) -> float:
    began_s = time.perf_counter()
    client.create_serverless_cache(ServerlessCacheName=name, Engine="valkey")
    wait_until(lambda: _cache(client, name)["Status"] == "available", what=f"{name} is available")
    return time.perf_counter() - began_s


def _cache(client: Any, name: str) -> dict[str, Any]:
    (cache,) = client.describe_serverless_caches(ServerlessCacheName=name)["ServerlessCaches"]
    return dict(cache)


def _throughput(server: Server, client: Any) -> None:
    endpoint = _cache(client, "c0")["Endpoint"]
    client.create_replication_group(
        ReplicationGroupId="beside",
        ReplicationGroupDescription="bench",
        Engine="valkey",
        CacheNodeType="cache.r7g.large",
        NumCacheClusters=1,
        AtRestEncryptionEnabled=False,
    )
    shard = available_group(client, "beside")["NodeGroups"][0]["PrimaryEndpoint"]
    trusted = str(server.data_dir / "tls" / "ca.crt")
    tls = ["--tls", "--cacert", trusted]
    for pipeline in PIPELINES:
        direct, _ = _run(server, shard, pipeline, [])
        through, cpu_us = _run(server, endpoint, pipeline, tls)
        print(
            f"pipeline {pipeline:<3} engine {direct:>9,.0f}/s   endpoint {through:>9,.0f}/s   "
            f"{through / direct:.2f}x   {cpu_us:.1f} us of the gateway a command"
        )


def _run(
    server: Server, endpoint: dict[str, Any], pipeline: int, options: list[str]
) -> tuple[float, float]:
    """Return commands a second, and the gateway's processor time a command in microseconds."""
    gateway = psutil.Process(gateway_pid(server))
    before = gateway.cpu_times()
    done = subprocess.run(
        [
            "redis-benchmark", "-h", endpoint["Address"], "-p", str(endpoint["Port"]), *options,
            "-n", str(REQUESTS), "-c", str(CLIENTS), "-P", str(pipeline), "-r", "10000",
            "-t", "get", "--csv",
        ],
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    after = gateway.cpu_times()
    spent_s = after.user + after.system - before.user - before.system
    rate = float(done.stdout.strip().splitlines()[-1].split(",")[1].strip('"'))
    return rate, spent_s / REQUESTS * 1e6


if __name__ == "__main__":
    main()
