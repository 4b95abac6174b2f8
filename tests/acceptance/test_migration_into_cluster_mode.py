"""Online migration of a cluster outside: each shard is fed, nobody else writes, nothing is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.cluster import RedisCluster

from cachefleet.engine.rdb.split import key_slot
from tests.support.audit import events
from tests.support.length import at_length
from tests.support.outside import OutsideCluster, OutsideServer
from tests.support.server import Server, available_group, group_of, own_account
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

SHARDS, KEYS = 2, 2_000
STANDSTILL_S = 1.0
BURST, BURST_VALUE = 400, "v" * (200 << 10)


@pytest.fixture(scope="module")
def account() -> str:
    return own_account()


@pytest.fixture(scope="module")
def client(server: Server, account: str) -> ElastiCacheClient:
    return server.client(account)


@pytest.fixture(scope="module")
def name(client: ElastiCacheClient, account: str) -> str:
    """Make the group that is migrated into, with a key of its own."""
    group = f"clm{account[-4:]}"
    client.create_replication_group(
        ReplicationGroupId=group,
        ReplicationGroupDescription="to be filled",
        Engine="valkey",
        CacheNodeType="cache.t3.micro",
        NumNodeGroups=SHARDS,
        ReplicasPerNodeGroup=1,
        AutomaticFailoverEnabled=True,
        MultiAZEnabled=True,
    )
    available_group(client, group)
    with connected(client, group) as own:
        own.set("mine", "stays")
    return group


@pytest.fixture(scope="module")
def source() -> Iterator[OutsideCluster]:
    with OutsideCluster(SHARDS) as outside:
        yield outside


@contextlib.contextmanager
def connected(client: ElastiCacheClient, name: str) -> Iterator[Any]:
    told = group_of(client, name)["ConfigurationEndpoint"]
    cluster = RedisCluster(host=told["Address"], port=told["Port"], decode_responses=True)
    try:
        yield cluster
    finally:
        cluster.close()


def told(server: Server, group: str, text: str) -> str:
    """Wait for an event of the group that has *text*, and return the last."""
    found = wait_until(
        lambda: [message for message in events(server, group) if text in message],
        what=f"an event of {group} says {text}",
    )
    return found[-1]


@pytest.mark.parametrize(
    ("shards", "reason"),
    [(0, "cluster mode is disabled on the source"), (3, "the source has 3 shards")],
    ids=["without-cluster-mode", "other-slots"],
)
def test_a_source_that_does_not_fit_is_refused_and_the_group_serves_on(
    server: Server, client: ElastiCacheClient, name: str, shards: int, reason: str
) -> None:
    with OutsideCluster(shards) if shards else OutsideServer() as other:
        client.start_migration(ReplicationGroupId=name, CustomerNodeEndpointList=other.endpoints)
        wait_until(
            lambda: [text for text in events(server, name) if reason in text],
            what="the reason is told",
        )
    available_group(client, name)
    with connected(client, name) as own:
        assert own.get("mine") == "stays"
        own.set("mine", "stays")


def burst_of(node: Any) -> list[str]:
    """Return the keys of the burst whose slots a node has."""
    mine: set[int] = set()
    for first, last, owner, *_ in node.execute_command("CLUSTER", "SLOTS"):
        if int(owner[1]) == int(node.connection_pool.connection_kwargs["port"]):
            mine |= set(range(first, last + 1))
    keys = [f"b:{number}" for number in range(BURST)]
    return [key for key in keys if key_slot(key.encode()) in mine]


class Numbers(threading.Thread):
    """Writes new keys outside, and adds to a counter, until it is told to stop."""

    def __init__(self, source: OutsideCluster) -> None:
        super().__init__(daemon=True)
        self._source = source
        self._stopping = threading.Event()
        self.count = 0

    def run(self) -> None:
        client = self._source.client()
        while not self._stopping.wait(0.001):
            client.set(f"n:{self.count}", self.count)
            client.incr(f"total:{self.count % 7}")
            self.count += 1
        client.close()

    def stop(self) -> int:
        self._stopping.set()
        self.join(60)
        assert not self.is_alive()
        return self.count


def test_everything_written_outside_is_here_afterwards(
    server: Server, client: ElastiCacheClient, name: str, source: OutsideCluster
) -> None:
    there = source.client()
    for number in range(KEYS):
        there.set(f"k:{number}", number)
    there.rpush("list", *range(100))
    there.hset("hash", mapping={"a": "1", "b": "2"})
    there.set("short", "lived", ex=3600)
    writer = Numbers(source)
    writer.start()
    answer = client.start_migration(
        ReplicationGroupId=name, CustomerNodeEndpointList=source.endpoints
    )
    assert answer["ReplicationGroup"]["Status"] == "modifying"
    told(server, name, "is in sync with the source")
    assert group_of(client, name)["Status"] == "modifying"
    with connected(client, name) as own:
        assert own.get("k:1") == "1"
        with pytest.raises(redis.ReadOnlyError):
            own.set("new", "1")
    count = writer.stop()
    # What is still on its way when the completion is asked for: the worker stands still.
    feed = int((server.data_dir / "nodes" / "feed" / "pid").read_text().split()[0])
    os.kill(feed, signal.SIGSTOP)
    threading.Timer(STANDSTILL_S, os.kill, (feed, signal.SIGCONT)).start()
    for node in source.nodes:
        with contextlib.closing(node.client()) as one:
            for key in burst_of(one):
                one.set(key, BURST_VALUE)
    client.complete_migration(ReplicationGroupId=name)
    available_group(client, name)
    assert told(server, name, "Complete Migration") == f"Complete Migration successful for {name}"
    with connected(client, name) as own:
        assert [n for n in range(KEYS) if own.get(f"k:{n}") != str(n)] == []
        assert [n for n in range(count) if own.get(f"n:{n}") != str(n)] == []
        assert sum(int(own.get(f"total:{n}") or 0) for n in range(7)) == count
        assert [n for n in range(BURST) if own.strlen(f"b:{n}") != len(BURST_VALUE)] == []
        assert own.llen("list") == 100
        assert own.hgetall("hash") == {"a": "1", "b": "2"}
        assert 0 < own.ttl("short") <= 3600
        assert own.get("mine") is None, "what the group had is replaced"
        own.set("after", "1")
    assert there.get("after") is None
    there.close()


@at_length
def test_a_source_that_is_lost_is_let_go_by_force_only(
    server: Server, client: ElastiCacheClient, name: str
) -> None:
    with OutsideCluster(SHARDS) as source:
        with contextlib.closing(source.client()) as there:
            for number in range(100):
                there.set(f"f:{number}", number)
        before = len(events(server, name))
        client.start_migration(ReplicationGroupId=name, CustomerNodeEndpointList=source.endpoints)
        wait_until(
            lambda: [text for text in events(server, name)[before:] if "is in sync" in text],
            what="it is in sync",
        )
    client.complete_migration(ReplicationGroupId=name)
    assert "does not answer" in told(server, name, "Complete Migration failed")
    assert group_of(client, name)["Status"] == "modifying"
    client.complete_migration(ReplicationGroupId=name, Force=True)
    available_group(client, name)
    with connected(client, name) as own:
        assert [n for n in range(100) if own.get(f"f:{n}") != str(n)] == []
        own.set("after-force", "1")
