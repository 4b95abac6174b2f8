"""Reserved nodes through the front-end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import Api, Refused, open_api

ARN = "arn:aws:elasticache:us-east-1:000000000000:reserved-instance"
YEAR_S = 31_536_000
OF = {"CacheNodeType": "cache.r7g.large", "ProductDescription": "redis"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        yield opened


async def offering(api: Api, **more: Any) -> dict[str, Any]:
    wanted = {**OF, "Duration": "1", "OfferingType": "Partial Upfront", **more}
    answer = await api("DescribeReservedCacheNodesOfferings", **wanted)
    (one,) = answer["ReservedCacheNodesOfferings"]
    found: dict[str, Any] = one
    return found


async def buy(api: Api, **more: Any) -> dict[str, Any]:
    identity = (await offering(api))["ReservedCacheNodesOfferingId"]
    answer = await api(
        "PurchaseReservedCacheNodesOffering", ReservedCacheNodesOfferingId=identity, **more
    )
    node: dict[str, Any] = answer["ReservedCacheNode"]
    return node


async def listed(api: Api, **filters: Any) -> list[str]:
    rows = await api.listed("DescribeReservedCacheNodes", "ReservedCacheNodes", **filters)
    return [row["ReservedCacheNodeId"] for row in rows]


async def test_pages_of_offerings_hold_each_once_in_order_of_id(api: Api) -> None:
    whole = await api.listed(
        "DescribeReservedCacheNodesOfferings", "ReservedCacheNodesOfferings", MaxRecords=100
    )
    ids = [one["ReservedCacheNodesOfferingId"] for one in whole]
    assert ids == sorted(set(ids))
    assert len(ids) > 1000
    assert {one["ProductDescription"] for one in whole} == {"redis", "valkey", "memcached"}


async def test_filters_narrow_offerings_and_empty_ones_are_none(api: Api) -> None:
    one = await offering(api, ReservedCacheNodesOfferingId="")
    assert one["Duration"] == YEAR_S
    assert one["FixedPrice"] > 0
    assert one["UsagePrice"] == 0
    (charge,) = one["RecurringCharges"]
    assert charge["RecurringChargeFrequency"] == "Hourly"
    assert await offering(api, Duration=str(YEAR_S)) == one
    assert await offering(api, Duration="P1Y") == one
    assert (
        await offering(
            api, ReservedCacheNodesOfferingId=one["ReservedCacheNodesOfferingId"].upper()
        )
        == one
    )
    assert (await offering(api, Duration="3"))["Duration"] == 3 * YEAR_S
    for nothing in ({"CacheNodeType": "cache.r7g.nano"}, {"ReservedCacheNodesOfferingId": "x"}):
        answer = await api("DescribeReservedCacheNodesOfferings", **nothing)
        assert answer["ReservedCacheNodesOfferings"] == []


async def test_use_is_paid_where_nothing_recurs(api: Api) -> None:
    answer = await api(
        "DescribeReservedCacheNodesOfferings",
        CacheNodeType="cache.m1.small",
        OfferingType="Medium Utilization",
        Duration="3",
    )
    (one,) = answer["ReservedCacheNodesOfferings"]
    assert one["UsagePrice"] > 0
    assert one["RecurringCharges"] == []


async def test_a_purchase_has_the_terms_of_its_offering(api: Api) -> None:
    terms = await offering(api)
    bought = await buy(api, ReservedCacheNodeId="Mine", CacheNodeCount=3)
    assert bought.items() >= terms.items()
    assert bought["ReservedCacheNodeId"] == "mine"
    assert bought["CacheNodeCount"] == 3
    assert bought["State"] == "payment-pending"
    assert bought["ReservationARN"] == f"{ARN}:mine"
    api.clock.advance(2)
    (shown,) = (await api("DescribeReservedCacheNodes", ReservedCacheNodeId="MINE"))[
        "ReservedCacheNodes"
    ]
    assert shown == {**bought, "State": "active"}
    api.clock.advance(YEAR_S)
    (shown,) = (await api("DescribeReservedCacheNodes"))["ReservedCacheNodes"]
    assert shown["State"] == "retired"


async def test_a_name_is_made_of_the_instant_where_none_is_given(api: Api) -> None:
    assert (await buy(api))["ReservedCacheNodeId"] == "ri-2026-01-02-03-04-05-000"


async def test_reservations_are_filtered_and_paged(api: Api) -> None:
    for number in range(25):
        await buy(api, ReservedCacheNodeId=f"r{number:02}")
    assert await listed(api, MaxRecords=20) == [f"r{number:02}" for number in range(25)]
    assert len(await listed(api, Duration="1", **OF)) == 25
    for nothing in ({"Duration": "3"}, {"ProductDescription": "valkey"}):
        assert await listed(api, **nothing) == []


async def test_a_reservation_is_tagged(api: Api) -> None:
    await buy(api, ReservedCacheNodeId="mine", Tags=[{"Key": "k", "Value": "v"}])
    tagged = await api("ListTagsForResource", ResourceName=f"{ARN}:mine")
    assert tagged == {"TagList": [{"Key": "k", "Value": "v"}]}
    after = await api("RemoveTagsFromResource", ResourceName=f"{ARN}:mine", TagKeys=["k"])
    assert after == {"TagList": []}


async def test_a_region_has_300(api: Api) -> None:
    await buy(api, ReservedCacheNodeId="most", CacheNodeCount=299)
    await buy(api, ReservedCacheNodeId="last")
    for count in (1, 10**9):
        with pytest.raises(Refused) as refusal:
            await buy(api, ReservedCacheNodeId="one-more", CacheNodeCount=count)
        assert refusal.value.code == "ReservedCacheNodeQuotaExceeded"
    assert await listed(api) == ["last", "most"]
