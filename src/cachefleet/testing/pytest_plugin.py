"""Fixtures for projects whose tests use ElastiCache: a server a session, an empty account a test.

    def test_it(elasticache, valkey_cluster):
        ...

``elasticache`` is a boto3 client whose account is empty; what a test leaves is removed at once when
it ends, nodes and all. ``valkey_cluster`` and ``memcached_cluster`` are caches that serve already.
Nothing starts unless a fixture is asked for. With pytest-xdist each worker has a server of its own,
unless ``CACHEFLEET_URL`` names one for all (started with ``--allow-reset`` or ``--ephemeral``).
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import os
import socket
import subprocess
import sys
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

READY_PREFIX = "cachefleet is ready on "
URL_VARIABLE = "CACHEFLEET_URL"
REGION = "us-east-1"
NODE_TYPE = "cache.t3.micro"
STOP_TIMEOUT_S = 30.0
NETWORK_VARIABLE = "CACHEFLEET_ENDPOINT_NETWORK"
SHARE_ADDRESSES_MIN = 8  # of a worker: its nodes and their endpoints
RESET_TIMEOUT_S = 30.0
WAIT_EVERY_S = 0.1
WAITS_MAX = 600

_accounts = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cache that serves: connect to ``host`` and ``port`` with any client."""

    id: str
    engine: str
    host: str
    port: int

    @property
    def url(self) -> str:
        """What client libraries take; of memcached, ``host:port``."""
        scheme = "" if self.engine == "memcached" else "redis://"
        return f"{scheme}{self.host}:{self.port}"


@pytest.fixture(scope="session")
def cachefleet_server(worker_network: str) -> Iterator[str]:
    """Run an ephemeral cachefleet on a free port; gives its URL."""
    given = os.environ.get(URL_VARIABLE)
    if given:
        yield given.rstrip("/")
        return
    environment = {**os.environ, NETWORK_VARIABLE: worker_network}
    process = subprocess.Popen(
        [sys.executable, "-m", "cachefleet", "serve", "--ephemeral", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line.startswith(READY_PREFIX):
            pytest.fail(f"cachefleet did not start: {line!r}")
        yield line.removeprefix(READY_PREFIX).strip()
    finally:
        process.terminate()
        process.wait(STOP_TIMEOUT_S)
        process.stdout.close()


@pytest.fixture(scope="session")
def worker_network() -> str:
    """Give the network of this worker's nodes: servers side by side must not share one."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    given = os.environ.get(NETWORK_VARIABLE)
    if given is not None:
        return share_of(given, worker, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    # Of this session's own process too, so that two runs on one machine do not meet.
    seed = zlib.crc32(f"{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}{worker}".encode())
    return f"127.{101 + seed % 150}.{seed // 150 % 256}.0/24"


def share_of(network: str, worker: str, workers: int) -> str:
    """Return the part of *network* that is a worker's: ``gw3`` is the fourth of *workers*.

    Raises:
        ValueError: the network is none, or too small to be shared by so many.
    """
    whole = ipaddress.IPv4Network(network)
    number = int(worker.removeprefix("gw")) if worker.startswith("gw") else 0
    shares = whole.subnets(prefixlen_diff=(workers - 1).bit_length())
    share = next(itertools.islice(shares, number, None))
    if share.num_addresses < SHARE_ADDRESSES_MIN:
        raise ValueError(f"{network} is too small for {workers} workers")
    return str(share)


@pytest.fixture
def elasticache_account() -> str:
    """Give an account that no other test uses."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    own = zlib.crc32(f"{socket.gethostname()}{os.getpid()}{worker}".encode()) % 10**7
    return f"{own:07d}{next(_accounts) % 10**5:05d}"


@pytest.fixture
def elasticache(cachefleet_server: str, elasticache_account: str) -> Iterator[ElastiCacheClient]:
    """Give a boto3 client whose account is empty, and remove what the test leaves."""
    import boto3
    from botocore.config import Config

    client: ElastiCacheClient = boto3.client(
        "elasticache",
        endpoint_url=cachefleet_server,
        region_name=REGION,
        aws_access_key_id=elasticache_account,
        aws_secret_access_key="cachefleet",
        config=Config(retries={"total_max_attempts": 1}),
    )
    try:
        yield client
    finally:
        client.close()
        reset(cachefleet_server, elasticache_account)


@pytest.fixture
def valkey_cluster(elasticache: ElastiCacheClient) -> Cluster:
    """Give a Valkey primary with one replica; the host is that of the primary endpoint."""
    elasticache.create_replication_group(
        ReplicationGroupId="valkey",
        ReplicationGroupDescription="made for a test",
        Engine="valkey",
        CacheNodeType=NODE_TYPE,
        NumCacheClusters=2,
        AutomaticFailoverEnabled=True,
    )
    _wait(elasticache, "replication_group_available", ReplicationGroupId="valkey")
    (group,) = elasticache.describe_replication_groups(ReplicationGroupId="valkey")[
        "ReplicationGroups"
    ]
    endpoint = group["NodeGroups"][0]["PrimaryEndpoint"]
    return Cluster("valkey", "valkey", endpoint["Address"], endpoint["Port"])


@pytest.fixture
def memcached_cluster(elasticache: ElastiCacheClient) -> Cluster:
    """Give two memcached nodes; the host is that of the configuration endpoint."""
    elasticache.create_cache_cluster(
        CacheClusterId="memcached",
        Engine="memcached",
        CacheNodeType=NODE_TYPE,
        NumCacheNodes=2,
    )
    _wait(elasticache, "cache_cluster_available", CacheClusterId="memcached")
    (cluster,) = elasticache.describe_cache_clusters(CacheClusterId="memcached")["CacheClusters"]
    endpoint = cluster["ConfigurationEndpoint"]
    return Cluster("memcached", "memcached", endpoint["Address"], endpoint["Port"])


def reset(url: str, account: str) -> None:
    """Remove everything that *account* has on the server at *url*."""
    request = urllib.request.Request(
        f"{url}/v1/reset",
        data=json.dumps({"Account": account}).encode(),
        headers={"content-type": "application/json"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=RESET_TIMEOUT_S) as answer:
        answer.read()


def _wait(client: Any, waiter: str, **params: str) -> None:
    client.get_waiter(waiter).wait(
        **params, WaiterConfig={"Delay": WAIT_EVERY_S, "MaxAttempts": WAITS_MAX}
    )
