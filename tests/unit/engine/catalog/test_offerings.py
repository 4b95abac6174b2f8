"""What reserved nodes are offered."""

from __future__ import annotations

import pytest

from cachefleet.engine.catalog import Catalog
from cachefleet.engine.catalog.documents import document, rows

CATALOG = Catalog.load()


def test_the_rule_makes_the_published_rows() -> None:
    offered = CATALOG.offerings("us-east-1")
    for identity, node_type, duration_s, fixed, usage, product, kind, hourly in document(
        "reserved_offerings"
    )["offerings"]:
        one = offered[identity]
        assert (one.node_type, one.duration_s, one.product) == (node_type, duration_s, product)
        assert (one.offering_type, one.fixed_price, one.usage_price) == (kind, fixed, usage)
        assert one.recurring_hourly == pytest.approx(hourly, abs=0.0011)


def test_what_has_a_price_is_offered_for_one_year_and_three() -> None:
    offered = CATALOG.offerings("eu-west-1").values()
    for node_type in CATALOG.node_types():
        for product, price in node_type.usd_hour.items():
            mine = [
                one for one in offered if (one.node_type, one.product) == (node_type.name, product)
            ]
            if price is not None:
                assert {one.duration_s for one in mine} == {31_536_000, 94_608_000}


def test_what_has_no_price_is_offered_as_it_was_seen() -> None:
    offered = {
        (one.node_type, one.product, one.duration_s, one.offering_type): one
        for one in CATALOG.offerings("us-east-1").values()
    }
    for row in rows(document("reserved_offerings")["observed_aws_samples"]):
        key = tuple(
            row[name]
            for name in ("CacheNodeType", "ProductDescription", "Duration", "OfferingType")
        )
        assert key in offered
        if row["recurring_hourly"] is None:
            assert offered[key].usage_price == row["UsagePrice"] > 0


def test_ids_are_of_a_region_and_in_order() -> None:
    here, there = CATALOG.offerings("us-east-1"), CATALOG.offerings("eu-west-1")
    assert list(here) == sorted(here)
    assert not here.keys() & there.keys()
    assert len(here) == len(there)
