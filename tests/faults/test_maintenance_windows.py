"""What waits for a maintenance window waits, over a stop of cachefleet too; then it acts, once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
