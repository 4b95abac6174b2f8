"""What the service refuses of log delivery, on new caches and on those that are there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.builders import groups
from tests.support.api import SCOPE, Api, Refused, open_api

LOGS = {"CloudWatchLogsDetails": {"LogGroup": "g"}}
HOSE = {"KinesisFirehoseDetails": {"DeliveryStream": "s"}}
WHOLE: dict[str, Any] = {
    "LogType": "slow-log",
    "DestinationType": "cloudwatch-logs",
    "DestinationDetails": LOGS,
    "LogFormat": "json",
}
COMBINATION, VALUE = "InvalidParameterCombination", "InvalidParameterValue"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    async with open_api(tmp_path_factory.mktemp("fleet")) as opened:
        async with opened.store.begin(SCOPE) as tx:
            await groups.replication_group(tx, "rg")
            await groups.cache_cluster(tx, "single")
            old: dict[str, Any] = {
                "engine_version": "5.0.6",
                "parameter_group_name": "default.redis5.0",
            }
            await groups.cache_cluster(tx, "old", **old)
            await groups.cache_cluster(tx, "mem", engine="memcached", engine_version="1.6.22")
        yield opened


def config(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**WHOLE, **changes}.items() if value is not None}


CONFIGURATIONS: list[tuple[str, list[dict[str, Any]], str, str]] = [
    ("twice", [config(), config(LogFormat="text")], VALUE, "more than once"),
    ("no-type", [config(LogType=None)], COMBINATION, "LogType"),
    ("no-destination-type", [config(DestinationType=None)], COMBINATION, "DestinationType"),
    ("no-details", [config(DestinationDetails=None)], COMBINATION, "DestinationDetails"),
    ("no-format", [config(LogFormat=None)], COMBINATION, "LogFormat"),
    ("other-details", [config(DestinationDetails=HOSE)], COMBINATION, "CloudWatchLogsDetails"),
    ("both-details", [config(DestinationDetails={**LOGS, **HOSE})], COMBINATION, "alone"),
    (
        "other-details-of-firehose",
        [config(DestinationType="kinesis-firehose")],
        COMBINATION,
        "KinesisFirehoseDetails",
    ),
    (
        "bad-group",
        [config(DestinationDetails={"CloudWatchLogsDetails": {"LogGroup": "a b"}})],
        VALUE,
        "LogGroup",
    ),
    (
        "long-group",
        [config(DestinationDetails={"CloudWatchLogsDetails": {"LogGroup": "g" * 513}})],
        VALUE,
        "LogGroup",
    ),
    (
        "bad-stream",
        [
            config(
                DestinationType="kinesis-firehose",
                DestinationDetails={"KinesisFirehoseDetails": {"DeliveryStream": "a/b"}},
            )
        ],
        VALUE,
        "DeliveryStream",
    ),
    ("unknown-type", [config(LogType="audit-log")], VALUE, "LogType"),
    ("unknown-format", [config(LogFormat="xml")], VALUE, "LogFormat"),
]
NEW_GROUP = {
    "ReplicationGroupId": "new",
    "ReplicationGroupDescription": "d",
    "CacheNodeType": "cache.t3.micro",
}
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("CreateReplicationGroup", NEW_GROUP),
    ("ModifyReplicationGroup", {"ReplicationGroupId": "rg", "ApplyImmediately": True}),
    (
        "CreateCacheCluster",
        {"CacheClusterId": "new", "CacheNodeType": "cache.t3.micro", "Engine": "redis"},
    ),
    ("ModifyCacheCluster", {"CacheClusterId": "single", "ApplyImmediately": True}),
]
OTHERS: list[tuple[str, str, dict[str, Any], str, str]] = [
    (
        "later",
        "ModifyReplicationGroup",
        {"ReplicationGroupId": "rg", "LogDeliveryConfigurations": [config()]},
        VALUE,
        "ApplyImmediately",
    ),
    (
        "member",
        "ModifyCacheCluster",
        {
            "CacheClusterId": "rg-001",
            "LogDeliveryConfigurations": [config()],
            "ApplyImmediately": True,
        },
        COMBINATION,
        "replication group rg",
    ),
    (
        "old-redis",
        "ModifyCacheCluster",
        {
            "CacheClusterId": "old",
            "LogDeliveryConfigurations": [config()],
            "ApplyImmediately": True,
        },
        COMBINATION,
        "slow-log",
    ),
    (
        "memcached",
        "CreateCacheCluster",
        {
            "CacheClusterId": "new",
            "CacheNodeType": "cache.t3.micro",
            "Engine": "memcached",
            "NumCacheNodes": 1,
            "LogDeliveryConfigurations": [config(LogType="engine-log")],
        },
        COMBINATION,
        "engine-log",
    ),
    (
        "engine-log-of-6.0",
        "CreateReplicationGroup",
        {
            **NEW_GROUP,
            "Engine": "redis",
            "EngineVersion": "6.0",
            "LogDeliveryConfigurations": [config(LogType="engine-log")],
        },
        COMBINATION,
        "engine-log",
    ),
]

ROWS = [
    pytest.param(
        operation,
        {**params, "LogDeliveryConfigurations": configurations},
        code,
        fragment,
        id=f"{operation}-{name}",
    )
    for operation, params in CALLS
    for name, configurations, code, fragment in CONFIGURATIONS
] + [
    pytest.param(operation, params, code, fragment, id=name)
    for name, operation, params, code, fragment in OTHERS
]


@pytest.mark.parametrize(("operation", "params", "code", "fragment"), ROWS)
async def test_refuses(
    api: Api, operation: str, params: dict[str, Any], code: str, fragment: str
) -> None:
    before = await api.store.revision(SCOPE)
    with pytest.raises(Refused) as refusal:
        await api(operation, **params)
    assert (refusal.value.code, refusal.value.status) == (code, 400)
    assert fragment in refusal.value.message
    assert await api.store.revision(SCOPE) == before, "a refused call changed the records"
