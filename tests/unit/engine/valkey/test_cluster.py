"""Slots add up, and replies are read as they are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachefleet.engine.types import Endpoint, NodeRole, SlotRange
from cachefleet.engine.valkey.cluster import (
    SLOT_COUNT,
    BadSlots,
    NotAClusterReply,
    check_partition,
    even_slots,
    format_slots,
    merge_slots,
    parse_cluster_info,
    parse_cluster_nodes,
    parse_slots,
    parse_tls_ports,
    parse_told_nodes,
    slot_count,
)


def spans(text: str) -> list[tuple[int, int]]:
    return [(piece.first, piece.last) for piece in parse_slots(text)]


def test_the_remainder_goes_to_the_first_shards() -> None:
    assert format_slots(even_slots(3)[:1]) == "0-5461"
    assert [str(piece) for piece in even_slots(3)] == ["0-5461", "5462-10922", "10923-16383"]
    assert [str(piece) for piece in even_slots(2)] == ["0-8191", "8192-16383"]
    assert [len(piece) for piece in even_slots(5)] == [3277, 3277, 3277, 3277, 3276]


@given(st.integers(1, 500))
def test_even_slots_are_a_partition_of_nearly_equal_parts(shard_count: int) -> None:
    ranges = even_slots(shard_count)
    check_partition([piece] for piece in ranges)
    sizes = [len(piece) for piece in ranges]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("shard_count", [0, -1, SLOT_COUNT + 1])
def test_refuses_shards_without_slots(shard_count: int) -> None:
    with pytest.raises(BadSlots):
        even_slots(shard_count)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("", [], id="none"),
        pytest.param("0-999,5000-5999", [(0, 999), (5000, 5999)], id="two"),
        pytest.param("5000-5999, 0-999", [(0, 999), (5000, 5999)], id="sorted"),
        pytest.param("0-1,2-3,4", [(0, 4)], id="merged"),
        pytest.param("7", [(7, 7)], id="single"),
        pytest.param("16383-16383", [(16383, 16383)], id="last"),
    ],
)
def test_reads_slot_lists(text: str, found: list[tuple[int, int]]) -> None:
    assert spans(text) == found


@pytest.mark.parametrize(
    "text", ["a", "1-", "-1", "5-1", "0-16384", "1-2-3", "1-5,5-9", "1.0", "0-99999999999"]
)
def test_refuses_what_is_no_slot_list(text: str) -> None:
    with pytest.raises(BadSlots):
        parse_slots(text)


@given(st.sets(st.integers(0, SLOT_COUNT - 1), max_size=60))
def test_slot_lists_survive_writing_and_reading(slots: set[int]) -> None:
    ranges = merge_slots(SlotRange(first=slot, last=slot) for slot in slots)
    assert parse_slots(format_slots(ranges)) == ranges
    assert slot_count(ranges) == len(slots)


@pytest.mark.parametrize(
    ("owners", "why"),
    [
        pytest.param(["0-8191", "8192-16383"], None, id="whole"),
        pytest.param(["0-5,11-16383", "6-10"], None, id="scattered"),
        pytest.param(["0-8191", "8193-16383"], "slot 8192 ", id="gap"),
        pytest.param(["1-16383"], "slot 0 ", id="first-missing"),
        pytest.param(["0-16382"], "slot 16383 ", id="last-missing"),
        pytest.param([], "slot 0 ", id="nothing"),
        pytest.param(["0-8192", "8192-16383"], "given twice", id="overlap"),
    ],
)
def test_a_partition_gives_every_slot_to_one(owners: list[str], why: str | None) -> None:
    ranges = [parse_slots(owner) for owner in owners]
    if why is None:
        check_partition(ranges)
        return
    with pytest.raises(BadSlots, match=why):
        check_partition(ranges)


NODES = """\
07c37dfeb235213a872192d90877d0cd55635b91 127.0.0.1:30004@31004,host4.test slave \
e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca 0 1426238317239 4 connected
67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1 [::1]:30002@31002,,tls-port=0,shard-id=ab master,fail? - \
0 1426238316232 2 disconnected 5461-9000 9002 [93->-292f8b365bb7edb5e285caf0b7e6ddc7265d2f4f]
e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca 127.0.0.1:30001@31001 myself,master - 0 0 1 connected \
0-5460 [77-<-e7d1eecce10fd6bb5eb35b9f99a514335d9ba9cb]
824fe116063bc5fcf9f4ffd895bc17aee7731ac3 :0@0 master,noaddr,fail - 0 0 3 disconnected
vars currentEpoch 6 lastVoteEpoch 0
"""


def test_reads_nodes_with_all_they_can_carry() -> None:
    replica, suspect, me, gone = parse_cluster_nodes(NODES.encode())
    assert replica.role is NodeRole.REPLICA
    assert replica.primary_id == me.id
    assert (replica.hostname, replica.link_up, replica.bus_port) == ("host4.test", True, 31004)
    assert suspect.endpoint == Endpoint("::1", 30002)
    assert suspect.hostname is None
    assert not suspect.link_up
    assert not suspect.failed  # one node's suspicion is not the cluster's verdict
    assert format_slots(suspect.slots) == "5461-9000,9002-9002"
    assert suspect.migrating == ((93, "292f8b365bb7edb5e285caf0b7e6ddc7265d2f4f"),)
    assert me.myself
    assert me.epoch == 1
    assert me.importing == ((77, "e7d1eecce10fd6bb5eb35b9f99a514335d9ba9cb"),)
    assert gone.failed
    assert gone.endpoint == Endpoint("", 0)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("ERR no such thing", id="error"),
        pytest.param("id host myself,master - 0 0 1 connected", id="no-port"),
        pytest.param("id h:1@2 myself,master - 0 0 x connected", id="no-epoch"),
    ],
)
def test_refuses_what_is_no_node_line(text: str) -> None:
    with pytest.raises(NotAClusterReply):
        parse_cluster_nodes(text)


def test_reads_cluster_info() -> None:
    info = parse_cluster_info(
        b"cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:16380\r\n"
        b"cluster_known_nodes:6\r\ncluster_size:3\r\ncluster_current_epoch:7\r\n"
    )
    assert (info.state, info.slots_assigned, info.slots_ok) == ("ok", 16384, 16380)
    assert (info.known_nodes, info.size, info.epoch) == (6, 3, 7)
    with pytest.raises(NotAClusterReply):
        parse_cluster_info("nothing")


def test_reads_where_clients_of_tls_are_led() -> None:
    reply: list[list[Any]] = [
        ["slots", [0, 8191], "nodes", [["id", "a", "tls-port", 6379, "health", "online"]]],
        ["slots", [], "nodes", [["id", "b", "port", 6380], ["id", "c", "tls-port", 36379]]],
    ]
    assert parse_tls_ports(reply) == {"a": 6379, "c": 36379}
    with pytest.raises(NotAClusterReply):
        parse_tls_ports([["slots"]])


def test_reads_of_whom_clients_are_told() -> None:
    first = [0, 5, ["host", 6379, "a", []], ["host", 6379, "b", []]]
    assert parse_told_nodes([first, [6, 9, ["host", 6379, "c"]]]) == {"a", "b", "c"}
    with pytest.raises(NotAClusterReply):
        parse_told_nodes([[0, 5, ["host", 6379]]])


def test_slots_that_a_node_gives_twice_are_its_own_once() -> None:
    [node] = parse_cluster_nodes("a h:1@2 master - 0 0 1 connected 0-5 7 0-5 7")
    assert node.slots == (SlotRange(first=0, last=5), SlotRange(first=7, last=7))
