"""What the service refuses of subnet groups, parameter groups and cache security groups."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.parity.used_groups import CASES, check, populate, row
from tests.support.api import Api, open_api

IDENTIFIER = (
    "is not a valid identifier. Identifiers must begin with a letter; must contain only ASCII "
    "letters, digits, and hyphens; and must not end with a hyphen or contain two consecutive "
    "hyphens."
)
PAIR = {"ParameterName": "timeout", "ParameterValue": "30"}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """One fleet for all rows: what is refused changes nothing, which each row checks."""
    async with open_api(tmp_path_factory.mktemp("fleet")) as opened:
        await populate(opened)
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


@pytest.mark.parametrize(CASES, [*SUBNET_GROUPS, *PARAMETER_GROUPS, *SECURITY_GROUPS])
async def test_refuses(
    api: Api, operation: str, params: dict[str, Any], code: str, status: int, fragment: str
) -> None:
    await check(api, operation, params, code, status, fragment)
