"""Two cachefleets in cluster mode: behind, resharded, lost amid that, and with three regions."""

from __future__ import annotations

import os
import signal
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.length import at_length
from tests.support.peers import HERE, THERE, WEST, ShardedPeered, destroy, two_fleets
from tests.support.regions import Counter as ClusterCounter
from tests.support.regions import refuses_writes, writes_on
from tests.support.server import Server, available_group, group_of
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.engine, pytest.mark.slow, at_length]

KEYS = 500
Two = tuple[Server, Server]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    with two_fleets(tmp_path_factory.mktemp("peers"), more_here=(WEST,)) as servers:
        yield servers


def test_one_that_is_behind_is_waited_for(two: Two) -> None:
    pair = ShardedPeered(*two, "slow")
    pair.join()
    feed = int((two[1].data_dir / "nodes" / "feed" / "pid").read_text().split()[0])
    first = {f"k:{number}": str(number) for number in range(KEYS)}
    os.kill(feed, signal.SIGSTOP)
    try:
        with pair.cluster(HERE) as client:
            client.mset_nonatomic(first)
        pair.fail_over(THERE, asked_in=HERE)
        wait_until(lambda: "region_is_behind" in two[0].log, what="it is not handed over")
        assert pair.roles(HERE)[HERE] == "PRIMARY"
        refuses_writes(pair, THERE)
    finally:
        os.kill(feed, signal.SIGCONT)
    pair.led_from(THERE)
    assert pair.values(THERE, [*first]) == first


def test_its_shards_are_changed_alike(two: Two) -> None:
    pair = ShardedPeered(*two, "alike")
    first = {f"k:{number}": str(number) for number in range(KEYS)}
    with pair.cluster(HERE) as client:
        client.mset_nonatomic(first)
    pair.join()
    counter = ClusterCounter(pair)
    counter.start()
    pair.client(THERE).increase_node_groups_in_global_replication_group(
        GlobalReplicationGroupId=pair.name, NodeGroupCount=3, ApplyImmediately=True
    )
    for region in (HERE, THERE):  # whoever leads says so first
        assert len(pair.becomes("available", region)["GlobalNodeGroups"]) == 3
    assert pair.slots(HERE) == pair.slots(THERE)
    writes_on(counter)
    pair.client(HERE).decrease_node_groups_in_global_replication_group(
        GlobalReplicationGroupId=pair.name,
        NodeGroupCount=2,
        GlobalNodeGroupsToRemove=[f"{pair.name}-0001"],
        ApplyImmediately=True,
    )
    for region in (HERE, THERE):
        shown = pair.becomes("available", region)["GlobalNodeGroups"]
        assert [one["GlobalNodeGroupId"][-4:] for one in shown] == ["0002", "0003"]
    assert pair.slots(HERE) == pair.slots(THERE)
    writes_on(counter)
    taken = counter.stop()
    assert pair.values(HERE, [*taken]) == taken
    pair.arrives(THERE, taken)
    pair.arrives(THERE, first)
    refuses_writes(pair, THERE)


def test_its_slots_are_evened_out_alike_and_its_lag_is_told(two: Two) -> None:
    uneven = [{"Slots": "0-12000"}, {"Slots": "12001-16383"}]
    pair = ShardedPeered(*two, "uneven", NodeGroupConfiguration=uneven)
    first = {f"k:{number}": str(number) for number in range(KEYS)}
    with pair.cluster(HERE) as client:
        client.mset_nonatomic(first)
    pair.join()
    assert pair.slots(THERE)["0001"] == "0-12000"
    pair.client(THERE).rebalance_slots_in_global_replication_group(
        GlobalReplicationGroupId=pair.name, ApplyImmediately=True
    )
    for region in (HERE, THERE):
        pair.becomes("available", region)
    assert pair.slots(HERE) == pair.slots(THERE)
    assert pair.slots(THERE)["0001"] != "0-12000"
    pair.arrives(THERE, first)
    wait_until(
        lambda: lag_s(two[1], pair.names[THERE]),
        lambda lag: lag is not None and 0 <= lag < 60,
        what="how far the region is behind",
    )


def lag_s(server: Server, group: str) -> float | None:
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    told = [
        float(line.split()[-1])
        for line in lines
        if line.startswith("cachefleet_global_datastore_replication_lag_seconds{")
        and f'"{group}-' in line
    ]
    return max(told, default=None)


def change_shards(pair: ShardedPeered, wanted: int) -> None:
    told: Any = {"GlobalReplicationGroupId": pair.name, "NodeGroupCount": wanted}
    if wanted == 3:
        pair.client(HERE).increase_node_groups_in_global_replication_group(
            ApplyImmediately=True, **told
        )
    else:
        pair.client(HERE).decrease_node_groups_in_global_replication_group(
            ApplyImmediately=True, GlobalNodeGroupsToRemove=[f"{pair.name}-0001"], **told
        )


@pytest.mark.parametrize(("begins", "wanted"), [(2, 3), (3, 2)], ids=["increase", "decrease"])
def test_one_that_leads_is_lost_amid_a_change_of_shards(two: Two, begins: int, wanted: int) -> None:
    pair = ShardedPeered(*two, f"amid-{begins}", NumNodeGroups=begins)
    first = {f"k:{number}": str(number) for number in range(KEYS)}
    with pair.cluster(HERE) as client:
        client.mset_nonatomic(first)
    pair.join()
    change_shards(pair, wanted)

    def near_has() -> tuple[str, int]:
        found = group_of(pair.client(HERE), pair.names[HERE])
        return found["Status"], len(found["NodeGroups"])

    wait_until(
        near_has, lambda has: has == ("available", wanted), what="it has them", poll_s_max=0.01
    )
    destroy(two[0])  # the other one has yet to follow suit, or is about to
    pair.fail_over(THERE, asked_in=THERE)
    pair.led_from(THERE, told_in=(THERE,))
    with pair.cluster(THERE) as client:
        client.set("after", "1")
    assert pair.values(THERE, [*first]) == first
    two[0].start()
    wait_until(
        lambda: pair.slots(HERE) == pair.slots(THERE),
        what="it has the shards of the one that leads now",
        passing=(KeyError,),
    )
    pair.arrives(HERE, {"after": "1", **first})
    refuses_writes(pair, HERE)
    pair.led_from(THERE)
    pair.fail_over(HERE, asked_in=THERE)
    pair.led_from(HERE)
    with pair.cluster(HERE) as client:
        client.set("again", "1")
    pair.arrives(THERE, {"again": "1"})


def test_what_only_a_deposed_region_took_is_lost_there_too(two: Two) -> None:
    pair = ShardedPeered(*two, "alone")
    pair.join()
    two[0].kill()  # its nodes go on, and take writes
    pair.fail_over(THERE, asked_in=THERE)
    pair.led_from(THERE, told_in=(THERE,))
    for region in (HERE, THERE):
        with pair.cluster(region) as client:
            client.set("both", region)
            client.set(region, "1")
    two[0].start()
    pair.led_from(THERE)
    pair.arrives(HERE, {"both": THERE, THERE: "1", HERE: None})
    refuses_writes(pair, HERE)
    assert pair.values(THERE, [HERE, THERE]) == {HERE: None, THERE: "1"}


def test_one_of_the_two_has_two_regions(two: Two) -> None:
    pair = ShardedPeered(*two, "three")
    pair.join()
    pair.servers[WEST], pair.names[WEST] = two[0], "three-west"
    pair.client(WEST).create_replication_group(
        ReplicationGroupId=pair.names[WEST],
        ReplicationGroupDescription="the third",
        GlobalReplicationGroupId=pair.name,
        ReplicasPerNodeGroup=0,
    )
    available_group(pair.client(WEST), pair.names[WEST])
    regions = (HERE, THERE, WEST)
    for region in regions:
        pair.becomes("available", region)
    turns = [(THERE, HERE), (WEST, HERE), (HERE, THERE), (THERE, THERE), (WEST, THERE)]
    for number, (leads, asked_in) in enumerate(turns, start=1):
        pair.fail_over(leads, asked_in=asked_in)
        pair.led_from(leads)
        with pair.cluster(leads) as client:
            assert client.incr("sum") == number
        for region in regions:
            pair.arrives(region, {"sum": str(number)})
            if region != leads:
                refuses_writes(pair, region)
    change_shards(pair, 3)
    for region in regions:
        pair.becomes("available", region)
    assert len(pair.slots(WEST)) == 3
    assert pair.slots(HERE) == pair.slots(THERE) == pair.slots(WEST)
    with pair.cluster(WEST) as client:
        client.set("last", "1")
    for region in (HERE, THERE):
        pair.arrives(region, {"last": "1", "sum": str(len(turns))})
