"""Nodes that are rebooted on request come back empty, with the parameters that waited for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from pymemcache.client.base import Client as Memcache
from redis import Redis

from tests.support.server import Server, available_cluster, available_group, cluster_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("reboots") / "data") as running:
        yield running


def reboot(client: Any, name: str, *nodes: str) -> dict[str, Any]:
    """Reboot nodes and wait until they are back; return the cluster."""
    answer = client.reboot_cache_cluster(CacheClusterId=name, CacheNodeIdsToReboot=list(nodes))
    assert answer["CacheCluster"]["CacheClusterStatus"] == "rebooting cache cluster nodes"
    return wait_until(
        lambda: cluster_of(client, name),
        lambda cluster: cluster["CacheClusterStatus"] == "available",
        what="the nodes are back",
    )


def messages(client: Any, name: str) -> list[str]:
    answer = client.describe_events(SourceType="cache-cluster", SourceIdentifier=name)
    return [event["Message"] for event in reversed(answer["Events"])]


def test_a_rebooted_primary_empties_its_replicas_and_stays_the_primary(server: Server) -> None:
    client = server.client()
    client.create_replication_group(
        ReplicationGroupId="demo",
        ReplicationGroupDescription="d",
        Engine="valkey",
        EngineVersion="8.0",
        CacheNodeType="cache.t3.micro",
        NumCacheClusters=2,
        AutomaticFailoverEnabled=True,
    )
    endpoints = available_group(client, "demo")["NodeGroups"][0]
    primary, reader = (
        Redis(endpoints[kind]["Address"], endpoints[kind]["Port"])
        for kind in ("PrimaryEndpoint", "ReaderEndpoint")
    )
    with contextlib.closing(primary), contextlib.closing(reader):
        primary.set("key", "value")
        primary.wait(1, 15_000)
        before = primary.info("server")["run_id"]
        rebooted = reboot(client, "demo-001", "0001")
        assert rebooted["CacheNodes"][0]["CacheNodeStatus"] == "available"
        assert primary.info("server")["run_id"] != before
        assert primary.dbsize() == reader.dbsize() == 0
        assert primary.set("key", "again")
    roles = [
        member["CurrentRole"]
        for member in available_group(client, "demo")["NodeGroups"][0]["NodeGroupMembers"]
    ]
    assert roles == ["primary", "replica"], "a reboot is no failover"
    assert messages(client, "demo-001")[-2:] == [
        "Cache node 0001 shutdown",
        "Cache node 0001 restarted",
    ]
    assert not [m for m in messages(client, "demo-002") if "Failover" in m or "Recovering" in m]


def test_the_named_memcached_nodes_come_back_empty_with_what_waited(server: Server) -> None:
    client = server.client()
    client.create_cache_parameter_group(
        CacheParameterGroupName="mine", CacheParameterGroupFamily="memcached1.6", Description="d"
    )
    client.create_cache_cluster(
        CacheClusterId="mem",
        Engine="memcached",
        NumCacheNodes=2,
        CacheNodeType="cache.t3.micro",
        CacheParameterGroupName="mine",
    )
    nodes = available_cluster(client, "mem")["CacheNodes"]
    first, second = (
        Memcache((node["Endpoint"]["Address"], node["Endpoint"]["Port"])) for node in nodes
    )
    with contextlib.closing(first), contextlib.closing(second):
        first.set("key", b"1", noreply=False)
        second.set("key", b"2", noreply=False)
        first.close()
        client.modify_cache_parameter_group(
            CacheParameterGroupName="mine",
            ParameterNameValues=[{"ParameterName": "max_item_size", "ParameterValue": "65536"}],
        )
        assert waiting(client) == ("pending-reboot", ["0001", "0002"])
        reboot(client, "mem", "0001")
        assert waiting(client) == ("pending-reboot", ["0002"])
        assert first.get("key") is None
        assert second.get("key") == b"2"
        assert [item_size_max(node) for node in (first, second)] == [65536, 1048576]
        second.close()
        reboot(client, "mem", "0002")
        assert waiting(client) == ("in-sync", [])
        assert item_size_max(second) == 65536
    assert messages(client, "mem")[-2:] == ["Cache node 0002 shutdown", "Cache node 0002 restarted"]


def waiting(client: Any) -> tuple[str, list[str]]:
    """Return the state of the parameters, and the nodes that they wait for."""
    shown = cluster_of(client, "mem")["CacheParameterGroup"]
    return shown["ParameterApplyStatus"], shown["CacheNodeIdsToReboot"]


def item_size_max(node: Memcache) -> int:
    return int(node.stats("settings")[b"item_size_max"])


def test_a_tested_failover_costs_the_primary_and_the_replica_takes_over(server: Server) -> None:
    client = server.client()
    client.create_replication_group(
        ReplicationGroupId="tested",
        ReplicationGroupDescription="d",
        CacheNodeType="cache.t3.micro",
        NumCacheClusters=2,
        AutomaticFailoverEnabled=True,
    )
    endpoint = available_group(client, "tested")["NodeGroups"][0]["PrimaryEndpoint"]
    with contextlib.closing(Redis(endpoint["Address"], endpoint["Port"])) as primary:
        primary.set("key", "value")
        primary.wait(1, 15_000)
    answer = client.test_failover(ReplicationGroupId="tested", NodeGroupId="0001")
    assert answer["ReplicationGroup"]["Status"] == "available"

    def said() -> list[str]:
        return [
            event["Message"]
            for event in reversed(client.describe_events(Duration=60)["Events"])
            if event["SourceIdentifier"].startswith("tested")
        ]

    wait_until(lambda: "Finished recovery for cache nodes 0001" in said(), what="it has recovered")
    moved = "Failover from primary node tested-001 to replica node tested-002 completed"
    asked = said().index("Test Failover API called for node group 0001")
    assert said()[asked:] == [
        "Test Failover API called for node group 0001",
        moved,
        moved,
        "Recovering cache nodes 0001",
        "Finished recovery for cache nodes 0001",
    ]
    with contextlib.closing(Redis(endpoint["Address"], endpoint["Port"])) as primary:
        assert primary.get("key") == b"value"
