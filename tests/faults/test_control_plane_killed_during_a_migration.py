"""``kill -9`` of the control plane amid a migration: engines go on, and the next start carries on.

Killed while the first copy is on its way, while the group is in sync, and while the completion is
being carried out; in cluster mode a shard of the group loses its primary in between. What was
written outside before the completion is here afterwards, all of it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException

from tests.faults.caches import kill_node
from tests.support.audit import events, require_agreement
from tests.support.length import at_length
from tests.support.outside import OutsideCluster, OutsideServer
from tests.support.server import Server, available_group, group_of
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = [pytest.mark.engine, pytest.mark.slow, at_length]

BALLAST = 100  # of 1 MiB: the first copy takes a moment
ATTEMPTS_MAX = 100
AWAY = (redis.RedisError, RedisClusterException, OSError)


@dataclass(frozen=True)
class Mode:
    """With or without cluster mode: the group, and what it is filled from."""

    name: str
    options: dict[str, Any]
    shards: int

    def source(self) -> OutsideServer | OutsideCluster:
        return OutsideCluster(self.shards) if self.shards else OutsideServer()

    @contextlib.contextmanager
    def connected(self, client: ElastiCacheClient) -> Iterator[Any]:
        group = group_of(client, self.name)
        told = group.get("ConfigurationEndpoint") or group["NodeGroups"][0]["PrimaryEndpoint"]
        kind: Any = RedisCluster if self.shards else redis.Redis
        own = kind(host=told["Address"], port=told["Port"], decode_responses=True)
        try:
            yield own
        finally:
            own.close()


MODES = [
    Mode("plain", {"NumCacheClusters": 2}, 0),
    Mode("shards", {"NumNodeGroups": 2, "ReplicasPerNodeGroup": 1}, 2),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("migration") / "data") as running:
        for mode in MODES:
            running.client().create_replication_group(
                ReplicationGroupId=mode.name,
                ReplicationGroupDescription="to be filled",
                Engine="valkey",
                CacheNodeType="cache.t3.small",
                AutomaticFailoverEnabled=True,
                MultiAZEnabled=True,
                **mode.options,
            )
        for mode in MODES:
            available_group(running.client(), mode.name)
        yield running


def killed(server: Server) -> ElastiCacheClient:
    """End the control plane without a word, and start the next one."""
    server.kill()
    server.start()
    return server.client()


def told(server: Server, name: str, text: str) -> list[str]:
    return wait_until(
        lambda: [message for message in events(server, name) if text in message],
        what=f"{name}: {text}",
        timeout_s=60,
    )


def arrives(mode: Mode, client: ElastiCacheClient, key: str) -> None:
    """Wait until a key of the source can be read here."""

    def read() -> object:
        with mode.connected(client) as own:
            return own.get(key)

    wait_until(read, what=f"{key} has come", passing=AWAY, timeout_s=60)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_killed_at_each_stage_nothing_of_the_source_is_lost(server: Server, mode: Mode) -> None:
    with mode.source() as source, contextlib.closing(source.client()) as there:
        for number in range(BALLAST):
            there.set(f"ballast:{number}", os.urandom(1 << 20))
        there.set("first", "1")
        server.client().start_migration(
            ReplicationGroupId=mode.name, CustomerNodeEndpointList=source.endpoints
        )
        client = killed(server)  # while the first copy is on its way
        told(server, mode.name, "is in sync with the source")
        there.set("second", "2")
        client = killed(server)  # while the group follows
        assert group_of(client, mode.name)["Status"] == "modifying"
        there.set("third", "3")
        arrives(mode, client, "third")
        if mode.shards:
            kill_node(server, f"{mode.name}-0001-001")
            for number in range(200):
                there.set(f"n:{number}", number)
            arrives(mode, client, "n:199")
        client.complete_migration(ReplicationGroupId=mode.name)
        client = killed(server)  # while it is being completed, or just after
        # While a node is being replaced it is refused, and can be asked for again.
        for attempt in range(1, ATTEMPTS_MAX):
            last = wait_until(
                lambda: told(server, mode.name, "Complete Migration"),
                lambda found: len(found) >= attempt,  # noqa: B023
                what="the completion has ended",
            )[-1]
            if "successful" in last:
                break
            assert "is being replaced" in last
            client.complete_migration(ReplicationGroupId=mode.name)
        available_group(client, mode.name)
        require_agreement(server)
        with mode.connected(client) as own:
            assert [own.get(key) for key in ("first", "second", "third")] == ["1", "2", "3"]
            count = 200 if mode.shards else 0
            assert [n for n in range(count) if own.get(f"n:{n}") != str(n)] == []
            names = [f"ballast:{number}" for number in range(BALLAST)]
            assert all(own.exists(name) for name in names)
            own.set("after", "1")
        assert there.get("after") is None
    assert told(server, mode.name, "Complete Migration successful")
