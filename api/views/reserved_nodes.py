"""Reserved cache nodes and what is offered of them as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cachefleet.engine.catalog.offerings import Offering
from cachefleet.provisioner.state.reservation_tables import ReservedNode
from cachefleet.provisioner.state.reservations import state_of


def offering_view(offering: Offering) -> dict[str, Any]:
    """Return ``ReservedCacheNodesOffering``."""
    return {
        "ReservedCacheNodesOfferingId": offering.offering_id,
        "CacheNodeType": offering.node_type,
        "Duration": offering.duration_s,
        "FixedPrice": offering.fixed_price,
        "UsagePrice": offering.usage_price,
        "ProductDescription": offering.product,
        "OfferingType": offering.offering_type,
        "RecurringCharges": _charges(offering.recurring_hourly),
    }


def reserved_node_view(row: ReservedNode, *, now: datetime) -> dict[str, Any]:
    """Return ``ReservedCacheNode`` as it is at *now*."""
    return {
        "ReservedCacheNodeId": row.name,
        "ReservedCacheNodesOfferingId": row.offering_id,
        "CacheNodeType": row.node_type,
        "StartTime": row.started_at,
        "Duration": row.duration_s,
        "FixedPrice": row.fixed_price,
        "UsagePrice": row.usage_price,
        "CacheNodeCount": row.node_count,
        "ProductDescription": row.product,
        "OfferingType": row.offering_type,
        "State": state_of(started_at=row.started_at, duration_s=row.duration_s, now=now).value,
        "RecurringCharges": _charges(row.recurring_hourly),
        "ReservationARN": row.arn,
    }


def _charges(recurring_hourly: float | None) -> list[dict[str, Any]]:
    """Return ``RecurringCharges``; none where use is paid by the hour it takes."""
    if recurring_hourly is None:
        return []
    return [{"RecurringChargeAmount": recurring_hourly, "RecurringChargeFrequency": "Hourly"}]
