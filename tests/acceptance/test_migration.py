"""Online migration: what was written outside is here, and who may write where meanwhile."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import redis

from cachefleet.engine.types import Engine
from tests.faults.caches import connected, pid_of, primary_address, primary_of
from tests.support.audit import events
from tests.support.outside import OutsideServer
from tests.support.ports import own_port
from tests.support.server import Server, available_group, group_of
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

KEYS = 2_000


def create(client: ElastiCacheClient, name: str, **more: Any) -> None:
    client.create_replication_group(
        ReplicationGroupId=name,
        ReplicationGroupDescription="to be filled",
        Engine="valkey",
        CacheNodeType="cache.t3.micro",
        NumCacheClusters=2,
        AutomaticFailoverEnabled=True,
        MultiAZEnabled=True,
        AtRestEncryptionEnabled=False,
        TransitEncryptionEnabled=False,
        **more,
    )
    available_group(client, name)


@pytest.fixture(params=[Engine.REDIS, Engine.VALKEY], ids=lambda engine: engine.value)
def source(request: pytest.FixtureRequest) -> Iterator[OutsideServer]:
    with OutsideServer(request.param) as outside:
        yield outside


def told(server: Server, group: str, text: str) -> str:
    """Wait for an event of the group that has *text*, and return it."""
    found = wait_until(
        lambda: [message for message in events(server, group) if text in message],
        what=f"an event of {group} says {text}",
    )
    return found[-1]


def in_sync(server: Server, group: str) -> None:
    told(server, group, "is in sync with the source")


class Numbers(threading.Thread):
    """Counts up in keys and in one counter on the source, until it is told to stop."""

    def __init__(self, source: OutsideServer) -> None:
        super().__init__(daemon=True)
        self._source = source
        self._stopping = threading.Event()
        self.count = 0

    def run(self) -> None:
        with self._source.client() as client:
            while not self._stopping.is_set():
                client.set(f"n:{self.count}", self.count)
                client.incr("total")
                self.count += 1

    def stop(self) -> int:
        self._stopping.set()
        self.join(60)
        assert not self.is_alive()
        return self.count


def test_everything_written_outside_is_here_afterwards(
    server: Server, client: ElastiCacheClient, source: OutsideServer, account: str
) -> None:
    name = f"mig{account[-4:]}"
    create(client, name)
    with connected(primary_address(client, name)) as own:
        own.set("mine", "is replaced")
    with source.client() as there, there.pipeline(transaction=False) as batch:
        for number in range(KEYS):
            batch.set(f"k:{number}", number)
        batch.rpush("list", *range(100))
        batch.execute()
    writer = Numbers(source)
    writer.start()
    answer = client.start_migration(
        ReplicationGroupId=name, CustomerNodeEndpointList=source.endpoints
    )
    assert answer["ReplicationGroup"]["Status"] == "modifying"
    in_sync(server, name)
    assert group_of(client, name)["Status"] == "modifying"
    with connected(primary_address(client, name)) as own:
        info: Any = own.info("replication")
        assert (info["role"], info["master_port"]) == ("slave", source.port)
        with pytest.raises(redis.ReadOnlyError):
            own.set("new", "1")
    count = writer.stop()
    client.complete_migration(ReplicationGroupId=name)
    available_group(client, name)
    assert f"Complete Migration successful for {name}" in events(server, name)
    for member in ("-001", "-002"):
        node = server.node(f"{name}{member}")
        with connected((str(node.host), int(node.port or 0))) as own:
            wait_until(lambda: own.get("total"), lambda n: n == str(count), what="all is there")
            assert own.mget([f"n:{n}" for n in range(count)]) == [str(n) for n in range(count)]
            assert own.mget([f"k:{n}" for n in range(KEYS)]) == [str(n) for n in range(KEYS)]
            assert own.llen("list") == 100
            assert own.get("mine") is None
    with connected(primary_address(client, name)) as own:
        assert own.info("replication")["role"] == "master"
        own.set("after", "1")
        assert own.wait(1, 15_000) == 1
    with source.client() as there:
        assert there.get("after") is None
        wait_until(
            lambda: there.info("replication")["connected_slaves"],
            lambda count: count == 0,
            what="the source is let go",
        )


def test_a_test_changes_nothing(server: Server, client: ElastiCacheClient, account: str) -> None:
    name = f"tst{account[-4:]}"
    create(client, name)
    with connected(primary_address(client, name)) as own:
        own.set("mine", "stays")
    with OutsideServer() as source:
        client.test_migration(ReplicationGroupId=name, CustomerNodeEndpointList=source.endpoints)
        told(server, name, "Test Migration successful")
        available_group(client, name)
    with OutsideServer(requirepass="secret") as source:
        client.test_migration(ReplicationGroupId=name, CustomerNodeEndpointList=source.endpoints)
        assert "asks for a password" in told(server, name, "Test Migration failed")
        available_group(client, name)
    with connected(primary_address(client, name)) as own:
        assert own.get("mine") == "stays"
        own.set("mine", "and can be written")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"requirepass": "secret"}, "asks for a password"),
        ({"databases": "32"}, "32 databases"),
        ({"cluster-enabled": "yes"}, "cluster mode is enabled on the source"),
        ({"rename-command": "HSET HIDDEN"}, "HSET"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_source_that_does_not_do_is_refused_and_the_group_serves_on(
    server: Server,
    client: ElastiCacheClient,
    account: str,
    options: dict[str, Any],
    reason: str,
) -> None:
    name = f"bad{account[-4:]}"
    create(client, name)
    with connected(primary_address(client, name)) as own:
        own.set("mine", "stays")
    with OutsideServer(Engine.VALKEY, **options) as source:
        client.start_migration(ReplicationGroupId=name, CustomerNodeEndpointList=source.endpoints)
        assert reason in told(server, name, "Migration failed")
    available_group(client, name)
    with connected(primary_address(client, name)) as own:
        assert own.get("mine") == "stays"
        own.set("mine", "and can be written")


def test_nothing_at_the_address_is_told(
    server: Server, client: ElastiCacheClient, account: str
) -> None:
    name = f"non{account[-4:]}"
    create(client, name)
    nowhere: list[Any] = [{"Address": "127.0.0.1", "Port": own_port()}]
    client.start_migration(ReplicationGroupId=name, CustomerNodeEndpointList=nowhere)
    assert "answers at 127.0.0.1" in told(server, name, "Migration failed")
    available_group(client, name)


def test_losses_on_either_side_keep_what_was_copied(
    server: Server, client: ElastiCacheClient, account: str
) -> None:
    name = f"los{account[-4:]}"
    create(client, name)
    with OutsideServer() as source:
        with source.client() as there:
            there.mset({f"k:{n}": n for n in range(KEYS)})
        client.start_migration(ReplicationGroupId=name, CustomerNodeEndpointList=source.endpoints)
        in_sync(server, name)
        # The primary of the group is lost: its replica goes on following the source.
        lost = primary_of(client, name)
        os.kill(pid_of(server, lost), signal.SIGKILL)
        wait_until(lambda: primary_of(client, name), lambda now: now != lost, what="another leads")

        def follows() -> Any:
            with connected(primary_address(client, name)) as own:
                return own.info("replication")

        wait_until(
            follows,
            lambda info: (
                info.get("master_link_status") == "up" and info["master_port"] == source.port
            ),
            what="it follows the source",
            passing=(redis.RedisError, OSError),
        )
    # The source is lost: what was not asked for by force is not done.
    client.complete_migration(ReplicationGroupId=name)
    assert "Complete Migration failed" in told(server, name, "Complete Migration failed")
    assert group_of(client, name)["Status"] == "modifying"
    client.complete_migration(ReplicationGroupId=name, Force=True)
    available_group(client, name)
    with connected(primary_address(client, name)) as own:
        assert own.mget([f"k:{n}" for n in range(KEYS)]) == [str(n) for n in range(KEYS)]
        own.set("after", "1")
