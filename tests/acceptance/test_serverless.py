"""Serverless caches as applications meet them: real clients, one TLS endpoint, real shards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from pymemcache.client.base import Client as MemcacheClient
from redis.cluster import LoadBalancingStrategy, RedisCluster
from valkey.cluster import ValkeyCluster

from cachefleet.engine.gateway.control import GatewayControl
from cachefleet.provisioner.drivers.local import LocalDriver
from tests.support.server import Server
from tests.support.serverless import Caches
from tests.support.waiting import wait_until

pytestmark = pytest.mark.engine

PASSWORD = "a-password-of-16-or-more"


@pytest.fixture(scope="module")
def caches(server: Server) -> Iterator[Caches]:
    found = Caches(server)
    yield found
    found.close()


@pytest.fixture(scope="module")
def two(caches: Caches) -> Caches:
    """Give a cache named ``two`` whose minimum asks for two shards."""
    cache = caches.create("two", CacheUsageLimits={"DataStorage": {"Minimum": 11, "Unit": "GB"}})
    assert cache["Status"] == "available"
    return caches


def test_clients_see_one_primary_with_all_slots(two: Caches) -> None:
    cache, client = two.shown("two"), two.connect("two")
    (only,) = client.execute_command("CLUSTER SLOTS")
    host = cache["Endpoint"]["Address"]
    assert only[:2] == [0, 16383]
    assert [node[:2] for node in only[2:]] == [[host, 6379], [host, 6380]]
    assert all(node[2].endswith("0" * 8) for node in only[2:])
    assert client.info("cluster")["cluster_enabled"] == 1
    nodes = client.cluster("nodes")
    assert nodes[f"{host}:6379"]["flags"] == "myself,master"
    assert nodes[f"{host}:6380"]["flags"] == "slave"
    assert nodes[f"{host}:6379"]["slots"] == [["0", "16383"]]


def test_commands_reach_the_shard_of_their_keys(two: Caches) -> None:
    client = two.connect("two")
    client.flushall()
    with client.pipeline(transaction=False) as pipeline:
        for number in range(300):
            pipeline.set(f"k{number}", number)
        assert all(pipeline.execute())
        for number in range(300):
            pipeline.get(f"k{number}")
        assert pipeline.execute() == [str(number) for number in range(300)]
    assert client.dbsize() == 300
    assert sorted(client.scan_iter(count=7)) == sorted(f"k{number}" for number in range(300))
    assert str(client.randomkey()).startswith("k")
    with pytest.raises(redis.exceptions.ClusterCrossSlotError):
        client.mget("a", "b")
    assert client.mset({"{t}a": "1", "{t}b": "2"})
    assert client.mget("{t}a", "{t}b") == ["1", "2"]
    sha = client.script_load("return redis.call('get', KEYS[1])")
    assert client.script_exists(sha) == [True]
    assert [client.evalsha(sha, 1, f"k{n}") for n in range(8)] == [str(n) for n in range(8)]


def test_large_values_pass_beside_small_ones(two: Caches) -> None:
    client = two.connect("two")
    large = "x" * (2 << 20)
    client.set("large", large)
    with client.pipeline(transaction=False) as pipeline:
        for number in range(4):
            pipeline.get("large")
            pipeline.echo(str(number))
        answers = pipeline.execute()
    assert answers[1::2] == ["0", "1", "2", "3"]
    assert all(answer == large for answer in answers[::2])


def test_transactions_are_one_shards(two: Caches) -> None:
    client = two.connect("two")
    client.delete("{x}n")
    with client.pipeline() as pipeline:
        pipeline.echo("first").incr("{x}n").incr("{x}n")
        assert pipeline.execute() == ["first", 1, 2]
    with client.pipeline() as pipeline:
        pipeline.watch("{x}n")
        client.incr("{x}n")
        pipeline.multi()
        pipeline.set("{x}n", 9)
        with pytest.raises(redis.WatchError):
            pipeline.execute()
    with client.pipeline() as pipeline, pytest.raises(redis.exceptions.RedisError):
        pipeline.set("a", 1).set("b", 2).execute()
    assert client.get("{x}n") == "3"
    assert client.ping()


def test_subscribers_hear_publishers_of_every_shard(two: Caches) -> None:
    client = two.connect("two")
    for protocol in (2, 3):
        with two.connect("two", protocol=protocol).pubsub() as listener:
            listener.subscribe("one", "two", "three")
            told = [listener.get_message(timeout=20) for _ in range(3)]
            assert [message["data"] for message in told if message] == [1, 2, 3]
            for channel in ("three", "one", "two"):
                assert client.publish(channel, "hello") == 1
                message = listener.get_message(timeout=20)
                assert message is not None
                assert (message["channel"], message["data"]) == (channel, "hello")
            assert client.pubsub_channels() == ["one", "three", "two"]


def test_blocking_clients_are_served(two: Caches) -> None:
    waiting = two.connect("two")
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(waiting.blpop(["queue"], timeout=15)))
    thread.start()
    two.connect("two").rpush("queue", "job")
    thread.join(30)
    assert [list(one) for one in found] == [["queue", "job"]]


def test_the_port_for_reads(two: Caches) -> None:
    two.connect("two").set("read", "me")
    reader = two.connect("two", reads=True, single_connection_client=True)
    with pytest.raises(redis.exceptions.MovedError) as moved:
        reader.get("read")
    assert moved.value.port == 6379
    assert reader.readonly()
    wait_until(lambda: reader.get("read") == "me", what="the replica has it")
    with pytest.raises(redis.exceptions.MovedError):
        reader.set("read", "not me")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("KEYS *", "unknown command 'KEYS', with args beginning with: '*'"),
        ("CONFIG GET maxmemory", "unknown command 'CONFIG'"),
        ("CLIENT LIST", "unknown subcommand 'LIST'"),
        ("OBJECT ENCODING a", "unknown command"),
        ("CLUSTER MEET 127.0.0.1 1", "unknown subcommand"),
        ("WAIT 1 0", "unknown command"),
        ("FUNCTION LIST", "unknown command"),
        ("SELECT 1", "DB index is out of range"),
        ("GET", "wrong number of arguments for 'get' command"),
        ("SETT a", "unknown command 'SETT', with args beginning with: 'a'"),
    ],
)
def test_what_serverless_caches_do_not_have(two: Caches, command: str, words: str) -> None:
    client = two.connect("two")
    with pytest.raises(redis.ResponseError, match=re.escape(words)):
        client.execute_command(*command.split())


def test_cluster_clients(two: Caches) -> None:
    host = two.shown("two")["Endpoint"]["Address"]
    tls: dict[str, Any] = {"ssl": True, "ssl_ca_certs": two.trusted}
    client: Any
    other: Any
    with RedisCluster(
        host=host, port=6379, load_balancing_strategy=LoadBalancingStrategy.ROUND_ROBIN, **tls
    ) as client:
        for number in range(20):
            client.set(f"c{number}", number)
        wait_until(
            lambda: [client.get(f"c{number}") for number in range(20)],
            lambda values: values == [str(number).encode() for number in range(20)],
            what="replicas have it",
        )
    with ValkeyCluster(host=host, port=6379, protocol=3, **tls) as other:
        assert other.hset("hash", "field", "value") == 1
        assert other.hgetall("hash") == {b"field": b"value"}


def test_nobody_gets_in_without_tls(two: Caches) -> None:
    endpoint = two.shown("two")["Endpoint"]
    with socket.create_connection((endpoint["Address"], endpoint["Port"]), timeout=20) as plain:
        plain.sendall(b"PING\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert plain.recv(100) == b""


def test_limits_change_while_it_runs(caches: Caches) -> None:
    caches.create("limits")
    client = caches.connect("limits")
    client.set("kept", "yes")
    cache = caches.modify("limits", CacheUsageLimits={"ECPUPerSecond": {"Maximum": 1000}})
    assert cache["CacheUsageLimits"] == {"ECPUPerSecond": {"Maximum": 1000}}

    def overdrawn() -> int:
        client.set("large", "x" * (3 << 20))  # three thousand units: what follows has to wait
        assert client.get("kept") == "yes"
        return _throttled(caches.server, cache["Endpoint"]["Address"])

    # A machine can be busy for so long that the debt is paid before anything follows.
    assert wait_until(overdrawn, what="a command had to wait") >= 1
    cache = caches.modify("limits", CacheUsageLimits={"ECPUPerSecond": {"Maximum": 0}})
    assert "CacheUsageLimits" not in cache or cache["CacheUsageLimits"] == {}
    wanted = {"DataStorage": {"Maximum": 20, "Unit": "GB"}}
    cache = caches.modify("limits", CacheUsageLimits=wanted)
    assert cache["CacheUsageLimits"] == wanted
    assert client.info("memory")["maxmemory"] == 20 << 30
    assert client.get("kept") == "yes"


def _throttled(server: Server, host: str) -> int:
    """Return how many commands had to wait, as the gateway tells of the endpoint at *host*."""
    path = LocalDriver(server.data_dir).socket_path("gateway")
    status = asyncio.run(GatewayControl(path, 20.0).status())
    return sum(
        route.throttled_total
        for route in status.routes
        if any(address.host == host for address in route.listening)
    )


def test_users_come_and_go(two: Caches) -> None:
    client = two.client
    client.create_user(
        UserId="app", UserName="app", Engine="valkey", AccessString="on ~app:* +@all",
        Passwords=[PASSWORD],
    )  # fmt: skip
    client.create_user_group(UserGroupId="team", Engine="valkey", UserIds=["app"])
    wait_until(
        lambda: client.describe_user_groups(UserGroupId="team")["UserGroups"][0]["Status"],
        lambda status: status == "active",
        what="the user group is active",
    )
    before = two.connect("two", single_connection_client=True)
    assert before.ping()
    assert two.modify("two", UserGroupId="team")["UserGroupId"] == "team"
    (team,) = client.describe_user_groups(UserGroupId="team")["UserGroups"]
    assert (team["ServerlessCaches"], team["ReplicationGroups"]) == (["two"], [])
    with pytest.raises((redis.ConnectionError, redis.AuthenticationError)):
        before.ping()
    user = two.connect("two", username="app", password=PASSWORD)
    assert [user.set(f"app:{number}", number) for number in range(8)] == [True] * 8
    with pytest.raises(redis.exceptions.NoPermissionError):
        user.get("other")
    with pytest.raises(redis.AuthenticationError):
        two.connect("two", username="app", password="wrong").ping()
    assert not two.modify("two", RemoveUserGroup=True).get("UserGroupId")
    assert two.connect("two").get("app:1") == "1"


def test_snapshots_are_taken_and_restored(two: Caches) -> None:
    client = two.client
    two.connect("two").set("saved", "yes")
    begun = client.create_serverless_cache_snapshot(
        ServerlessCacheName="two",
        ServerlessCacheSnapshotName="First",
        Tags=[{"Key": "of", "Value": "two"}],
    )["ServerlessCacheSnapshot"]
    assert (begun["ServerlessCacheSnapshotName"], begun["Status"]) == ("first", "creating")
    made = two.snapshot_made("first")
    assert int(made["BytesUsedForCache"]) > 0
    assert made["ServerlessCacheConfiguration"]["ServerlessCacheName"] == "two"
    listed = client.list_tags_for_resource(ResourceName=made["ARN"])
    assert listed["TagList"] == [{"Key": "of", "Value": "two"}]
    client.copy_serverless_cache_snapshot(
        SourceServerlessCacheSnapshotName="first", TargetServerlessCacheSnapshotName="second"
    )
    copied = two.snapshot_made("second")
    two.create("again", SnapshotArnsToRestore=[copied["ARN"]])
    restored = two.connect("again")
    assert restored.get("saved") == "yes"
    assert restored.dbsize() == two.connect("two").dbsize()
    client.delete_serverless_cache(ServerlessCacheName="again", FinalSnapshotName="last")
    wait_until(lambda: "again" not in two.names(), what="the cache is gone")
    assert two.snapshots()["last"]["Status"] == "available"
    client.delete_serverless_cache_snapshot(ServerlessCacheSnapshotName="last")
    wait_until(lambda: "last" not in two.snapshots(), what="the snapshot is gone")


def test_redis_becomes_valkey_with_its_data(caches: Caches) -> None:
    cache = caches.create("engine", "Redis")
    assert (cache["Engine"], cache["FullEngineVersion"]) == ("redis", "7.1")
    client = caches.connect("engine")
    client.set("kept", "yes")
    cache = caches.modify("engine", Engine="valkey")
    assert (cache["Engine"], cache["MajorEngineVersion"]) == ("valkey", "8")
    assert caches.connect("engine").get("kept") == "yes"
    assert "valkey_version" in caches.connect("engine").info("server")


def test_memcached(caches: Caches) -> None:
    limits = {"DataStorage": {"Maximum": 1, "Unit": "GB"}}
    cache = caches.create("mem", "memcached", CacheUsageLimits=limits)
    assert (cache["Endpoint"]["Port"], cache["ReaderEndpoint"]["Port"]) == (11211, 11212)
    context = ssl.create_default_context(cafile=caches.trusted)
    host = cache["Endpoint"]["Address"]
    with (
        contextlib.closing(MemcacheClient((host, 11211), tls_context=context)) as client,
        contextlib.closing(MemcacheClient((host, 11212), tls_context=context)) as reader,
    ):
        assert client.set("a", "1")
        assert reader.get("a") == b"1"
        assert client.stats()[b"limit_maxbytes"] == 1 << 30
        limits = {"DataStorage": {"Maximum": 2, "Unit": "GB"}}
        assert caches.modify("mem", CacheUsageLimits=limits)["CacheUsageLimits"] == limits
        assert client.stats()[b"limit_maxbytes"] == 2 << 30
        assert reader.get("a") == b"1"


def test_what_stands_behind_is_not_shown(two: Caches) -> None:
    assert two.client.describe_replication_groups()["ReplicationGroups"] == []
    assert two.client.describe_cache_clusters()["CacheClusters"] == []
    assert two.client.describe_snapshots()["Snapshots"] == []
    events = two.client.describe_events()["Events"]
    assert {event["SourceType"] for event in events} <= {
        "serverless-cache", "serverless-cache-snapshot", "user", "user-group"
    }  # fmt: skip
    told = [event["Message"] for event in events]
    assert {"Cache two is created.", "Snapshot first is created."} <= set(told)


def test_a_lost_primary_is_replaced(two: Caches) -> None:
    client = two.connect("two")
    for number in range(50):
        client.set(f"lost{number}", number)
    reader = two.connect("two", reads=True, single_connection_client=True)
    assert reader.readonly()
    wait_until(
        lambda: [reader.get(f"lost{number}") for number in range(50)],
        lambda values: None not in values,
        what="the replicas have all",
    )
    pids = two.server.node_pids()
    os.kill(pids["two-0001-001/0001"], signal.SIGKILL)
    fresh = two.connect("two")
    answers = wait_until(
        lambda: [fresh.get(f"lost{number}") for number in range(50)],
        what="all keys are served",
        passing=(redis.RedisError,),
    )
    assert answers == [str(number) for number in range(50)]
