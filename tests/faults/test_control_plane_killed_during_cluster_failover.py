"""The control plane ends at each step of a failover in cluster mode; the next one concludes it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from cachefleet.engine.types import NodeRole
from cachefleet.provisioner.reconciler.milestones import Milestone
from tests.faults.caches import ANSWER_TIMEOUT_S, SOON_S, kill_node
from tests.faults.crashes import CrashingServer
from tests.support.audit import events, require_agreement
from tests.support.length import at_length
from tests.support.server import available_group
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.engine, pytest.mark.slow]

GROUP = "c"
MEMBERS = ("c-0001-001", "c-0001-002")  # of the shard that loses its primary
KEYS = 200
# In cluster mode there is no primary endpoint that could move.
STEPS = [
    step
    for step in Milestone
    if step.startswith("failover.") and step is not Milestone.ENDPOINT_MOVED
]
TELLING = (Milestone.PROMOTED,)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrashingServer]:
    with CrashingServer(tmp_path_factory.mktemp("crashes") / "data") as running:
        running.client().create_replication_group(
            ReplicationGroupId=GROUP,
            ReplicationGroupDescription="faults",
            Engine="valkey",
            CacheNodeType="cache.t3.micro",
            NumNodeGroups=3,
            ReplicasPerNodeGroup=1,
            AutomaticFailoverEnabled=True,
        )
        available_group(running.client(), GROUP)
        yield running


@pytest.mark.parametrize(
    "step",
    [pytest.param(it, id=it.value, marks=() if it in TELLING else at_length) for it in STEPS],
)
def test_a_failover_that_was_cut_short_is_concluded(server: CrashingServer, step: str) -> None:
    before = primary(server)
    said = len(events(server, GROUP))
    with connected(server, timeout_s=ANSWER_TIMEOUT_S) as cluster:
        for number in range(KEYS):
            cluster.set(f"key-{number}", number)
        assert cluster.wait(1, 15_000, target_nodes=RedisCluster.PRIMARIES)
    server.crash_at(step)
    kill_node(server, before)
    server.wait_dead()
    server.start()
    read_again(server)
    available_group(server.client(), GROUP)
    require_agreement(server)
    after = primary(server)
    assert after != before
    assert events(server, GROUP)[said:] == [
        f"Failover from primary node {before} to replica node {after} completed"
    ]


def primary(server: CrashingServer) -> str:
    """Return the member that leads the shard, by the record: the API tells no roles here."""
    [name] = [member for member in MEMBERS if server.node(member).role == NodeRole.PRIMARY]
    return name


def connected(server: CrashingServer, *, timeout_s: float = SOON_S) -> RedisCluster:
    """Return a client that learns the cluster anew from its configuration endpoint."""
    endpoint = available_group(server.client(), GROUP)["ConfigurationEndpoint"]
    return RedisCluster(
        host=endpoint["Address"],
        port=endpoint["Port"],
        socket_connect_timeout=timeout_s,
        socket_timeout=timeout_s,
    )


def read_again(server: CrashingServer) -> None:
    """Wait until every key is there and every shard takes a write."""

    def missing() -> list[int]:
        with connected(server) as cluster:
            for number in range(KEYS):
                cluster.set(f"key-after-{number}", number)
            return [n for n in range(KEYS) if cluster.get(f"key-{n}") != str(n).encode()]

    lost = wait_until(
        missing,
        lambda _: True,
        what="all shards serve",
        passing=(RedisError, RedisClusterException, OSError),
        timeout_s=60,
    )
    assert lost == []
