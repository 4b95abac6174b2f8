"""Faults that are injected through ``/v1/faults`` do what they say, for as long as they say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
import redis

from cachefleet.provisioner.health.faults import SLOW_PERIOD_S
from tests.faults.caches import (
    AWAY,
    SOON_S,
    connected,
    create_group,
    fault_of,
    inject,
    missing_numbers,
    own_address,
    pid_of,
    primary_address,
    primary_of,
    rest,
    roles,
    undo,
    write_again,
    write_numbers,
)
from tests.support.audit import audit, events, node_processes, require_agreement
from tests.support.server import Server, group_of
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

WRITES = 50
PATIENT_S = "2.5"  # nothing that is continued in time is taken for hung
RUN_SHARE = 0.2
RUNS_S = RUN_SHARE * SLOW_PERIOD_S
ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("injected")
    with Server(folder / "data", "--allow-faults", failover_timeout_s=PATIENT_S) as running:
        create_group(running.client(), "g")
        yield running


@pytest.fixture
def client(server: Server) -> ElastiCacheClient:
    return server.client()


def replica_of(client: ElastiCacheClient, name: str) -> str:
    return next(member for member, role in roles(client, name).items() if role == "replica")


def test_a_stopped_node_does_nothing_until_it_is_continued(
    server: Server, client: ElastiCacheClient
) -> None:
    primary = primary_of(client, "g")
    process = psutil.Process(pid_of(server, primary))
    fault = inject(server, "stop", CacheClusterId=primary)
    assert fault["Nodes"][0]["ProcessId"] == process.pid
    wait_until(process.status, lambda it: it == psutil.STATUS_STOPPED, what="it is stopped")
    rest(server, "POST", "/v1/faults", {"Kind": "continue", "CacheClusterId": primary})
    wait_until(process.status, lambda it: it != psutil.STATUS_STOPPED, what="it runs on")
    wait_until(
        lambda: fault_of(server, fault["FaultId"])["State"],
        lambda state: state == "ended",
        what="the fault has ended",
    )
    write_again(primary_address(client, "g"))
    require_agreement(server)
    assert primary_of(client, "g") == primary
    assert pid_of(server, primary) == process.pid


def test_a_slowed_node_serves_slowly(server: Server, client: ElastiCacheClient) -> None:
    primary = primary_of(client, "g")
    process = psutil.Process(pid_of(server, primary))
    fault = inject(server, "slow", CacheClusterId=primary, RunShare=RUN_SHARE)
    seen: set[bool] = set()
    for wanted in (True, False, True, False):
        wait_until(
            lambda: process.status() == psutil.STATUS_STOPPED,
            lambda stopped, wanted=wanted: stopped is wanted,  # type: ignore[misc]
            what="it runs for a part of the time",
            poll_s_max=RUNS_S / 3,  # else it may be looked at in step with the fault
        )
        seen.add(wanted)
    write_again(primary_address(client, "g"))
    undo(server, fault["FaultId"])
    assert process.status() != psutil.STATUS_STOPPED
    assert pid_of(server, primary) == process.pid


def test_a_cut_between_primary_and_replicas_stops_replication_and_nothing_else(
    server: Server, client: ElastiCacheClient
) -> None:
    primary, replica = primary_of(client, "g"), replica_of(client, "g")
    address = primary_address(client, "g")
    write_numbers(address, 0, WRITES, replicas=1)
    pids = {member: pid_of(server, member) for member in (primary, replica)}
    fault = inject(server, "partition", CacheClusterId=primary, Cut="nodes")
    assert fault["State"] == "active", fault
    with connected(address) as writer, connected(own_address(server, replica)) as reader:
        wait_until(
            lambda: (writer.set("{n}:cut", "1"), writer.wait(1, 200))[1],
            lambda reached: reached == 0,
            what="replication stands still",
        )
        writer.set("{n}:alone", "1")
        assert reader.get("{n}:alone") is None
        assert reader.get("{n}:0") == "0"
        undo(server, fault["FaultId"])
        wait_until(lambda: reader.get("{n}:alone"), what="the replica has caught up")
        assert not int(str(reader.info("stats")["sync_full"])), "and without a full copy"
    assert {member: pid_of(server, member) for member in pids} == pids
    require_agreement(server)


def test_a_primary_that_nobody_reaches_is_replaced_and_kept_down(
    server: Server, client: ElastiCacheClient
) -> None:
    primary = primary_of(client, "g")
    address = primary_address(client, "g")
    write_numbers(address, 0, WRITES, replicas=1)
    with connected(address, timeout_s=SOON_S) as before:
        before.ping()
        fault = inject(server, "partition", CacheClusterId=primary, DurationSeconds=120)
        with pytest.raises(AWAY):
            before.set("{n}:lost", "1")
    write_again(address)
    assert missing_numbers(address, WRITES) == []
    assert primary_of(client, "g") != primary
    uid = server.node(primary).uid
    wait_until(lambda: node_processes(server.data_dir), lambda it: uid not in it, what="fenced")
    assert server.node(primary).recovering
    # What is down on purpose stays down, whoever runs the fleet.
    server.kill()
    server.start()
    write_again(address)
    assert uid not in node_processes(server.data_dir)
    assert fault_of(server, fault["FaultId"])["State"] == "active"
    undo(server, fault["FaultId"])
    require_agreement(server)
    assert server.node(primary).role == "replica"
    write_numbers(address, WRITES, WRITES, replicas=1)
    assert [m for m in events(server, primary) if "recover" in m.lower()][-2:] == [
        "Recovering cache nodes 0001",
        "Finished recovery for cache nodes 0001",
    ]


def test_a_zone_goes_and_comes_back(server: Server, client: ElastiCacheClient) -> None:
    client.create_replication_group(
        ReplicationGroupId="z",
        ReplicationGroupDescription="zones",
        Engine="valkey",
        CacheNodeType="cache.t3.micro",
        NumCacheClusters=3,
        AutomaticFailoverEnabled=True,
        MultiAZEnabled=True,
        PreferredCacheClusterAZs=list(ZONES),
    )
    wait_until(lambda: group_of(client, "z")["Status"] == "available", what="z is available")
    address, primary = primary_address(client, "z"), primary_of(client, "z")
    zone = server.node(primary).availability_zone
    write_numbers(address, 0, WRITES, replicas=2)
    fault = inject(
        server, "kill", AvailabilityZone=zone, ReplicationGroupId="z", DurationSeconds=120
    )
    assert [node["CacheClusterId"] for node in fault["Nodes"]] == [primary]
    write_again(address)
    assert missing_numbers(address, WRITES) == []
    # The rest is whole without it: both nodes serve, and replicate.
    write_numbers(address, WRITES, WRITES, replicas=1)
    assert group_of(client, "z")["Status"] == "available"
    wait_until(
        lambda: audit(server).open_operations, lambda those: not those, what="nothing waits for it"
    )
    assert server.node(primary).uid not in node_processes(server.data_dir)
    undo(server, fault["FaultId"])
    require_agreement(server)
    write_numbers(address, 2 * WRITES, WRITES, replicas=2)
    assert missing_numbers(address, 3 * WRITES) == []


def test_a_fault_is_over_in_time_and_an_orderly_stop_ends_all(tmp_path: Path) -> None:
    with Server(tmp_path / "data", "--allow-faults", failover_timeout_s=PATIENT_S) as server:
        client = server.client()
        create_group(client, "g")
        address, replica = primary_address(client, "g"), replica_of(client, "g")
        short = inject(server, "stop", CacheClusterId=replica, DurationSeconds=0.5)
        wait_until(
            lambda: fault_of(server, short["FaultId"])["State"],
            lambda state: state == "ended",
            what="its time is over",
        )
        write_numbers(address, 0, WRITES, replicas=1)
        inject(server, "stop", CacheClusterId=primary_of(client, "g"))
        assert server.stop() == 0
        server.start()
        require_agreement(server)
        assert missing_numbers(address, WRITES) == []
        [listed, _] = rest(server, "GET", "/v1/faults")["Faults"]
        assert listed["State"] == "ended"
        assert listed["Nodes"][0]["Note"] == "cachefleet was stopped"


def test_both_halves_of_a_connection_are_cut_for_clients(
    server: Server, client: ElastiCacheClient
) -> None:
    """A replica that is cut off takes no new connection either, until the fault is undone."""
    replica = replica_of(client, "g")
    where = own_address(server, replica)
    with connected(where, timeout_s=SOON_S) as reader:
        reader.ping()
        fault = inject(server, "partition", CacheClusterId=replica)
        with pytest.raises(redis.TimeoutError):
            reader.ping()
    with connected(where, timeout_s=SOON_S) as late, pytest.raises(redis.TimeoutError):
        late.ping()
    undo(server, fault["FaultId"])
    with connected(where) as reader:
        assert reader.ping()
    require_agreement(server)
