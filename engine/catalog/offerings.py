"""Reserved cache nodes that can be bought: made from the price list by the published samples' rule.

Pure. What is offered depends on the family: newer ones are paid up front to a choice, older ones
by their utilisation. The oldest have no price of their own any more; of those the samples are all
that is known, and all that is offered.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cachefleet.engine.catalog.documents import Document, document, rows
from cachefleet.engine.catalog.node_types import NodeType

HEAVY = "Heavy Utilization"
UPFRONT = ("No Upfront", "Partial Upfront", "All Upfront")
HEAVY_FAMILIES = frozenset({"t2", "m3", "m4", "r3", "r4"})
RECURRING_DECIMALS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Offering:
    """One offering. Prices are in USD; ``recurring_hourly`` is None where use is paid instead."""

    offering_id: str
    node_type: str
    duration_s: int
    fixed_price: float
    usage_price: float
    product: str
    offering_type: str
    recurring_hourly: float | None


def offerings(node_types: Sequence[NodeType], region: str) -> Mapping[str, Offering]:
    """Return what is offered in *region* by id, in order of id."""
    table = document("reserved_offerings")
    made = [*_priced(table, node_types, region)]
    made += _sampled(table, region, {_identity(offering) for offering in made})
    return {one.offering_id: one for one in sorted(made, key=lambda one: one.offering_id)}


def _priced(table: Document, node_types: Sequence[NodeType], region: str) -> Iterator[Offering]:
    factors, hours = table["formula"]["factors"], table["formula"]["hours"]
    for node_type in node_types:
        types = (HEAVY,) if node_type.family in HEAVY_FAMILIES else UPFRONT
        for product in table["rules"]["products"]:
            price = node_type.usd_hour.get(product)
            if price is None:
                continue
            for offering_type in types:
                for duration_s in table["rules"]["durations"]:
                    fixed, recurring = factors[offering_type][str(duration_s)]
                    yield _offering(
                        region,
                        node_type=node_type.name,
                        product=product,
                        duration_s=duration_s,
                        offering_type=offering_type,
                        fixed_price=float(round(fixed * price * hours[str(duration_s)])),
                        usage_price=0.0,
                        recurring_hourly=round(recurring * price, RECURRING_DECIMALS),
                    )


def _sampled(
    table: Document, region: str, offered: set[tuple[str, str, int, str]]
) -> Iterator[Offering]:
    for row in rows(table["observed_aws_samples"]):
        offering = _offering(
            region,
            node_type=row["CacheNodeType"],
            product=row["ProductDescription"],
            duration_s=row["Duration"],
            offering_type=row["OfferingType"],
            fixed_price=row["FixedPrice"],
            usage_price=row["UsagePrice"],
            recurring_hourly=row["recurring_hourly"],
        )
        if _identity(offering) not in offered:
            yield offering


def _identity(offering: Offering) -> tuple[str, str, int, str]:
    return (
        offering.node_type,
        offering.product,
        offering.duration_s,
        offering.offering_type,
    )


def _offering(
    region: str,
    *,
    node_type: str,
    product: str,
    duration_s: int,
    offering_type: str,
    fixed_price: float,
    usage_price: float,
    recurring_hourly: float | None,
) -> Offering:
    # The same everywhere and always: scripts keep the ids of what they buy.
    name = f"elasticache-offering/{region}/{node_type}/{product}/{duration_s}/{offering_type}"
    return Offering(
        offering_id=str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
        node_type=node_type,
        duration_s=duration_s,
        fixed_price=fixed_price,
        usage_price=usage_price,
        product=product,
        offering_type=offering_type,
        recurring_hourly=recurring_hourly,
    )
