"""Encryption at rest: a planted value is nowhere on disk, and comes back with its key alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from botocore.exceptions import ClientError

from tests.faults.caches import kill_node
from tests.support.aws import Cloud, running_cloud
from tests.support.contents import connect
from tests.support.files import below
from tests.support.server import Server, available_group, group_gone, group_of
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

NODE = "cache.t3.small"
PLANTED = "planted-value-0f9d1c"
AWAY = (redis.ConnectionError, redis.TimeoutError, redis.ResponseError)


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with running_cloud() as cloud:
        yield cloud


@pytest.fixture(scope="module")
def key(cloud: Cloud) -> str:
    created = cloud.client("kms").create_key(Description="cachefleet")
    return str(created["KeyMetadata"]["Arn"])


@pytest.fixture(scope="module")
def server(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(
        tmp_path_factory.mktemp("at-rest") / "data",
        s3_endpoint_url=cloud.url,
        kms_endpoint_url=cloud.url,
    ) as server:
        yield server
        for name in ("keyed", "local"):
            with contextlib.suppress(ClientError):
                server.client().delete_replication_group(ReplicationGroupId=name)
                group_gone(server.client(), name)


def create(client: ElastiCacheClient, name: str, **options: Any) -> dict[str, Any]:
    client.create_replication_group(
        ReplicationGroupId=name,
        ReplicationGroupDescription="at rest",
        Engine="valkey",
        CacheNodeType=NODE,
        NumCacheClusters=2,
        AutomaticFailoverEnabled=True,
        **options,
    )
    group = available_group(client, name)
    assert group["Status"] == "available", group
    return group


def on_disk(server: Server) -> list[Path]:
    """Return the files below the data directory that have the planted value; links lead away."""
    planted = PLANTED.encode()
    return [file.path for file in below(server.data_dir) if planted in file.content]


def read_back(server: Server, name: str) -> None:
    """Wait until the planted value is read from a group."""

    def ask() -> object:
        with connect(group_of(server.client(), name)) as engine:
            return engine.get("k")

    wait_until(
        ask, lambda value: value == PLANTED.encode(), what=f"{name} has its data", passing=AWAY
    )


def test_nothing_of_it_is_on_disk(server: Server, key: str) -> None:
    client = server.client()
    for name, options in (("keyed", {"KmsKeyId": key}), ("local", {})):
        group = create(client, name, AtRestEncryptionEnabled=True, **options)
        assert group["AtRestEncryptionEnabled"] is True
        assert group.get("KmsKeyId") == options.get("KmsKeyId")
        with connect(group) as engine:
            engine.set("k", PLANTED)
            engine.wait(1, 15_000)
        client.create_snapshot(SnapshotName=f"{name}-1", ReplicationGroupId=name)
        wait_until(
            lambda name=name: client.describe_snapshots(SnapshotName=f"{name}-1"),  # type: ignore[misc]
            lambda told: told["Snapshots"][0]["SnapshotStatus"] == "available",
            what="the snapshot is made",
        )
        available_group(client, name)
    assert on_disk(server) == []
    kill_node(server, "keyed-001")
    read_back(server, "keyed")
    assert on_disk(server) == []
    wait_until(
        lambda: group_of(client, "keyed")["Status"], lambda s: s == "available", what="it settles"
    )
    server.stop()
    assert on_disk(server) == []
    assert len(list((server.data_dir / "sealed").glob("*.sealed"))) >= 2
    server.start()
    for name in ("keyed", "local"):
        read_back(server, name)
    assert on_disk(server) == []
    wait_until(
        lambda: list((server.data_dir / "sealed").glob("*.sealed")),
        lambda sealed: sealed == [],
        what="opened, they are gone: the nodes are newer",
    )


def test_a_snapshot_opens_for_a_new_group(server: Server, key: str) -> None:
    client = server.client()
    client.create_replication_group(
        ReplicationGroupId="restored",
        ReplicationGroupDescription="d",
        SnapshotName="keyed-1",
        AtRestEncryptionEnabled=True,
    )
    assert available_group(client, "restored")["Status"] == "available"
    read_back(server, "restored")
    assert on_disk(server) == []
    [snapshot] = client.describe_snapshots(SnapshotName="keyed-1")["Snapshots"]
    assert snapshot["KmsKeyId"] == key
    client.delete_replication_group(ReplicationGroupId="restored")


def test_a_tampered_snapshot_makes_no_cache(server: Server) -> None:
    client = server.client()
    client.copy_snapshot(SourceSnapshotName="local-1", TargetSnapshotName="tampered")
    before = {path.parent.name for path in (server.data_dir / "snapshots").glob("*/0001.rdb")}
    wait_until(
        lambda: client.describe_snapshots(SnapshotName="tampered")["Snapshots"][0],
        lambda snapshot: snapshot["SnapshotStatus"] == "available",
        what="the copy is made",
    )
    paths = (server.data_dir / "snapshots").glob("*/0001.rdb")
    [path] = [path for path in paths if path.parent.name not in before] or [
        max((server.data_dir / "snapshots").glob("*/0001.rdb"), key=lambda p: p.stat().st_mtime_ns)
    ]
    whole = bytearray(path.read_bytes())
    whole[-20] ^= 1
    path.write_bytes(bytes(whole))
    client.create_replication_group(
        ReplicationGroupId="bad", ReplicationGroupDescription="d", SnapshotName="tampered"
    )
    assert available_group(client, "bad")["Status"] == "create-failed"
    events = client.describe_events(SourceIdentifier="bad", SourceType="replication-group")
    assert any("changed or cut short" in event["Message"] for event in events["Events"])


def test_a_disabled_key_refuses_and_fails_closed(server: Server, cloud: Cloud, key: str) -> None:
    client = server.client()
    server.stop()
    cloud.client("kms").disable_key(KeyId=key.rpartition("/")[2])
    server.start()
    client = server.client()
    with pytest.raises(ClientError, match="disabled") as refusal:
        client.create_replication_group(
            ReplicationGroupId="refused",
            ReplicationGroupDescription="d",
            Engine="valkey",
            CacheNodeType=NODE,
            KmsKeyId=key,
        )
    assert refusal.value.response["Error"]["Code"] == "InvalidParameterValue"
    with pytest.raises(ClientError, match="unknown"):
        client.create_replication_group(
            ReplicationGroupId="refused",
            ReplicationGroupDescription="d",
            Engine="valkey",
            CacheNodeType=NODE,
            KmsKeyId="00000000-0000-0000-0000-000000000000",
        )
    told = wait_until(
        lambda: [
            event["Message"]
            for member in ("keyed-001", "keyed-002")
            for event in client.describe_events(
                SourceIdentifier=member, SourceType="cache-cluster"
            )["Events"]
        ],
        lambda texts: any("cannot be started" in text for text in texts),
        what="the event says why",
    )
    assert any(key in text for text in told)
    read_back(server, "local")
    with pytest.raises(AWAY), connect(group_of(client, "keyed")) as engine:
        engine.get("k")
    cloud.client("kms").enable_key(KeyId=key.rpartition("/")[2])
    read_back(server, "keyed")


def test_where_nothing_is_in_memory_it_is_refused(tmp_path: Path) -> None:
    with Server(tmp_path / "data", memory_dir=str(tmp_path)) as server:
        client = server.client()
        client.create_replication_group(
            ReplicationGroupId="nowhere",
            ReplicationGroupDescription="d",
            Engine="valkey",
            CacheNodeType=NODE,
            AtRestEncryptionEnabled=True,
        )
        assert available_group(client, "nowhere")["Status"] == "create-failed"
        events = client.describe_events(SourceIdentifier="nowhere", SourceType="replication-group")
        assert any("not memory-backed" in event["Message"] for event in events["Events"])
