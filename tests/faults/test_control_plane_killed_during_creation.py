"""The control plane ends before a cluster's primaries have taken over, and so does one of those."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from redis.cluster import RedisCluster

from cachefleet.engine.types import Engine
from cachefleet.engine.valkey.config import PLACEHOLDER_TIMEOUT_MS
from cachefleet.provisioner.reconciler.milestones import Milestone
from tests.conformance.engines import find_binary
from tests.faults.crashes import CrashingServer
from tests.support.audit import require_agreement
from tests.support.server import available_group

pytestmark = pytest.mark.engine


@pytest.mark.parametrize(
    ("engine", "version"),
    [
        pytest.param("valkey", "8.0", id="valkey"),
        pytest.param(
            "redis",
            "7.0",
            id="redis",
            marks=pytest.mark.skipif(
                find_binary(Engine.REDIS, "7.0") is None, reason="no Redis OSS on this machine"
            ),
        ),
    ],
)
def test_a_primary_that_ended_before_it_took_over_begins_again(
    tmp_path: Path, engine: str, version: str
) -> None:
    with CrashingServer(tmp_path / "data") as server:
        server.crash_at(Milestone.BEGINNER_LAUNCHED)
        server.client().create_replication_group(
            ReplicationGroupId="demo",
            ReplicationGroupDescription="d",
            Engine=engine,
            EngineVersion=version,
            CacheNodeType="cache.t3.micro",
            NumNodeGroups=2,
            ReplicasPerNodeGroup=0,
            AutomaticFailoverEnabled=True,
        )
        server.wait_dead()
        # A second primary may claim its slots long after the first one began.
        files = list(server.data_dir.glob("nodes/*/valkey.conf"))
        assert files
        patience = f"cluster-node-timeout {PLACEHOLDER_TIMEOUT_MS}\n"
        assert all(patience in file.read_text() for file in files)
        [pid, *_] = server.node_pids().values()
        os.kill(pid, signal.SIGKILL)
        server.start()
        group = available_group(server.client(), "demo")
        assert [shard["Slots"] for shard in group["NodeGroups"]] == ["0-8191", "8192-16383"]
        endpoint = group["ConfigurationEndpoint"]
        cluster = RedisCluster(host=endpoint["Address"], port=endpoint["Port"])
        try:
            assert all(cluster.set(f"key-{number}", number) for number in range(100))
        finally:
            cluster.close()
        require_agreement(server)
