"""What waits for a maintenance window waits, over a stop of cachefleet too; then it acts, once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from cachefleet.provisioner.maintenance.windows import DAYS
from tests.faults.caches import connected, primary_address
from tests.faults.test_modifications_keep_data import messages
from tests.support.server import Server, available_group, cluster_of, group_of
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

BEFORE, AFTER = "cache.t3.micro", "cache.t3.small"
SCALED = f"Succeeded applying modification to cache node type to {AFTER}."


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "data") as server:
        yield server


def window(begins: datetime) -> str:
    """Return a window of two hours."""
    ends = begins + timedelta(hours=2)
    return f"{DAYS[begins.weekday()]}:{begins:%H:%M}-{DAYS[ends.weekday()]}:{ends:%H:%M}"


def modify(client: ElastiCacheClient, **changes: Any) -> dict[str, Any]:
    return dict(
        client.modify_replication_group(ReplicationGroupId="late", **changes)["ReplicationGroup"]
    )


def test_a_change_waits_for_its_window_and_is_applied_once(server: Server) -> None:
    client = server.client()
    now = datetime.now(UTC)
    client.create_replication_group(
        ReplicationGroupId="late",
        ReplicationGroupDescription="waits",
        Engine="valkey",
        CacheNodeType=BEFORE,
        NumCacheClusters=1,
        PreferredMaintenanceWindow=window(now + timedelta(days=2)),
        SnapshotWindow=f"{now + timedelta(hours=12):%H:%M}-{now + timedelta(hours=13):%H:%M}",
    )
    available_group(client, "late")
    with connected(primary_address(client, "late")) as link:
        link.set("k", "v")
    before = server.engine_config("late-001")["maxmemory"]

    assert modify(client, CacheNodeType=AFTER)["Status"] == "available"
    modify(client, ReplicationGroupDescription="still waits")  # work on it is not its window
    available_group(client, "late")
    assert server.stop() == 0
    server.start()
    client = server.client()
    assert group_of(client, "late")["CacheNodeType"] == BEFORE
    member = cluster_of(client, "late-001")
    assert member["PendingModifiedValues"] == {"CacheNodeType": AFTER}
    assert server.engine_config("late-001")["maxmemory"] == before

    modify(client, PreferredMaintenanceWindow=window(now - timedelta(hours=1)))
    wait_until(
        lambda: cluster_of(client, "late-001"),
        lambda shown: shown["CacheNodeType"] == AFTER and not shown["PendingModifiedValues"],
        what="the window applies it",
    )
    group = available_group(client, "late")
    assert (group["CacheNodeType"], group["PendingModifiedValues"]) == (AFTER, {})
    assert server.engine_config("late-001")["maxmemory"] != before
    with connected(primary_address(client, "late")) as link:
        assert link.get("k") == "v"
    assert messages(client, "late").count(SCALED) == 1

    # The window is still open, and used: what is asked for now waits for the next one.
    modify(client, CacheNodeType=BEFORE)
    modify(client, ReplicationGroupDescription="waits again")
    group = available_group(client, "late")
    assert (group["CacheNodeType"], messages(client, "late").count(SCALED)) == (AFTER, 1)

    # Unless it is told to be maintained now.
    assert run_now(server, "replication-groups/late") == ["CacheNodeType"]
    wait_until(
        lambda: group_of(client, "late"),
        lambda group: (group["Status"], group["CacheNodeType"]) == ("available", BEFORE),
        what="it is applied",
    )
    assert server.engine_config("late-001")["maxmemory"] == before
    assert run_now(server, "replication-groups/late") == []
    for path, status in (("cache-clusters/late-001", 400), ("replication-groups/no", 404)):
        with pytest.raises(HTTPError) as refused:
            run_now(server, path)
        with refused.value:
            assert refused.value.code == status


def run_now(server: Server, path: str) -> list[str]:
    """Have a resource maintained; return the names of what is applied."""
    request = Request(f"{server.url}/v1/{path}/maintenance:run", method="POST")
    with urlopen(request) as answer:
        return list(json.load(answer)["Applying"])
