"""Endpoints under names: answered by our DNS server, or found by the system's own resolver."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis
from dnslib import DNSRecord
from pymemcache.client.base import Client

from tests.support.ports import own_port
from tests.support.server import Server
from tests.support.waiting import wait_until

pytestmark = pytest.mark.engine
WAITER: Any = {"Delay": 1, "MaxAttempts": 60}
TIMEOUT_S = 20


def _resolve(name: str, port: int) -> str:
    reply = DNSRecord.question(name).send("127.0.0.1", port, timeout=TIMEOUT_S)
    return str(DNSRecord.parse(reply).short())


def test_names_are_answered_by_dns(tmp_path: Path) -> None:
    port = own_port()
    with Server(
        tmp_path / "data", "--ephemeral", endpoint_names="dns", dns_port=str(port)
    ) as server:
        client = server.client()
        client.create_replication_group(
            ReplicationGroupId="demo",
            ReplicationGroupDescription="d",
            CacheNodeType="cache.t3.micro",
            NumCacheClusters=2,
        )
        client.create_cache_cluster(
            CacheClusterId="mem",
            Engine="memcached",
            CacheNodeType="cache.t3.micro",
            NumCacheNodes=1,
        )
        client.get_waiter("replication_group_available").wait(
            ReplicationGroupId="demo", WaiterConfig=WAITER
        )
        client.get_waiter("cache_cluster_available").wait(CacheClusterId="mem", WaiterConfig=WAITER)
        (group,) = client.describe_replication_groups()["ReplicationGroups"]
        shard = group["NodeGroups"][0]
        primary = shard["PrimaryEndpoint"]
        assert primary["Address"].startswith("demo.")
        assert primary["Address"].endswith(".ng.0001.use1.cache.cachefleet.internal")
        with redis.Redis(host=_resolve(primary["Address"], port), port=primary["Port"]) as cache:
            cache.set("a", "b")
        (cluster,) = client.describe_cache_clusters(CacheClusterId="mem")["CacheClusters"]
        configuration = cluster["ConfigurationEndpoint"]
        assert ".cfg.use1.cache." in configuration["Address"]  # Java clients insist on it
        discovery = Client((_resolve(configuration["Address"], port), configuration["Port"]))
        assert b"CONFIG cluster" in discovery.raw_command(b"config get cluster", b"END\r\n")
        discovery.close()
        names = [member["ReadEndpoint"]["Address"] for member in shard["NodeGroupMembers"]]
        assert len({_resolve(name, port) for name in names}) == 2
        server_names = {primary["Address"], *names}
        client.delete_replication_group(ReplicationGroupId="demo")
        client.get_waiter("replication_group_deleted").wait(
            ReplicationGroupId="demo", WaiterConfig=WAITER
        )
        wait_until(
            lambda: not any(_resolve(name, port) for name in server_names),
            what="deleted names are forgotten",
        )


def test_names_are_in_the_hosts_file_of_the_resolver(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    with Server(
        tmp_path / "data", "--ephemeral", endpoint_names="hosts", hosts_file=str(hosts)
    ) as server:
        client = server.client()
        client.create_cache_cluster(
            CacheClusterId="one", Engine="redis", CacheNodeType="cache.t3.micro", NumCacheNodes=1
        )
        client.get_waiter("cache_cluster_available").wait(CacheClusterId="one", WaiterConfig=WAITER)
        (cluster,) = client.describe_cache_clusters(ShowCacheNodeInfo=True)["CacheClusters"]
        name = cluster["CacheNodes"][0]["Endpoint"]["Address"]
        assert name.startswith("one.")
        wait_until(lambda: name in hosts.read_text(), what="the name is in the file")
        address = server.node("one").host
        assert f"{address} {name}\n" in hosts.read_text()
        found = _by_the_system(name, hosts)
        assert found in (None, address)
    assert hosts.read_text() == "127.0.0.1 localhost\n"


def _by_the_system(name: str, hosts: Path) -> str | None:
    """Return what the system's resolver finds with this hosts file; None where we may not ask."""
    if shutil.which("unshare") is None or shutil.which("getent") is None:
        return None
    script = f"mount --bind {hosts} /etc/hosts && getent ahostsv4 {name}"
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return done.stdout.split()[0] if done.returncode == 0 else None
