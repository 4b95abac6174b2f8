"""What the service refuses of online migration before it looks at the source, in its order.

Each row is one call on a few groups, and the answer: code, status, and a fragment of the message.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.builders import groups
from tests.support.api import SCOPE, Api, Refused, open_api

SOURCE: list[dict[str, Any]] = [{"Address": "10.0.0.1", "Port": 6379}]
MIGRATING = {"phase": "starting", "source": SOURCE}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


GROUPS: dict[str, dict[str, Any]] = {
    "ready": {},
    "busy": {"status": "modifying"},
    "moving": {"status": "modifying", "migration": MIGRATING},
    "testing": {"status": "modifying", "migration": {**MIGRATING, "phase": "testing"}},
    "old": {"engine_version": "5.0.5", "parameter_group_name": "default.redis5.0"},
    "tls": {"transit_encryption_enabled": True},
    "at-rest": {"at_rest_encryption_enabled": True},
    "single-az": {"multi_az": "disabled"},
    "manual": {"automatic_failover": "disabled", "multi_az": "disabled"},
    "tiered": {"data_tiering": "enabled"},
    "compat": {"cluster_mode": "compatible"},
    "shards": {"cluster_mode": "enabled"},
}


@pytest.fixture(scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    async with open_api(tmp_path_factory.mktemp("fleet")) as opened:
        async with opened.store.begin(SCOPE) as tx:
            for name, columns in GROUPS.items():
                group = await groups.replication_group(tx, name)
                for column, value in {"multi_az": "enabled", **columns}.items():
                    setattr(group, column, value)
        yield opened


def row(
    id_: str, operation: str, params: dict[str, Any], code: str, fragment: str, status: int = 400
) -> Any:
    return pytest.param(operation, params, code, status, fragment, id=id_)


def source(address: str = "10.0.0.1", port: int | None = 6379) -> list[dict[str, Any]]:
    return [{"Address": address} if port is None else {"Address": address, "Port": port}]


START, TEST, COMPLETE = "StartMigration", "TestMigration", "CompleteMigration"
BAD_VALUE, BAD_STATE = "InvalidParameterValue", "InvalidReplicationGroupState"
# Whichever of the two calls: they are checked alike.
BEGINNINGS: list[tuple[str, str, Any, str, str, int]] = [
    ("missing", "nobody", SOURCE, "ReplicationGroupNotFoundFault", "nobody", 404),
    ("moving", "moving", SOURCE * 2, "ReplicationGroupAlreadyUnderMigrationFault", "moving", 400),
    (
        "testing",
        "testing",
        SOURCE * 2,
        "ReplicationGroupAlreadyUnderMigrationFault",
        "testing",
        400,
    ),
    ("busy", "busy", SOURCE, BAD_STATE, "available", 400),
    ("old", "old", SOURCE, BAD_VALUE, "5.0.6", 400),
    ("tls", "tls", SOURCE, BAD_VALUE, "in-transit", 400),
    ("at-rest", "at-rest", SOURCE, BAD_VALUE, "at-rest", 400),
    ("single-az", "single-az", SOURCE, BAD_VALUE, "Multi-AZ", 400),
    ("manual", "manual", SOURCE, BAD_VALUE, "automatic failover", 400),
    ("tiered", "tiered", SOURCE, BAD_VALUE, "node type", 400),
    ("compat", "compat", SOURCE, BAD_STATE, "compatible", 400),
    ("shards-without-a-port", "shards", SOURCE + source(port=None), BAD_VALUE, "Port", 400),
    ("501-sources", "shards", SOURCE * 501, BAD_VALUE, "at most 500", 400),
    ("two-sources", "ready", SOURCE * 2, BAD_VALUE, "exactly one", 400),
    ("no-address", "ready", source(""), BAD_VALUE, "Address", 400),
    ("blank-address", "ready", source("a b"), BAD_VALUE, "Address", 400),
    ("long-address", "ready", source("a" * 256), BAD_VALUE, "Address", 400),
    ("no-port", "ready", source(port=None), BAD_VALUE, "Port", 400),
    ("port-0", "ready", source(port=0), BAD_VALUE, "Port", 400),
    ("port-65536", "ready", source(port=65536), BAD_VALUE, "Port", 400),
]

MEANWHILE: list[tuple[str, dict[str, Any], str]] = [
    ("ModifyReplicationGroup", {"ReplicationGroupId": "moving"}, BAD_STATE),
    ("DeleteReplicationGroup", {"ReplicationGroupId": "moving"}, BAD_STATE),
    (
        "IncreaseReplicaCount",
        {"ReplicationGroupId": "moving", "NewReplicaCount": 3, "ApplyImmediately": True},
        BAD_STATE,
    ),
    ("TestFailover", {"ReplicationGroupId": "moving", "NodeGroupId": "0001"}, BAD_STATE),
]

ROWS = (
    [
        row(
            f"{operation}-{id_}",
            operation,
            {"ReplicationGroupId": group, "CustomerNodeEndpointList": nodes},
            code,
            fragment,
            status,
        )
        for operation in (START, TEST)
        for id_, group, nodes, code, fragment, status in BEGINNINGS
    ]
    + [
        row(
            "no-source",
            START,
            {"ReplicationGroupId": "ready"},
            BAD_VALUE,
            "CustomerNodeEndpointList",
        ),
        row(
            "neither",
            START,
            {"CustomerNodeEndpointList": SOURCE},
            "InvalidParameterCombination",
            "ReplicationGroupId",
        ),
        row(
            "both",
            START,
            {"ReplicationGroupId": "ready", "ServerlessCacheName": "s"},
            "InvalidParameterCombination",
            "cannot be used together",
        ),
        row(
            "cutover-of-a-group",
            START,
            {
                "ReplicationGroupId": "ready",
                "CustomerNodeEndpointList": SOURCE,
                "AutoCutover": True,
            },
            "InvalidParameterCombination",
            "AutoCutover",
        ),
        row(
            "complete-missing",
            COMPLETE,
            {"ReplicationGroupId": "nobody"},
            "ReplicationGroupNotFoundFault",
            "nobody",
            404,
        ),
    ]
    + [
        row(
            f"complete-{name}",
            COMPLETE,
            {"ReplicationGroupId": name, "Force": True},
            "ReplicationGroupNotUnderMigrationFault",
            name,
        )
        for name in ("ready", "busy", "testing")
    ]
    + [
        row(f"{operation}-while-migrating", operation, params, code, "")
        for operation, params, code in MEANWHILE
    ]
)


@pytest.mark.parametrize(("operation", "params", "code", "status", "fragment"), ROWS)
async def test_refuses(
    api: Api, operation: str, params: dict[str, Any], code: str, status: int, fragment: str
) -> None:
    before = await api.store.revision(SCOPE)
    with pytest.raises(Refused) as refusal:
        await api(operation, **params)
    assert (refusal.value.code, refusal.value.status) == (code, status)
    assert fragment in refusal.value.message
    assert await api.store.revision(SCOPE) == before, "a refused call changed the records"
