"""Fixtures for projects whose tests use ElastiCache: a server a session, a client a test.

``elasticache`` is a boto3 client in an account of its own, so what one test creates no other test
sees; the resources are deleted when the test ends. Nothing starts unless a fixture is asked for.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

READY_PREFIX = "cachefleet is ready on "
STOP_TIMEOUT_S = 30.0

_accounts = itertools.count(1)


@pytest.fixture(scope="session")
def cachefleet_server() -> Iterator[str]:
    """Run an ephemeral cachefleet on a free port; gives its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cachefleet", "serve", "--ephemeral", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
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


@pytest.fixture
def elasticache(cachefleet_server: str) -> Iterator[ElastiCacheClient]:
    """Give a boto3 client whose account is empty, and delete what the test leaves."""
    import boto3
    from botocore.config import Config

    account = f"{os.getpid() % 10**6:06d}{next(_accounts):06d}"
    client: ElastiCacheClient = boto3.client(
        "elasticache",
        endpoint_url=cachefleet_server,
        region_name="us-east-1",
        aws_access_key_id=account,
        aws_secret_access_key="cachefleet",
        config=Config(retries={"total_max_attempts": 1}),
    )
    try:
        yield client
    finally:
        _delete_all(client)
        client.close()


def _delete_all(client: Any) -> None:
    for page in client.get_paginator("describe_replication_groups").paginate():
        for group in page["ReplicationGroups"]:
            if group["Status"] != "deleting":
                client.delete_replication_group(ReplicationGroupId=group["ReplicationGroupId"])
    pages = client.get_paginator("describe_cache_clusters").paginate(
        ShowCacheClustersNotInReplicationGroups=True
    )
    for page in pages:
        for cluster in page["CacheClusters"]:
            if cluster["CacheClusterStatus"] != "deleting":
                client.delete_cache_cluster(CacheClusterId=cluster["CacheClusterId"])
