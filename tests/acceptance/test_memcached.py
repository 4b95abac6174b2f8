"""memcached clusters: auto discovery, and nodes that come and go without the others' data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from pymemcache.client.base import Client
from pymemcache.client.hash import HashClient

from tests.support.server import (
    Server,
    available_cluster,
    cluster_of,
    delete_everything,
    own_account,
)

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

KEYS = [f"key-{number}" for number in range(60)]
Address = tuple[str, int]


@pytest.fixture
def client(server: Server) -> Iterator[ElastiCacheClient]:
    """Give a client whose account has ``mem``, three memcached nodes."""
    client = server.client(own_account())
    answer = client.create_cache_cluster(
        CacheClusterId="mem",
        Engine="memcached",
        CacheNodeType="cache.t3.micro",
        NumCacheNodes=3,
        AZMode="cross-az",
    )
    assert answer["CacheCluster"]["CacheClusterStatus"] == "creating"
    assert available_cluster(client, "mem")["CacheClusterStatus"] == "available"
    yield client
    delete_everything(client)


def address(endpoint: dict[str, Any]) -> Address:
    return endpoint["Address"], endpoint["Port"]


def nodes_of(client: ElastiCacheClient) -> dict[str, Address]:
    nodes = cluster_of(client, "mem")["CacheNodes"]
    return {node["CacheNodeId"]: address(node["Endpoint"]) for node in nodes}


def discover(endpoint: Address) -> tuple[int, list[Address]]:
    """Ask for the cluster as auto discovery clients do; returns version and nodes."""
    client = Client(endpoint)
    try:
        answer = client.raw_command("config get cluster", end_tokens=b"\n\r\nEND\r\n")
    finally:
        client.close()
    lines = answer.decode().splitlines()
    assert lines[0].startswith("CONFIG cluster 0 ")
    nodes = [word.split("|") for word in lines[2].split()]
    for host, ip, _ in nodes:
        assert host
        assert ip
    return int(lines[1]), [(ip, int(port)) for _, ip, port in nodes]


def test_auto_discovery_leads_to_every_node(client: ElastiCacheClient) -> None:
    cluster = cluster_of(client, "mem")
    assert cluster["PreferredAvailabilityZone"] == "Multiple"
    version, found = discover(address(cluster["ConfigurationEndpoint"]))
    assert version == 1
    assert sorted(found) == sorted(nodes_of(client).values())
    spread = HashClient(found)
    try:
        for key in KEYS:
            assert spread.set(key, key.upper())
        assert spread.get_many(KEYS) == {key: key.upper().encode() for key in KEYS}
    finally:
        spread.close()
    for node in found:
        assert 0 < item_count(node) < len(KEYS)
        assert discover(node)[1] == found


def item_count(node: Address) -> int:
    client = Client(node)
    try:
        return int(client.stats()[b"curr_items"])
    finally:
        client.close()


def test_nodes_come_and_go_and_the_others_keep_their_data(client: ElastiCacheClient) -> None:
    before = nodes_of(client)
    for node_id, node in before.items():
        write(node, "mine", node_id)
    client.modify_cache_cluster(CacheClusterId="mem", NumCacheNodes=5, ApplyImmediately=True)
    cluster = available_cluster(client, "mem")
    grown = nodes_of(client)
    assert cluster["NumCacheNodes"] == 5
    assert list(grown) == ["0001", "0002", "0003", "0004", "0005"]
    assert {node_id: read(grown[node_id], "mine") for node_id in before} == {
        node_id: node_id for node_id in before
    }
    endpoint = address(cluster["ConfigurationEndpoint"])
    grown_version, found = discover(endpoint)
    assert grown_version > 1
    assert sorted(found) == sorted(grown.values())

    client.modify_cache_cluster(
        CacheClusterId="mem",
        NumCacheNodes=2,
        CacheNodeIdsToRemove=["0001", "0003", "0005"],
        ApplyImmediately=True,
    )
    cluster = available_cluster(client, "mem")
    left = nodes_of(client)
    assert list(left) == ["0002", "0004"]
    assert cluster["NumCacheNodes"] == 2
    assert read(left["0002"], "mine") == "0002"
    # The endpoint outlives the node that had stood for it.
    shrunk_version, found = discover(endpoint)
    assert shrunk_version > grown_version
    assert sorted(found) == sorted(left.values())
    with pytest.raises(OSError, match="refused"):
        read(before["0001"], "mine")


def write(node: Address, key: str, value: str) -> None:
    client = Client(node)
    try:
        client.set(key, value, noreply=False)
    finally:
        client.close()


def read(node: Address, key: str) -> str | None:
    client = Client(node, connect_timeout=20, timeout=20)
    try:
        value = client.get(key)
    finally:
        client.close()
    return None if value is None else value.decode()


def test_parameters_reach_the_server(client: ElastiCacheClient) -> None:
    node = Client(nodes_of(client)["0001"])
    try:
        settings = node.stats("settings")
        assert node.version() == b"1.6.22"
    finally:
        node.close()
    # A cache.t3.micro has 512 MiB for its cache, and its connections 100 of them.
    assert int(settings[b"maxbytes"]) == (512 - 100) << 20
    assert int(settings[b"chunk_size"]) == 48
