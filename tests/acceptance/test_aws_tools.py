"""The tools that people have: the aws command line, and boto3's waiters as they come."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.server import Server, clean_environment

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = [pytest.mark.engine, pytest.mark.slow]

AWS = Path(sys.executable).with_name("aws")
TIMEOUT_S = 90


class Aws:
    """``aws elasticache`` against one server, in one account."""

    def __init__(self, server: Server, account: str, home: Path) -> None:
        self._server = server
        self._environment = clean_environment(
            AWS_ACCESS_KEY_ID=account,
            AWS_SECRET_ACCESS_KEY="cachefleet",
            AWS_DEFAULT_REGION="us-east-1",
            AWS_CONFIG_FILE=str(home / "config"),
            AWS_SHARED_CREDENTIALS_FILE=str(home / "credentials"),
            AWS_PAGER="",
        )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(AWS), "elasticache", *words, "--endpoint-url", self._server.url],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
            env=self._environment,
        )

    def __call__(self, *words: str) -> Any:
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None


@pytest.fixture
def aws(server: Server, account: str, tmp_path: Path) -> Aws:
    if not AWS.exists():
        pytest.skip("the aws command line is not installed beside Python")
    return Aws(server, account, tmp_path)


def test_a_session_with_waiters(aws: Aws, client: ElastiCacheClient) -> None:
    # Waiters ask every 15 seconds, so all of them wait side by side.
    created = aws(
        "create-replication-group",
        *("--replication-group-id", "cli", "--replication-group-description", "from a shell"),
        *("--engine", "valkey", "--cache-node-type", "cache.t3.micro"),
        *("--num-cache-clusters", "2", "--tags", "Key=from,Value=shell"),
    )
    assert created["ReplicationGroup"]["Status"] == "creating"
    client.create_cache_cluster(
        CacheClusterId="lib", Engine="redis", CacheNodeType="cache.t3.micro", NumCacheNodes=1
    )
    with ThreadPoolExecutor() as pool:
        waits = [
            pool.submit(
                aws, "wait", "replication-group-available", "--replication-group-id", "cli"
            ),
            pool.submit(client.get_waiter("cache_cluster_available").wait, CacheClusterId="lib"),
        ]
        for wait in waits:
            wait.result()
    shown = aws("describe-replication-groups", "--replication-group-id", "cli")
    (group,) = shown["ReplicationGroups"]
    assert group["Status"] == "available"
    (cluster,) = client.describe_cache_clusters(CacheClusterId="lib")["CacheClusters"]
    assert cluster["CacheClusterStatus"] == "available"

    aws("delete-replication-group", "--replication-group-id", "cli")
    client.delete_cache_cluster(CacheClusterId="lib")
    with ThreadPoolExecutor() as pool:
        waits = [
            pool.submit(aws, "wait", "replication-group-deleted", "--replication-group-id", "cli"),
            pool.submit(client.get_waiter("cache_cluster_deleted").wait, CacheClusterId="lib"),
            pool.submit(
                client.get_waiter("replication_group_deleted").wait, ReplicationGroupId="cli"
            ),
        ]
        for wait in waits:
            wait.result()


def test_a_refusal_is_told_as_the_service_tells_it(aws: Aws) -> None:
    done = aws.run("describe-cache-clusters", "--cache-cluster-id", "nobody")
    assert done.returncode in (254, 255)  # of its second and its first generation
    assert "(CacheClusterNotFound)" in done.stderr
    assert "CacheCluster not found: nobody" in done.stderr
