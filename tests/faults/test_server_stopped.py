"""An orderly stop and the next start: the same endpoints with the same data, for every engine."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from pymemcache.client.base import Client as MemcachedClient

from cachefleet.engine.valkey.config import DUMP_FILE
from tests.faults.caches import (
    NODE,
    connected,
    create_group,
    missing_numbers,
    own_address,
    write_numbers,
)
from tests.support.audit import Audit, audit, node_processes, require_agreement
from tests.support.server import Server, available_cluster, available_group
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

WRITES = 100
NODES = 8
LATER_S = 3600


def create_all(client: ElastiCacheClient) -> None:
    client.create_cache_cluster(
        CacheClusterId="single", Engine="redis", CacheNodeType=NODE, NumCacheNodes=1
    )
    client.create_cache_cluster(
        CacheClusterId="mem", Engine="memcached", CacheNodeType=NODE, NumCacheNodes=2
    )
    client.create_replication_group(
        ReplicationGroupId="sharded",
        ReplicationGroupDescription="faults",
        Engine="valkey",
        CacheNodeType=NODE,
        NumNodeGroups=3,
        ReplicasPerNodeGroup=0,
        AutomaticFailoverEnabled=True,
        CacheParameterGroupName="default.valkey9.cluster.on",
    )
    create_group(client, "plain")
    available_cluster(client, "single")
    available_cluster(client, "mem")
    available_group(client, "sharded")


def addresses(seen: Audit, kind: str) -> list[tuple[str, int]]:
    return sorted((host, port) for one, host, port in seen.addresses if one == kind)


class Caches:
    """What was written where, and whether it is still there."""

    def __init__(self, client: ElastiCacheClient) -> None:
        group = available_group(client, "plain")["NodeGroups"][0]["PrimaryEndpoint"]
        self.plain = group["Address"], group["Port"]
        node = available_cluster(client, "single")["CacheNodes"][0]["Endpoint"]
        self.single = node["Address"], node["Port"]
        self.mem = [
            (n["Endpoint"]["Address"], n["Endpoint"]["Port"])
            for n in available_cluster(client, "mem")["CacheNodes"]
        ]
        endpoint = available_group(client, "sharded")["ConfigurationEndpoint"]
        self.sharded = endpoint["Address"], endpoint["Port"]

    def fill(self) -> None:
        write_numbers(self.plain, 0, WRITES, replicas=1)
        write_numbers(self.single, 0, WRITES, replicas=0)
        with connected(self.single) as client:
            client.set("mortal", "1", ex=LATER_S)
            client.rpush("list", "a", "b")
        for number, address in enumerate(self.mem):
            with contextlib.closing(MemcachedClient(address)) as memcached:
                memcached.set("kept", f"value-{number}", noreply=False)
        with sharded(self.sharded) as cluster:
            for number in range(WRITES):
                cluster.set(f"n:{number}", number)

    def require_everything(self) -> None:
        assert missing_numbers(self.plain, WRITES) == []
        assert missing_numbers(self.single, WRITES) == []
        with connected(self.single) as client:
            assert LATER_S - 120 < int(str(client.ttl("mortal"))) <= LATER_S
            assert client.lrange("list", 0, -1) == ["a", "b"]
        for number, address in enumerate(self.mem):
            with contextlib.closing(MemcachedClient(address)) as memcached:
                assert memcached.get("kept") == f"value-{number}".encode()
        with sharded(self.sharded) as cluster:
            assert [cluster.get(f"n:{number}") for number in range(WRITES)] == [
                str(number).encode() for number in range(WRITES)
            ]


def sharded(address: tuple[str, int]) -> Any:
    return redis.RedisCluster(host=address[0], port=address[1], socket_timeout=20)


def test_an_orderly_stop_ends_every_process_and_keeps_all_data(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        create_all(server.client())
        caches = Caches(server.client())
        caches.fill()
        before = require_agreement(server)
        assert len(before.nodes) == NODES

        assert server.stop() == 0
        assert node_processes(server.data_dir) == {}
        assert audit(server).settled
        server.start()

        after = require_agreement(server)
        for kind in ("node", "primary", "reader", "configuration"):
            assert addresses(after, kind) == addresses(before, kind) != []
        caches.require_everything()
        assert after.nodes == before.nodes

        server.kill()  # and nothing at all happens to nodes when only the control plane goes
        pids = node_processes(server.data_dir)
        caches.require_everything()
        server.start()
        assert require_agreement(server).processes == pids
        caches.require_everything()


def test_data_of_an_orderly_stop_is_loaded_once(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        client = server.client()
        client.create_cache_cluster(
            CacheClusterId="single", Engine="redis", CacheNodeType=NODE, NumCacheNodes=1
        )
        node = available_cluster(client, "single")["CacheNodes"][0]["Endpoint"]
        address = node["Address"], node["Port"]
        write_numbers(address, 0, WRITES, replicas=0)
        server.stop()
        server.start()
        require_agreement(server)
        assert missing_numbers(address, WRITES) == []
        [[pid]] = node_processes(server.data_dir).values()
        os.kill(pid, signal.SIGKILL)  # a crash starts empty, as on the service
        require_agreement_after_loss(server, pid)
        assert missing_numbers(address, WRITES) == list(range(WRITES))


def require_agreement_after_loss(server: Server, pid: int) -> None:
    wait_until(
        lambda: node_processes(server.data_dir),
        lambda found: [pids for pids in found.values() if pids != [pid]],
        what="the node runs again",
    )
    require_agreement(server)


@pytest.mark.parametrize("shape", ["plain", "sharded"])
def test_who_has_the_data_becomes_primary_when_the_primary_could_not_be_saved(
    tmp_path: Path, shape: str
) -> None:
    with Server(tmp_path / "data") as server:
        client = server.client()
        if shape == "plain":
            create_group(client, "g")
            primary, replica = "g-001", "g-002"
        else:
            client.create_replication_group(
                ReplicationGroupId="g",
                ReplicationGroupDescription="faults",
                Engine="valkey",
                CacheNodeType=NODE,
                NumNodeGroups=1,
                ReplicasPerNodeGroup=1,
                AutomaticFailoverEnabled=True,
                CacheParameterGroupName="default.valkey9.cluster.on",
            )
            available_group(client, "g")
            primary, replica = "g-0001-001", "g-0001-002"
        address = own_address(server, primary)
        write_numbers(address, 0, WRITES, replicas=1)
        # What it writes cannot get its name: the place is taken.
        taken = server.data_dir / "nodes" / server.node(primary).uid / DUMP_FILE
        taken.mkdir()
        assert server.stop() == 0
        assert "node_not_saved" in server.log
        taken.rmdir()
        server.start()
        require_agreement(server)
        assert server.node(replica).role == "primary"
        assert server.node(primary).role == "replica"
        assert missing_numbers(own_address(server, replica), WRITES) == []
        write_numbers(own_address(server, replica), WRITES, WRITES, replicas=1)
