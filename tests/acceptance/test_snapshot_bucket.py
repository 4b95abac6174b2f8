"""Snapshots that are kept in a bucket: their whole life there, and what a bucket may refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.aws import Cloud, running_cloud
from tests.support.aws_endpoint import AwsEndpoint
from tests.support.contents import connect, contents, fill
from tests.support.length import at_length
from tests.support.server import Server, available_group, command
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

NODE = "cache.t3.small"
BUCKET = "kept"
DENIED = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:PutObject",
                "Resource": f"arn:aws:s3:::{BUCKET}/*",
            }
        ],
    }
)


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with running_cloud() as cloud:
        cloud.bucket(BUCKET)
        yield cloud


@pytest.fixture(scope="module")
def server(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(
        tmp_path_factory.mktemp("bucket") / "data",
        snapshot_store=f"s3://{BUCKET}/here",
        s3_endpoint_url=cloud.url,
    ) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> ElastiCacheClient:
    return server.client()


def create(client: ElastiCacheClient, name: str, **options: Any) -> dict[str, Any]:
    client.create_replication_group(
        ReplicationGroupId=name, ReplicationGroupDescription="in a bucket", **options
    )
    return available_group(client, name)


def made(client: ElastiCacheClient, name: str, *, timeout_s: float = 30) -> dict[str, Any]:
    return wait_until(
        lambda: dict(client.describe_snapshots(SnapshotName=name)["Snapshots"][0]),
        lambda row: row["SnapshotStatus"] != "creating",
        what=f"{name} is made or failed",
        timeout_s=timeout_s,
    )


def gone(client: ElastiCacheClient, name: str) -> None:
    client.delete_snapshot(SnapshotName=name)
    wait_until(
        lambda: [row["SnapshotName"] for row in client.describe_snapshots()["Snapshots"]],
        lambda names: name not in names,
        what=f"{name} is gone",
    )


def objects(cloud: Cloud) -> set[str]:
    """Return the names of all that is in the bucket, without the folders that hold them."""
    keys = cloud.keys(BUCKET)
    assert all(key.startswith("here/") for key in keys), keys
    return {key.rsplit("/", 1)[1] for key in keys}


@pytest.fixture(scope="module")
def digest(client: ElastiCacheClient) -> str:
    """Give the digest of the group ``source``."""
    engine = connect(create(client, "source", Engine="valkey", CacheNodeType=NODE))
    fill(engine)
    return contents(engine)


def test_taken_copied_restored_inspected_and_deleted(
    client: ElastiCacheClient, cloud: Cloud, server: Server, digest: str
) -> None:
    client.create_snapshot(SnapshotName="first", CacheClusterId="source-001")
    row = made(client, "first")
    assert row["SnapshotStatus"] == "available"
    assert row["NodeSnapshots"][0]["CacheSize"].endswith(" MB")
    assert objects(cloud) == {"0001.rdb", "manifest.json"}
    assert not (server.data_dir / "snapshots").exists(), "nothing of it is on this machine"
    where = ("--data-dir", str(server.data_dir))
    settings = {
        "CACHEFLEET_SNAPSHOT_STORE": server.settings["snapshot_store"],
        "CACHEFLEET_S3_ENDPOINT_URL": cloud.url,
    }
    told = command("snapshot", "inspect", "first", "--json", *where, env=settings)
    assert {kind["type"] for kind in json.loads(told.stdout)[0]["keys"]} >= {"hash", "stream"}
    client.copy_snapshot(SourceSnapshotName="first", TargetSnapshotName="second")
    assert made(client, "second")["SnapshotStatus"] == "available"
    assert len(cloud.keys(BUCKET)) == 4
    gone(client, "first")
    assert len(cloud.keys(BUCKET)) == 2
    assert contents(connect(create(client, "again", SnapshotName="second"))) == digest
    wider = create(
        client, "wider", SnapshotName="second", NumNodeGroups=2, ReplicasPerNodeGroup=0,
        AutomaticFailoverEnabled=True,
    )  # fmt: skip
    assert contents(connect(wider)) == digest
    gone(client, "second")
    assert cloud.keys(BUCKET) == []


def test_sealed_it_is_read_by_us_alone(client: ElastiCacheClient, cloud: Cloud) -> None:
    engine = connect(
        create(client, "secret", Engine="valkey", CacheNodeType=NODE, AtRestEncryptionEnabled=True)
    )
    engine.set("word", "open sesame, said nobody")
    client.create_snapshot(SnapshotName="sealed", CacheClusterId="secret-001")
    assert made(client, "sealed")["SnapshotStatus"] == "available"
    client.copy_snapshot(SourceSnapshotName="sealed", TargetSnapshotName="sealed-too")
    assert made(client, "sealed-too")["SnapshotStatus"] == "available"
    files = [cloud.body(BUCKET, key) for key in cloud.keys(BUCKET) if key.endswith(".rdb")]
    assert len(files) == 2
    assert not any(b"sesame" in file for file in files)
    assert files[0] != files[1], "each is sealed under a key of its own"
    back = create(client, "opened", SnapshotName="sealed-too", AtRestEncryptionEnabled=True)
    assert connect(back).get("word") == b"open sesame, said nobody"
    for name in ("sealed", "sealed-too"):
        wait_until(
            lambda name=name: made(client, name)["SnapshotStatus"],  # type: ignore[misc]
            lambda status: status == "available",
            what="it is free",
        )
        gone(client, name)


def fails(client: ElastiCacheClient, name: str, reason: str, *, timeout_s: float = 30) -> None:
    """Take a snapshot that the bucket does not take; the source is none the worse for it."""
    client.create_snapshot(SnapshotName=name, CacheClusterId="source-001")
    assert made(client, name, timeout_s=timeout_s)["SnapshotStatus"] == "failed"
    assert available_group(client, "source")["Status"] == "available"
    told = client.describe_events(SourceIdentifier="source-001", SourceType="cache-cluster")
    (text,) = [e["Message"] for e in told["Events"] if f"'{name}'" in e["Message"]]
    assert text.startswith("Snapshot failed for snapshot with ID")
    assert reason in text


def test_a_bucket_that_takes_nothing(client: ElastiCacheClient, cloud: Cloud, digest: str) -> None:
    s3 = cloud.client("s3")
    s3.put_bucket_policy(Bucket=BUCKET, Policy=DENIED)
    fails(client, "denied", f"has not been granted WRITE permissions {BUCKET}")
    s3.delete_bucket_policy(Bucket=BUCKET)
    gone(client, "denied")
    assert cloud.keys(BUCKET) == []
    s3.delete_bucket(Bucket=BUCKET)
    fails(client, "homeless", f"The S3 bucket {BUCKET} does not exist.")
    cloud.bucket(BUCKET)
    gone(client, "homeless")
    client.create_snapshot(SnapshotName="well", CacheClusterId="source-001")
    assert made(client, "well")["SnapshotStatus"] == "available"


@at_length
def test_an_endpoint_that_is_gone_for_good(tmp_path: Path) -> None:
    with AwsEndpoint() as endpoint:
        s3 = endpoint.client("s3", account="testing", region="us-east-1")
        s3.create_bucket(Bucket=BUCKET)
        with Server(
            tmp_path / "data",
            snapshot_store=f"s3://{BUCKET}",
            s3_endpoint_url=endpoint.url,
            aws_access_key_id="testing",
        ) as server:
            client = server.client()
            connect(create(client, "source", Engine="valkey", CacheNodeType=NODE)).set("k", "v")
            endpoint.kill()
            fails(client, "unheard", "S3 does not answer", timeout_s=120)
            (row,) = client.describe_snapshots()["Snapshots"]
            assert (row["SnapshotName"], row["SnapshotStatus"]) == ("unheard", "failed")
