"""What keeps data outside from being taken over, and a takeover from being completed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cachefleet.engine.types import Endpoint, Engine, NodeRole, ReplicationView
from cachefleet.engine.valkey.source import SourceReport
from cachefleet.provisioner.planning.migration import (
    MigrationTarget,
    refuse_source,
    why_not_complete,
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
