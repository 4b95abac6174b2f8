"""Replication groups without cluster mode: what is created serves, replicates and grows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import redis
import valkey
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.server import (
    Server,
    available_cluster,
    available_group,
    cluster_gone,
    cluster_of,
    delete_everything,
    group_gone,
    group_of,
    own_account,
)
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def shared(server: Server) -> Iterator[ElastiCacheClient]:
    """Give a client whose account has the group ``demo``: a primary and two replicas."""
    client = server.client(own_account())
    answer = client.create_replication_group(
        ReplicationGroupId="Demo",
        ReplicationGroupDescription="a primary and two replicas",
        Engine="valkey",
        NumCacheClusters=3,
        CacheNodeType="cache.t3.micro",
        AutomaticFailoverEnabled=True,
        MultiAZEnabled=True,
    )
    assert answer["ReplicationGroup"]["Status"] == "creating"
    assert "NodeGroups" not in answer["ReplicationGroup"]
    assert available_group(client, "demo")["Status"] == "available"
    yield client
    delete_everything(client)


def shard(client: ElastiCacheClient, name: str = "demo") -> dict[str, Any]:
    (node_group,) = group_of(client, name)["NodeGroups"]
    return dict(node_group)


def connect(endpoint: dict[str, Any]) -> redis.Redis:
    return redis.Redis(
        host=endpoint["Address"],
        port=endpoint["Port"],
        decode_responses=True,
        socket_timeout=20,
        retry=Retry(NoBackoff(), 0),  # a refused connection is an answer here
    )


def test_members_are_clusters_with_roles_and_zones(shared: ElastiCacheClient) -> None:
    group = group_of(shared, "demo")
    assert group["MemberClusters"] == ["demo-001", "demo-002", "demo-003"]
    members = shard(shared)["NodeGroupMembers"]
    assert sorted(member["CurrentRole"] for member in members) == ["primary", "replica", "replica"]
    assert len({member["PreferredAvailabilityZone"] for member in members}) == 3
    for name in group["MemberClusters"]:
        cluster = cluster_of(shared, name)
        assert cluster["CacheClusterStatus"] == "available"
        assert cluster["ReplicationGroupId"] == "demo"


@pytest.mark.parametrize("engine", ["valkey", "redis"])
def test_replicas_have_something_as_soon_as_the_group_is_available(
    server: Server, engine: str
) -> None:
    client = server.client(own_account())
    client.create_replication_group(
        ReplicationGroupId="prompt",
        ReplicationGroupDescription="asked at once",
        Engine=engine,
        NumCacheClusters=3,
        CacheNodeType="cache.t3.micro",
    )
    available_group(client, "prompt")
    for member in shard(client, "prompt")["NodeGroupMembers"]:
        with connect(member["ReadEndpoint"]) as node:
            told: Any = node.info("replication")
        # Until something has come, what is written comes up to a second later.
        assert told["master_repl_offset"] > 0, member
    delete_everything(client)


@pytest.mark.parametrize("library", [redis, valkey], ids=["redis-py", "valkey-py"])
def test_what_is_written_to_the_primary_is_read_from_every_replica(
    shared: ElastiCacheClient, library: Any
) -> None:
    node_group = shard(shared)
    primary = node_group["PrimaryEndpoint"]
    key = f"from-{library.__name__}"
    make = library.Redis if library is redis else library.Valkey
    with make(host=primary["Address"], port=primary["Port"]) as client:
        client.set(key, "here")
        assert client.wait(2, 15_000) == 2
    for member in node_group["NodeGroupMembers"]:
        endpoint = member["ReadEndpoint"]
        with make(host=endpoint["Address"], port=endpoint["Port"]) as client:
            assert client.get(key) == b"here"


def test_reader_endpoint_reads_and_refuses_writes(shared: ElastiCacheClient) -> None:
    node_group = shard(shared)
    with connect(node_group["PrimaryEndpoint"]) as primary:
        primary.set("read-me", "1")
        assert primary.wait(2, 15_000) == 2
    with connect(node_group["ReaderEndpoint"]) as reader:
        assert reader.get("read-me") == "1"
        with pytest.raises(redis.ReadOnlyError):
            reader.set("read-me", "2")


def test_reader_endpoint_spreads_connections_over_the_replicas(shared: ElastiCacheClient) -> None:
    endpoint = shard(shared)["ReaderEndpoint"]
    seen = set()
    for _ in range(4):
        with connect(endpoint) as reader:
            seen.add(reader.info("server")["run_id"])
    assert len(seen) == 2


def test_roles_are_what_the_engine_says(shared: ElastiCacheClient) -> None:
    for member in shard(shared)["NodeGroupMembers"]:
        with connect(member["ReadEndpoint"]) as node:
            role = node.info("replication")["role"]
        assert role == {"primary": "master", "replica": "slave"}[member["CurrentRole"]]


def test_the_control_commands_are_unknown_to_users(shared: ElastiCacheClient) -> None:
    with connect(shard(shared)["PrimaryEndpoint"]) as primary:
        for words in (["CONFIG", "GET", "*"], ["SHUTDOWN"], ["REPLICAOF", "NO", "ONE"], ["SAVE"]):
            with pytest.raises(redis.ResponseError, match="unknown command"):
                primary.execute_command(*words)


def test_describe_events_tells_the_story(shared: ElastiCacheClient) -> None:
    events = shared.describe_events(Duration=60)["Events"]
    told = {(event["SourceIdentifier"], event["Message"]) for event in events}
    assert ("demo", "Replication group demo created") in told
    assert ("demo-002", "Cache cluster created") in told


def test_replicas_are_added_and_taken_away(client: ElastiCacheClient) -> None:
    client.create_replication_group(
        ReplicationGroupId="grows",
        ReplicationGroupDescription="one node at first",
        Engine="redis",
        CacheNodeType="cache.t3.small",
        NumCacheClusters=1,
    )
    available_group(client, "grows")
    with connect(shard(client, "grows")["PrimaryEndpoint"]) as primary:
        primary.set("kept", "1")
        client.increase_replica_count(
            ReplicationGroupId="grows", NewReplicaCount=2, ApplyImmediately=True
        )
        assert group_of(client, "grows")["Status"] in ("modifying", "available")
        group = available_group(client, "grows")
        assert len(group["MemberClusters"]) == 3
        wait_until(
            lambda: primary.info("replication")["connected_slaves"],
            lambda count: count == 2,
            what="both replicas follow",
        )
        client.decrease_replica_count(
            ReplicationGroupId="grows", NewReplicaCount=1, ApplyImmediately=True
        )
        group = available_group(client, "grows")
        assert len(group["MemberClusters"]) == 2
        assert primary.get("kept") == "1"
    (gone,) = {"grows-001", "grows-002", "grows-003"} - set(group["MemberClusters"])
    with pytest.raises(client.exceptions.CacheClusterNotFoundFault):
        client.describe_cache_clusters(CacheClusterId=gone)


def test_a_cluster_becomes_a_primary_and_stays_when_the_group_goes(
    client: ElastiCacheClient,
) -> None:
    client.create_cache_cluster(
        CacheClusterId="first", Engine="redis", CacheNodeType="cache.t3.micro", NumCacheNodes=1
    )
    cluster = available_cluster(client, "first")
    endpoint = cluster["CacheNodes"][0]["Endpoint"]
    with connect(endpoint) as node:
        node.set("carried", "over")
    client.create_replication_group(
        ReplicationGroupId="around",
        ReplicationGroupDescription="around a cluster",
        PrimaryClusterId="first",
    )
    group = available_group(client, "around")
    assert group["MemberClusters"] == ["first"]
    with connect(shard(client, "around")["PrimaryEndpoint"]) as primary:
        assert primary.get("carried") == "over"

    client.create_cache_cluster(CacheClusterId="second", ReplicationGroupId="around")
    available_cluster(client, "second")
    available_group(client, "around")
    with connect(cluster_of(client, "second")["CacheNodes"][0]["Endpoint"]) as replica:
        assert replica.info("replication")["role"] == "slave"
        assert replica.get("carried") == "over"
    with pytest.raises(client.exceptions.ClientError) as refused:
        client.delete_cache_cluster(CacheClusterId="first")
    assert refused.value.response["Error"]["Code"] == "InvalidCacheClusterState"

    primary_endpoint = shard(client, "around")["PrimaryEndpoint"]
    client.delete_replication_group(ReplicationGroupId="around", RetainPrimaryCluster=True)
    group_gone(client, "around")
    cluster_gone(client, "second")
    kept = available_cluster(client, "first")
    assert "ReplicationGroupId" not in kept
    with connect(kept["CacheNodes"][0]["Endpoint"]) as node:
        assert node.get("carried") == "over"
        node.set("still", "writable")

    def endpoint_answers() -> bool:
        try:
            with connect(primary_endpoint) as old:
                return bool(old.ping())
        except redis.ConnectionError:
            return False

    wait_until(endpoint_answers, lambda yes: not yes, what="the group's endpoint is gone")


def test_deleting_a_group_ends_its_nodes(client: ElastiCacheClient, server: Server) -> None:
    client.create_replication_group(
        ReplicationGroupId="brief",
        ReplicationGroupDescription="soon gone",
        Engine="valkey",
        CacheNodeType="cache.t3.micro",
        NumCacheClusters=2,
    )
    available_group(client, "brief")
    endpoint = shard(client, "brief")["PrimaryEndpoint"]
    assert "brief-001/0001" in server.node_pids()
    answer = client.delete_replication_group(ReplicationGroupId="brief")
    assert answer["ReplicationGroup"]["Status"] == "deleting"
    group_gone(client, "brief")
    assert not any(name.startswith("brief-") for name in server.node_pids())
    with pytest.raises(redis.ConnectionError), connect(endpoint) as node:
        node.ping()
