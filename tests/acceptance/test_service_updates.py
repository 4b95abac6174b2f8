"""Service updates on real engines: found in what is there, applied node by node, nothing lost.

One server whose engines are copies of this machine's. They are upgraded in their place once all
caches serve; each test then has its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from pymemcache.client.base import Client as Memcached
from redis.backoff import NoBackoff
from redis.retry import Retry

from cachefleet.engine.types import Engine
from tests.faults.caches import connected, primary_address, primary_of
from tests.support.acknowledged import AcknowledgedWrites
from tests.support.audit import events
from tests.support.numbered import NumberedValues
from tests.support.server import (
    Server,
    available_cluster,
    available_group,
    clean_environment,
    cluster_of,
    command,
    group_of,
)
from tests.support.upgrades import UpgradableBinary
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

REDIS_VERSION = "7.0"
HELD = "held by the first primary"
NODE = "cache.t3.micro"
BALLAST = 64  # of 1 MiB


@dataclass
class Updated:
    """The server, and what was found when its engines had been upgraded."""

    server: Server
    client: ElastiCacheClient
    redis: UpgradableBinary
    memcached: UpgradableBinary

    def action(self, name: str, **filters: Any) -> dict[str, Any]:
        """Return the only action of a cache, with its nodes."""
        of = "CacheClusterIds" if name == "mem" else "ReplicationGroupIds"
        wanted: dict[str, Any] = {of: [name], **filters}
        answer = self.client.describe_update_actions(ShowNodeLevelUpdateStatus=True, **wanted)
        (one,) = answer["UpdateActions"]
        return dict(one)

    def apply(self, name: str) -> dict[str, Any]:
        """Apply a cache's update; return what was processed."""
        of = "CacheClusterIds" if name == "mem" else "ReplicationGroupIds"
        update = self.action(name)["ServiceUpdateName"]
        wanted: dict[str, Any] = {of: [name]}
        answer = self.client.batch_apply_update_action(ServiceUpdateName=update, **wanted)
        assert answer["UnprocessedUpdateActions"] == []
        return dict(answer["ProcessedUpdateActions"][0])


def group(client: ElastiCacheClient, name: str, **options: Any) -> None:
    client.create_replication_group(
        ReplicationGroupId=name,
        ReplicationGroupDescription="to be updated",
        Engine="redis",
        EngineVersion=REDIS_VERSION,
        CacheNodeType=NODE,
        **{"AutomaticFailoverEnabled": True, **options},
    )


@pytest.fixture(scope="module")
def updated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Updated]:
    folder = tmp_path_factory.mktemp("updates")
    redis_server = UpgradableBinary(Engine.REDIS, folder)
    memcached = UpgradableBinary(Engine.MEMCACHED, folder)
    with Server(
        folder / "data",
        "--log-level",
        "info",
        redis_server=str(redis_server.path),
        memcached=str(memcached.path),
        memcached_flavor="stock",
    ) as server:
        client = server.client()
        group(client, "plain", NumCacheClusters=3)
        group(
            client,
            "shards",
            NumNodeGroups=1,
            ReplicasPerNodeGroup=1,
            ClusterMode="enabled",
            CacheParameterGroupName="default.redis7.cluster.on",
        )
        group(
            client,
            "sealed",
            NumCacheClusters=2,
            TransitEncryptionEnabled=True,
            AutomaticFailoverEnabled=False,
        )
        client.create_cache_cluster(
            CacheClusterId="mem", Engine="memcached", CacheNodeType=NODE, NumCacheNodes=2
        )
        for name in ("plain", "shards", "sealed"):
            available_group(client, name)
        available_cluster(client, "mem")
        assert client.describe_service_updates()["ServiceUpdates"] == []
        redis_server.upgrade()
        memcached.upgrade()
        yield Updated(server, client, redis_server, memcached)


def offered(of: Updated, count: int = 4) -> list[dict[str, Any]]:
    """Wait for all actions, and return them."""
    return wait_until(
        lambda: [dict(one) for one in of.client.describe_update_actions()["UpdateActions"]],
        lambda found: len(found) >= count,
        what=f"{count} caches are offered an update",
    )


def versions(of: Updated, name: str) -> set[str]:
    """Return what the processes of a group's nodes say that they are."""
    found = set()
    for member in group_of(of.client, name)["MemberClusters"]:
        node = of.server.node(member)
        with connected((str(node.host), int(node.port or 0))) as own:
            found.add(str(own.info("server")["redis_version"]))
    return found


def complete(of: Updated, name: str) -> dict[str, Any]:
    return wait_until(
        lambda: of.action(name),
        lambda one: one["UpdateActionStatus"] == "complete",
        what=f"the update of {name} is complete",
        timeout_s=60,
    )


def test_an_upgrade_in_place_is_found_and_nothing_is_restarted_for_it(updated: Updated) -> None:
    before = updated.server.node_pids()
    actions = offered(updated)
    listed = updated.client.describe_service_updates()["ServiceUpdates"]
    by_engine = {one["Engine"]: one for one in listed}
    assert by_engine.keys() == {"redis", "memcached"}
    told = by_engine["redis"]
    assert told["EngineVersion"] == f"redis {updated.redis.version}"
    assert str(updated.redis.path) in told["ServiceUpdateDescription"]
    assert (told["ServiceUpdateSeverity"], told["ServiceUpdateStatus"]) == (
        "important",
        "available",
    )
    assert (
        told["ServiceUpdateRecommendedApplyByDate"] - told["ServiceUpdateReleaseDate"]
    ).days in (
        30,
        31,
    )
    assert {one["UpdateActionStatus"] for one in actions} == {"not-applied"}
    assert {one["SlaMet"] for one in actions} == {"n/a"}
    assert updated.action("plain")["NodesUpdated"] == "0/3"
    assert updated.server.node_pids() == before
    assert "Service update is available for cache node 0001." in events(updated.server, "plain-001")


def test_replicas_first_the_primary_last_and_no_write_is_lost(updated: Updated) -> None:
    offered(updated)
    name, first = "plain", primary_of(updated.client, "plain")
    endpoint = primary_address(updated.client, name)
    with connected(endpoint) as own:
        for number in range(BALLAST):  # a copy takes long enough for a stop to come in between
            own.set(f"ballast:{number}", os.urandom(1 << 20))
    writes = AcknowledgedWrites(endpoint)
    with writes.under_load():
        wait_until(lambda: len(writes.acknowledged) > 50, what="writes come through")
        processed = updated.apply(name)
        assert processed["UpdateActionStatus"] == "waiting-to-start"
        assert group_of(updated.client, name)["Status"] == "modifying"
        is_stopped_after_a_node(updated, name, processed["ServiceUpdateName"])
        updated.apply(name)
        seen = complete(updated, name)
        done = len(writes.acknowledged)
        wait_until(lambda: len(writes.acknowledged) > done + 50, what="writes go on")
    available_group(updated.client, name)
    assert writes.lost() == []
    assert (seen["NodesUpdated"], seen["SlaMet"]) == ("3/3", "yes")
    nodes = members(seen)
    assert {node["NodeUpdateStatus"] for node in nodes.values()} == {"complete"}
    assert {node["NodeUpdateInitiatedBy"] for node in nodes.values()} == {"customer"}
    started = {member: node["NodeUpdateStartDate"] for member, node in nodes.items()}
    assert max(started, key=lambda member: started[member]) == first
    assert primary_of(updated.client, name) != first
    assert primary_address(updated.client, name) == endpoint
    assert versions(updated, name) == {updated.redis.version}
    assert any("was applied" in text for text in events(updated.server, name))


def is_stopped_after_a_node(of: Updated, name: str, update: str) -> None:
    """Stop what has just been applied: the node that is being updated is gone through with."""
    wait_until(
        lambda: of.action(name)["UpdateActionStatus"],
        lambda status: status == "in-progress",
        what="it has begun",
    )
    stopped = of.client.batch_stop_update_action(
        ServiceUpdateName=update, ReplicationGroupIds=[name, "nobody"]
    )
    assert [one["UpdateActionStatus"] for one in stopped["ProcessedUpdateActions"]] == ["stopping"]
    (refused,) = stopped["UnprocessedUpdateActions"]
    assert (refused["ReplicationGroupId"], refused["ErrorType"]) == (
        "nobody",
        "ReplicationGroupNotFoundFault",
    )
    seen = wait_until(
        lambda: of.action(name),
        lambda one: one["UpdateActionStatus"] == "stopped",
        what="it is stopped",
    )
    available_group(of.client, name)
    states = [node["NodeUpdateStatus"] for node in members(seen).values()]
    assert set(states) == {"complete", "stopped"}
    assert seen["NodesUpdated"] == f"{states.count('complete')}/3"
    assert len(versions(of, name)) == 2


def members(action: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what an action of a group of one shard says of each member."""
    (shard,) = action["NodeGroupUpdateStatus"]
    assert shard["NodeGroupId"] == "0001"
    return {node["CacheClusterId"]: node for node in shard["NodeGroupMemberUpdateStatus"]}


def test_a_group_in_cluster_mode_serves_all_the_time(updated: Updated) -> None:
    offered(updated)
    told = group_of(updated.client, "shards")["ConfigurationEndpoint"]
    values = NumberedValues(told["Address"], told["Port"], key_count=400)
    values.fill()
    with values.under_load():
        updated.apply("shards")
        seen = complete(updated, "shards")
    available_group(updated.client, "shards")
    assert values.audit() == []
    assert seen["NodesUpdated"] == "2/2"
    assert versions(updated, "shards") == {updated.redis.version}


def test_memcached_nodes_one_at_a_time(updated: Updated) -> None:
    offered(updated)
    updated.apply("mem")
    seen = complete(updated, "mem")
    available_cluster(updated.client, "mem")
    assert seen["NodesUpdated"] == "2/2"
    nodes = sorted(seen["CacheNodeUpdateStatus"], key=lambda node: node["NodeUpdateStartDate"])
    assert nodes[0]["NodeUpdateEndDate"] <= nodes[1]["NodeUpdateStartDate"]
    for node in cluster_of(updated.client, "mem")["CacheNodes"]:
        client = Memcached((node["Endpoint"]["Address"], node["Endpoint"]["Port"]))
        assert client.version().decode() == updated.memcached.version
        client.close()


def test_a_new_authority_reaches_nodes_by_a_service_update(updated: Updated) -> None:
    offered(updated)
    name, server = "sealed", updated.server
    kept = server.data_dir / "tls" / "ca.crt"
    old = kept.read_text()
    trusted = Path(server.data_dir).parent / "old.crt"
    trusted.write_text(old)
    address = primary_address(updated.client, name)
    early = tls(address, trusted)
    early.set("k", HELD)
    assert command("ca", "--data-dir", str(server.data_dir), "--rotate").returncode == 0
    both = kept.read_text()
    assert old in both
    assert both.count("BEGIN CERTIFICATE") == 2
    new = trusted.with_name("new.crt")
    new.write_text(both.removesuffix(old))
    wait_until(
        lambda: kinds(updated, name),
        lambda found: len(found) == 2,
        what="the new authority is offered",
    )
    # Nothing that was there shows it yet.
    with tls(address, trusted) as client:
        assert client.ping()
    a_newcomer_can_lead(updated, name, early)
    assert early.ping()  # a switchover cuts: from here on it stays
    pids = server.node_pids()
    (update,) = (one for one in kinds(updated, name) if "authority" in one[1])
    answer = updated.client.batch_apply_update_action(
        ServiceUpdateName=update[0], ReplicationGroupIds=[name]
    )
    assert answer["UnprocessedUpdateActions"] == []
    wait_until(
        lambda: updated.action(name, ServiceUpdateName=update[0])["UpdateActionStatus"],
        lambda status: status == "complete",
        what="certificates are of the new authority",
    )
    available_group(updated.client, name)
    assert early.get("k") == HELD, "a connection of before was ended"
    early.close()
    for member in group_of(updated.client, name)["MemberClusters"]:
        node = server.node(member)
        with tls((str(node.host), int(node.port or 0)), new) as client:
            assert client.get("k") == HELD
    with tls(address, new) as client:
        client.set("k2", "v")
        assert client.wait(2, 15_000) == 2, "the nodes trust each other"
    with tls(address, trusted) as client, pytest.raises(redis.ConnectionError, match="certificate"):
        client.ping()
    assert server.node_pids() == pids
    assert new.read_text() == kept.read_text(), "nobody serves with the old one any more"


def a_newcomer_can_lead(of: Updated, name: str, primary: redis.Redis) -> None:
    """Add a replica, which has a certificate of the new authority, and let it lead for a while:
    nodes that show the old one have to trust it already.
    """
    of.client.increase_replica_count(
        ReplicationGroupId=name, NewReplicaCount=2, ApplyImmediately=True
    )
    available_group(of.client, name)
    assert primary.wait(2, 10_000) == 2
    for leads in ("sealed-003", "sealed-001"):
        of.client.modify_replication_group(
            ReplicationGroupId=name, PrimaryClusterId=leads, ApplyImmediately=True
        )
        available_group(of.client, name)
        node = of.server.node(leads)
        with tls(
            (str(node.host), int(node.port or 0)), of.server.data_dir / "tls" / "ca.crt"
        ) as own:
            own.set("led-by", leads)
            assert own.wait(2, 10_000) == 2, f"the others follow {leads}"


def kinds(of: Updated, name: str) -> list[tuple[str, str]]:
    """Return the names and descriptions of what a group is offered."""
    answer = of.client.describe_update_actions(ReplicationGroupIds=[name])
    found = [one["ServiceUpdateName"] for one in answer["UpdateActions"]]
    texts = {
        one["ServiceUpdateName"]: one["ServiceUpdateDescription"]
        for one in of.client.describe_service_updates()["ServiceUpdates"]
    }
    return [(one, texts[one]) for one in found]


def tls(address: tuple[str, int], authority: Path) -> redis.Redis:
    return redis.Redis(
        host=address[0],
        port=address[1],
        ssl=True,
        ssl_ca_certs=str(authority),
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )


def test_the_command_line_lists_and_filters(updated: Updated, tmp_path: Path) -> None:
    offered(updated)
    environment = clean_environment(
        AWS_ACCESS_KEY_ID="000000000000",
        AWS_SECRET_ACCESS_KEY="cachefleet",
        AWS_DEFAULT_REGION="us-east-1",
        AWS_CONFIG_FILE=str(tmp_path / "none"),
        AWS_PAGER="",
    )

    def aws(*words: str) -> Any:
        done = subprocess.run(
            ["aws", "--endpoint-url", updated.server.url, "elasticache", *words],
            env={
                **environment,
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return json.loads(done.stdout)

    told = aws(
        "describe-update-actions",
        "--engine",
        "memcached",
        "--service-update-status",
        "available",
        "--show-node-level-update-status",
    )
    (one,) = told["UpdateActions"]
    assert one["CacheClusterId"] == "mem"
    assert len(one["CacheNodeUpdateStatus"]) == 2
