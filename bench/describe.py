"""Describe calls over many clusters: what a page costs, and what it costs beside other resources.

The records are written straight into the database, where no node has to run for them. Each page is
asked for after a change in its account, so that no kept answer serves it. A second server has five
more accounts like the first, and is asked the same in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import psutil
import structlog

from bench.fleet import READY, client, percentile
from cachefleet.control_plane import run_api
from cachefleet.provisioner.clock import SystemClock
from cachefleet.provisioner.state import ids
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Store
from cachefleet.provisioner.state.tables import CacheCluster, CacheNode
from cachefleet.settings import Settings

REGION = "us-east-1"
ACCOUNT = "111111111111"
OTHERS = tuple(f"2222222222{number:02}" for number in range(5))
# An empty value stands for the marker of the last page.
PAGES: dict[str, dict[str, str]] = {
    "100 clusters, the first": {"Action": "DescribeCacheClusters"},
    "100 clusters, the last": {"Action": "DescribeCacheClusters", "Marker": ""},
    "100 clusters with nodes": {"Action": "DescribeCacheClusters", "ShowCacheNodeInfo": "true"},
    "one cluster": {"Action": "DescribeCacheClusters", "CacheClusterId": "c-00500"},
    "100 events": {"Action": "DescribeEvents", "Duration": "1440"},
}
PER_TRANSACTION = 500
EVENTS_PER_CLUSTER = 2


def main() -> None:
    """Print a row for each kind of page, alone and beside others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clusters", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--serve", metavar="DATABASE", help="be the server of a measurement")
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve))
        return
    with contextlib.ExitStack() as stack:
        servers = []
        for accounts in ([ACCOUNT], [ACCOUNT, *OTHERS]):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            url, database, process = stack.enter_context(serving(folder))
            asyncio.run(fill(database, accounts, options.clusters))
            servers.append(Served(url, process))
        measure(servers, options.runs)
    print(
        f"| page | alone, p50 | processor | beside {len(OTHERS)} others like it, p50 | processor |"
    )
    print("|---|---|---|---|---|")
    for title in PAGES:
        cells = [
            f"{percentile(one.took_ms[title], 0.5):.1f} ms | {one.cpu_ms[title]:.1f} ms"
            for one in servers
        ]
        print(f"| {title} | {cells[0]} | {cells[1]} |")


class Served:
    """A server with its records, and what its pages took."""

    def __init__(self, url: str, process: psutil.Process) -> None:
        self.url = url
        self.api = client(url, account=ACCOUNT)
        self.took_ms: dict[str, list[float]] = {title: [] for title in PAGES}
        self.cpu_ms: dict[str, float] = {}
        self._process = process

    def prepare(self) -> None:
        """Find the last page, and make something to change."""
        self.api.create_cache_subnet_group(
            CacheSubnetGroupName="touched", CacheSubnetGroupDescription="0", SubnetIds=["subnet-a"]
        )
        page = self.api.describe_cache_clusters(MaxRecords=100)
        while "Marker" in page:
            self.marker = page["Marker"]
            page = self.api.describe_cache_clusters(MaxRecords=100, Marker=self.marker)

    def ask(self, title: str, description: str) -> None:
        """Ask for a page, once something has changed."""
        self.api.modify_cache_subnet_group(
            CacheSubnetGroupName="touched", CacheSubnetGroupDescription=description
        )
        form = {name: value or self.marker for name, value in PAGES[title].items()}
        before = self._cpu_s()
        self.took_ms[title].append(ask(self.url, form))
        self.cpu_ms[title] = self.cpu_ms.get(title, 0.0) + (self._cpu_s() - before) * 1000

    def _cpu_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


def measure(servers: Sequence[Served], runs: int) -> None:
    """Ask both in turn for each page, so that what else the machine does is felt by both."""
    for one in servers:
        one.prepare()
    for title in PAGES:
        for run in range(runs):
            for one in servers:
                one.ask(title, f"{title}, {run}")
        for one in servers:
            one.cpu_ms[title] /= runs


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[str, str, psutil.Process]]:
    """Serve the API alone, over a database in *folder*: nobody starts what is written there."""
    database = f"sqlite:///{folder / 'records.db'}"
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.describe", "--serve", database],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line.startswith(READY):
            raise SystemExit(f"cachefleet did not start: {line!r}")
        yield line.removeprefix(READY).strip(), database, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


async def serve(database: str) -> None:
    """Serve until SIGTERM, without a word on standard output but the address."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    await run_api(
        Settings(port=0, database_url=database, log_level="error"),
        on_ready=lambda host, port: print(f"{READY}http://{host}:{port}", flush=True),
    )


async def fill(database: str, accounts: Any, clusters: int) -> None:
    """Write *clusters* memcached clusters of one node, and events, for each account."""
    store = Store.open(database, clock=SystemClock())
    try:
        for account in accounts:
            for first in range(0, clusters, PER_TRANSACTION):
                async with store.begin(Scope(account, REGION)) as tx:
                    for number in range(first, min(first + PER_TRANSACTION, clusters)):
                        uid = ids.new_uid()
                        await tx.new_subject("cache_cluster", uid)
                        tx.session.add(cluster(uid, account, f"c-{number:05}", number))
                        for event in range(EVENTS_PER_CLUSTER):
                            tx.emit("cache-cluster", f"c-{number:05}", f"Event {event}")
    finally:
        await store.aclose()


def cluster(uid: str, account: str, name: str, number: int) -> CacheCluster:
    """Return a cluster that is available, as far as the record goes."""
    node = CacheNode(
        uid=ids.new_uid(),
        subject_uid=uid,
        member_name=name,
        cache_node_id="0001",
        status="available",
        availability_zone="us-east-1a",
        engine_node_id=ids.new_engine_id(),
        admin_secret=ids.new_secret(),
        host=f"127.99.{number // 250}.{number % 250 + 1}",
        port=11211,
    )
    return CacheCluster(
        uid=uid,
        account=account,
        region=REGION,
        name=name,
        status="available",
        engine="memcached",
        engine_version="1.6.22",
        node_type="cache.t3.micro",
        port=11211,
        parameter_group_name="default.memcached1.6",
        subnet_group_name="default",
        maintenance_window="mon:03:00-mon:04:00",
        num_cache_nodes=1,
        nodes=[node],
    )


def ask(url: str, form: dict[str, str]) -> float:
    """Return how many ms the answer took, as bytes: no client's reading of it is in there."""
    request = Request(
        url,
        data=urlencode({"Version": "2015-02-02", **form}).encode(),
        headers={
            "Authorization": f"AWS4-HMAC-SHA256 Credential={ACCOUNT}/20260101/{REGION}/elasticache"
            f"/aws4_request, SignedHeaders=host;x-amz-date, Signature={'0' * 64}",
            "X-Amz-Date": "20260101T000000Z",
            "Content-Type": "application/x-www-form-urlencoded",
        },
    )
    began = time.perf_counter()
    with urlopen(request) as answer:
        answer.read()
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
