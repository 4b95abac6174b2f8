"""A primary's process ends: a replica takes over, and what was in sync is there."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cachefleet.provisioner.reconciler.failover import READ_TIMEOUT_S
from tests.faults.caches import (
    connected,
    create_group,
    inject,
    kill_at_once,
    kill_node,
    missing_numbers,
    own_address,
    pid_of,
    primary_address,
    primary_of,
    roles,
    write_again,
    write_numbers,
)
from tests.support.audit import events, require_agreement
from tests.support.server import Server, available_group
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

WRITES = 300
FAILOVERS = 3
WORKS = 38_000  # 2.7 MB
SOCKET_BYTES = 4 * 1024 * 1024
WORK_BYTES = 64 * 1024
ENGINE_BLOCK_BYTES = 20_000  # what a replica is told to have in hand when it has been sent all


def test_what_was_in_sync_survives_one_primary_after_another(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        client = server.client()
        create_group(client, "g", members=3)
        address = primary_address(client, "g")
        for round_ in range(FAILOVERS):
            before = primary_of(client, "g")
            write_numbers(address, round_ * WRITES, WRITES, replicas=2)
            kill_node(server, before)
            write_again(address)
            assert missing_numbers(address, (round_ + 1) * WRITES) == []
            require_agreement(server)
            after = primary_of(client, "g")
            assert after != before
            assert sorted(roles(client, "g").values()) == ["primary", "replica", "replica"]
            assert primary_address(client, "g") == address
            with connected(address) as link:
                syncs = link.info("stats")
                # Only the node that was lost needs a full copy; the other goes on where it was.
                assert (syncs["sync_full"], syncs["sync_partial_ok"]) == (1, 1)
            completed = f"Failover from primary node {before} to replica node {after} completed"
            assert completed in events(server, "g")
            assert "Recovering cache nodes 0001" in events(server, before)
            assert events(server, before)[-1] == "Finished recovery for cache nodes 0001"
            said = [message for _, message in all_events(client)]
            in_order = [completed, completed, "Recovering cache nodes 0001"]
            assert said[-4:] == [*in_order, "Finished recovery for cache nodes 0001"]
        assert sum("Failover" in message for message in events(server, "g")) == FAILOVERS


def socket_bytes_max() -> int:
    """Return how much a socket holds at most that nobody reads from."""
    limits = Path("/proc/sys/net/ipv4/tcp_wmem")
    return int(limits.read_text().split()[2]) if limits.exists() else 0


@pytest.mark.skipif(socket_bytes_max() < SOCKET_BYTES, reason="sockets hold less here")
def test_what_a_replica_has_not_read_yet_is_read_before_it_takes_over(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        client = server.client()
        create_group(client, "g")
        address = primary_address(client, "g")
        before = primary_of(client, "g")
        replica = next(member for member in roles(client, "g") if member != before)
        with connected(address) as link:
            link.setrange("source", WORK_BYTES, b"x")
            assert link.wait(1, 10_000) == 1
            os.kill(pid_of(server, replica), signal.SIGSTOP)
            try:
                # Small to send and long to apply: it reads them in several goes.
                pipeline = link.pipeline(transaction=False)
                for _ in range(WORKS):
                    pipeline.bitop("NOT", "work", "source")
                    pipeline.incr("works")
                pipeline.execute()
                wait_until(
                    lambda: [int(row["omem"]) for row in link.client_list(_type="replica")],
                    lambda unsent: max(unsent) <= ENGINE_BLOCK_BYTES,
                    what="all is in the socket",
                )
                kill_node(server, before)
            finally:
                os.kill(pid_of(server, replica), signal.SIGCONT)
        write_again(address)
        assert primary_of(client, "g") == replica
        with connected(address) as link:
            assert link.get("works") == str(WORKS)


def test_a_replica_that_nothing_reaches_is_not_waited_for(tmp_path: Path) -> None:
    with Server(tmp_path / "data", "--allow-faults") as server:
        client = server.client()
        create_group(client, "g")
        address = primary_address(client, "g")
        before = primary_of(client, "g")
        write_numbers(address, 0, WRITES, replicas=1)
        # It will never hear that the connection to its primary has ended.
        inject(server, "partition", CacheClusterId=before, Cut="nodes")
        kill_node(server, before)
        write_again(address, timeout_s=READ_TIMEOUT_S / 2)
        assert missing_numbers(address, WRITES) == []
        assert "stream_not_read_to_its_end" in server.log


def all_events(client: ElastiCacheClient) -> list[tuple[str, str]]:
    """Return the source and message of every event, oldest first."""
    found = client.describe_events(Duration=60)["Events"]
    return [(event["SourceIdentifier"], event["Message"]) for event in reversed(found)]


def test_a_group_whose_nodes_are_all_lost_serves_again_and_is_empty(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        client = server.client()
        create_group(client, "g")
        address = primary_address(client, "g")
        write_numbers(address, 0, WRITES, replicas=1)
        kill_at_once(server, ("g-001", "g-002"))
        write_again(address)
        require_agreement(server)
        # Nothing outlives the loss of every copy; what was written since is in both.
        assert missing_numbers(address, WRITES) == list(range(WRITES))
        write_numbers(address, 0, WRITES, replicas=1)
        replica = next(m for m, role in roles(client, "g").items() if role == "replica")
        with connected(own_address(server, replica)) as reader:
            assert reader.get("{n}:after") == "it"
            assert reader.get(f"{{n}}:{WRITES - 1}") == str(WRITES - 1)


def test_without_automatic_failover_the_primary_comes_back_where_it_was(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        client = server.client()
        client.create_replication_group(
            ReplicationGroupId="g",
            ReplicationGroupDescription="faults",
            Engine="valkey",
            CacheNodeType="cache.t3.micro",
            NumCacheClusters=2,
            AutomaticFailoverEnabled=False,
        )
        available_group(client, "g")
        address = primary_address(client, "g")
        before = primary_of(client, "g")
        kill_node(server, before)
        write_again(address)
        require_agreement(server)
        assert primary_of(client, "g") == before
        assert primary_address(client, "g") == address


def test_a_cluster_shards_primary_is_replaced_before_the_cluster_would_do_it(
    tmp_path: Path,
) -> None:
    with Server(tmp_path / "data") as server:
        client = server.client()
        client.create_replication_group(
            ReplicationGroupId="c",
            ReplicationGroupDescription="faults",
            Engine="valkey",
            CacheNodeType="cache.t3.micro",
            NumNodeGroups=1,
            ReplicasPerNodeGroup=1,
            AutomaticFailoverEnabled=True,
            CacheParameterGroupName="default.valkey9.cluster.on",
        )
        available_group(client, "c")
        pids = server.node_pids()
        [first, second] = sorted(name.partition("/")[0] for name in pids)
        write_numbers(own_address(server, first), 0, WRITES, replicas=1)
        kill_node(server, first)
        write_again(own_address(server, second))
        assert missing_numbers(own_address(server, second), WRITES) == []
        require_agreement(server)
        after = server.node_pids()
        assert after[f"{second}/0001"] == pids[f"{second}/0001"]
        assert after[f"{first}/0001"] != pids[f"{first}/0001"]
        assert server.node(second).role == "primary"
        assert server.node(first).role == "replica"
