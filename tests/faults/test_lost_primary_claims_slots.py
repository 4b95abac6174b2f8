"""A primary dies having written down slots that it told nobody of: it must not come back with them.

That happens to the target of a move of slots. Back as a replica, and empty, it would take the slots
from the shard that has their keys.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from redis.cluster import RedisCluster

from cachefleet.engine.types import Engine
from tests.conformance.engines import find_binary
from tests.support.server import Server, available_group, group_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.engine

SLOT = 8192  # the first of the second shard
EPOCH = 50  # higher than any that was given: its claim would win
ENGINES = [
    pytest.param("valkey", "8.0", id="valkey"),
    pytest.param(
        "redis",
        "7.0",
        id="redis",
        marks=pytest.mark.skipif(
            find_binary(Engine.REDIS, "7.0") is None, reason="no Redis OSS on this machine"
        ),
    ),
]


@pytest.mark.parametrize(("engine", "version"), ENGINES)
def test_comes_back_as_a_replica_without_a_claim(tmp_path: Path, engine: str, version: str) -> None:
    with Server(tmp_path / "data") as server:
        client = server.client()
        client.create_replication_group(
            ReplicationGroupId="demo",
            ReplicationGroupDescription="d",
            Engine=engine,
            EngineVersion=version,
            CacheNodeType="cache.t3.small",
            NumNodeGroups=2,
            ReplicasPerNodeGroup=1,
            AutomaticFailoverEnabled=True,
        )
        endpoint = available_group(client, "demo")["ConfigurationEndpoint"]
        with contextlib.closing(connect(endpoint)) as cluster:
            key = next(f"{{{n}}}" for n in range(500_000) if cluster.keyslot(f"{{{n}}}") == SLOT)
            cluster.set(key, "kept")
        server.kill()
        os.kill(server.node_pids()["demo-0001-001/0001"], signal.SIGKILL)
        claim(server.data_dir / "nodes" / server.node("demo-0001-001").uid / "nodes.conf")
        server.start()
        client = server.client()
        wait_until(
            lambda: [
                event["Message"]
                for event in client.describe_events(
                    SourceType="cache-cluster", SourceIdentifier="demo-0001-001"
                )["Events"]
            ],
            lambda said: "Finished recovery for cache nodes 0001" in said,
            what="the lost node is back",
        )
        shards = group_of(client, "demo")["NodeGroups"]
        assert [shard["Slots"] for shard in shards] == ["0-8191", "8192-16383"]
        with contextlib.closing(connect(endpoint)) as cluster:
            node = cluster.get_node_from_key(key)
            assert node is not None
            assert node.host == server.node("demo-0002-001").host
            assert cluster.get(key) == b"kept"


def connect(endpoint: dict[str, Any]) -> Any:
    return RedisCluster(host=endpoint["Address"], port=endpoint["Port"])


def claim(file: Path) -> None:
    """Write into a primary's file what it would have of a slot that it was just given."""
    text, count = re.subn(
        r"^(\S+ \S+ myself,master - \d+ \d+) \d+ connected 0-8191$",
        rf"\1 {EPOCH} connected 0-{SLOT}",
        file.read_text().replace(" 8192-16383", " 8193-16383"),
        flags=re.MULTILINE,
    )
    assert count == 1, text
    file.write_text(text.replace("currentEpoch 2 ", f"currentEpoch {EPOCH} "))
