"""Replication groups with cluster mode, seen by cluster clients from the configuration endpoint."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import redis
import valkey
from redis.cluster import LoadBalancingStrategy, RedisCluster
from valkey.cluster import ValkeyCluster

from tests.support.server import (
    Server,
    available_group,
    delete_everything,
    group_of,
    own_account,
)

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

KEYS = [f"key-{number}" for number in range(100)]


@pytest.fixture(scope="module")
def shared(server: Server) -> Iterator[ElastiCacheClient]:
    """Give a client whose account has ``wide``, three shards of two nodes."""
    client = server.client(own_account())
    client.create_replication_group(
        ReplicationGroupId="wide",
        ReplicationGroupDescription="three shards of two",
        Engine="valkey",
        CacheNodeType="cache.t3.micro",
        NumNodeGroups=3,
        ReplicasPerNodeGroup=1,
        AutomaticFailoverEnabled=True,
    )
    assert available_group(client, "wide")["Status"] == "available"
    yield client
    delete_everything(client)


def configuration_endpoint(client: ElastiCacheClient, name: str) -> dict[str, Any]:
    endpoint = group_of(client, name)["ConfigurationEndpoint"]
    return {"host": endpoint["Address"], "port": endpoint["Port"]}


@pytest.mark.parametrize(
    ("kind", "library"),
    [
        pytest.param(RedisCluster, redis, id="redis-py"),
        pytest.param(ValkeyCluster, valkey, id="valkey-py"),
    ],
)
def test_cluster_clients_reach_every_shard(
    shared: ElastiCacheClient, kind: Any, library: Any
) -> None:
    with kind(**configuration_endpoint(shared, "wide"), decode_responses=True) as client:
        for key in KEYS:
            client.set(key, key.upper())
        assert [client.get(key) for key in KEYS] == [key.upper() for key in KEYS]
        sizes = client.dbsize(target_nodes=kind.PRIMARIES)
        assert len(client.get_primaries()) == 3
        assert len(client.get_replicas()) == 3
        assert sizes >= len(KEYS)


@pytest.mark.parametrize("engine", ["valkey", "redis"])
def test_every_node_tells_of_every_other_as_soon_as_the_group_is_available(
    server: Server, engine: str
) -> None:
    client = server.client(own_account())
    client.create_replication_group(
        ReplicationGroupId="prompt",
        ReplicationGroupDescription="asked at once",
        Engine=engine,
        CacheNodeType="cache.t3.micro",
        NumNodeGroups=2,
        ReplicasPerNodeGroup=1,
        AutomaticFailoverEnabled=True,
    )
    available_group(client, "prompt")
    told = nodes_told_of(client, "prompt")
    assert [len(nodes) for nodes in told] == [4] * 4
    client.increase_replica_count(
        ReplicationGroupId="prompt", NewReplicaCount=2, ApplyImmediately=True
    )
    available_group(client, "prompt")
    told = nodes_told_of(client, "prompt")
    assert [len(nodes) for nodes in told] == [6] * 6
    delete_everything(client)


def nodes_told_of(client: ElastiCacheClient, name: str) -> list[set[str]]:
    """Return the hosts of which each node of a group tells clients."""
    endpoint = configuration_endpoint(client, name)
    hosts = [row["Endpoint"]["Address"] for row in nodes_of(client, name)]
    answers: list[set[str]] = []
    for host in hosts:
        with redis.Redis(host, endpoint["port"], decode_responses=True) as node:
            rows: Any = node.execute_command("CLUSTER", "SLOTS")
            answers.append({one[0] for row in rows for one in row[2:]})
    return answers


def nodes_of(client: ElastiCacheClient, name: str) -> list[Any]:
    answer = client.describe_cache_clusters(ShowCacheNodeInfo=True)
    return [
        node
        for cluster in answer["CacheClusters"]
        if cluster["ReplicationGroupId"] == name
        for node in cluster["CacheNodes"]
    ]


def test_replicas_serve_reads_of_their_own_shard(shared: ElastiCacheClient) -> None:
    endpoint = configuration_endpoint(shared, "wide")
    with RedisCluster(
        **endpoint,
        load_balancing_strategy=LoadBalancingStrategy.ROUND_ROBIN_REPLICAS,
        decode_responses=True,
    ) as client:
        for key in KEYS[:10]:
            client.set(key, "1")
            assert client.wait(1, 15_000, target_nodes=client.get_node_from_key(key)) == 1
        assert [client.get(key) for key in KEYS[:10]] == ["1"] * 10


def test_slots_in_the_answer_are_the_slots_of_the_engine(shared: ElastiCacheClient) -> None:
    told = [node_group["Slots"] for node_group in group_of(shared, "wide")["NodeGroups"]]
    assert told == ["0-5461", "5462-10922", "10923-16383"]
    endpoint = configuration_endpoint(shared, "wide")
    with redis.Redis(**endpoint, decode_responses=True) as node:
        assert owned_slots(node) == [["0-5461"], ["10923-16383"], ["5462-10922"]]


def owned_slots(node: redis.Redis) -> list[list[str]]:
    """Return the slots of each primary, read from CLUSTER NODES."""
    text: str = node.execute_command("CLUSTER", "NODES")  # type: ignore[no-untyped-call]
    lines = [line.split() for line in text.splitlines()]
    return sorted(words[8:] for words in lines if "master" in words[2])


def test_a_key_of_another_shard_is_answered_with_where_it_is(shared: ElastiCacheClient) -> None:
    endpoint = configuration_endpoint(shared, "wide")
    with redis.Redis(**endpoint, decode_responses=True) as node:
        refused = [key for key in KEYS if is_moved(node, key)]
    assert 0 < len(refused) < len(KEYS)


def is_moved(node: redis.Redis, key: str) -> bool:
    try:
        node.get(key)
    except redis.exceptions.MovedError:
        return True
    return False


def test_uneven_slots_and_own_shard_ids(client: ElastiCacheClient) -> None:
    client.create_replication_group(
        ReplicationGroupId="uneven",
        ReplicationGroupDescription="slots as we like them",
        Engine="valkey",
        CacheNodeType="cache.t3.micro",
        AutomaticFailoverEnabled=True,
        CacheParameterGroupName="default.valkey8.cluster.on",
        EngineVersion="8.0",
        NodeGroupConfiguration=[
            {
                "NodeGroupId": "0007",
                "Slots": "0-999,2000-2999",
                "ReplicaCount": 0,
                "PrimaryAvailabilityZone": "us-east-1c",
            },
            {"NodeGroupId": "0042", "Slots": "1000-1999,3000-16383", "ReplicaCount": 0},
        ],
    )
    group = available_group(client, "uneven")
    assert {shard["NodeGroupId"]: shard["Slots"] for shard in group["NodeGroups"]} == {
        "0007": "0-999,2000-2999",
        "0042": "1000-1999,3000-16383",
    }
    assert group["MemberClusters"] == ["uneven-0007-001", "uneven-0042-001"]
    (first, _) = group["NodeGroups"]
    assert first["NodeGroupMembers"][0]["PreferredAvailabilityZone"] == "us-east-1c"
    with redis.Redis(**configuration_endpoint(client, "uneven"), decode_responses=True) as node:
        assert owned_slots(node) == [["0-999", "2000-2999"], ["1000-1999", "3000-16383"]]


@pytest.mark.skipif(not shutil.which("redis-server"), reason="redis-server is not installed")
def test_engine_redis_runs_redis_where_there_is_one(client: ElastiCacheClient) -> None:
    client.create_replication_group(
        ReplicationGroupId="two",
        ReplicationGroupDescription="two shards of two",
        Engine="redis",
        EngineVersion="7.0",
        CacheNodeType="cache.t3.micro",
        NumNodeGroups=2,
        ReplicasPerNodeGroup=1,
        AutomaticFailoverEnabled=True,
        CacheParameterGroupName="default.redis7.cluster.on",
    )
    available_group(client, "two")
    with RedisCluster(**configuration_endpoint(client, "two"), decode_responses=True) as cluster:
        assert cluster.set("a", "1")
        server_info = cluster.info("server", target_nodes=cluster.get_random_node())
        assert server_info["redis_version"].startswith("7.")
        assert "valkey_version" not in server_info
        assert len(cluster.get_primaries()) == 2


def test_replicas_of_every_shard_are_added_and_taken_away(client: ElastiCacheClient) -> None:
    client.create_replication_group(
        ReplicationGroupId="bare",
        ReplicationGroupDescription="two shards, no replica",
        Engine="valkey",
        CacheNodeType="cache.t3.micro",
        NumNodeGroups=2,
        ReplicasPerNodeGroup=0,
        AutomaticFailoverEnabled=True,
    )
    available_group(client, "bare")
    with RedisCluster(**configuration_endpoint(client, "bare"), decode_responses=True) as cluster:
        for key in KEYS:
            cluster.set(key, key)
    client.increase_replica_count(
        ReplicationGroupId="bare", NewReplicaCount=1, ApplyImmediately=True
    )
    group = available_group(client, "bare")
    assert [len(shard["NodeGroupMembers"]) for shard in group["NodeGroups"]] == [2, 2]
    with RedisCluster(**configuration_endpoint(client, "bare"), decode_responses=True) as cluster:
        assert len(cluster.get_replicas()) == 2
        assert [cluster.get(key) for key in KEYS] == KEYS
    client.decrease_replica_count(
        ReplicationGroupId="bare", NewReplicaCount=0, ApplyImmediately=True
    )
    group = available_group(client, "bare")
    assert [len(shard["NodeGroupMembers"]) for shard in group["NodeGroups"]] == [1, 1]
    with RedisCluster(**configuration_endpoint(client, "bare"), decode_responses=True) as cluster:
        assert [cluster.get(key) for key in KEYS] == KEYS
