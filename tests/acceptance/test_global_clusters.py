"""Global datastores in cluster mode: two regions of one server, each shard fed by the other's."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any, Self

import pytest
import redis
from redis.cluster import RedisCluster

from tests.faults.caches import pid_of
from tests.support.length import at_length
from tests.support.regions import (
    AWAY,
    HERE,
    THERE,
    Counter,
    ShardedPair,
    refuses_writes,
    writes_on,
)
from tests.support.server import Server, available_group, group_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.engine

KEYS = 500


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("global") / "data", "--log-level", "info") as server:
        yield server


def test_a_region_is_fed_leads_and_leaves(server: Server) -> None:
    pair = ShardedPair(server, "fed")
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
    with Listener(pair, HERE) as listener:  # for the gateway goes, and clients stay
        pair.near.disassociate_global_replication_group(
            GlobalReplicationGroupId=pair.name,
            ReplicationGroupId=pair.near_name,
            ReplicationGroupRegion=HERE,
        )
        pair.becomes("primary-only")
    assert listener.ports == {6379}
    assert available_group(pair.near, pair.near_name)["GlobalReplicationGroupInfo"] == {}
    with pair.cluster(HERE) as client:
        client.set("later", "mine")
        assert pair.values(HERE, [*taken]) == taken
    assert pair.values(THERE, ["later"]) == {"later": "1"}


class Listener(threading.Thread):
    """Asks each node of a region where it leads clients, until gossip has gone round after all."""

    def __init__(self, pair: ShardedPair, region: str) -> None:
        super().__init__(daemon=True)
        self._stopping = threading.Event()
        with pair.cluster(region) as client:
            self._nodes = [(node.host, node.port) for node in client.get_nodes()]
        self.ports: set[int] = set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        settled = self._pings()
        wait_until(
            self._pings,
            lambda now: all(now[node] > count + 2 for node, count in settled.items()),
            what="gossip has gone round",
        )
        self._stopping.set()
        self.join(60)

    def run(self) -> None:
        while not self._stopping.wait(0.001):
            for node in self._nodes:
                with contextlib.suppress(redis.ConnectionError):  # its port changes hands
                    slots = self._ask(node, "CLUSTER SLOTS")
                    self.ports |= {int(one[1]) for row in slots for one in row[2:]}

    def _pings(self) -> dict[tuple[str, int], int]:
        answers = {node: self._ask(node, "CLUSTER INFO") for node in self._nodes}
        return {
            node: int(info["cluster_stats_messages_ping_received"])
            for node, info in answers.items()
        }

    def _ask(self, node: tuple[str, int], question: str) -> Any:
        with redis.Redis(*node, decode_responses=True) as client:
            return client.execute_command(question)


def feed_pid(server: Server) -> int:
    return int((server.data_dir / "nodes" / "feed" / "pid").read_text().split()[0])


def test_losses_anywhere_are_survived(server: Server) -> None:
    pair = ShardedPair(server, "lost", replicas=1)
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


def shards_of(pair: ShardedPair, region: str) -> dict[str, str]:
    """Return the slots of each shard as the engines have them."""
    client, name = (pair.near, pair.near_name) if region == HERE else (pair.far, pair.far_name)
    return {shard["NodeGroupId"]: shard["Slots"] for shard in group_of(client, name)["NodeGroups"]}


@at_length
def test_regions_are_resharded_alike(server: Server) -> None:
    pair = ShardedPair(server, "shards")
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
