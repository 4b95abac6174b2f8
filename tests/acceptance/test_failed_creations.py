"""What cannot be created says why, never becomes available, and can be deleted."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.ports import own_network
from tests.support.server import (
    Server,
    available_cluster,
    available_group,
    cluster_gone,
    group_gone,
)

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

NO_BINARY = "/nonexistent/memcached"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ElastiCacheClient]:
    """Give a client of a server with six addresses and no memcached that runs."""
    directory = tmp_path_factory.mktemp("poor")
    with Server(
        directory / "data",
        path=str(directory),
        endpoint_network=own_network().replace("/24", "/29"),
        memcached=NO_BINARY,
        memcached_flavor="stock",
    ) as server:
        yield server.client()


def why(client: ElastiCacheClient, name: str) -> str:
    """Return the event that tells of a failure."""
    events = client.describe_events(
        SourceIdentifier=name,
        SourceType="replication-group" if name.startswith("group") else "cache-cluster",
        Duration=60,
    )
    said = [event["Message"] for event in events["Events"]]
    (message,) = [text for text in said if text.startswith("Failed to create") and ": " in text]
    return message


def test_an_engine_that_is_not_here(client: ElastiCacheClient) -> None:
    client.create_cache_cluster(
        CacheClusterId="no-binary",
        Engine="memcached",
        CacheNodeType="cache.t3.micro",
        NumCacheNodes=1,
    )
    cluster = available_cluster(client, "no-binary")
    assert cluster["CacheClusterStatus"] == "incompatible-network"
    message = why(client, "no-binary")
    assert "Nothing here can run memcached" in message
    assert NO_BINARY in message
    client.delete_cache_cluster(CacheClusterId="no-binary")
    cluster_gone(client, "no-binary")


def test_a_port_that_is_taken(client: ElastiCacheClient) -> None:
    with socket.socket() as squatter:
        squatter.bind(("0.0.0.0", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        client.create_cache_cluster(
            CacheClusterId="no-port",
            Engine="redis",
            CacheNodeType="cache.t3.micro",
            NumCacheNodes=1,
            Port=port,
        )
        cluster = available_cluster(client, "no-port")
        assert cluster["CacheClusterStatus"] == "incompatible-network"
        message = why(client, "no-port")
        assert str(port) in message
        assert "in use" in message
    client.delete_cache_cluster(CacheClusterId="no-port")
    cluster_gone(client, "no-port")


def test_addresses_that_are_used_up(client: ElastiCacheClient) -> None:
    for number in (1, 2):  # each needs two endpoints and three nodes; there are six addresses
        client.create_replication_group(
            ReplicationGroupId=f"group-{number}",
            ReplicationGroupDescription="five addresses",
            Engine="valkey",
            CacheNodeType="cache.t3.micro",
            NumCacheClusters=3,
        )
        status = available_group(client, f"group-{number}")["Status"]
        assert status == ("available" if number == 1 else "create-failed")
    assert "are in use" in why(client, "group-2")
    client.delete_replication_group(ReplicationGroupId="group-2")
    group_gone(client, "group-2")
    client.delete_replication_group(ReplicationGroupId="group-1")
    group_gone(client, "group-1")
    # What the failed one had been given is free again.
    client.create_replication_group(
        ReplicationGroupId="group-3",
        ReplicationGroupDescription="all six addresses",
        Engine="valkey",
        CacheNodeType="cache.t3.micro",
        NumCacheClusters=4,
    )
    assert available_group(client, "group-3")["Status"] == "available"
    client.delete_replication_group(ReplicationGroupId="group-3")
    group_gone(client, "group-3")
