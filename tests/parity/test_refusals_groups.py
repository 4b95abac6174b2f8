"""What the service refuses of subnet groups, parameter groups, events, tags, security groups.

Each row is one call on a fleet with a few groups and caches, and the answer: code, status, and the
fragment of the message that clients match.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.builders import groups
from tests.support.api import SCOPE, Api, Refused, open_api

ARN = "arn:aws:elasticache:us-east-1:000000000000"
IDENTIFIER = (
    "is not a valid identifier. Identifiers must begin with a letter; must contain only ASCII "
    "letters, digits, and hyphens; and must not end with a hyphen or contain two consecutive "
    "hyphens."
)
TAG = {"Key": "k", "Value": "v"}
PAIR = {"ParameterName": "timeout", "ParameterValue": "30"}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """One fleet for all rows: what is refused changes nothing, which each row checks."""
    async with open_api(tmp_path_factory.mktemp("fleet")) as opened:
        async with opened.store.begin(SCOPE) as tx:
            groups.subnet_group(tx, "free")
            groups.subnet_group(tx, "used")
            groups.parameter_group(tx, "free")
            groups.parameter_group(tx, "used", values={"timeout": "60"})
            groups.parameter_group(tx, "busy")
            groups.parameter_group(tx, "tagged-out")
            uses: dict[str, Any] = {"subnet_group_name": "used", "parameter_group_name": "used"}
            await groups.cache_cluster(tx, "demo", **uses)
            await groups.cache_cluster(
                tx, "late", parameter_group_name="busy", parameter_group_status="applying"
            )
            await groups.cache_cluster(tx, "modifying", status="modifying")
            await groups.replication_group(tx, "rg")
            await groups.replication_group(tx, "moving", status="modifying")
            half = await groups.replication_group(tx, "half")
            member = await groups.cache_cluster(
                tx, "half-003", group=half, status="creating", zone="us-east-1c"
            )
            assert member.status != half.status
        yield opened


def subnet_group(**params: Any) -> dict[str, Any]:
    return {
        "CacheSubnetGroupName": "new",
        "CacheSubnetGroupDescription": "d",
        "SubnetIds": ["subnet-a"],
        **params,
    }


def parameter_group(**params: Any) -> dict[str, Any]:
    return {
        "CacheParameterGroupName": "new",
        "CacheParameterGroupFamily": "redis7",
        "Description": "d",
        **params,
    }


def row(
    id_: str, operation: str, params: dict[str, Any], code: str, fragment: str, status: int = 400
) -> Any:
    return pytest.param(operation, params, code, status, fragment, id=id_)


SUBNET_GROUPS = [
    row(
        f"subnet-group-name-{name or 'empty'}",
        "CreateCacheSubnetGroup",
        subnet_group(CacheSubnetGroupName=name),
        "InvalidParameterValue",
        f"The parameter CacheSubnetGroupName {IDENTIFIER}" if name else "must be provided",
    )
    for name in ["", "1a", "a_b", "a-", "a--b", "ä"]
] + [
    row(
        "subnet-group-long-name",
        "CreateCacheSubnetGroup",
        subnet_group(CacheSubnetGroupName="a" * 256),
        "InvalidParameterValue",
        "CacheSubnetGroupName",
    ),
    row(
        "subnet-group-reserved-name",
        "CreateCacheSubnetGroup",
        subnet_group(CacheSubnetGroupName="Default"),
        "InvalidParameterValue",
        "reserved",
    ),
    row(
        "subnet-group-no-subnets",
        "CreateCacheSubnetGroup",
        subnet_group(SubnetIds=[]),
        "InvalidParameterValue",
        "The parameter SubnetIds must be provided.",
    ),
    row(
        "subnet-group-no-description",
        "CreateCacheSubnetGroup",
        subnet_group(CacheSubnetGroupDescription=""),
        "InvalidParameterValue",
        "CacheSubnetGroupDescription",
    ),
    row(
        "subnet-group-long-description",
        "CreateCacheSubnetGroup",
        subnet_group(CacheSubnetGroupDescription="d" * 256),
        "InvalidParameterValue",
        "CacheSubnetGroupDescription",
    ),
    row(
        "subnet-group-unknown-subnets",
        "CreateCacheSubnetGroup",
        subnet_group(SubnetIds=["vpc-1", "subnet-a", "nonsense"]),
        "InvalidParameterValue",
        "Some input subnets in :[vpc-1, nonsense] are invalid.",
    ),
    row(
        "subnet-group-taken-in-any-case",
        "CreateCacheSubnetGroup",
        subnet_group(CacheSubnetGroupName="FREE"),
        "CacheSubnetGroupAlreadyExists",
        "Cache subnet group free already exists.",
    ),
    row(
        "subnet-group-21-subnets",
        "CreateCacheSubnetGroup",
        subnet_group(SubnetIds=[f"subnet-{n}" for n in range(21)]),
        "CacheSubnetQuotaExceededFault",
        "20 subnets",
    ),
    row(
        "subnet-group-tags",
        "CreateCacheSubnetGroup",
        subnet_group(Tags=[{"Key": "aws:x", "Value": ""}]),
        "InvalidParameterValue",
        "aws:",
    ),
    row(
        "describe-unknown-subnet-group",
        "DescribeCacheSubnetGroups",
        {"CacheSubnetGroupName": "none"},
        "CacheSubnetGroupNotFoundFault",
        "Cache subnet group none not found.",
    ),
    row(
        "modify-unknown-subnet-group",
        "ModifyCacheSubnetGroup",
        {"CacheSubnetGroupName": "none"},
        "CacheSubnetGroupNotFoundFault",
        "Cache subnet group none not found.",
    ),
    row(
        "modify-to-no-subnets",
        "ModifyCacheSubnetGroup",
        {"CacheSubnetGroupName": "free", "SubnetIds": []},
        "InvalidParameterValue",
        "The parameter SubnetIds must be provided.",
    ),
    row(
        "modify-to-no-description",
        "ModifyCacheSubnetGroup",
        {"CacheSubnetGroupName": "free", "CacheSubnetGroupDescription": ""},
        "InvalidParameterValue",
        "CacheSubnetGroupDescription",
    ),
    row(
        "modify-to-21-subnets",
        "ModifyCacheSubnetGroup",
        {"CacheSubnetGroupName": "free", "SubnetIds": [f"subnet-{n}" for n in range(21)]},
        "CacheSubnetQuotaExceededFault",
        "20 subnets",
    ),
    row(
        "modify-drops-the-subnet-of-a-node",
        "ModifyCacheSubnetGroup",
        {"CacheSubnetGroupName": "used", "SubnetIds": ["subnet-b"]},
        "SubnetInUse",
        "subnet-a",
    ),
    row(
        "modify-default-subnet-group",
        "ModifyCacheSubnetGroup",
        {"CacheSubnetGroupName": "default", "CacheSubnetGroupDescription": "d"},
        "InvalidParameterValue",
        "default",
    ),
    row(
        "delete-unknown-subnet-group",
        "DeleteCacheSubnetGroup",
        {"CacheSubnetGroupName": "none"},
        "CacheSubnetGroupNotFoundFault",
        "Cache Subnet Group none does not exist",
    ),
    row(
        "delete-subnet-group-in-use",
        "DeleteCacheSubnetGroup",
        {"CacheSubnetGroupName": "Used"},
        "CacheSubnetGroupInUse",
        "Cache subnet group used is currently in use by a cache cluster.",
    ),
    row(
        "delete-default-subnet-group",
        "DeleteCacheSubnetGroup",
        {"CacheSubnetGroupName": "Default"},
        "InvalidParameterValue",
        "default",
    ),
]

PARAMETER_GROUPS = [
    row(
        f"parameter-group-name-{name}",
        "CreateCacheParameterGroup",
        parameter_group(CacheParameterGroupName=name),
        "InvalidParameterValue",
        f"The parameter CacheParameterGroupName {IDENTIFIER}",
    )
    for name in ["default.redis7", "1a", "a_b", "a-", "a--b"]
] + [
    row(
        "parameter-group-taken-in-any-case",
        "CreateCacheParameterGroup",
        parameter_group(CacheParameterGroupName="FREE"),
        "CacheParameterGroupAlreadyExists",
        "Parameter group free already exists",
    ),
    row(
        "parameter-group-unknown-family",
        "CreateCacheParameterGroup",
        parameter_group(CacheParameterGroupFamily="redis99"),
        "InvalidParameterValue",
        "CacheParameterGroupFamily redis99 is not a valid parameter group family.",
    ),
    row(
        "parameter-group-no-description",
        "CreateCacheParameterGroup",
        parameter_group(Description=""),
        "InvalidParameterValue",
        "Description",
    ),
    row(
        "parameter-group-long-description",
        "CreateCacheParameterGroup",
        parameter_group(Description="d" * 256),
        "InvalidParameterValue",
        "Description",
    ),
    row(
        "describe-unknown-parameter-group",
        "DescribeCacheParameterGroups",
        {"CacheParameterGroupName": "none"},
        "CacheParameterGroupNotFound",
        "CacheParameterGroup none not found.",
        404,
    ),
    row(
        "parameters-of-unknown-group",
        "DescribeCacheParameters",
        {"CacheParameterGroupName": "none"},
        "CacheParameterGroupNotFound",
        "CacheParameterGroup none not found.",
        404,
    ),
    row(
        "parameters-of-unknown-source",
        "DescribeCacheParameters",
        {"CacheParameterGroupName": "free", "Source": "customer"},
        "InvalidParameterValue",
        "Source",
    ),
    row(
        "defaults-of-unknown-family",
        "DescribeEngineDefaultParameters",
        {"CacheParameterGroupFamily": "redis99"},
        "InvalidParameterValue",
        "redis99",
    ),
    row(
        "modify-unknown-parameter-group",
        "ModifyCacheParameterGroup",
        {"CacheParameterGroupName": "none", "ParameterNameValues": [PAIR]},
        "CacheParameterGroupNotFound",
        "CacheParameterGroup not found: none",
        404,
    ),
    row(
        "reset-unknown-parameter-group",
        "ResetCacheParameterGroup",
        {"CacheParameterGroupName": "none", "ResetAllParameters": True},
        "CacheParameterGroupNotFound",
        "CacheParameterGroup not found: none",
        404,
    ),
    row(
        "modify-default-parameter-group",
        "ModifyCacheParameterGroup",
        {"CacheParameterGroupName": "default.redis7", "ParameterNameValues": [PAIR]},
        "InvalidParameterValue",
        "The parameter group default.redis7 is a default group and cannot be modified.",
    ),
    row(
        "reset-default-parameter-group",
        "ResetCacheParameterGroup",
        {"CacheParameterGroupName": "default.redis7.cluster.on", "ResetAllParameters": True},
        "InvalidParameterValue",
        "The parameter group default.redis7.cluster.on is a default group and cannot be modified.",
    ),
    row(
        "modify-nothing",
        "ModifyCacheParameterGroup",
        {"CacheParameterGroupName": "free", "ParameterNameValues": []},
        "InvalidParameterValue",
        "ParameterNameValues",
    ),
    row(
        "modify-twenty-one",
        "ModifyCacheParameterGroup",
        {"CacheParameterGroupName": "free", "ParameterNameValues": [PAIR] * 21},
        "InvalidParameterValue",
        "1 to 20",
    ),
    row(
        "modify-twice",
        "ModifyCacheParameterGroup",
        {"CacheParameterGroupName": "free", "ParameterNameValues": [PAIR, PAIR]},
        "InvalidParameterValue",
        "more than once",
    ),
    row(
        "modify-unknown-parameter",
        "ModifyCacheParameterGroup",
        {"CacheParameterGroupName": "free", "ParameterNameValues": [{"ParameterName": "none"}]},
        "InvalidParameterValue",
        "Parameter none doesn't exist",
    ),
    row(
        "modify-fixed-parameter",
        "ModifyCacheParameterGroup",
        {
            "CacheParameterGroupName": "free",
            "ParameterNameValues": [{"ParameterName": "maxclients", "ParameterValue": "1"}],
        },
        "InvalidParameterValue",
        "The parameter maxclients cannot be modified.",
    ),
    row(
        "modify-creation-time-parameter-in-use",
        "ModifyCacheParameterGroup",
        {
            "CacheParameterGroupName": "used",
            "ParameterNameValues": [{"ParameterName": "databases", "ParameterValue": "4"}],
        },
        "InvalidParameterValue",
        "The parameter databases cannot be modified.",
    ),
    *(
        row(
            f"modify-{name}-to-{value}",
            "ModifyCacheParameterGroup",
            {
                "CacheParameterGroupName": "free",
                "ParameterNameValues": [{"ParameterName": name, "ParameterValue": value}],
            },
            "InvalidParameterValue",
            "invalid parameter value, allowed values are:",
        )
        for name, value in [
            ("timeout", "soon"),
            ("timeout", "1.5"),
            ("timeout", "19"),
            ("timeout", "2147483648"),
            ("timeout", ""),
            ("notify-keyspace-events", "?"),
            ("maxmemory-policy", "ALLKEYS-LRU"),
        ]
    ),
    row(
        "modify-outside-allowed-values",
        "ModifyCacheParameterGroup",
        {
            "CacheParameterGroupName": "free",
            "ParameterNameValues": [
                PAIR,
                {"ParameterName": "activedefrag", "ParameterValue": "maybe"},
            ],
        },
        "InvalidParameterValue",
        "invalid parameter value, allowed values are:yes,no",
    ),
    row(
        "reset-neither",
        "ResetCacheParameterGroup",
        {"CacheParameterGroupName": "free"},
        "InvalidParameterCombination",
        "ResetAllParameters",
    ),
    row(
        "reset-neither-by-false",
        "ResetCacheParameterGroup",
        {"CacheParameterGroupName": "free", "ResetAllParameters": False},
        "InvalidParameterCombination",
        "ResetAllParameters",
    ),
    row(
        "reset-both",
        "ResetCacheParameterGroup",
        {
            "CacheParameterGroupName": "free",
            "ResetAllParameters": True,
            "ParameterNameValues": [PAIR],
        },
        "InvalidParameterCombination",
        "ResetAllParameters",
    ),
    row(
        "reset-reserved-memory",
        "ResetCacheParameterGroup",
        {
            "CacheParameterGroupName": "free",
            "ParameterNameValues": [{"ParameterName": "reserved-memory"}],
        },
        "InvalidParameterValue",
        "Parameter reserved-memory doesn't exist",
    ),
    row(
        "reset-fixed-parameter",
        "ResetCacheParameterGroup",
        {
            "CacheParameterGroupName": "used",
            "ParameterNameValues": [{"ParameterName": "databases"}],
        },
        "InvalidParameterValue",
        "The parameter databases cannot be modified.",
    ),
    row(
        "reset-while-applying",
        "ResetCacheParameterGroup",
        {"CacheParameterGroupName": "busy", "ResetAllParameters": True},
        "InvalidCacheParameterGroupState",
        "busy has pending changes",
    ),
    row(
        "delete-unknown-parameter-group",
        "DeleteCacheParameterGroup",
        {"CacheParameterGroupName": "none"},
        "CacheParameterGroupNotFound",
        "CacheParameterGroupnot found: none",
        404,
    ),
    row(
        "delete-default-parameter-group",
        "DeleteCacheParameterGroup",
        {"CacheParameterGroupName": "default.redis7"},
        "InvalidParameterValue",
        IDENTIFIER,
    ),
    row(
        "delete-parameter-group-in-use",
        "DeleteCacheParameterGroup",
        {"CacheParameterGroupName": "USED"},
        "InvalidCacheParameterGroupState",
        "One or more cache clusters are still members of this parameter group used, so the group "
        "cannot be deleted.",
    ),
]

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

SECURITY_GROUPS = [
    row(
        operation,
        operation,
        params,
        "InvalidParameterValue",
        "Use of cache security groups is not permitted in this API version for your account.",
    )
    for operation, params in [
        ("CreateCacheSecurityGroup", {"CacheSecurityGroupName": "a", "Description": "d"}),
        ("DeleteCacheSecurityGroup", {"CacheSecurityGroupName": "a"}),
        ("DescribeCacheSecurityGroups", {"CacheSecurityGroupName": "a"}),
        (
            "AuthorizeCacheSecurityGroupIngress",
            {
                "CacheSecurityGroupName": "a",
                "EC2SecurityGroupName": "b",
                "EC2SecurityGroupOwnerId": "000000000000",
            },
        ),
        (
            "RevokeCacheSecurityGroupIngress",
            {
                "CacheSecurityGroupName": "a",
                "EC2SecurityGroupName": "b",
                "EC2SecurityGroupOwnerId": "000000000000",
            },
        ),
    ]
]


@pytest.mark.parametrize(
    ("operation", "params", "code", "status", "fragment"),
    [
        *SUBNET_GROUPS,
        *PARAMETER_GROUPS,
        *PAGES,
        *EVENTS,
        *TAGS,
        *TAG_RULES,
        *SECURITY_GROUPS,
    ],
)
async def test_refuses(
    api: Api, operation: str, params: dict[str, Any], code: str, status: int, fragment: str
) -> None:
    before = await api.store.revision(SCOPE)
    with pytest.raises(Refused) as refusal:
        await api(operation, **params)
    assert (refusal.value.code, refusal.value.status) == (code, status)
    assert fragment in refusal.value.message
    assert await api.store.revision(SCOPE) == before, "a refused call changed the records"
