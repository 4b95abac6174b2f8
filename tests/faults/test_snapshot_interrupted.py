"""Snapshots and restores that are cut off: whole in the end or failed, and nothing is left."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import redis

from cachefleet.provisioner.reconciler.milestones import Milestone
from tests.faults.caches import create_group, kill_node, primary_address
from tests.faults.crashes import CrashingServer
from tests.support.aws import Cloud, running_cloud
from tests.support.length import at_length
from tests.support.server import Server, available_group, command, group_gone, group_of
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

KEYS = 30_000  # of a kilobyte: two parts of an upload
BUCKET = "exports"
TELLING = (
    Milestone.SNAPSHOT_BEGUN,
    Milestone.SNAPSHOT_PUBLISHED,
    Milestone.OBJECT_BEGUN,
    Milestone.RESTORE_BEGUN,
)


def steps(*prefixes: str) -> list[Any]:
    """Return the milestones of some kinds of work; what is like others is for a long evening."""
    return [
        pytest.param(step, id=step.value, marks=() if step in TELLING else at_length)
        for step in Milestone
        if step.startswith(prefixes)
    ]


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with running_cloud() as cloud:
        cloud.bucket(BUCKET)
        yield cloud


@pytest.fixture(scope="module")
def server(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrashingServer]:
    with CrashingServer(
        tmp_path_factory.mktemp("cut-off") / "data",
        "--log-level",
        "info",
        s3_endpoint_url=cloud.url,
    ) as server:
        yield server


@pytest.fixture(scope="module")
def group(server: CrashingServer) -> str:
    """Give a group of two nodes with some tens of megabytes, of which there is a snapshot."""
    client = server.client()
    create_group(client, "big")
    host, port = primary_address(client, "big")
    with redis.Redis(host=host, port=port) as engine:
        fill(engine)
    client.create_snapshot(SnapshotName="kept", CacheClusterId="big-001")
    assert made(client, "kept")["SnapshotStatus"] == "available"
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
        lambda: [
            path
            for pattern in ("snapshots/*.aside", "scratch/*", "nodes/*/restore*")
            for path in server.data_dir.glob(pattern)
        ],
        lambda left: left == [],
        what="nothing is left half-written",
    )


def messages(client: ElastiCacheClient, name: str) -> list[str]:
    events = client.describe_events(SourceIdentifier=name, SourceType="cache-cluster")
    return [event["Message"] for event in events["Events"]]


def progress_is_told(server: Server, kind: str, name: str) -> None:
    """See that people are told of work that stands still: by ``/v1``, ``status`` and the log."""

    def moves() -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{server.url}/v1/data-moves", timeout=30) as answer:
            return list(json.loads(answer.read())["DataMoves"])

    (move,) = wait_until(moves, lambda told: told and told[0]["BytesDone"], what="it is told")
    assert (move["Kind"], move["Name"]) == (kind, name)
    assert 0 < move["BytesDone"] < move["BytesTotal"]
    assert move["BytesPerSecond"] > 0
    shown = command("status", "--once", "--data-dir", str(server.data_dir))
    (line,) = [line for line in shown.stdout.splitlines() if line.startswith(f"{kind} {name}: ")]
    assert " of about " in line
    assert line.endswith("B/s")
    assert f"{kind} {name}" in server.log


def crashed_at(server: CrashingServer, step: str, act: Any) -> ElastiCacheClient:
    """Have the server end at *step* of what *act* asks for; return a client of the next one."""
    server.crash_at(step)
    act(server.client())
    server.wait_dead()
    server.start()
    return server.client()


def test_the_source_dies_half_way(server: CrashingServer, group: str) -> None:
    client = server.client()
    server.hold_at(Milestone.SNAPSHOT_BEGUN)
    client.create_snapshot(SnapshotName="orphaned", CacheClusterId="big-002")
    wait_until(
        lambda: list((server.data_dir / "snapshots").glob("*.aside/*.rdb")),
        what="a copy has begun",
    )
    assert snapshot(client, "orphaned")["SnapshotStatus"] == "creating"
    progress_is_told(server, "snapshot", "orphaned")
    kill_node(server, "big-002")
    server.go_on()
    assert made(client, "orphaned")["SnapshotStatus"] == "available"
    nothing_aside(server)
    assert available_group(client, group)["Status"] == "available"
    restores_all(client, "orphaned", "from-orphaned")


@pytest.mark.parametrize("step", steps("snapshot."))
def test_a_snapshot_is_taken_copied_and_removed_whatever_dies(
    server: CrashingServer, group: str, step: str
) -> None:
    name = step.replace(".", "-").replace("_", "-")
    client = server.client()
    wait_until(
        lambda: group_of(client, group)["Status"], lambda s: s == "available", what="it settles"
    )
    if step == Milestone.SNAPSHOT_COPIED:
        client = crashed_at(
            server, step,
            lambda c: c.copy_snapshot(SourceSnapshotName="kept", TargetSnapshotName=name),
        )  # fmt: skip
    else:
        taking = step != Milestone.SNAPSHOT_FILES_REMOVED
        if taking:
            server.crash_at(step)
        client.create_snapshot(SnapshotName=name, CacheClusterId="big-001")
        if taking:
            server.wait_dead()
            server.start()
            client = server.client()
    assert made(client, name)["SnapshotStatus"] == "available"
    assert messages(client, "big-001").count(
        f"Snapshot succeeded for snapshot with ID '{name}' of cache cluster with ID 'big-001'"
    ) == (0 if step == Milestone.SNAPSHOT_COPIED else 1)
    nothing_aside(server)
    assert wait_until(
        lambda: group_of(client, group)["Status"], lambda s: s == "available", what="it settles"
    )
    if step in TELLING:
        restores_all(client, name, f"from-{name}")
    if step == Milestone.SNAPSHOT_FILES_REMOVED:
        client = crashed_at(server, step, lambda c: c.delete_snapshot(SnapshotName=name))
    else:
        wait_until(
            lambda: snapshot(client, name)["SnapshotStatus"],
            lambda status: status == "available",
            what="it is free",
        )
        client.delete_snapshot(SnapshotName=name)
    wait_until(
        lambda: [row["SnapshotName"] for row in client.describe_snapshots()["Snapshots"]],
        lambda names: name not in names,
        what="it is gone",
    )
    uids = {path.name for path in (server.data_dir / "snapshots").iterdir()}
    assert len(uids) == len(client.describe_snapshots()["Snapshots"]), "its files are gone as well"


@pytest.mark.parametrize("step", steps("export."))
def test_an_export_is_gone_on_with(
    server: CrashingServer, cloud: Cloud, group: str, step: str
) -> None:
    name = step.replace(".", "-")
    key = f"{name}-0001.rdb"
    s3 = cloud.client("s3")
    server.crash_at(step)
    server.client().copy_snapshot(
        SourceSnapshotName="kept", TargetSnapshotName=name, TargetBucket=BUCKET
    )
    server.wait_dead()
    begun = s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    assert [one["Key"] for one in begun] == ([key] if step == Milestone.OBJECT_BEGUN else [])
    assert (key in cloud.keys(BUCKET)) is (step == Milestone.OBJECT_WRITTEN)
    server.start()
    client = server.client()
    wait_until(
        lambda: snapshot(client, "kept")["SnapshotStatus"],
        lambda status: status == "available",
        what="the export has ended",
    )
    (file,) = (
        path
        for path in (server.data_dir / "snapshots").glob("*/0001.rdb")
        if '"kept"' in path.with_name("manifest.json").read_text()
    )
    assert cloud.body(BUCKET, key) == file.read_bytes()
    assert s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []
    told = s3.head_object(Bucket=BUCKET, Key=key)
    if step == Milestone.OBJECT_BEGUN:
        parts = s3.head_object(Bucket=BUCKET, Key=key, PartNumber=1)
        assert parts["PartsCount"] == 2, told


@pytest.mark.parametrize("step", steps("restore."))
def test_the_control_plane_dies_during_a_restore(
    server: CrashingServer, group: str, step: str
) -> None:
    name = step.replace(".", "-")
    client = crashed_at(
        server, step,
        lambda c: c.create_replication_group(
            ReplicationGroupId=name,
            ReplicationGroupDescription="d",
            SnapshotName="kept",
            NumNodeGroups=2,
            ReplicasPerNodeGroup=0,
            AutomaticFailoverEnabled=True,
        ),
    )  # fmt: skip
    restored = available_group(client, name)
    assert restored["Status"] == "available"
    told = restored["ConfigurationEndpoint"]
    cluster = redis.RedisCluster(host=told["Address"], port=told["Port"])
    sizes = cluster.dbsize(target_nodes=redis.RedisCluster.PRIMARIES)
    assert sizes == KEYS
    cluster.close()
    nothing_aside(server)
    client.delete_replication_group(ReplicationGroupId=name)
    group_gone(client, name)


def test_a_damaged_snapshot_makes_no_cache(server: Server, group: str) -> None:
    client = server.client()
    (file,) = (
        path
        for path in (server.data_dir / "snapshots").glob("*/0001.rdb")
        if '"orphaned"' in path.with_name("manifest.json").read_text()
    )
    file.write_bytes(file.read_bytes()[:-5_000])
    client.create_replication_group(
        ReplicationGroupId="damaged", ReplicationGroupDescription="d", SnapshotName="orphaned"
    )
    assert available_group(client, "damaged")["Status"] == "create-failed"
    assert snapshot(client, "orphaned")["SnapshotStatus"] == "available"
    events = client.describe_events(SourceIdentifier="damaged", SourceType="replication-group")
    assert any("not what was written" in event["Message"] for event in events["Events"])
