"""What keeps data outside from being taken over, and a takeover from being completed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cachefleet.engine.types import Endpoint, Engine, NodeRole, ReplicationView
from cachefleet.engine.valkey.cluster import parse_slots
from cachefleet.engine.valkey.source import SourceReport, SourceShard
from cachefleet.provisioner.planning.migration import (
    MigrationTarget,
    pair_shards,
    refuse_source,
    why_not_complete,
    why_not_fed,
)

AT, OWN = Endpoint("10.0.0.1", 6379), Endpoint("127.0.0.9", 6379)
SOURCE = SourceReport(
    engine=Engine.REDIS,
    version=(6, 2, 1),
    cluster_enabled=False,
    loading=False,
    used_memory_bytes=100,
    offset=7,
    databases=16,
    missing_commands=(),
)
TARGET = MigrationTarget(
    cluster_enabled=False,
    databases=16,
    maxmemory_bytes=100,
    reads_format=11,
    own=frozenset({OWN}),
)


def refused(*, writes_format: int = 9, at: Endpoint = AT, **changes: Any) -> str | None:
    return refuse_source(
        replace(SOURCE, **changes), writes_format=writes_format, at=at, target=TARGET
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"version": (2, 8, 21)},
        {"databases": None},
        {"databases": 8},
        {"writes_format": 11},
    ],
    ids=str,
)
def test_takes_what_it_can(changes: dict[str, Any]) -> None:
    assert refused(**changes) is None


@pytest.mark.parametrize(
    ("changes", "fragment"),
    [
        ({"at": OWN}, "itself"),
        ({"version": (2, 8, 20)}, "2.8.20"),
        ({"version": ()}, "oldest"),
        ({"cluster_enabled": True}, "cluster mode is enabled on the source"),
        ({"missing_commands": ("SET", "DEL")}, "SET, DEL"),
        ({"writes_format": 12}, "too old to read"),
        ({"databases": 17}, "17 databases"),
        ({"used_memory_bytes": 101}, "101 bytes"),
        ({"loading": True}, "loading"),
    ],
    ids=str,
)
def test_refuses_what_it_cannot(changes: dict[str, Any], fragment: str) -> None:
    assert fragment in str(refused(**changes))


def view(**changes: Any) -> ReplicationView:
    plain = ReplicationView(
        role=NodeRole.REPLICA,
        offset=7,
        replid="0" * 40,
        primary=AT,
        link_up=True,
        sync_in_progress=False,
        loading=False,
        replicas=(),
        failover_state="no-failover",
    )
    return replace(plain, **changes)


@pytest.mark.parametrize(
    ("changes", "replaced", "fragment"),
    [
        ({}, (), None),
        ({"offset": 8}, (), None),
        ({"offset": 6}, (), "1 bytes"),
        ({"link_up": False}, (), "not in sync"),
        ({"sync_in_progress": True}, (), "not in sync"),
        ({"loading": True}, (), "not in sync"),
        ({"primary": OWN}, (), "not in sync"),
        ({}, ("rg-002", "rg-001"), "rg-001, rg-002"),
    ],
    ids=str,
)
def test_completes_once_every_byte_is_there(
    changes: dict[str, Any], replaced: tuple[str, ...], fragment: str | None
) -> None:
    reason = why_not_complete([(view(**changes), AT, 7)], replaced=replaced)
    assert reason is None if fragment is None else fragment in str(reason)


def shard(slots: str, host: str) -> SourceShard:
    return SourceShard(endpoint=Endpoint(host, 7000), slots=tuple(parse_slots(slots)))


WANTED = {"s1": "0-8191", "s2": "8192-16383"}


@pytest.mark.parametrize(
    ("found", "hosts"),
    [
        ([("0-8191", "a"), ("8192-16383", "b")], ["a", "b"]),
        ([("8192-16383", "b"), ("0-8191", "a")], ["a", "b"]),
        ([("0-100,101-8191", "a"), ("8192-16383", "b")], ["a", "b"]),
    ],
    ids=["in-order", "any-order", "pieces"],
)
def test_each_shard_is_fed_from_who_has_its_slots(
    found: list[tuple[str, str]], hosts: list[str]
) -> None:
    wanted = {uid: parse_slots(slots) for uid, slots in WANTED.items()}
    pairs = pair_shards(wanted, [shard(*one) for one in found])
    assert not isinstance(pairs, str), pairs
    assert [pairs[uid].host for uid in WANTED] == hosts


@pytest.mark.parametrize(
    ("found", "fragment"),
    [
        ([], "none of its primaries"),
        ([("0-8191", "a")], "none of its primaries"),
        ([("0-8190", "a"), ("8191-16383", "b")], "slots are others"),
        ([("0-16383", "a")], "1 shards"),
        ([("0-8191", "a"), ("8192-9000", "b"), ("9001-16383", "c")], "3 shards"),
    ],
    ids=["nobody", "a-hole", "another-border", "one", "three"],
)
def test_other_slots_are_refused(found: list[tuple[str, str]], fragment: str) -> None:
    wanted = {uid: parse_slots(slots) for uid, slots in WANTED.items()}
    assert fragment in str(pair_shards(wanted, [shard(*one) for one in found]))


@pytest.mark.parametrize(
    ("links", "replaced", "fragment"),
    [
        ([(AT, 7, 7), (OWN, 9, 8)], (), None),
        ([(AT, 7, 7), (OWN, 6, 8)], (), "2 bytes from 127.0.0.9:6379"),
        ([(AT, None, 7), (OWN, 8, 8)], (), "the link to 10.0.0.1:6379 is not in sync"),
        ([(AT, 7, 7)], ("rg-0001-001",), "rg-0001-001 is being replaced"),
    ],
    ids=["all-there", "some-missing", "a-link-down", "replaced"],
)
def test_a_group_that_is_fed_completes_once_every_byte_is_applied(
    links: list[tuple[Endpoint, int | None, int]], replaced: tuple[str, ...], fragment: str | None
) -> None:
    reason = why_not_fed(links, replaced=replaced)
    assert reason is None if fragment is None else fragment in str(reason)
