"""What the service refuses of service updates: whole calls, and items of calls that succeed.

Each row is one call, and the answer: code, status, and a fragment of the message.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cachefleet.provisioner.state import updates
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup
from tests.builders import groups as build
from tests.support.api import SCOPE, Api, Refused, open_api

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
GROUPS = {
    "open": "not-applied",
    "halted": "stopped",
    "running": "in-progress",
    "waiting": "waiting-to-start",
    "done": "complete",
    "moot": "not-applicable",
    "planned": "scheduled",
    "busy": "not-applied",
    "newest": None,  # made after the update: there is nothing to do
}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """Groups and clusters with actions in each state; what is refused changes nothing."""
    async with open_api(tmp_path_factory.mktemp("fleet")) as opened:
        async with opened.store.begin(SCOPE) as tx:
            facts = {"kind": "engine", "brings": "x 1", "severity": "important"}
            update = await updates.add_update(
                tx, engine="redis", fingerprint="a", description="new", days=None, **facts
            )
            ended = await updates.add_update(
                tx, engine="valkey", fingerprint="b", description="old", days=None, **facts
            )
            ended.status = updates.CANCELLED
            late = await updates.add_update(
                tx, engine="memcached", fingerprint="c", description="late", days=None, **facts
            )
            late.ends_at = tx.now - timedelta(days=1)
            rows: list[ReplicationGroup | CacheCluster] = []
            for name in GROUPS:
                group = await build.replication_group(tx, name)
                group.status = "modifying" if name == "busy" else "available"
                rows.append(group)
            for name in ("alone", "stuck"):
                cluster = await build.cache_cluster(tx, name)
                cluster.status = "modifying" if name == "stuck" else "available"
                rows.append(cluster)
            for row in rows:
                status = GROUPS.get(row.name, "not-applied")
                for one in (update, ended, late):
                    if status is not None:
                        action = updates.new_action(
                            tx,
                            one,
                            subject_uid=row.uid,
                            subject_kind=row.resource,
                            name=row.name,
                            created_at=None,
                        )
                        action.status = status
        yield opened


UPDATE, CANCELLED, LATE = "elc-20260102-001", "elc-20260102-002", "elc-20260102-003"
APPLY, STOP = "BatchApplyUpdateAction", "BatchStopUpdateAction"
VALUE = "InvalidParameterValue"


def row(
    id_: str, operation: str, params: dict[str, Any], code: str, fragment: str, status: int = 400
) -> Any:
    return pytest.param(operation, params, code, status, fragment, id=id_)


TWENTY_ONE = [f"g{number}" for number in range(21)]
CALLS = [
    *(
        row(f"{operation}-{id_}", operation, params, code, fragment, status)
        for operation in (APPLY, STOP)
        for id_, params, code, fragment, status in (
            (
                "unknown-update",
                {"ServiceUpdateName": "elc-1", "ReplicationGroupIds": ["open"]},
                "ServiceUpdateNotFoundFault",
                "elc-1",
                404,
            ),
            ("nobody", {"ServiceUpdateName": UPDATE}, VALUE, "At least one", 400),
            (
                "empty-lists",
                {"ServiceUpdateName": UPDATE, "ReplicationGroupIds": [], "CacheClusterIds": []},
                VALUE,
                "At least one",
                400,
            ),
            ("no-update", {"ReplicationGroupIds": ["open"]}, VALUE, "ServiceUpdateName", 400),
            (
                "21-groups",
                {"ServiceUpdateName": UPDATE, "ReplicationGroupIds": TWENTY_ONE},
                VALUE,
                "at most 20",
                400,
            ),
            (
                "21-clusters",
                {"ServiceUpdateName": UPDATE, "CacheClusterIds": TWENTY_ONE},
                VALUE,
                "at most 20",
                400,
            ),
        )
    ),
    row(
        "unknown-name",
        "DescribeServiceUpdates",
        {"ServiceUpdateName": "elc-1"},
        "ServiceUpdateNotFoundFault",
        "elc-1",
        404,
    ),
    row(
        "unknown-state",
        "DescribeServiceUpdates",
        {"ServiceUpdateStatus": ["old"]},
        VALUE,
        "ServiceUpdateStatus",
    ),
    row("marker", "DescribeServiceUpdates", {"Marker": "x"}, VALUE, "Marker"),
    row("no-page", "DescribeServiceUpdates", {"MaxRecords": 0}, VALUE, "MaxRecords"),
    row("page-size", "DescribeUpdateActions", {"MaxRecords": 101}, VALUE, "MaxRecords"),
    row("actions-marker", "DescribeUpdateActions", {"Marker": "x"}, VALUE, "Marker"),
    row(
        "unknown-action-state",
        "DescribeUpdateActions",
        {"UpdateActionStatus": ["gone"]},
        VALUE,
        "UpdateActionStatus",
    ),
    row(
        "21-names",
        "DescribeUpdateActions",
        {"ReplicationGroupIds": TWENTY_ONE},
        VALUE,
        "at most 20",
    ),
    row(
        "time-range",
        "DescribeUpdateActions",
        {"ServiceUpdateTimeRange": {"StartTime": NOW, "EndTime": NOW - timedelta(seconds=1)}},
        "InvalidParameterCombination",
        "EndTime",
    ),
]


@pytest.mark.parametrize(("operation", "params", "code", "status", "fragment"), CALLS)
async def test_refuses(
    api: Api, operation: str, params: dict[str, Any], code: str, status: int, fragment: str
) -> None:
    before = await api.store.revision(SCOPE)
    with pytest.raises(Refused) as refusal:
        await api(operation, **params)
    assert (refusal.value.code, refusal.value.status) == (code, status)
    assert fragment in refusal.value.message
    assert await api.store.revision(SCOPE) == before, "a refused call changed the records"


GROUP, CLUSTER = "ReplicationGroupId", "CacheClusterId"
ITEMS = [
    (APPLY, UPDATE, GROUP, "nobody", "ReplicationGroupNotFoundFault", "nobody"),
    (APPLY, UPDATE, GROUP, "alone", "ReplicationGroupNotFoundFault", "alone"),
    (APPLY, UPDATE, CLUSTER, "nobody", "CacheClusterNotFound", "nobody"),
    (APPLY, UPDATE, CLUSTER, "open-001", VALUE, "as a whole"),
    (APPLY, UPDATE, GROUP, "newest", VALUE, "does not apply"),
    (APPLY, UPDATE, GROUP, "busy", "InvalidReplicationGroupState", "modifying"),
    (APPLY, UPDATE, CLUSTER, "stuck", "InvalidCacheClusterState", "modifying"),
    (APPLY, UPDATE, GROUP, "running", VALUE, "in-progress"),
    (APPLY, UPDATE, GROUP, "waiting", VALUE, "waiting-to-start"),
    (APPLY, UPDATE, GROUP, "done", VALUE, "complete"),
    (APPLY, UPDATE, GROUP, "moot", VALUE, "not-applicable"),
    (APPLY, CANCELLED, GROUP, "open", VALUE, "not available"),
    (APPLY, LATE, GROUP, "open", VALUE, "not available"),
    (STOP, UPDATE, GROUP, "nobody", "ReplicationGroupNotFoundFault", "nobody"),
    (STOP, UPDATE, GROUP, "open", VALUE, "not-applied"),
    (STOP, UPDATE, GROUP, "halted", VALUE, "stopped"),
    (STOP, UPDATE, GROUP, "planned", VALUE, "scheduled"),
    (STOP, UPDATE, GROUP, "done", VALUE, "complete"),
    (STOP, UPDATE, CLUSTER, "alone", VALUE, "not-applied"),
]


@pytest.mark.parametrize(("operation", "update", "what", "name", "code", "fragment"), ITEMS)
async def test_says_it_of_the_item(
    api: Api, operation: str, update: str, what: str, name: str, code: str, fragment: str
) -> None:
    before = await api.store.revision(SCOPE)
    answer = await api(operation, ServiceUpdateName=update, **{f"{what}s": [name]})
    assert answer["ProcessedUpdateActions"] == []
    (one,) = answer["UnprocessedUpdateActions"]
    assert one.pop("ErrorMessage").find(fragment) >= 0
    assert one == {what: name, "ServiceUpdateName": update, "ErrorType": code}
    assert await api.store.revision(SCOPE) == before


async def test_no_match_is_an_empty_list(api: Api) -> None:
    for nothing in (
        {"ServiceUpdateName": "elc-1"},
        {"ReplicationGroupIds": ["nobody"]},
        {"CacheClusterIds": ["open"]},
        {"Engine": "dragon"},
        {"UpdateActionStatus": ["stopping"]},
        {"ServiceUpdateTimeRange": {"StartTime": NOW + timedelta(days=1)}},
        {"ServiceUpdateTimeRange": {"EndTime": NOW - timedelta(days=1)}},
    ):
        assert (await api("DescribeUpdateActions", **nothing))["UpdateActions"] == [], nothing
