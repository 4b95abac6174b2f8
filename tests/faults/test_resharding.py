"""Slots move under load while the control plane or a primary is killed: nothing is lost.

On Valkey 9 slots move atomically, on Redis 7.0 key by key; what customers may see is the same.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cachefleet.engine.types import Engine
from cachefleet.engine.valkey.cluster import check_partition, parse_slots, slot_count
from cachefleet.provisioner.reconciler.slot_moves import VALUE_BYTES_MAX
from tests.conformance.engines import find_binary
from tests.support.numbered import NumberedValues
from tests.support.server import Server, available_group, group_of
from tests.support.waiting import POLL_S, wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = [pytest.mark.engine, pytest.mark.slow]

KEY_COUNT = 5_000
LIBRARY = "#!lua name=lib\nredis.register_function('answer', function() return 42 end)"
ENGINES = [
    pytest.param("valkey", "8.0", id="atomically"),
    pytest.param(
        "redis",
        "7.0",
        id="key-by-key",
        marks=pytest.mark.skipif(
            find_binary(Engine.REDIS, "7.0") is None, reason="no Redis OSS on this machine"
        ),
    ),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("resharding") / "data") as running:
        yield running


@pytest.mark.parametrize(("engine", "version"), ENGINES)
def test_shards_come_and_go(server: Server, engine: str, version: str) -> None:
    client, values = make_group(server, engine, version)
    with values.under_load():
        change(client, 3)
        until_moving(client)
        server.kill()
        server.start()
        client = server.client()
        grown = available_group(client, "demo")
        assert_even(grown, ["0001", "0002", "0003"])
        assert_functions(values, primaries=3)
        served = values.calls
        wait_until(lambda: values.calls > served + 50, what="clients are served")
        assert not values.failures, "without a failover clients notice nothing"

        values.confirmed_by = 1
        change(client, 2, NodeGroupsToRemove=["0001"])
        until_moving(client)
        kill_primary(server, values, "demo-0001-")
        shrunk = available_group(client, "demo")
        assert_even(shrunk, ["0002", "0003"])
    assert shrunk["MemberClusters"] == [
        f"demo-{shard}-{member}" for shard in ("0002", "0003") for member in ("001", "002")
    ]
    assert shrunk["PendingModifiedValues"] == {}
    assert values.stale == [], "the successor leads clients to keys that have moved"
    assert values.audit() == []
    assert messages(client) == [
        "Changing the shards of replication group demo from 2 to 3",
        "Finished changing the shards of replication group demo from 2 to 3",
        "Changing the shards of replication group demo from 3 to 2",
        "Finished changing the shards of replication group demo from 3 to 2",
    ]
    client.delete_replication_group(ReplicationGroupId="demo")
    wait_until(lambda: not server.node_pids(), what="the nodes are gone")


@pytest.mark.parametrize(("engine", "version"), ENGINES)
def test_a_new_primary_dies_while_it_is_given_slots(
    tmp_path: Path, engine: str, version: str
) -> None:
    with Server(tmp_path / "data") as server:
        client, values = make_group(server, engine, version)
        values.confirmed_by = 1
        with values.under_load():
            change(client, 3)
            until_moving(client)
            kill_primary(server, values, "demo-0003-")
            assert_even(available_group(client, "demo"), ["0001", "0002", "0003"])
        assert values.audit() == []


@pytest.mark.skipif(find_binary(Engine.REDIS, "7.0") is None, reason="no Redis OSS on this machine")
def test_a_value_that_is_too_big_to_move_keeps_its_shard(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        client, values = make_group(server, "redis", "7.0", replicas=0)
        with contextlib.closing(values.connect()) as cluster:
            # Both in one slot of the first shard.
            big = next(f"{{{n}}}big" for n in range(100) if cluster.keyslot(f"{{{n}}}") < 8192)
            small = big.removesuffix("big") + "small"
            cluster.set(small, "here")
            cluster.setrange(big, VALUE_BYTES_MAX + 1, b"x")
        change(client, 1, NodeGroupsToRemove=["0001"])
        left = available_group(client, "demo")
        assert [shard["NodeGroupId"] for shard in left["NodeGroups"]] == ["0001", "0002"]
        slots = [parse_slots(shard["Slots"]) for shard in left["NodeGroups"]]
        check_partition(slots)
        with contextlib.closing(values.connect()) as cluster:
            slot = cluster.keyslot(big)
            assert [(piece.first, piece.last) for piece in slots[0]] == [(slot, slot)]
            assert cluster.strlen(big) == VALUE_BYTES_MAX + 2
            assert cluster.get(small) == "here"
            assert cluster.set(small, "still")
        assert values.audit() == []
        assert messages(client)[-1] == (
            "Failed to change the shards of replication group demo: values in 1 of the slots are "
            "too big to move"
        )


def make_group(
    server: Server, engine: str, version: str, *, replicas: int = 1
) -> tuple[ElastiCacheClient, NumberedValues]:
    client = server.client()
    client.create_replication_group(
        ReplicationGroupId="demo",
        ReplicationGroupDescription="d",
        Engine=engine,
        EngineVersion=version,
        CacheNodeType="cache.t3.small",
        NumNodeGroups=2,
        ReplicasPerNodeGroup=replicas,
        AutomaticFailoverEnabled=True,
    )
    endpoint = available_group(client, "demo")["ConfigurationEndpoint"]
    values = NumberedValues(endpoint["Address"], endpoint["Port"], key_count=KEY_COUNT)
    values.fill()
    with contextlib.closing(values.connect()) as cluster:
        for node in cluster.get_primaries():
            cluster.get_redis_connection(node).execute_command("FUNCTION", "LOAD", LIBRARY)
    return client, values


def change(client: ElastiCacheClient, count: int, **options: Any) -> None:
    client.modify_replication_group_shard_configuration(
        ReplicationGroupId="demo", NodeGroupCount=count, ApplyImmediately=True, **options
    )


def until_moving(client: ElastiCacheClient) -> None:
    """Wait until some slots have moved."""

    def progress() -> float:
        pending: Any = group_of(client, "demo")["PendingModifiedValues"]
        percentage: float = pending["Resharding"]["SlotMigration"]["ProgressPercentage"]
        return percentage

    wait_until(progress, what="slots are moving", poll_s_max=POLL_S)


def kill_primary(server: Server, values: NumberedValues, prefix: str) -> None:
    """Kill the primary of the shard whose members' names begin with *prefix*."""
    pids = {name: pid for name, pid in server.node_pids().items() if name.startswith(prefix)}
    hosts = {name: server.node(name.partition("/")[0]).host for name in pids}
    with contextlib.closing(values.connect()) as cluster:
        primaries = {node.host for node in cluster.get_primaries()}
    # A shard without slots yet is in nobody's map: its first member is the primary then.
    victim = next((name for name, host in hosts.items() if host in primaries), min(pids))
    os.kill(pids[victim], signal.SIGKILL)


def assert_even(group: dict[str, Any], shards: list[str]) -> None:
    """Check which shards there are, and that they own all slots, evenly."""
    assert [shard["NodeGroupId"] for shard in group["NodeGroups"]] == shards
    slots = [parse_slots(shard["Slots"]) for shard in group["NodeGroups"]]
    check_partition(slots)
    sizes = [slot_count(ranges) for ranges in slots]
    assert max(sizes) - min(sizes) <= 1


def assert_functions(values: NumberedValues, *, primaries: int) -> None:
    with contextlib.closing(values.connect()) as cluster:
        nodes = cluster.get_primaries()
        assert len(nodes) == primaries
        for node in nodes:
            connection = cluster.get_redis_connection(node)
            assert connection.execute_command("FCALL", "answer", 0) == 42


def messages(client: ElastiCacheClient) -> list[str]:
    """Return what was said of the shards of the group since it was made, oldest first."""
    answer = client.describe_events(SourceType="replication-group", SourceIdentifier="demo")
    said = [event["Message"] for event in answer["Events"]]
    since = said.index("Replication group demo created")
    return [message for message in reversed(said[:since]) if "the shards" in message]
