"""What the service refuses of tags, of listings and of events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.parity.used_groups import ARN, CASES, check, populate, row
from tests.support.api import Api, open_api

TAG = {"Key": "k", "Value": "v"}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """One fleet for all rows: what is refused changes nothing, which each row checks."""
    async with open_api(tmp_path_factory.mktemp("fleet")) as opened:
        await populate(opened)
        yield opened


PAGES = [
    row(
        f"{operation}-{name}-{value}",
        operation,
        {**params, name: value},
        "InvalidParameterValue",
        name,
    )
    for operation, params in [
        ("DescribeCacheSubnetGroups", {}),
        ("DescribeCacheParameterGroups", {}),
        ("DescribeCacheParameters", {"CacheParameterGroupName": "free"}),
        ("DescribeEngineDefaultParameters", {"CacheParameterGroupFamily": "redis7"}),
        ("DescribeCacheEngineVersions", {}),
        ("DescribeEvents", {}),
        ("DescribeCacheSecurityGroups", {}),
        ("DescribeCacheClusters", {}),
        ("DescribeReplicationGroups", {}),
    ]
    for name, value in [("MaxRecords", 19), ("MaxRecords", 101), ("Marker", "garbage")]
]

EVENTS = [
    row(
        "events-of-an-id-without-type",
        "DescribeEvents",
        {"SourceIdentifier": "demo"},
        "InvalidParameterCombination",
        "SourceType",
    ),
    row(
        "events-of-unknown-type",
        "DescribeEvents",
        {"SourceType": "cache-node"},
        "InvalidParameterValue",
        "SourceType",
    ),
    row("events-duration", "DescribeEvents", {"Duration": 20161}, "InvalidParameterValue", "20160"),
    row(
        "events-end-before-start",
        "DescribeEvents",
        {"StartTime": "2026-01-02T00:00:00Z", "EndTime": "2026-01-01T00:00:00Z"},
        "InvalidParameterCombination",
        "EndTime",
    ),
]

TAG_CALLS: list[tuple[str, dict[str, Any]]] = [
    ("AddTagsToResource", {"Tags": [TAG]}),
    ("RemoveTagsFromResource", {"TagKeys": ["k"]}),
    ("ListTagsForResource", {}),
]


def tagging(id_: str, arn: str, code: str, fragment: str, status: int = 400) -> list[Any]:
    """Return rows for all three tag operations, which check the resource alike."""
    return [
        row(
            f"{id_}-{operation}", operation, {"ResourceName": arn, **params}, code, fragment, status
        )
        for operation, params in TAG_CALLS
    ]


NOT_AVAILABLE = "Cluster not in available state to perform tagging operations."

TAGS = [
    *tagging("arn-parts", "demo", "InvalidARN", "Input ARN string does not have 7 components."),
    *tagging("arn-partition", f"{ARN}:cluster:demo".replace("arn:aws", "arn:aws-cn"), "InvalidARN",
             "partition field is wrong. Expected value is aws"),
    *tagging("arn-service", f"{ARN}:cluster:demo".replace("elasticache", "s3"), "InvalidARN",
             "service field is wrong. Expected value is elasticache"),
    *tagging("arn-region", f"{ARN}:cluster:demo".replace("us-east-1", "eu-west-1"),
             "InvalidParameterValue", "Unauthorized call. Please check the region or customer id"),
    *tagging("arn-account", f"{ARN}:cluster:demo".replace("000000000000", "111111111111"),
             "InvalidParameterValue", "The resource ARN does not belong to the caller's account."),
    *tagging("arn-kind", f"{ARN}:broom:demo", "InvalidARN", ""),
    *tagging("arn-global", f"{ARN}:globalreplicationgroup:demo".replace("us-east-1", ""),
             "InvalidParameterValue", ""),
    *tagging("cluster", f"{ARN}:cluster:none", "CacheClusterNotFound", "none", 404),
    *tagging("group", f"{ARN}:replicationgroup:none", "ReplicationGroupNotFoundFault", "none", 404),
    *tagging("group-for-member", f"{ARN}:replicationgroup:rg-001", "ReplicationGroupNotFoundFault",
             "rg-001", 404),
    *tagging("cluster-for-group", f"{ARN}:cluster:rg", "CacheClusterNotFound", "rg", 404),
    *tagging("snapshot", f"{ARN}:snapshot:none", "SnapshotNotFoundFault", "none", 404),
    *tagging("pg", f"{ARN}:parametergroup:none", "CacheParameterGroupNotFound",
             "none is not present", 404),
    *tagging("subnets", f"{ARN}:subnetgroup:none", "CacheSubnetGroupNotFoundFault", "none"),
    *tagging("sg", f"{ARN}:securitygroup:none", "CacheSecurityGroupNotFound", "none", 404),
    *tagging("user", f"{ARN}:user:none", "UserNotFound", "none", 404),
    *tagging("user-group", f"{ARN}:usergroup:none", "UserGroupNotFound", "none", 404),
    *tagging("reserved", f"{ARN}:reserved-instance:none", "ReservedCacheNodeNotFound", "none", 404),
    *tagging("serverless", f"{ARN}:serverlesscache:none", "ServerlessCacheNotFoundFault", "none",
             404),
    *tagging("serverless-snapshot", f"{ARN}:serverlesscachesnapshot:none",
             "ServerlessCacheSnapshotNotFoundFault", "none", 404),
    *tagging("default-pg", f"{ARN}:parametergroup:default.redis7", "InvalidParameterValue",
             "default group"),
    *tagging("default-subnets", f"{ARN}:subnetgroup:default", "InvalidParameterValue", "default"),
    *tagging("busy-cluster", f"{ARN}:cluster:modifying", "InvalidReplicationGroupState",
             NOT_AVAILABLE),
    *tagging("busy-group", f"{ARN}:replicationgroup:moving", "InvalidReplicationGroupState",
             NOT_AVAILABLE),
    *tagging("busy-member", f"{ARN}:replicationgroup:half", "InvalidReplicationGroupState",
             NOT_AVAILABLE),
    *tagging("member-of-busy-group", f"{ARN}:cluster:moving-001", "InvalidReplicationGroupState",
             "Replication Group of moving-001 is not available."),
    *tagging("member-beside-a-busy-one", f"{ARN}:cluster:half-001", "InvalidReplicationGroupState",
             "Replication Group of half-001 is not available."),
]  # fmt: skip

TAG_RULES = [
    row(f"tags-{id_}", "AddTagsToResource", {"ResourceName": f"{ARN}:cluster:demo", "Tags": tags},
        code, fragment)
    for id_, tags, code, fragment in [
        ("none", [], "InvalidParameterValue", "Tags"),
        ("no-key", [{"Value": "v"}], "InvalidParameterValue", "1 to 128"),
        ("long-key", [{"Key": "k" * 129}], "InvalidParameterValue", "1 to 128"),
        ("long-value", [{"Key": "k", "Value": "v" * 257}], "InvalidParameterValue", "256"),
        ("reserved", [{"Key": "aws:k"}], "InvalidParameterValue", "aws:"),
        ("twice", [TAG, TAG], "InvalidParameterValue", "more than once"),
        ("fifty-one", [{"Key": f"k{n}"} for n in range(51)], "TagQuotaPerResourceExceeded", "50"),
    ]
] + [
    row("remove-no-keys", "RemoveTagsFromResource",
        {"ResourceName": f"{ARN}:cluster:demo", "TagKeys": []}, "InvalidParameterValue", "TagKeys"),
    row("remove-missing-key", "RemoveTagsFromResource",
        {"ResourceName": f"{ARN}:cluster:demo", "TagKeys": ["k"]}, "TagNotFound", "k", 404),
]  # fmt: skip


@pytest.mark.parametrize(CASES, [*PAGES, *EVENTS, *TAGS, *TAG_RULES])
async def test_refuses(
    api: Api, operation: str, params: dict[str, Any], code: str, status: int, fragment: str
) -> None:
    await check(api, operation, params, code, status, fragment)
