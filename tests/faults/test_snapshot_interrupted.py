"""Snapshots and restores that are cut off: whole in the end or failed, and nothing is left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.faults.caches import NODE, create_group, kill_node, primary_address
from tests.support.server import Server, available_group, group_of
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

KEYS = 30_000
# Half of a copy is on its way when so much has been written of it.
BEGUN_BYTES = 4 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("cut-off") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def group(server: Server) -> str:
    """Give a group of two nodes with some tens of megabytes, that are not alike."""
    client = server.client()
    create_group(client, "big")
    host, port = primary_address(client, "big")
    with redis.Redis(host=host, port=port) as engine:
        fill(engine)
    return "big"


def fill(engine: redis.Redis) -> None:
    for start in range(0, KEYS, 2000):
        with engine.pipeline(transaction=False) as pipe:
            for number in range(start, start + 2000):
                pipe.set(f"k{number}", os.urandom(500).hex())
            pipe.execute()
    engine.wait(1, 10_000)


def snapshot(client: ElastiCacheClient, name: str) -> dict[str, Any]:
    return dict(client.describe_snapshots(SnapshotName=name)["Snapshots"][0])


def made(client: ElastiCacheClient, name: str) -> dict[str, Any]:
    return wait_until(
        lambda: snapshot(client, name),
        lambda row: row["SnapshotStatus"] != "creating",
        what=f"{name} is made or failed",
        timeout_s=60,
    )


def begun(server: Server) -> Path:
    """Wait until a copy is half-way; return its file."""

    def written() -> Path | None:
        files = (server.data_dir / "snapshots").glob("*.aside/*.rdb")
        return next((f for f in files if f.stat().st_size > BEGUN_BYTES), None)

    path = wait_until(written, what="a copy has begun", passing=(OSError,))
    assert path is not None
    return path


def restores_all(client: ElastiCacheClient, of: str, name: str) -> None:
    """See that all keys are in what is made from a snapshot."""
    client.create_replication_group(
        ReplicationGroupId=name, ReplicationGroupDescription="d", SnapshotName=of
    )
    restored = available_group(client, name)
    assert restored["Status"] == "available"
    host, port = primary_address(client, name)
    with redis.Redis(host=host, port=port) as engine:
        assert engine.dbsize() == KEYS
    client.delete_replication_group(ReplicationGroupId=name)


def nothing_aside(server: Server) -> None:
    wait_until(
        lambda: list((server.data_dir / "snapshots").glob("*.aside")),
        lambda left: left == [],
        what="nothing is left half-written",
    )


def test_the_source_dies_half_way(server: Server, group: str) -> None:
    client = server.client()
    client.create_snapshot(SnapshotName="orphaned", CacheClusterId="big-002")
    begun(server)
    kill_node(server, "big-002")
    assert made(client, "orphaned")["SnapshotStatus"] == "available"
    nothing_aside(server)
    assert available_group(client, group)["Status"] == "available"
    restores_all(client, "orphaned", "from-orphaned")


def test_the_control_plane_dies_half_way(server: Server, group: str) -> None:
    client = server.client()
    wait_until(
        lambda: group_of(client, group)["Status"], lambda s: s == "available", what="it settles"
    )
    client.create_snapshot(SnapshotName="twice", CacheClusterId="big-001")
    begun(server)
    server.kill()
    published = {path.name for path in (server.data_dir / "snapshots").iterdir()}
    server.start()
    client = server.client()
    assert made(client, "twice")["SnapshotStatus"] == "available"
    nothing_aside(server)
    assert any(name.endswith(".aside") for name in published)
    assert wait_until(
        lambda: group_of(client, group)["Status"], lambda s: s == "available", what="it settles"
    )
    restores_all(client, "twice", "from-twice")


def test_the_control_plane_dies_during_a_restore(server: Server, group: str) -> None:
    client = server.client()
    client.create_replication_group(
        ReplicationGroupId="interrupted",
        ReplicationGroupDescription="d",
        SnapshotName="twice",
        NumNodeGroups=2,
        ReplicasPerNodeGroup=0,
        AutomaticFailoverEnabled=True,
    )
    wait_until(
        lambda: list(server.data_dir.glob("nodes/*/restore.rdb*")),
        what="the restore has begun",
    )
    server.kill()
    server.start()
    client = server.client()
    restored = available_group(client, "interrupted")
    assert restored["Status"] == "available"
    told = restored["ConfigurationEndpoint"]
    cluster = redis.RedisCluster(host=told["Address"], port=told["Port"])
    sizes = cluster.dbsize(target_nodes=redis.RedisCluster.PRIMARIES)
    assert sizes == KEYS
    cluster.close()
    wait_until(
        lambda: [*server.data_dir.glob("scratch/*"), *server.data_dir.glob("nodes/*/restore*")],
        lambda left: left == [],
        what="nothing is left of it",
    )
    client.delete_replication_group(ReplicationGroupId="interrupted")


def test_a_damaged_snapshot_makes_no_cache(server: Server, group: str) -> None:
    client = server.client()
    files = sorted(
        (server.data_dir / "snapshots").glob("*/0001.rdb"), key=lambda path: path.stat().st_mtime_ns
    )
    files[0].write_bytes(files[0].read_bytes()[:-5_000])
    client.create_replication_group(
        ReplicationGroupId="damaged", ReplicationGroupDescription="d", SnapshotName="orphaned"
    )
    assert available_group(client, "damaged")["Status"] == "create-failed"
    assert snapshot(client, "orphaned")["SnapshotStatus"] == "available"
    events = client.describe_events(SourceIdentifier="damaged", SourceType="replication-group")
    assert any("not what was written" in event["Message"] for event in events["Events"])


def test_a_store_that_takes_nothing_fails_the_snapshot_alone(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with Server(tmp_path / "data", snapshot_store=str(folder)) as server:
        client = server.client()
        client.create_cache_cluster(CacheClusterId="one", Engine="redis", CacheNodeType=NODE)
        wait_until(
            lambda: client.describe_cache_clusters()["CacheClusters"][0]["CacheClusterStatus"],
            lambda status: status == "available",
            what="it is available",
        )
        folder.write_text("a file where the folder should be")
        client.create_snapshot(SnapshotName="nowhere", CacheClusterId="one")
        assert made(client, "nowhere")["SnapshotStatus"] == "failed"
        wait_until(
            lambda: client.describe_cache_clusters()["CacheClusters"][0]["CacheClusterStatus"],
            lambda status: status == "available",
            what="the source is available again",
        )
        events = client.describe_events(SourceIdentifier="one", SourceType="cache-cluster")
        assert any(event["Message"].startswith("Snapshot failed") for event in events["Events"])
        client.delete_snapshot(SnapshotName="nowhere")
