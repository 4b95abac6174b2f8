"""Snapshots from beginning to end: what was in the cache is in what is made from them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from botocore.exceptions import ClientError

from cachefleet.engine.rdb.reader import Entry, walk
from cachefleet.engine.types import Engine
from tests.support.aws import Cloud, running_cloud
from tests.support.contents import LIBRARY, BareEngine, connect, contents, fill, has_engine
from tests.support.server import (
    Server,
    available_group,
    cluster_gone,
    cluster_of,
    command,
    group_of,
)
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

NODE = "cache.t3.small"
BUCKET = "exports"


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with running_cloud() as cloud:
        cloud.bucket(BUCKET)
        yield cloud


@pytest.fixture(scope="module")
def server(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(
        tmp_path_factory.mktemp("snapshots") / "data",
        "--log-level", "info",
        s3_endpoint_url=cloud.url,
        kms_endpoint_url=cloud.url,
    ) as server:  # fmt: skip
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> ElastiCacheClient:
    return server.client()


def create(client: ElastiCacheClient, name: str, **options: Any) -> None:
    client.create_replication_group(
        ReplicationGroupId=name, ReplicationGroupDescription="snapshots", **options
    )


def available_snapshot(client: ElastiCacheClient, name: str) -> dict[str, Any]:
    """Wait until a snapshot is no longer being made, and see that it is available."""

    def ask() -> Any:
        return client.describe_snapshots(SnapshotName=name, ShowNodeGroupConfig=True)

    found: dict[str, Any] = wait_until(
        lambda: ask()["Snapshots"][0],
        lambda snapshot: snapshot["SnapshotStatus"] != "creating",
        what=f"snapshot {name} is made",
    )
    assert found["SnapshotStatus"] in ("available", "restoring"), found
    return found


def ended_creation(client: ElastiCacheClient, name: str) -> dict[str, Any]:
    return wait_until(
        lambda: group_of(client, name),
        lambda group: group["Status"] != "creating",
        what=f"the creation of {name} ends",
    )


def messages(client: ElastiCacheClient, name: str) -> list[str]:
    events = client.describe_events(SourceIdentifier=name, SourceType="replication-group")
    return [event["Message"] for event in events["Events"]]


@pytest.fixture(scope="module")
def plain(client: ElastiCacheClient) -> str:
    """Give the digest of a group of two nodes, of which there is the snapshot ``plain-1``."""
    create(client, "plain", Engine="valkey", CacheNodeType=NODE, NumCacheClusters=2)
    engine = connect(available_group(client, "plain"))
    fill(engine, tag="{t}")
    engine.function_load(LIBRARY)
    engine.wait(1, 15_000)
    digest = contents(engine)
    client.create_snapshot(SnapshotName="plain-1", CacheClusterId="plain-002")
    available_snapshot(client, "plain-1")
    available_group(client, "plain")
    return digest


@pytest.fixture(scope="module")
def sharded(client: ElastiCacheClient) -> str:
    """Give the digest of a group of three shards, of which there is the snapshot ``sharded-1``."""
    create(
        client, "sharded", Engine="valkey", CacheNodeType=NODE, NumNodeGroups=3,
        ReplicasPerNodeGroup=0, AutomaticFailoverEnabled=True,
    )  # fmt: skip
    engine = connect(available_group(client, "sharded"))
    fill(engine)
    digest = contents(engine)
    client.create_snapshot(SnapshotName="sharded-1", ReplicationGroupId="sharded")
    available_snapshot(client, "sharded-1")
    return digest


def test_every_type_comes_back(client: ElastiCacheClient, plain: str) -> None:
    create(client, "back", SnapshotName="plain-1", NumCacheClusters=2)
    assert client.describe_snapshots(SnapshotName="plain-1")["Snapshots"][0]["SnapshotStatus"] == (
        "restoring"
    )
    with pytest.raises(ClientError, match="InvalidSnapshotState"):
        client.delete_snapshot(SnapshotName="plain-1")
    group = ended_creation(client, "back")
    assert (group["Status"], group["CacheNodeType"]) == ("available", NODE)
    engine = connect(group)
    assert contents(engine) == plain
    assert engine.fcall("seven", 0) == 7
    assert engine.info("memory")["maxmemory"] > 0
    wait_until(
        lambda: client.describe_snapshots(SnapshotName="plain-1")["Snapshots"][0],
        lambda snapshot: snapshot["SnapshotStatus"] == "available",
        what="the snapshot is free again",
    )


def test_the_snapshot_says_what_it_is_of(client: ElastiCacheClient, plain: str) -> None:
    snapshot = available_snapshot(client, "plain-1")
    [node] = snapshot["NodeSnapshots"]
    assert node["CacheSize"].endswith(" MB")
    assert node["SnapshotCreateTime"].microsecond == 0
    assert "ReplicationGroupId" not in snapshot
    events = client.describe_events(SourceIdentifier="plain-002", SourceType="cache-cluster")
    text = "Snapshot succeeded for snapshot with ID 'plain-1' of cache cluster with ID 'plain-002'"
    assert text in [event["Message"] for event in events["Events"]]


@pytest.mark.parametrize(("name", "shards"), [("same", 3), ("more", 4)])
def test_shards_as_many_as_wanted(
    client: ElastiCacheClient, sharded: str, name: str, shards: int
) -> None:
    create(
        client, name, SnapshotName="sharded-1", NumNodeGroups=shards, ReplicasPerNodeGroup=0,
        AutomaticFailoverEnabled=True,
    )  # fmt: skip
    group = ended_creation(client, name)
    assert (group["Status"], len(group["NodeGroups"])) == ("available", shards)
    assert contents(connect(group)) == sharded


def test_one_node_becomes_a_cluster(client: ElastiCacheClient, server: Server, plain: str) -> None:
    create(
        client, "grown", SnapshotName="plain-1", NumNodeGroups=2, ReplicasPerNodeGroup=1,
        AutomaticFailoverEnabled=True,
    )  # fmt: skip
    group = ended_creation(client, "grown")
    assert (group["Status"], group["ClusterEnabled"]) == ("available", True)
    assert contents(connect(group)) == plain
    client.create_snapshot(SnapshotName="of-replicas", ReplicationGroupId="grown")
    taken = available_snapshot(client, "of-replicas")["NodeSnapshots"]
    assert [node["NodeGroupId"] for node in taken] == ["0001", "0002"]
    assert {server.node(node["CacheClusterId"]).role for node in taken} == {"replica"}


def test_a_copy_outlives_its_original(client: ElastiCacheClient, plain: str) -> None:
    client.create_snapshot(SnapshotName="short", CacheClusterId="plain-001")
    available_snapshot(client, "short")
    client.copy_snapshot(SourceSnapshotName="short", TargetSnapshotName="long")
    available_snapshot(client, "long")
    client.delete_snapshot(SnapshotName="short")
    wait_until(
        lambda: {s["SnapshotName"] for s in client.describe_snapshots()["Snapshots"]},
        lambda names: "short" not in names,
        what="the original is gone",
    )
    create(client, "of-copy", SnapshotName="long")
    assert contents(connect(ended_creation(client, "of-copy"))) == plain


def test_an_export_is_what_bare_engines_load(
    client: ElastiCacheClient, cloud: Cloud, plain: str, sharded: str, tmp_path: Path
) -> None:
    for name in ("plain-1", "sharded-1"):
        client.copy_snapshot(
            SourceSnapshotName=name, TargetSnapshotName=f"out-{name}", TargetBucket=BUCKET
        )
        wait_until(
            lambda name=name: client.describe_snapshots(SnapshotName=name)["Snapshots"][0],  # type: ignore[misc]
            lambda snapshot: snapshot["SnapshotStatus"] == "available",
            what="the export has ended",
        )
    assert [key for key in cloud.keys(BUCKET) if key.startswith("out-")] == [
        "out-plain-1-0001.rdb",
        *(f"out-sharded-1-000{number}.rdb" for number in (1, 2, 3)),
    ]
    rdb = cloud.body(BUCKET, "out-plain-1-0001.rdb")
    with BareEngine(tmp_path / "bare", Engine.VALKEY, rdb) as bare:
        assert contents(bare.client) == plain
    with pytest.raises(ClientError, match="already contains an object with key out-plain-1-0001"):
        client.copy_snapshot(
            SourceSnapshotName="plain-1", TargetSnapshotName="out-plain-1", TargetBucket=BUCKET
        )
    with pytest.raises(ClientError, match="The S3 bucket nowhere does not exist"):
        client.copy_snapshot(
            SourceSnapshotName="plain-1", TargetSnapshotName="x", TargetBucket="nowhere"
        )
    # All files of the cluster, into other shards than they were of.
    arns = [f"arn:aws:s3:::{BUCKET}/out-sharded-1-000{number}.rdb" for number in (1, 2, 3)]
    create(
        client, "sown", Engine="valkey", CacheNodeType=NODE, AutomaticFailoverEnabled=True,
        SnapshotArns=arns,
        NodeGroupConfiguration=[
            {"Slots": "0-9999", "ReplicaCount": 0},
            {"Slots": "10000-16383", "ReplicaCount": 0},
        ],
    )  # fmt: skip
    assert contents(connect(ended_creation(client, "sown"))) == sharded


@pytest.mark.skipif(not has_engine(Engine.REDIS), reason="there is no redis-server")
def test_an_rdb_that_we_never_wrote(
    client: ElastiCacheClient, cloud: Cloud, tmp_path: Path
) -> None:
    with BareEngine(tmp_path / "bare", Engine.REDIS) as bare:
        fill(bare.client)
        digest = contents(bare.client)
        arn = cloud.put(BUCKET, "foreign/dump.rdb", bare.saved())
    for name, engine in (("as-redis", "redis"), ("as-valkey", "valkey")):
        create(client, name, Engine=engine, CacheNodeType=NODE, SnapshotArns=[arn])
        group = ended_creation(client, name)
        assert group["Status"] == "available", messages(client, name)
        assert contents(connect(group)) == digest


def too_new(rdb: bytes) -> bytes:
    return b"VALKEY999" + rdb[9:]


def bit_flipped(rdb: bytes) -> bytes:
    middle = len(rdb) // 2
    return rdb[:middle] + bytes([rdb[middle] ^ 0xFF]) + rdb[middle + 1 :]


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("no-rdb", lambda rdb: b"not an rdb at all, but long enough", "does not begin"),
        ("cut", lambda rdb: rdb[:-100], "cut short"),
        ("flipped", bit_flipped, ""),
        ("too-new", too_new, "newer than"),
    ],
)
def test_a_broken_file_makes_no_cache(
    client: ElastiCacheClient, cloud: Cloud, plain: str, server: Server, name: str,
    change: Any, words: str,
) -> None:  # fmt: skip
    uid = sorted(entry.name for entry in (server.data_dir / "snapshots").iterdir())[0]
    rdb = (server.data_dir / "snapshots" / uid / "0001.rdb").read_bytes()
    arn = cloud.put(BUCKET, f"broken/{name}.rdb", change(rdb))
    create(client, name, Engine="valkey", CacheNodeType=NODE, SnapshotArns=[arn])
    assert ended_creation(client, name)["Status"] == "create-failed"
    [reason] = [text for text in messages(client, name) if text.startswith("Failed to restore")]
    assert words in reason
    client.delete_replication_group(ReplicationGroupId=name)


def test_a_cluster_that_could_not_be_restored_can_only_be_deleted(
    client: ElastiCacheClient, cloud: Cloud
) -> None:
    arn = cloud.put(BUCKET, "broken/cluster.rdb", b"REDIS0009 and nothing more")
    client.create_cache_cluster(
        CacheClusterId="hopeless", Engine="redis", CacheNodeType=NODE, SnapshotArns=[arn]
    )
    wait_until(
        lambda: cluster_of(client, "hopeless")["CacheClusterStatus"],
        lambda status: status == "restore-failed",
        what="the restore fails",
    )
    with pytest.raises(ClientError, match="InvalidCacheClusterState"):
        client.modify_cache_cluster(CacheClusterId="hopeless", SnapshotRetentionLimit=1)
    client.delete_cache_cluster(CacheClusterId="hopeless")
    cluster_gone(client, "hopeless")


def test_more_data_than_memory(client: ElastiCacheClient, plain: str) -> None:
    client.create_cache_parameter_group(
        CacheParameterGroupName="tiny", CacheParameterGroupFamily="valkey9", Description="d"
    )
    client.modify_cache_parameter_group(
        CacheParameterGroupName="tiny",
        ParameterNameValues=[{"ParameterName": "reserved-memory-percent", "ParameterValue": "100"}],
    )
    create(client, "overfull", SnapshotName="plain-1", CacheParameterGroupName="tiny")
    assert ended_creation(client, "overfull")["Status"] == "create-failed"
    assert any("its data takes" in text for text in messages(client, "overfull"))


def test_objects_that_cannot_be_read_are_refused_at_once(client: ElastiCacheClient) -> None:
    with pytest.raises(ClientError, match="does not exist or cannot be read") as refusal:
        create(
            client, "nothing", Engine="valkey", CacheNodeType=NODE,
            SnapshotArns=[f"arn:aws:s3:::{BUCKET}/no-such.rdb"],
        )  # fmt: skip
    assert refusal.value.response["Error"]["Code"] == "InvalidParameterValue"


def test_a_final_snapshot_is_taken_before_the_deletion(
    client: ElastiCacheClient, server: Server
) -> None:
    client.create_cache_cluster(CacheClusterId="leaving", Engine="redis", CacheNodeType=NODE)
    wait_until(
        lambda: cluster_of(client, "leaving")["CacheClusterStatus"],
        lambda status: status == "available",
        what="it is available",
    )
    node = cluster_of(client, "leaving")["CacheNodes"][0]["Endpoint"]
    group = {"ClusterEnabled": False, "NodeGroups": [{"PrimaryEndpoint": node}]}
    connect(group).set("last", "word")
    answer = client.delete_cache_cluster(
        CacheClusterId="leaving", FinalSnapshotIdentifier="last-words"
    )
    assert answer["CacheCluster"]["CacheClusterStatus"] == "snapshotting"
    cluster_gone(client, "leaving")
    snapshot = available_snapshot(client, "last-words")
    assert (snapshot["SnapshotSource"], snapshot["CacheClusterId"]) == ("manual", "leaving")
    found = {
        record.key
        for path in (server.data_dir / "snapshots").glob("*/0001.rdb")
        for record in walk(path.read_bytes())
        if isinstance(record, Entry)
    }
    assert b"last" in found


def test_nothing_half_written_is_left(server: Server, client: ElastiCacheClient) -> None:
    def left() -> list[Path]:
        return [
            path.relative_to(server.data_dir)
            for pattern in ("snapshots/*.aside", "scratch/*", "nodes/*/restore.rdb*")
            for path in server.data_dir.glob(pattern)
        ]

    wait_until(left, lambda paths: paths == [], what="what was under way has ended")
    assert list((server.data_dir / "snapshots").glob("*/manifest.json")), "the rest is there"


def test_inspect_tells_what_is_in_it(server: Server, plain: str, tmp_path: Path) -> None:
    where = ("--data-dir", str(server.data_dir))
    told = json.loads(command("snapshot", "inspect", "plain-1", "--json", *where).stdout)
    [report] = told
    assert report["functions"] == 1
    assert report["expiring"] == 60
    kinds = {row["type"]: row["keys"] for row in report["keys"]}
    assert (kinds["list"], kinds["zset"], kinds["stream"]) == (60, 60, 60)
    uid = next(
        path.parent.name
        for path in (server.data_dir / "snapshots").glob("*/manifest.json")
        if json.loads(path.read_text())["snapshot"] == "plain-1"
    )
    file = server.data_dir / "snapshots" / uid / "0001.rdb"
    shown = command("snapshot", "inspect", str(file), *where)
    assert (shown.returncode, "stream" in shown.stdout) == (0, True)
    broken = tmp_path / "broken.rdb"
    broken.write_bytes(file.read_bytes()[:-30])
    for what, words in ((str(broken), "cut short"), ("no-such", "neither a file nor a snapshot")):
        refused = command("snapshot", "inspect", what, *where)
        assert refused.returncode == 2
        assert words in refused.stderr
        assert refused.stderr.count("\n") == 1


def test_serverless_snapshots_lead_anywhere_and_back(
    client: ElastiCacheClient, server: Server
) -> None:
    """From a group's snapshot to a serverless cache, from that to a group and to files in S3."""
    trusted = str(server.data_dir / "tls" / "ca.crt")

    def made(name: str, *arns: str) -> Any:
        client.create_serverless_cache(
            ServerlessCacheName=name, Engine="valkey", SnapshotArnsToRestore=arns
        )
        cache = wait_until(
            lambda: client.describe_serverless_caches(ServerlessCacheName=name)["ServerlessCaches"][
                0
            ],
            lambda cache: cache["Status"] != "creating",
            what=f"{name} is created",
        )
        assert cache["Status"] == "available", client.describe_events(SourceIdentifier=name)
        return redis.Redis(host=cache["Endpoint"]["Address"], ssl=True, ssl_ca_certs=trusted)

    def shown() -> Any:
        answer = client.describe_serverless_cache_snapshots(ServerlessCacheSnapshotName="lent")
        return answer["ServerlessCacheSnapshots"][0]["Status"]

    create(
        client, "lender", Engine="valkey", EngineVersion="8.1", CacheNodeType=NODE,
        AutomaticFailoverEnabled=True, NumNodeGroups=2, ReplicasPerNodeGroup=0,
    )  # fmt: skip
    engine = connect(available_group(client, "lender"))
    fill(engine)
    digest = contents(engine)
    client.create_snapshot(SnapshotName="lender-1", ReplicationGroupId="lender")
    available_snapshot(client, "lender-1")
    arn = client.describe_snapshots(SnapshotName="lender-1")["Snapshots"][0]["ARN"]
    first = made("lent", arn)
    keys = first.dbsize()
    assert keys > 0
    client.create_serverless_cache_snapshot(
        ServerlessCacheName="lent", ServerlessCacheSnapshotName="lent"
    )
    wait_until(shown, lambda status: status == "available", what="the snapshot is made")
    client.export_serverless_cache_snapshot(ServerlessCacheSnapshotName="lent", S3BucketName=BUCKET)
    wait_until(shown, lambda status: status == "available", what="the snapshot is exported")
    second = made("sown-too", f"arn:aws:s3:::{BUCKET}/lent-0001.rdb")
    assert second.dbsize() == keys
    create(
        client, "lent-back", CacheNodeType=NODE, AutomaticFailoverEnabled=True,
        ServerlessCacheSnapshotName="lent",
    )  # fmt: skip
    assert contents(connect(ended_creation(client, "lent-back"))) == digest
    for name in ("lent", "sown-too"):
        client.delete_serverless_cache(ServerlessCacheName=name)
    first.close()
    second.close()
