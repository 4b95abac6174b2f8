"""A group that is created half way into cluster mode: both kinds of clients, then the one."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import redis
from redis.cluster import RedisCluster

from tests.support.server import Server, available_group, own_account
from tests.support.waiting import wait_until

pytestmark = pytest.mark.engine


def test_created_for_both_kinds_of_clients(server: Server) -> None:
    client = server.client(own_account())
    made = client.create_replication_group(
        ReplicationGroupId="both",
        ReplicationGroupDescription="half way",
        Engine="valkey",
        CacheNodeType="cache.t3.micro",
        ClusterMode="compatible",
        NumNodeGroups=1,
        ReplicasPerNodeGroup=1,
        AutomaticFailoverEnabled=True,
    )["ReplicationGroup"]
    assert made["ClusterMode"] == "compatible"
    group: Any = available_group(client, "both")
    assert group["ClusterEnabled"]
    (shard,) = group["NodeGroups"]
    primary, reader = shard["PrimaryEndpoint"], shard["ReaderEndpoint"]
    told = group["ConfigurationEndpoint"]
    with (
        contextlib.closing(redis.Redis(primary["Address"], primary["Port"])) as plain,
        contextlib.closing(redis.Redis(reader["Address"], reader["Port"])) as reads,
        contextlib.closing(RedisCluster(told["Address"], told["Port"])) as cluster,
    ):
        assert plain.set("a", "1")
        assert cluster.get("a") == b"1"
        assert cluster.set("b", "2")
        assert plain.get("b") == b"2"
        wait_until(lambda: reads.get("b") == b"2", what="the replica has it")
        client.modify_replication_group(
            ReplicationGroupId="both", ClusterMode="enabled", ApplyImmediately=True
        )
        group = available_group(client, "both")
        assert group["ClusterMode"] == "enabled"
        assert "PrimaryEndpoint" not in group["NodeGroups"][0]
        assert cluster.get("a") == b"1"
    client.delete_replication_group(ReplicationGroupId="both")
