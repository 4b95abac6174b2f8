"""memcached of the system in place of the bundled server: discovery comes from the gateway."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheUnknownCommandError

from tests.support.server import Server, available_cluster, cluster_of

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(shutil.which("memcached") is None, reason="memcached is not installed"),
]


@pytest.mark.parametrize("mode", ["loopback", "ports"])
def test_clients_find_the_nodes_of_a_stock_cluster(tmp_path: Path, mode: str) -> None:
    options = ("--endpoint-mode", mode)
    with Server(tmp_path, *options, memcached_flavor="stock") as server:
        client = server.client()
        client.create_cache_cluster(
            CacheClusterId="mem",
            Engine="memcached",
            CacheNodeType="cache.t3.micro",
            NumCacheNodes=2,
        )
        cluster = available_cluster(client, "mem")
        assert discovered(cluster) == (1, addresses(cluster_of(client, "mem")))

        client.modify_cache_cluster(CacheClusterId="mem", NumCacheNodes=3, ApplyImmediately=True)
        available_cluster(client, "mem")
        grown = cluster_of(client, "mem")
        assert len(grown["CacheNodes"]) == 3
        assert discovered(cluster) == (2, addresses(grown))

        first = Client(sorted(addresses(grown))[0])
        first.set("key", "value")
        assert first.get("key") == b"value"
        # The engine is stock: it knows no auto discovery of its own.
        with pytest.raises(MemcacheUnknownCommandError):
            first.raw_command("config get cluster")
        first.close()


def discovered(cluster: dict[str, object]) -> tuple[int, set[tuple[str, int]]]:
    endpoint = cluster["ConfigurationEndpoint"]
    assert isinstance(endpoint, dict)
    client = Client((endpoint["Address"], endpoint["Port"]))
    answer = client.raw_command("config get cluster", end_tokens=b"\n\r\nEND\r\n")
    client.close()
    _, version, nodes = answer.decode().split("\n")[:3]
    entries = [entry.split("|") for entry in nodes.split()]
    return int(version), {(host, int(port)) for host, _, port in entries}


def addresses(cluster: dict[str, object]) -> set[tuple[str, int]]:
    nodes = cluster["CacheNodes"]
    assert isinstance(nodes, list)
    return {(node["Endpoint"]["Address"], node["Endpoint"]["Port"]) for node in nodes}
