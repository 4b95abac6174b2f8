"""What the service refuses of reserved nodes.

Each row is one call, and the answer: code, status, and a fragment of the message.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cachefleet.engine.catalog import Catalog
from tests.support.api import Api, Refused, open_api

ARN = "arn:aws:elasticache:us-east-1:000000000000"
OFFERING = next(iter(Catalog.load().offerings("us-east-1")))
ELSEWHERE = next(iter(Catalog.load().offerings("eu-west-1")))


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """One scope with one reservation for all rows: what is refused changes nothing."""
    async with open_api(tmp_path_factory.mktemp("fleet")) as opened:
        await opened("PurchaseReservedCacheNodesOffering", **purchase(ReservedCacheNodeId="taken"))
        yield opened


def purchase(**params: Any) -> dict[str, Any]:
    return {"ReservedCacheNodesOfferingId": OFFERING, **params}


def row(
    id_: str, operation: str, params: dict[str, Any], code: str, fragment: str, status: int = 400
) -> Any:
    return pytest.param(operation, params, code, status, fragment, id=id_)


BUY, LIST = "PurchaseReservedCacheNodesOffering", "DescribeReservedCacheNodes"
OFFERINGS = "DescribeReservedCacheNodesOfferings"
BAD_VALUE = "InvalidParameterValue"
TAG = {"Key": "k", "Value": "v"}

LISTINGS: list[tuple[str, dict[str, Any], str]] = [
    ("duration", {"Duration": "2"}, "Duration"),
    ("offering-type", {"OfferingType": "Upfront"}, "OfferingType"),
    ("small-page", {"MaxRecords": 19}, "MaxRecords"),
    ("large-page", {"MaxRecords": 101}, "MaxRecords"),
    ("marker", {"Marker": "nonsense"}, "Marker"),
]

ROWS = [
    row(
        "unknown-offering",
        BUY,
        purchase(ReservedCacheNodesOfferingId="438012d3-4052-4cc7-b2e3-8d3372e0e706"),
        "ReservedCacheNodesOfferingNotFound",
        "438012d3",
        404,
    ),
    row(
        "offering-of-another-region",
        BUY,
        purchase(ReservedCacheNodesOfferingId=ELSEWHERE),
        "ReservedCacheNodesOfferingNotFound",
        ELSEWHERE,
        404,
    ),
    row("no-offering", BUY, {}, BAD_VALUE, "ReservedCacheNodesOfferingId"),
    # The service answers 404 here, whatever one may think of it.
    row(
        "taken-in-any-case",
        BUY,
        purchase(ReservedCacheNodeId="TAKEN"),
        "ReservedCacheNodeAlreadyExists",
        "taken",
        404,
    ),
    row("bad-name", BUY, purchase(ReservedCacheNodeId="a_b"), BAD_VALUE, "ReservedCacheNodeId"),
    row("no-nodes", BUY, purchase(CacheNodeCount=0), BAD_VALUE, "CacheNodeCount"),
    row("fewer-than-none", BUY, purchase(CacheNodeCount=-1), BAD_VALUE, "CacheNodeCount"),
    row(
        "too-many-nodes",
        BUY,
        purchase(CacheNodeCount=300),
        "ReservedCacheNodeQuotaExceeded",
        "300",
    ),
    row(
        "too-many-tags",
        BUY,
        purchase(Tags=[{"Key": f"k{n}", "Value": ""} for n in range(51)]),
        "TagQuotaPerResourceExceeded",
        "50",
    ),
    row("tag-twice", BUY, purchase(Tags=[TAG, TAG]), BAD_VALUE, "more than once"),
    row(
        "unknown-reservation",
        LIST,
        {"ReservedCacheNodeId": "nobody"},
        "ReservedCacheNodeNotFound",
        "nobody",
        404,
    ),
    row(
        "tags-of-an-unknown-reservation",
        "ListTagsForResource",
        {"ResourceName": f"{ARN}:reserved-instance:nobody"},
        "ReservedCacheNodeNotFound",
        "nobody",
        404,
    ),
] + [
    row(f"{what}-{operation}", operation, params, BAD_VALUE, fragment)
    for operation in (LIST, OFFERINGS)
    for what, params, fragment in LISTINGS
]


@pytest.mark.parametrize(("operation", "params", "code", "status", "fragment"), ROWS)
async def test_refuses(
    api: Api, operation: str, params: dict[str, Any], code: str, status: int, fragment: str
) -> None:
    before = await api.listed(LIST, "ReservedCacheNodes")
    with pytest.raises(Refused) as refusal:
        await api(operation, **params)
    assert (refusal.value.code, refusal.value.status) == (code, status)
    assert fragment in refusal.value.message
    assert await api.listed(LIST, "ReservedCacheNodes") == before
