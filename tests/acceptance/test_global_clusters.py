"""Global datastores in cluster mode: two regions of one server, each shard fed by the other's."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException

from tests.faults.caches import pid_of
from tests.support.server import Server, available_group, group_of, own_account
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

HERE, THERE = "us-east-1", "eu-west-1"
NODE = "cache.r7g.large"
AWAY = (redis.RedisError, RedisClusterException, OSError)
KEYS = 500


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("global") / "data", "--log-level", "info") as server:
        yield server


class Pair:
    """A global datastore in cluster mode with two members of two shards."""

    def __init__(self, server: Server, suffix: str, *, replicas: int = 0, **options: Any) -> None:
        account = own_account()
        self.server = server
        self.near: ElastiCacheClient = server.client(account, HERE)
        self.far: ElastiCacheClient = server.client(account, THERE)
        self.near_name, self.far_name = f"{suffix}-near", f"{suffix}-far"
        self.name = f"ldgnf-{suffix}"
        self.replicas = replicas
        self.near.create_replication_group(
            ReplicationGroupId=self.near_name,
            ReplicationGroupDescription="the first",
            Engine="valkey",
            CacheNodeType=NODE,
            NumNodeGroups=2,
            ReplicasPerNodeGroup=replicas,
            AutomaticFailoverEnabled=True,
            AtRestEncryptionEnabled=False,
            **options,
        )
        available_group(self.near, self.near_name)
        self.near.create_global_replication_group(
            GlobalReplicationGroupIdSuffix=suffix, PrimaryReplicationGroupId=self.near_name
        )
        self.becomes("primary-only")

    def join(self, **options: Any) -> None:
        self.far.create_replication_group(
            ReplicationGroupId=self.far_name,
            ReplicationGroupDescription="the second",
            GlobalReplicationGroupId=self.name,
            ReplicasPerNodeGroup=self.replicas,
            **options,
        )
        available_group(self.far, self.far_name)
        self.becomes("available")

    def shown(self) -> dict[str, Any]:
        answer = self.far.describe_global_replication_groups(
            GlobalReplicationGroupId=self.name, ShowMemberInfo=True
        )
        return dict(answer["GlobalReplicationGroups"][0])

    def becomes(self, status: str) -> dict[str, Any]:
        return wait_until(
            self.shown, lambda row: row["Status"] == status, what=f"{self.name} is {status}"
        )

    def roles(self) -> dict[str, str]:
        return {one["ReplicationGroupRegion"]: one["Role"] for one in self.shown()["Members"]}

    def cluster(self, region: str) -> RedisCluster:
        """Return a client that knows nothing of global datastores."""
        client, name = (self.near, self.near_name) if region == HERE else (self.far, self.far_name)
        found: Any = group_of(client, name)
        endpoint = found["ConfigurationEndpoint"]
        return RedisCluster(endpoint["Address"], endpoint["Port"], decode_responses=True)

    def values(self, region: str, keys: list[str]) -> dict[str, str | None]:
        with self.cluster(region) as client:
            found: Any = client.mget_nonatomic(keys)
            return dict(zip(keys, found, strict=True))

    def arrives(self, region: str, wanted: dict[str, str]) -> None:
        wait_until(
            lambda: self.values(region, [*wanted]),
            lambda found: found == wanted,
            what=f"everything is in {region}",
            passing=AWAY,
        )

    def fail_over(self, region: str) -> None:
        self.near.failover_global_replication_group(
            GlobalReplicationGroupId=self.name,
            PrimaryRegion=region,
            PrimaryReplicationGroupId=self.near_name if region == HERE else self.far_name,
        )


class Counter(threading.Thread):
    """Writes a key after another wherever a region takes it; notes what was taken."""

    def __init__(self, pair: Pair) -> None:
        super().__init__(daemon=True)
        self._pair = pair
        self._stopping = threading.Event()
        self.taken: list[int] = []

    def run(self) -> None:
        number = 0
        while not self._stopping.is_set():
            for region in (HERE, THERE):
                try:
                    with self._pair.cluster(region) as client:
                        while not self._stopping.is_set():
                            client.set(f"n:{number + 1}", number + 1)
                            number += 1
                            self.taken.append(number)
                except AWAY:
                    continue

    def stop(self) -> dict[str, str]:
        self._stopping.set()
        self.join(30)
        assert not self.is_alive()
        return {f"n:{number}": str(number) for number in self.taken}


def writes_on(counter: Counter) -> None:
    before = len(counter.taken)
    wait_until(lambda: len(counter.taken) > before + 50, what="it writes on")


def refuses_writes(pair: Pair, region: str) -> None:
    with pair.cluster(region) as client:
        with pytest.raises(redis.ReadOnlyError, match="against a read only replica"):
            client.set("refused", "1")
        with pytest.raises(redis.ReadOnlyError, match="against a read only replica"):
            client.eval("return redis.call('set', KEYS[1], '1')", 1, "refused")
        assert client.get("refused") is None


def test_a_region_is_fed_leads_and_leaves(server: Server) -> None:
    pair = Pair(server, "fed")
    first = {f"k:{number}": str(number) for number in range(KEYS)}
    with pair.cluster(HERE) as client:
        client.mset_nonatomic(first)
        client.set("mortal", "1", ex=3_600)
    pair.join()
    shown = pair.shown()
    assert shown["ClusterEnabled"] is True
    assert shown["GlobalNodeGroups"] == [
        {"GlobalNodeGroupId": f"{pair.name}-0001", "Slots": "0-8191"},
        {"GlobalNodeGroupId": f"{pair.name}-0002", "Slots": "8192-16383"},
    ]
    assert pair.values(THERE, [*first]) == first
    with pair.cluster(THERE) as client:
        assert 3_000 < client.ttl("mortal") <= 3_600
    refuses_writes(pair, THERE)
    with pair.cluster(HERE) as client:
        client.set("later", "1")
    pair.arrives(THERE, {"later": "1"})
    # The other region takes over while somebody writes, and nothing that was taken is lost.
    counter = Counter(pair)
    counter.start()
    wait_until(lambda: len(counter.taken) > 100, what="it writes")
    pair.fail_over(THERE)
    pair.becomes("available")
    writes_on(counter)
    taken = counter.stop()
    assert pair.roles() == {HERE: "SECONDARY", THERE: "PRIMARY"}
    assert pair.values(THERE, [*taken]) == taken
    pair.arrives(HERE, taken)
    refuses_writes(pair, HERE)
    pair.near.disassociate_global_replication_group(
        GlobalReplicationGroupId=pair.name,
        ReplicationGroupId=pair.near_name,
        ReplicationGroupRegion=HERE,
    )
    pair.becomes("primary-only")
    assert available_group(pair.near, pair.near_name)["GlobalReplicationGroupInfo"] == {}
    with pair.cluster(HERE) as client:
        client.set("later", "mine")
        assert pair.values(HERE, [*taken]) == taken
    assert pair.values(THERE, ["later"]) == {"later": "1"}


def feed_pid(server: Server) -> int:
    return int((server.data_dir / "nodes" / "feed" / "pid").read_text().split()[0])


def test_losses_anywhere_are_survived(server: Server) -> None:
    pair = Pair(server, "lost", replicas=1)
    pair.join()
    counter = Counter(pair)
    counter.start()
    wait_until(lambda: len(counter.taken) > 50, what="it writes")
    killed = [f"{pair.near_name}-0001-001", f"{pair.far_name}-0002-001"]
    for member in killed:
        os.kill(pid_of(server, member), signal.SIGKILL)
        writes_on(counter)
    os.kill(feed_pid(server), signal.SIGKILL)
    writes_on(counter)
    taken = counter.stop()
    with pair.cluster(HERE) as client:
        # What a lost primary took and its replica had not is lost as within any region.
        found: Any = client.mget_nonatomic([*taken])
        kept = {key: value for key, value in zip(taken, found, strict=True) if value is not None}
    assert len(kept) > 100
    pair.arrives(THERE, kept)
    with pair.cluster(HERE) as here, pair.cluster(THERE) as there:
        wait_until(
            lambda: (sum_of(here), sum_of(there)),
            lambda both: both[0] == both[1] >= len(kept),
            what="both have the same number of keys",
            passing=AWAY,
        )


def sum_of(client: RedisCluster) -> int:
    found: Any = client.dbsize(target_nodes=RedisCluster.PRIMARIES)
    return int(found)


def shards_of(pair: Pair, region: str) -> dict[str, str]:
    """Return the slots of each shard as the engines have them."""
    client, name = (pair.near, pair.near_name) if region == HERE else (pair.far, pair.far_name)
    return {shard["NodeGroupId"]: shard["Slots"] for shard in group_of(client, name)["NodeGroups"]}


def test_regions_are_resharded_alike(server: Server) -> None:
    pair = Pair(server, "shards")
    pair.join()
    first = {f"k:{number}": str(number) for number in range(KEYS)}
    with pair.cluster(HERE) as client:
        client.mset_nonatomic(first)
    counter = Counter(pair)
    counter.start()
    pair.far.increase_node_groups_in_global_replication_group(
        GlobalReplicationGroupId=pair.name, NodeGroupCount=3, ApplyImmediately=True
    )
    assert len(pair.becomes("available")["GlobalNodeGroups"]) == 3
    assert shards_of(pair, HERE) == shards_of(pair, THERE)
    writes_on(counter)
    pair.near.decrease_node_groups_in_global_replication_group(
        GlobalReplicationGroupId=pair.name,
        NodeGroupCount=2,
        GlobalNodeGroupsToRemove=[f"{pair.name}-0001"],
        ApplyImmediately=True,
    )
    shown = pair.becomes("available")["GlobalNodeGroups"]
    assert [one["GlobalNodeGroupId"][-4:] for one in shown] == ["0002", "0003"]
    assert shards_of(pair, HERE) == shards_of(pair, THERE)
    writes_on(counter)
    taken = counter.stop()
    assert pair.values(HERE, [*taken]) == taken
    pair.arrives(THERE, taken)
    pair.arrives(THERE, first)
    refuses_writes(pair, THERE)
