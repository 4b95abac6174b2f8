"""One run of Terraform over ``tests/acceptance/terraform``: init, apply, plan, destroy.

The provider sleeps for most of its minutes, so the run goes on in a thread beside other tests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from pymemcache.client.base import Client
from redis.cluster import RedisCluster

from tests.support.aws import Cloud
from tests.support.server import Server, available_group, clean_environment, group_gone, group_of
from tests.support.waiting import wait_until

ACCOUNT = "111122223333"
REGION = "eu-west-1"
BUCKET = "tf-seeds"
SOURCES = Path(__file__).parents[1] / "acceptance" / "terraform"
PROVIDER = "registry.terraform.io/hashicorp/aws"
STEP_TIMEOUT_S = 240
TOKENS = ("the-first-token-of-all", "the-second-of-them-all")

CHANGED = "-var=changed=true"
Done = subprocess.CompletedProcess[str]


def find_mirror() -> Path | None:
    """Return the folder that holds the AWS provider, where there is one."""
    named = os.environ.get("TF_PLUGINS")
    places = [
        *([Path(named)] if named else []),
        Path("/opt/tf-plugins"),
        Path("/usr/share/terraform/plugins"),
        Path("/usr/local/share/terraform/plugins"),
        Path.home() / ".terraform.d" / "plugins",
        Path.home() / "tf-plugins",
    ]
    return next((place for place in places if (place / PROVIDER).is_dir()), None)


@dataclass(frozen=True, kw_only=True)
class TerraformRun:
    """What came of each step, and what was found while everything was there."""

    applied: Done
    planned: Done
    answers: dict[str, Any]
    changed: Done
    replanned: Done
    answers_changed: dict[str, Any]
    destroyed: Done
    left: list[str]
    snapshots: list[str]


class BackgroundRun:
    """A run in a thread. Why there is none is told to whoever asks for the result."""

    def __init__(self, start: Callable[[], tuple[Server, Cloud]], directory: Path) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._future: Future[TerraformRun] | None = None
        self._reason = ""
        mirror = find_mirror()
        if shutil.which("terraform") is None:
            self._reason = "terraform is not installed"
        elif mirror is None:
            self._reason = "the AWS provider is in no mirror; name one with TF_PLUGINS"
        else:
            self._future = self._pool.submit(_run, *start(), directory, mirror)

    def result(self) -> TerraformRun:
        """Return what came of it, once it has ended."""
        if self._future is None:
            pytest.skip(self._reason)
        return self._future.result(timeout=4 * STEP_TIMEOUT_S)

    def close(self) -> None:
        """Wait for the end."""
        self._pool.shutdown()


def _run(server: Server, cloud: Cloud, directory: Path, mirror: Path) -> TerraformRun:
    terraform = Terraform(server, directory, mirror)
    _seed(server, cloud)
    begun = terraform("init")
    assert begun.returncode == 0, begun.stderr
    applied = terraform("apply", "-auto-approve", "-parallelism=20")
    planned = terraform("plan", "-detailed-exitcode")
    answers = _answers(server, terraform) if applied.returncode == 0 else {}
    changed = terraform("apply", "-auto-approve", "-parallelism=20", CHANGED)
    replanned = terraform("plan", "-detailed-exitcode", CHANGED)
    answers_changed = _answers(server, terraform) if changed.returncode == 0 else {}
    destroyed = terraform("destroy", "-auto-approve", "-parallelism=20", "-refresh=false")
    return TerraformRun(
        applied=applied,
        planned=planned,
        answers=answers,
        changed=changed,
        replanned=replanned,
        answers_changed=answers_changed,
        destroyed=destroyed,
        left=_left(server),
        snapshots=_snapshots(server),
    )


def _seed(server: Server, cloud: Cloud) -> None:
    """Make the snapshot that a resource is restored from, and export it for another one."""
    client = server.client(ACCOUNT, REGION)
    client.create_replication_group(
        ReplicationGroupId="tf-source",
        ReplicationGroupDescription="what the seed is taken of",
        Engine="valkey",
        EngineVersion="8.0",
        CacheNodeType="cache.t3.micro",
    )
    told = available_group(client, "tf-source")["NodeGroups"][0]["PrimaryEndpoint"]
    with redis.Redis(host=told["Address"], port=told["Port"]) as node:
        node.set("seed", "sown")
    client.delete_replication_group(
        ReplicationGroupId="tf-source", FinalSnapshotIdentifier="tf-seed"
    )
    group_gone(client, "tf-source")
    cloud.bucket(BUCKET, REGION)
    client.copy_snapshot(
        SourceSnapshotName="tf-seed", TargetSnapshotName="seed", TargetBucket=BUCKET
    )
    wait_until(
        lambda: client.describe_snapshots(SnapshotName="tf-seed")["Snapshots"][0],
        lambda snapshot: snapshot["SnapshotStatus"] == "available",
        what="the seed is exported",
    )


def _snapshots(server: Server) -> list[str]:
    told = server.client(ACCOUNT, REGION).describe_snapshots(SnapshotSource="user")["Snapshots"]
    return [row["SnapshotName"] for row in told if row["SnapshotStatus"] == "available"]


def _answers(server: Server, terraform: Terraform) -> dict[str, Any]:
    outputs = json.loads(terraform("output", "-json").stdout)
    return _ask_engines(server, {name: row["value"] for name, row in outputs.items()})


class Terraform:
    """Terraform in *directory*, with the configuration of *sources*."""

    def __init__(
        self, server: Server, directory: Path, mirror: Path, *, sources: Path = SOURCES
    ) -> None:
        self._directory = directory
        for source in sources.glob("*.tf"):
            shutil.copy(source, directory)
        configuration = directory / "terraform.rc"
        configuration.write_text(
            f'provider_installation {{\n  filesystem_mirror {{ path = "{mirror}" }}\n}}\n'
        )
        self._environment = clean_environment(
            TF_CLI_CONFIG_FILE=str(configuration),
            TF_IN_AUTOMATION="1",
            TF_INPUT="0",
            TF_VAR_endpoint_url=server.url,
            CHECKPOINT_DISABLE="1",
            AWS_CONFIG_FILE=str(directory / "config"),
            AWS_SHARED_CREDENTIALS_FILE=str(directory / "credentials"),
        )

    def __call__(self, *words: str) -> Done:
        colours = [] if words[0] == "output" else ["-no-color"]
        return subprocess.run(
            ["terraform", *words, *colours],
            cwd=self._directory,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=STEP_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )


def _ask_engines(server: Server, told: dict[str, Any]) -> dict[str, Any]:
    with redis.Redis(host=told["redis_address"], port=told["redis_port"]) as node:
        memory: Any = node.info("memory")
        policy, maxmemory = memory["maxmemory_policy"], memory["maxmemory"]
    with redis.Redis(host=told["restored_primary"], port=6379, decode_responses=True) as node:
        seed = node.get("seed")
    with redis.Redis(host=told["sown_primary"], port=6379, decode_responses=True) as node:
        sown = node.get("seed")
    roles = []
    for name in ("plain_primary", "plain_reader"):
        with redis.Redis(host=told[name], port=6379) as node:
            roles.append(node.info("replication")["role"])
    with RedisCluster(host=told["sharded_configuration_endpoint"], port=6379) as cluster:
        shards = len(cluster.get_primaries())
    host, port = told["memcached_configuration_endpoint"].split(":")
    client = Client((host, int(port)))
    try:
        version = client.version().decode()
    finally:
        client.close()
    return {
        "redis_policy": policy,
        "maxmemory": maxmemory,
        "memcached_version": version,
        "plain_roles": roles,
        "shards": shards,
        "seed": seed,
        "sown": sown,
        "tokens": _accepted(server, told["sealed_primary"]),
        "users": _users(server),
        "serverless_bytes": _serverless_bytes(server, told["serverless_address"]),
        "retention": group_of(server.client(ACCOUNT, REGION), "tf-plain")["SnapshotRetentionLimit"],
    }


def _serverless_bytes(server: Server, host: str) -> int:
    """Return how much data a serverless cache takes."""
    trusted = str(server.data_dir / "tls" / "ca.crt")
    with redis.Redis(host=host, ssl=True, ssl_ca_certs=trusted) as client:
        memory: Any = client.info("memory")
    return int(memory["maxmemory"])


def _users(server: Server) -> list[Any]:
    """Return what one user may do, and who is in the user group."""
    client = server.client(ACCOUNT, REGION)
    (app,) = client.describe_users(UserId="tf-app")["Users"]
    (team,) = client.describe_user_groups(UserGroupId="tf-team")["UserGroups"]
    return [app["AccessString"], sorted(team["UserIds"])]


def _accepted(server: Server, host: str) -> list[bool]:
    """Return which of the two tokens the sealed group takes."""
    answers = []
    for token in TOKENS:
        client = redis.Redis(
            host=host,
            ssl=True,
            ssl_ca_certs=str(server.data_dir / "tls" / "ca.crt"),
            password=token,
        )
        try:
            answers.append(bool(client.ping()))
        except redis.AuthenticationError:
            answers.append(False)
        finally:
            client.close()
    return answers


def _left(server: Server) -> list[str]:
    client = server.client(ACCOUNT, REGION)
    clusters = client.describe_cache_clusters()["CacheClusters"]
    groups = client.describe_replication_groups()["ReplicationGroups"]
    users = [one for one in client.describe_users()["Users"] if one["UserId"] != "default"]
    serverless = client.describe_serverless_caches()["ServerlessCaches"]
    return [
        *(cache["ServerlessCacheName"] for cache in serverless),
        *(cluster["CacheClusterId"] for cluster in clusters),
        *(group["ReplicationGroupId"] for group in groups),
        *(user["UserId"] for user in users),
        *(team["UserGroupId"] for team in client.describe_user_groups()["UserGroups"]),
    ]
