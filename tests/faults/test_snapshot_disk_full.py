"""There is no room for a snapshot or a restore: it says so, leaves nothing, and harms nobody."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.faults.caches import NODE
from tests.support.server import Server, available_cluster, available_group, cluster_of
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

KEYS, VALUE_BYTES = 12_000, 1000
LIMIT_BYTES = 4 << 20  # of a file: less than the data, more than the records
DISK_BYTES = 6 << 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "snapshots"


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a server with a cluster ``one`` of some megabytes, and its snapshot ``whole``."""
    with Server(tmp_path_factory.mktemp("full") / "data", snapshot_store=str(folder)) as running:
        client = running.client()
        client.create_cache_cluster(CacheClusterId="one", Engine="redis", CacheNodeType=NODE)
        available_cluster(client, "one")
        with source(client) as engine, engine.pipeline(transaction=False) as pipe:
            for number in range(KEYS):
                pipe.set(f"k{number}", os.urandom(VALUE_BYTES))
            pipe.execute()
        client.create_snapshot(SnapshotName="whole", CacheClusterId="one")
        assert ended(client, "whole") == "available"
        yield running


@contextlib.contextmanager
def source(client: ElastiCacheClient) -> Iterator[redis.Redis]:
    told = cluster_of(client, "one")["CacheNodes"][0]["Endpoint"]
    with redis.Redis(host=told["Address"], port=told["Port"]) as engine:
        yield engine


@contextlib.contextmanager
def small_files(server: Server) -> Iterator[None]:
    """Let the control plane write no file beyond a limit; its nodes are not touched."""
    _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (LIMIT_BYTES, hard))
    try:
        yield
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard, hard))


@contextlib.contextmanager
def served(client: ElastiCacheClient) -> Iterator[None]:
    """Write to the source all the while, and see that each write was taken and is there."""
    ends, refused, count = threading.Event(), list[Exception](), 0

    def write() -> None:
        nonlocal count
        with source(client) as engine:
            while not ends.wait(0.002):
                try:
                    engine.set(f"during{count}", count)
                except redis.RedisError as error:
                    refused.append(error)
                count += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        ends.set()
        writer.join()
    assert refused == []
    with source(client) as engine:
        assert engine.mget([f"during{n}" for n in range(count)]) == [
            str(n).encode() for n in range(count)
        ]
        assert engine.exists(*(f"k{n}" for n in range(KEYS))) == KEYS


def ended(client: ElastiCacheClient, name: str) -> str:
    seen: set[str] = set()

    def ask() -> str:
        status = client.describe_snapshots(SnapshotName=name)["Snapshots"][0]["SnapshotStatus"]
        seen.add(status)
        return status

    status = wait_until(ask, lambda now: now != "creating", what=f"{name} has ended")
    assert seen <= {"creating", status}, "it was never anything else"
    return status


def fails(server: Server, folder: Path, name: str, **options: Any) -> str:
    """Take a snapshot that cannot be: failed, and with nothing of it left. Return what is told."""
    client, before = server.client(), {path.name for path in stored(folder)}
    with served(client):
        client.create_snapshot(SnapshotName=name, CacheClusterId="one", **options)
        assert ended(client, name) == "failed"
        available_cluster(client, "one")
    events = client.describe_events(SourceIdentifier="one", SourceType="cache-cluster")
    (text,) = [e["Message"] for e in events["Events"] if f"'{name}'" in e["Message"]]
    head = f"Snapshot failed for snapshot with ID '{name}' of cache cluster with ID 'one': "
    assert text.startswith(head)
    assert {path.name for path in stored(folder)} == before, "nothing of it is left"
    client.delete_snapshot(SnapshotName=name)
    return text.removeprefix(head)


def stored(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def test_a_file_that_cannot_grow(server: Server, folder: Path) -> None:
    with small_files(server):
        assert fails(server, folder, "too-large") == "File too large"
    client = server.client()
    client.create_snapshot(SnapshotName="after", CacheClusterId="one")
    assert ended(client, "after") == "available"
    client.delete_snapshot(SnapshotName="after")


def test_a_store_that_is_no_folder(server: Server, folder: Path) -> None:
    aside = folder.rename(folder.with_name("moved"))
    folder.write_text("a file where the folder should be")
    try:
        assert fails(server, folder, "nowhere") == "Not a directory"
    finally:
        folder.unlink()
        aside.rename(folder)


def test_a_disk_that_is_full(server: Server, folder: Path) -> None:
    aside = folder.rename(folder.with_name("moved"))
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    try:
        if mounted.returncode != 0:
            pytest.skip("a small file system cannot be mounted here")
        assert fails(server, folder, "no-room") == "no space is left for it"
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()
        aside.rename(folder)


def test_what_cannot_be_kept_is_not_deleted(server: Server, folder: Path) -> None:
    client = server.client()
    with small_files(server):
        client.delete_cache_cluster(CacheClusterId="one", FinalSnapshotIdentifier="last")
        assert ended(client, "last") == "failed"
        available_cluster(client, "one")
    with source(client) as engine:
        assert engine.get("k1") is not None
    events = client.describe_events(SourceIdentifier="one", SourceType="cache-cluster")
    text = "one was not deleted, because its final snapshot failed"
    assert text in [event["Message"] for event in events["Events"]]
    client.delete_snapshot(SnapshotName="last")


def test_a_copy_that_has_no_room(server: Server, folder: Path) -> None:
    client, before = server.client(), set(stored(folder))
    with small_files(server):
        client.copy_snapshot(SourceSnapshotName="whole", TargetSnapshotName="second")
        assert ended(client, "second") == "failed"
    assert set(stored(folder)) == before
    told = client.describe_snapshots(SnapshotName="whole")["Snapshots"][0]
    assert told["SnapshotStatus"] == "available"
    client.delete_snapshot(SnapshotName="second")


def test_a_restore_that_has_no_room(server: Server) -> None:
    client = server.client()
    with small_files(server):
        client.create_replication_group(
            ReplicationGroupId="wide",
            ReplicationGroupDescription="d",
            SnapshotName="whole",
            NumNodeGroups=2,
            ReplicasPerNodeGroup=0,
            AutomaticFailoverEnabled=True,
        )
        assert available_group(client, "wide")["Status"] == "create-failed"
    events = client.describe_events(SourceIdentifier="wide", SourceType="replication-group")
    assert any("File too large" in event["Message"] for event in events["Events"])
    wait_until(
        lambda: [*server.data_dir.glob("scratch/*"), *server.data_dir.glob("nodes/*/restore*")],
        lambda left: left == [],
        what="nothing is left of it",
    )
    client.delete_replication_group(ReplicationGroupId="wide")
