"""``--endpoint-mode ports``: one host, a port for each endpoint, and each keeps its promise."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import redis
from pymemcache.client.base import Client
from redis.cluster import RedisCluster

from tests.support.server import Server, available_cluster, available_group
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

HOST = "127.0.0.1"
# Below the range from which the kernel gives ports to connections.
FIRST_PORT = 20_000 + os.getpid() % 100 * 100


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ElastiCacheClient]:
    """Give a client of a server in ports mode, with one of each kind of cache."""
    directory = tmp_path_factory.mktemp("ports") / "data"
    port_range = f"{FIRST_PORT}-{FIRST_PORT + 99}"
    with Server(directory, "--endpoint-mode", "ports", port_range=port_range) as server:
        client = server.client()
        client.create_replication_group(
            ReplicationGroupId="plain",
            ReplicationGroupDescription="two nodes",
            NumCacheClusters=2,
            AutomaticFailoverEnabled=True,
            Port=FIRST_PORT + 7,
            Engine="valkey",
            CacheNodeType="cache.t3.micro",
        )
        client.create_replication_group(
            ReplicationGroupId="sharded",
            ReplicationGroupDescription="two shards of two",
            NumNodeGroups=2,
            ReplicasPerNodeGroup=1,
            AutomaticFailoverEnabled=True,
            Engine="valkey",
            CacheNodeType="cache.t3.micro",
        )
        client.create_cache_cluster(
            CacheClusterId="mem",
            Engine="memcached",
            CacheNodeType="cache.t3.micro",
            NumCacheNodes=2,
        )
        for name in ("plain", "sharded"):
            assert available_group(client, name)["Status"] == "available"
        available_cluster(client, "mem")
        yield client


def where(endpoint: dict[str, Any]) -> dict[str, Any]:
    assert endpoint["Address"] == HOST
    return {"host": endpoint["Address"], "port": endpoint["Port"], "decode_responses": True}


def test_primary_and_reader_endpoints(client: ElastiCacheClient) -> None:
    (group,) = client.describe_replication_groups(ReplicationGroupId="plain")["ReplicationGroups"]
    (shard,) = group["NodeGroups"]
    # The port that was asked for is the primary endpoint's, the one that people connect to.
    assert shard["PrimaryEndpoint"]["Port"] == FIRST_PORT + 7
    with redis.Redis(**where(dict(shard["PrimaryEndpoint"]))) as primary:
        primary.set("k", "v")
        assert primary.wait(1, 15_000) == 1
        assert primary.info("replication")["role"] == "master"
    with redis.Redis(**where(dict(shard["ReaderEndpoint"]))) as reader:
        assert reader.get("k") == "v"
        with pytest.raises(redis.ReadOnlyError):
            reader.set("k", "w")
    ports = [member["ReadEndpoint"]["Port"] for member in shard["NodeGroupMembers"]]
    assert len({*ports, shard["PrimaryEndpoint"]["Port"], shard["ReaderEndpoint"]["Port"]}) == 4


def test_a_cluster_client_works_from_the_configuration_endpoint(client: ElastiCacheClient) -> None:
    (group,) = client.describe_replication_groups(ReplicationGroupId="sharded")["ReplicationGroups"]
    with RedisCluster(**where(dict(group["ConfigurationEndpoint"]))) as cluster:
        for number in range(50):
            cluster.set(f"k{number}", number)
        assert [cluster.get(f"k{number}") for number in range(50)] == [str(n) for n in range(50)]
        wait_until(
            lambda: (cluster.nodes_manager.initialize(), len(cluster.get_nodes()))[1],
            lambda count: count == 4,
            what="the client sees all nodes",
        )
        assert {node.host for node in cluster.get_nodes()} == {HOST}


def test_memcached_auto_discovery(client: ElastiCacheClient) -> None:
    answer = client.describe_cache_clusters(CacheClusterId="mem", ShowCacheNodeInfo=True)
    (cluster,) = answer["CacheClusters"]
    endpoint = cluster["ConfigurationEndpoint"]
    node = Client((endpoint["Address"], endpoint["Port"]))
    try:
        told = node.raw_command("config get cluster", end_tokens=b"\n\r\nEND\r\n").decode()
    finally:
        node.close()
    for member in cluster["CacheNodes"]:
        port = member["Endpoint"]["Port"]
        assert f"|{HOST}|{port}" in told
        with socket.create_connection((HOST, port), timeout=20) as connection:
            connection.sendall(b"version\r\n")
            assert connection.recv(64).startswith(b"VERSION 1.6.22")
