"""The server as a user starts it: ``cachefleet serve`` in a process of its own.

    with Server(tmp_path) as server:
        client = server.client()

Each server has a data directory, a free port and a piece of 127.0.0.0/8 of its own, so that any
number of them run side by side. Whatever it started ends with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import boto3
import psutil
from botocore.config import Config
from sqlalchemy import select

from cachefleet.engine.valkey.adapter import ValkeyAdapter
from cachefleet.engine.valkey.config import hidden_renames
from cachefleet.provisioner.clock import SystemClock
from cachefleet.provisioner.drivers.local import LocalDriver
from cachefleet.provisioner.reconciler.fleet import ADMIN_USER, command_prefix
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Store
from cachefleet.provisioner.state.tables import CacheNode
from tests.support.forks import Process, run, start
from tests.support.ports import own_network
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

ACCOUNT = "000000000000"
REGION = "us-east-1"
READY_PREFIX = "cachefleet is ready on "
PROVISIONER_READY = "cachefleet provisioner is ready"
METRICS_AT = "; metrics are on "
START_TIMEOUT_S = 60.0
PATIENT_S = "8"  # a machine can be busy; tests of what hangs say how long it may
STOP_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 60.0

_accounts = itertools.count(1)


def own_account() -> str:
    """Return an account that no other test of this run uses."""
    return f"{next(_accounts):012d}"


def command(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``cachefleet`` to its end."""
    return run(
        ["-m", "cachefleet", *words],
        folder=Path.cwd(),
        environment=clean_environment(**(env or {})),
        timeout_s=COMMAND_TIMEOUT_S,
    )


def clean_environment(**more: str) -> dict[str, str]:
    """Return our environment without settings that a developer may have for another server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CACHEFLEET_")}
    return {**kept, "AWS_EC2_METADATA_DISABLED": "true", **more}


class Server:
    """One running server; *options* are of the command line, *settings* of the environment.

    *path* takes the place of PATH, for a machine that lacks engines.
    """

    def __init__(
        self, data_dir: Path, *options: str, path: str | None = None, **settings: str
    ) -> None:
        self.data_dir = data_dir
        self.network = settings.pop("endpoint_network", "") or own_network()
        self.options = options
        self.settings = {"failover_timeout_s": PATIENT_S, **settings}
        self._path = path
        self.command = "serve"
        self.program: Sequence[str] = ("-m", "cachefleet")  # what Python is told to run
        self.url = ""
        self._process: Process | None = None
        self._clients: list[Any] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.close()
        try:
            if self.running:
                self.stop()
        finally:
            self.end_leftovers()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has said on standard error so far."""
        return self._log_path.read_text() if self._log_path.exists() else ""

    def start(self) -> None:
        """Start it, and return once it takes requests."""
        self.spawn()
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line.startswith(PROVISIONER_READY):
            self.url = line.partition(METRICS_AT)[2].strip().removesuffix("/metrics")
            return
        if not line.startswith(READY_PREFIX):
            self.kill()
            raise AssertionError(f"the server did not start: {line!r}\n{self.log}")
        self.url = line.removeprefix(READY_PREFIX).strip()

    def spawn(self) -> None:
        """Start it, without waiting for anything."""
        assert not self.running
        environment = clean_environment(
            CACHEFLEET_ENDPOINT_NETWORK=self.network,
            **{f"CACHEFLEET_{name.upper()}": value for name, value in self.settings.items()},
            **({} if self._path is None else {"PATH": self._path}),
        )
        words = [self.command, *self.options]
        if self.command != "api":
            words += ["--data-dir", str(self.data_dir)]
        if self.command != "provisioner":
            words[1:1] = ["--port", "0"]
        with self._log_path.open("a") as log:
            self._process = start(
                [*self.program, *words],
                folder=self.data_dir.parent,  # where no settings file of a developer lies
                environment=environment,
                err=log,
            )

    def stop(self) -> int:
        """Stop it as an operator does; returns its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._ended()

    def wait_dead(self) -> None:
        """Return once it has ended by itself."""
        self._ended()

    def kill(self) -> None:
        """Take the control plane away without a word; the nodes go on."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._ended()

    def end_leftovers(self) -> None:
        """Kill every process that still works in our data directory."""
        nodes = str((self.data_dir / "nodes").resolve()) + os.sep
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if (process.cwd() + os.sep).startswith(nodes):
                    process.kill()

    def client(self, account: str = ACCOUNT, region: str = REGION) -> ElastiCacheClient:
        """Return a boto3 client of an account in a region; nothing about it is special."""
        client: ElastiCacheClient = boto3.client(
            "elasticache",
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id=account,
            aws_secret_access_key="cachefleet",
            config=Config(retries={"total_max_attempts": 1}),
        )
        self._clients.append(client)
        return client

    def node(self, member: str, node_id: str = "0001") -> CacheNode:
        """Return the row of a node whose cluster has a name of its own among all accounts."""

        async def read(store: Store) -> CacheNode:
            async with store.read(Scope("", "")) as tx:
                query = select(CacheNode).where(
                    CacheNode.member_name == member, CacheNode.cache_node_id == node_id
                )
                rows = (await tx.session.scalars(query.order_by(CacheNode.uid))).unique().all()
            assert len(rows) == 1, f"{len(rows)} nodes are named {member}/{node_id}"
            return rows[0]

        node: CacheNode = self._read(read)
        return node

    def engine_config(self, member: str) -> dict[str, str]:
        """Return what the engine of a Valkey or Redis node says of its configuration."""
        node = self.node(member)

        async def ask() -> dict[str, str]:
            adapter = ValkeyAdapter(
                unix_socket=str(LocalDriver(self.data_dir).socket_path(node.uid)),
                username=ADMIN_USER,
                password=node.admin_secret,
                renamed_commands=hidden_renames(command_prefix(node)),
            )
            try:
                return await adapter.config_get("*")
            finally:
                await adapter.aclose()

        return asyncio.run(ask())

    def node_pids(self) -> dict[str, int]:
        """Return the pid of each node, by ``member/node id``."""

        async def read(store: Store) -> list[CacheNode]:
            async with store.read(Scope("", "")) as tx:
                return list((await tx.session.scalars(select(CacheNode))).all())

        pids = {}
        for node in self._read(read):
            note = self.data_dir / "nodes" / node.uid / "pid"
            if note.exists():
                name = f"{node.member_name}/{node.cache_node_id}"
                pids[name] = int(note.read_text().split()[0])
        return pids

    @property
    def _log_path(self) -> Path:
        return self.data_dir.with_name(self.data_dir.name + ".log")

    def _ended(self) -> int:
        assert self._process is not None
        status = self._process.wait(STOP_TIMEOUT_S)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return status

    def _read(self, ask: Callable[[Store], Coroutine[Any, Any, Any]]) -> Any:
        url = self.settings.get("database_url") or (
            f"sqlite:///file:{self.data_dir / 'cachefleet.db'}?mode=ro&uri=true"
        )

        async def read() -> Any:
            store = Store.open(url, clock=SystemClock())
            try:
                return await ask(store)
            finally:
                await store.aclose()

        return asyncio.run(read())


# -- resources, by their names ---------------------------------------------------------------------


def group_of(client: ElastiCacheClient, name: str) -> dict[str, Any]:
    """Return a replication group as DescribeReplicationGroups shows it."""
    (group,) = client.describe_replication_groups(ReplicationGroupId=name)["ReplicationGroups"]
    return dict(group)


def cluster_of(client: ElastiCacheClient, name: str) -> dict[str, Any]:
    """Return a cache cluster, nodes included, as DescribeCacheClusters shows it."""
    answer = client.describe_cache_clusters(CacheClusterId=name, ShowCacheNodeInfo=True)
    return dict(answer["CacheClusters"][0])


def available_group(client: ElastiCacheClient, name: str) -> dict[str, Any]:
    """Wait until a replication group is available."""
    return wait_until(
        lambda: group_of(client, name),
        lambda group: group["Status"] not in ("creating", "modifying"),
        what=f"{name} is available",
        timeout_s=60,
    )


def available_cluster(client: ElastiCacheClient, name: str) -> dict[str, Any]:
    """Wait until a cache cluster is available."""
    return wait_until(
        lambda: cluster_of(client, name),
        lambda cluster: cluster["CacheClusterStatus"] not in ("creating", "modifying"),
        what=f"{name} is available",
        timeout_s=60,
    )


def group_gone(client: ElastiCacheClient, name: str) -> None:
    """Wait until a replication group is no more."""
    wait_until(
        lambda: [
            group["ReplicationGroupId"]
            for group in client.describe_replication_groups()["ReplicationGroups"]
        ],
        lambda names: name not in names,
        what=f"{name} is gone",
    )


def cluster_gone(client: ElastiCacheClient, name: str) -> None:
    """Wait until a cache cluster is no more."""
    wait_until(
        lambda: [
            cluster["CacheClusterId"]
            for cluster in client.describe_cache_clusters()["CacheClusters"]
        ],
        lambda names: name not in names,
        what=f"{name} is gone",
    )


def delete_everything(client: ElastiCacheClient) -> None:
    """Delete the caches of an account, and return without waiting for it."""
    for group in client.describe_replication_groups()["ReplicationGroups"]:
        if group["Status"] in ("available", "create-failed"):
            client.delete_replication_group(ReplicationGroupId=group["ReplicationGroupId"])
    answer = client.describe_cache_clusters(ShowCacheClustersNotInReplicationGroups=True)
    for cluster in answer["CacheClusters"]:
        if cluster["CacheClusterStatus"] in ("available", "incompatible-network"):
            client.delete_cache_cluster(CacheClusterId=cluster["CacheClusterId"])
