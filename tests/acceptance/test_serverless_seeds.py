"""Serverless caches that begin with data: of memcached, and of several snapshots at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cachefleet.engine.rdb.split import key_slot
from tests.support.server import Server
from tests.support.serverless import Caches
from tests.support.waiting import wait_until

pytestmark = pytest.mark.engine

ITEMS = 500
GB = {"DataStorage": {"Maximum": 1, "Unit": "GB"}}


@pytest.fixture(scope="module")
def caches(server: Server) -> Iterator[Caches]:
    found = Caches(server)
    yield found
    found.close()


def test_items_of_memcached_come_back_as_they_were(caches: Caches) -> None:
    caches.create("items", "memcached", CacheUsageLimits=GB)
    client = caches.memcached("items")
    client.set_many({f"i{number}": f"v{number}" for number in range(ITEMS)}, noreply=False)
    client.set("flags", "f", flags=12_345, noreply=False)
    client.set("short", "lived", expire=3_600, noreply=False)
    client.set("over", "soon", expire=2, noreply=False)
    soon = time.monotonic() + 2.5
    client.set("large", "x" * 500_000, noreply=False)
    _, token = client.gets("flags")
    made = caches.snapshot("items", "first-items")
    config = made["ServerlessCacheConfiguration"]
    assert (config["ServerlessCacheName"], config["Engine"]) == ("items", "memcached")
    assert int(made["BytesUsedForCache"]) > 500_000
    client.set("i1", "later", noreply=False)
    caches.client.copy_serverless_cache_snapshot(
        SourceServerlessCacheSnapshotName="first-items",
        TargetServerlessCacheSnapshotName="second-items",
    )
    copied = caches.snapshot_made("second-items")
    assert copied["BytesUsedForCache"] == made["BytesUsedForCache"]
    wait_until(lambda: time.monotonic() > soon, what="what was to expire has")
    caches.create("again", "memcached", SnapshotArnsToRestore=[copied["ARN"]], CacheUsageLimits=GB)
    restored = caches.memcached("again")
    assert [n for n in range(ITEMS) if restored.get(f"i{n}") != b"v%d" % n] == []
    assert restored.get("large") == b"x" * 500_000
    assert restored.get("over") is None
    _, same = restored.gets("flags")
    assert same == token
    assert restored.raw_command(b"get flags", b"END\r\n").startswith(b"VALUE flags 12345 1")
    ttl = restored.raw_command(b"mg short t", b"\r\n")
    assert 3_000 < int(ttl.split(b"t")[1]) <= 3_600
    assert int(restored.stats()[b"limit_maxbytes"]) == 1 << 30
    listed = caches.client.describe_serverless_cache_snapshots(ServerlessCacheName="items")
    names = [one["ServerlessCacheSnapshotName"] for one in listed["ServerlessCacheSnapshots"]]
    assert names == ["first-items", "second-items"]


def test_a_last_snapshot_of_memcached_and_daily_ones(caches: Caches) -> None:
    caches.create("daily", "memcached", SnapshotRetentionLimit=1, DailySnapshotTime="00:00")
    caches.memcached("daily").set("kept", "yes", noreply=False)
    cache = caches.modify("daily", SnapshotRetentionLimit=3)
    assert cache["SnapshotRetentionLimit"] == 3
    caches.client.delete_serverless_cache(ServerlessCacheName="daily", FinalSnapshotName="last")
    wait_until(lambda: "daily" not in caches.names(), what="the cache is gone")
    assert caches.snapshots()["last"]["Status"] == "available"
    arn = caches.snapshots()["last"]["ARN"]
    caches.create("next", "memcached", SnapshotArnsToRestore=[arn])
    assert caches.memcached("next").get("kept") == b"yes"
    caches.client.delete_serverless_cache_snapshot(ServerlessCacheSnapshotName="last")
    wait_until(lambda: "last" not in caches.snapshots(), what="the snapshot is gone")


def test_snapshots_of_memcached_are_for_memcached_only(caches: Caches) -> None:
    caches.create("one", "memcached")
    arn = caches.snapshot("one", "of-one")["ARN"]
    refused: list[Any] = []
    for call, params in (
        ("create_serverless_cache",
         {"ServerlessCacheName": "n", "Engine": "valkey", "SnapshotArnsToRestore": [arn]}),
        ("create_serverless_cache",
         {"ServerlessCacheName": "n", "Engine": "memcached", "SnapshotArnsToRestore": [arn] * 2}),
        ("create_replication_group",
         {"ReplicationGroupId": "n", "ReplicationGroupDescription": "n", "Engine": "valkey",
          "CacheNodeType": "cache.r7g.large", "ServerlessCacheSnapshotName": "of-one"}),
        ("export_serverless_cache_snapshot",
         {"ServerlessCacheSnapshotName": "of-one", "S3BucketName": "any"}),
    ):  # fmt: skip
        with pytest.raises(ClientError) as refusal:
            getattr(caches.client, call)(**params)
        refused.append(refusal.value.response["Error"]["Code"])
    assert refused == [
        "InvalidParameterCombination", "InvalidParameterValue", "InvalidParameterCombination",
        "InvalidParameterValue",
    ]  # fmt: skip


def test_several_snapshots_become_one_cache(caches: Caches) -> None:
    two: Any = {"DataStorage": {"Minimum": 11, "Unit": "GB"}}
    caches.begin("left")
    caches.begin("right", CacheUsageLimits=two)
    arns = []
    for name in ("left", "right"):
        assert caches.settled(name)["Status"] == "available"
        client = caches.connect(name)
        with client.pipeline(transaction=False) as pipeline:
            for number in range(300):
                pipeline.set(f"{name}{number}", number)
                pipeline.set(f"both{number}", name)
            pipeline.execute()
        client.rpush("list", name)
        assert client.dbsize() == 601
        arns.append(caches.snapshot(name, f"of-{name}")["ARN"])
        caches.delete(name)
    caches.create("whole", SnapshotArnsToRestore=arns, CacheUsageLimits=two)
    client = caches.connect("whole")
    assert client.dbsize() == 901
    assert client.lrange("list", 0, -1) == ["right"], "what the last has counts"
    with client.pipeline(transaction=False) as pipeline:
        for number in range(300):
            pipeline.get(f"left{number}").get(f"right{number}").get(f"both{number}")
        values = pipeline.execute()
    assert values == [value for n in range(300) for value in (str(n), str(n), "right")]
    shards = {key_slot(f"both{number}".encode()) < 8_192 for number in range(300)}
    assert shards == {True, False}, "both shards have some"
    statuses = {name: caches.snapshots()[name]["Status"] for name in ("of-left", "of-right")}
    assert statuses == {"of-left": "available", "of-right": "available"}
