"""A group gets into cluster mode, and back: its data, its endpoints, and both kinds of clients.

One server for all; each test has an account of its own.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import pytest
import redis
from redis.cluster import RedisCluster

from tests.faults.caches import (
    connected,
    create_group,
    kill_node,
    primary_address,
    primary_of,
    reader_address,
    write_again,
)
from tests.faults.test_modifications_keep_data import Writer, messages
from tests.support.server import (
    Server,
    available_group,
    cluster_of,
    delete_everything,
    group_of,
    own_account,
)
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

KEYS = 500


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("modes") / "data") as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[ElastiCacheClient]:
    client = server.client(own_account())
    yield client
    delete_everything(client)


def fill(address: tuple[str, int]) -> None:
    with connected(address) as link:
        link.mset({f"k:{number}": number for number in range(KEYS)})
        link.set("lasts", "a while", ex=3600)


def read(link: Any, keys: list[str]) -> list[str | None]:
    """Read keys of any slots, in one go."""
    with link.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.get(key)
        found: list[str | None] = pipeline.execute()
    return found


def require_filled(link: Any) -> None:
    found = read(link, [f"k:{number}" for number in range(KEYS)])
    assert found == [str(number) for number in range(KEYS)]
    assert 3000 < int(link.ttl("lasts")) <= 3600


def change_mode(client: ElastiCacheClient, name: str, mode: Any, **more: Any) -> dict[str, Any]:
    answer = client.modify_replication_group(
        ReplicationGroupId=name, ClusterMode=mode, ApplyImmediately=True, **more
    )["ReplicationGroup"]
    assert (answer["Status"], answer["PendingModifiedValues"]) == (
        "modifying",
        {"ClusterMode": mode},
    )
    return available_group(client, name)


@pytest.mark.parametrize(("engine", "version"), [("redis", "7.0"), ("valkey", "8.0")])
def test_through_compatible_into_cluster_mode(
    server: Server, client: ElastiCacheClient, engine: str, version: str
) -> None:
    client.create_replication_group(
        ReplicationGroupId="way",
        ReplicationGroupDescription="on its way",
        Engine=engine,
        EngineVersion=version,
        CacheNodeType="cache.t3.micro",
        NumCacheClusters=3,
        AutomaticFailoverEnabled=True,
    )
    available_group(client, "way")
    address, reader = primary_address(client, "way"), reader_address(client, "way")
    fill(address)
    writer = Writer(address)
    writer.start()
    writer.more()

    group = change_mode(client, "way", "compatible")
    writer.more()
    writer.stop()
    assert (group["ClusterMode"], group["ClusterEnabled"]) == ("compatible", True)
    assert group["PendingModifiedValues"] == {}
    shard = group["NodeGroups"][0]
    assert shard["Slots"] == "0-16383"
    assert (primary_address(client, "way"), reader_address(client, "way")) == (address, reader)
    family = f"{engine}{version.split('.')[0]}"
    for member in group["MemberClusters"]:
        assert server.engine_config(member)["cluster-enabled"] == "yes"
        shown = cluster_of(client, member)["CacheParameterGroup"]["CacheParameterGroupName"]
        assert shown == f"default.{family}.cluster.on"
    assert not any("Recover" in text for text in messages(client, "way-001")), "nothing was lost"
    # Clients that know nothing of clusters go on as they did, replicas included.
    with connected(address) as link:
        require_filled(link)
        numbers = read(link, [f"n:{number}" for number in writer.acknowledged])
        assert numbers == [str(number) for number in writer.acknowledged], "acknowledged and lost"
    with connected(reader) as link:
        assert link.get("k:7") == "7"
        info: Any = link.info("replication")
        assert info["role"] == "slave"
    assert len(writer.cuts) == 1, writer.cuts
    # And those that do are served at the same time.
    endpoint = group["ConfigurationEndpoint"]
    with RedisCluster(
        host=endpoint["Address"], port=endpoint["Port"], decode_responses=True
    ) as cluster:
        assert cluster.get("k:8") == "8"
        assert len(cluster.get_primaries()) == 1

    group = change_mode(client, "way", "enabled")
    assert group["ClusterMode"] == "enabled"
    assert "PrimaryEndpoint" not in group["NodeGroups"][0]
    assert "CurrentRole" not in group["NodeGroups"][0]["NodeGroupMembers"][0]
    assert group["ConfigurationEndpoint"] == endpoint
    for gone in (address, reader):
        with connected(gone) as link, pytest.raises(redis.ConnectionError):
            link.ping()
    with RedisCluster(
        host=endpoint["Address"], port=endpoint["Port"], decode_responses=True
    ) as cluster:
        require_filled(cluster)
    # It is a group like any in cluster mode.
    client.decrease_replica_count(
        ReplicationGroupId="way", NewReplicaCount=1, ApplyImmediately=True
    )
    group = available_group(client, "way")
    assert len(group["MemberClusters"]) == 2


def test_the_reader_endpoint_serves_clients_that_log_in(client: ElastiCacheClient) -> None:
    token = "a-token-for-the-way"
    client.create_replication_group(
        ReplicationGroupId="keyed",
        ReplicationGroupDescription="on its way",
        Engine="redis",
        CacheNodeType="cache.t3.micro",
        NumCacheClusters=2,
        AutomaticFailoverEnabled=True,
        TransitEncryptionEnabled=True,
        AuthToken=token,
    )
    available_group(client, "keyed")
    change_mode(client, "keyed", "compatible")
    shard = group_of(client, "keyed")["NodeGroups"][0]
    told: list[tuple[str, dict[str, Any]]] = [
        ("master", shard["PrimaryEndpoint"]),
        ("slave", shard["ReaderEndpoint"]),
    ]
    for protocol in (2, 3):  # AUTH, and HELLO with it
        for role, endpoint in told:
            with contextlib.closing(
                redis.Redis(
                    host=endpoint["Address"],
                    port=endpoint["Port"],
                    password=token,
                    protocol=protocol,
                    ssl=True,
                    ssl_cert_reqs="none",
                    ssl_check_hostname=False,
                    decode_responses=True,
                )
            ) as link:
                if role == "master":
                    link.set("k", "v")
                    link.wait(1, 15_000)
                assert link.get("k") == "v"
                info: Any = link.info("replication")
                assert info["role"] == role


def test_back_from_compatible(server: Server, client: ElastiCacheClient) -> None:
    create_group(client, "back")
    address = primary_address(client, "back")
    fill(address)
    change_mode(client, "back", "compatible")
    for number in range(2):
        with connected(address) as link:
            link.set(f"while:{number}", number)
        group = change_mode(client, "back", ("disabled", "compatible")[number])
    group = change_mode(client, "back", "disabled")
    assert (group["ClusterMode"], group["ClusterEnabled"]) == ("disabled", False)
    assert "ConfigurationEndpoint" not in group
    assert "Slots" not in group["NodeGroups"][0]
    for member in group["MemberClusters"]:
        assert server.engine_config(member)["cluster-enabled"] == "no"
    with connected(address) as link:
        require_filled(link)
        assert link.mget(["while:0", "while:1"]) == ["0", "1"]
        assert link.mget(["k:1", "k:2"]) == ["1", "2"], "keys of any two slots go together again"


def test_failover_moves_the_primary_endpoint_in_compatible_mode(
    server: Server, client: ElastiCacheClient
) -> None:
    create_group(client, "fails")
    address = primary_address(client, "fails")
    fill(address)
    change_mode(client, "fails", "compatible")
    old = primary_of(client, "fails")
    kill_node(server, old)
    write_again(address)
    wait_until(lambda: primary_of(client, "fails"), lambda name: name != old, what="it moved")
    with connected(address) as link:
        require_filled(link)
    assert group_of(client, "fails")["ClusterMode"] == "compatible"
    assert primary_address(client, "fails") == address


def test_keys_in_another_database_keep_a_group_as_it_is(
    server: Server, client: ElastiCacheClient
) -> None:
    create_group(client, "second")
    address = primary_address(client, "second")
    with redis.Redis(host=address[0], port=address[1], db=3) as link:
        link.set("k", "v")
    group = change_mode(client, "second", "compatible")
    assert (group["ClusterMode"], group["PendingModifiedValues"]) == ("disabled", {})
    with redis.Redis(host=address[0], port=address[1], db=3) as link:
        assert link.get("k") == b"v"
    assert any("keys are in db3" in text for text in messages(client, "second"))


def test_survives_the_end_of_the_control_plane_at_any_point(tmp_path_factory: Any) -> None:
    """Killed at several instants of the change: it ends, and every key is there."""
    modes: tuple[Literal["compatible", "disabled"], ...] = ("compatible", "disabled")
    with Server(tmp_path_factory.mktemp("killed") / "data") as server:
        client = server.client()
        create_group(client, "killed")
        address = primary_address(client, "killed")
        fill(address)
        for number, mode in enumerate(modes):
            client.modify_replication_group(
                ReplicationGroupId="killed", ClusterMode=mode, ApplyImmediately=True
            )
            threading.Event().wait(
                0.05 * number + 0.02
            )  # the instant is the point, not a condition
            server.kill()
            server.start()
            client = server.client()
            group = available_group(client, "killed")
            assert (group["ClusterMode"], group["PendingModifiedValues"]) == (mode, {})
            with connected(address) as link:
                require_filled(link)
