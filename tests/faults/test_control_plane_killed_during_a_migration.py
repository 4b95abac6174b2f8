"""``kill -9`` of the control plane amid a migration: engines go on, and the next start carries on.

Killed while the first copy is on its way, while the group is in sync, and while the completion is
being carried out. What was written outside before the completion is here afterwards, all of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.caches import connected, primary_address
from tests.support.audit import events, require_agreement
from tests.support.length import at_length
from tests.support.outside import OutsideServer
from tests.support.server import Server, available_group, group_of
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = [pytest.mark.engine, pytest.mark.slow, at_length]

NAME = "demo"
BALLAST = 100  # of 1 MiB: the first copy takes a moment


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("migration") / "data") as running:
        running.client().create_replication_group(
            ReplicationGroupId=NAME,
            ReplicationGroupDescription="to be filled",
            Engine="valkey",
            CacheNodeType="cache.t3.micro",
            NumCacheClusters=2,
            AutomaticFailoverEnabled=True,
            MultiAZEnabled=True,
        )
        available_group(running.client(), NAME)
        yield running


@pytest.fixture
def source() -> Iterator[OutsideServer]:
    with OutsideServer() as outside:
        with outside.client() as there:
            for number in range(BALLAST):
                there.set(f"ballast:{number}", os.urandom(1 << 20))
            there.set("first", "1")
        yield outside


def killed(server: Server) -> ElastiCacheClient:
    """End the control plane without a word, and start the next one."""
    server.kill()
    server.start()
    return server.client()


def in_sync(server: Server, source: OutsideServer) -> None:
    def link() -> Any:
        with connected(primary_address(server.client(), NAME)) as own:
            return own.info("replication")

    wait_until(
        link,
        lambda info: info.get("master_link_status") == "up" and info["master_port"] == source.port,
        what="the group follows the source",
        passing=(OSError, Exception),
    )
    wait_until(
        lambda: [text for text in events(server, NAME) if "is in sync with the source" in text],
        what="it is told",
    )


def test_killed_at_each_stage_nothing_of_the_source_is_lost(
    server: Server, source: OutsideServer
) -> None:
    client = server.client()
    client.start_migration(ReplicationGroupId=NAME, CustomerNodeEndpointList=source.endpoints)
    client = killed(server)  # while the first copy is on its way
    in_sync(server, source)
    with source.client() as there:
        there.set("second", "2")
    client = killed(server)  # while the group follows
    assert group_of(client, NAME)["Status"] == "modifying"
    with source.client() as there:
        there.set("third", "3")
    client.complete_migration(ReplicationGroupId=NAME)
    client = killed(server)  # while it is being completed, or just after
    available_group(client, NAME)
    require_agreement(server)
    told = [text for text in events(server, NAME) if text.startswith("Complete Migration")]
    assert told == [f"Complete Migration successful for {NAME}"], "once, and whole"
    for member in group_of(client, NAME)["MemberClusters"]:
        node = server.node(member)
        with connected((str(node.host), int(node.port or 0))) as own:
            wait_until(
                lambda own=own: own.mget("first", "second", "third"),  # type: ignore[misc]
                lambda values: values == ["1", "2", "3"],
                what=f"{member} has everything",
            )
            assert own.dbsize() == BALLAST + 3
    with connected(primary_address(client, NAME)) as own:
        assert own.info("replication")["role"] == "master"
        own.set("after", "1")
        assert own.wait(1, 5000) == 1
    with source.client() as there:
        assert there.get("after") is None
