"""Reserved cache nodes: what is offered, what was bought.

They change the bill and nothing else, as on the service: there is no capacity behind them, and no
way to cancel one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select

from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault
from cachefleet.api.pagination import page, window
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation.identifiers import check_identifier
from cachefleet.api.validation.refusals import wrong_value
from cachefleet.api.views.reserved_nodes import offering_view, reserved_node_view
from cachefleet.provisioner.state import ids, tags
from cachefleet.provisioner.state.errors import NotFound
from cachefleet.provisioner.state.reservation_tables import ReservedNode
from cachefleet.provisioner.state.store import Transaction

QUOTA = "Reserved nodes per Region"
ID_CHARS_MAX = 255
YEAR_S = 31_536_000
DURATIONS_S: Mapping[str, int] = {
    "1": YEAR_S,
    "3": 3 * YEAR_S,
    str(YEAR_S): YEAR_S,
    str(3 * YEAR_S): 3 * YEAR_S,
}
# Not in the service's documentation, and what Terraform's provider sends it all the same.
ISO_DURATIONS_S: Mapping[str, int] = {"P1Y": YEAR_S, "P3Y": 3 * YEAR_S}
OFFERING_TYPES = (
    "Light Utilization",
    "Medium Utilization",
    "Heavy Utilization",
    "No Upfront",
    "Partial Upfront",
    "All Upfront",
)


@action("DescribeReservedCacheNodesOfferings")
async def describe_reserved_cache_nodes_offerings(ctx: RequestContext, params: Params) -> Result:
    """Return a page of what is offered in this region, in order of id."""
    wanted = _filters(params)
    found = [
        offering
        for offering in ctx.catalog.offerings(ctx.region).values()
        if all(getattr(offering, column) == value for column, value in wanted.items())
    ]
    shown, marker = page(found, lambda one: one.offering_id, params, ctx.paging)
    return {"ReservedCacheNodesOfferings": [offering_view(one) for one in shown], "Marker": marker}


@action("DescribeReservedCacheNodes")
async def describe_reserved_cache_nodes(ctx: RequestContext, params: Params) -> Result:
    """Return one reservation, or a page of those that meet the filters, in order of id."""
    asked = window(params, ctx.paging)
    wanted, name = _filters(params), params.get("ReservedCacheNodeId")
    criteria = [getattr(ReservedNode, column) == value for column, value in wanted.items()]
    async with ctx.read() as tx:
        if name:
            await tx.get(ReservedNode, name)
            criteria.append(ReservedNode.name == name.lower())
        rows = await tx.page(ReservedNode, *criteria, after=asked.after, limit=asked.fetch)
    shown, marker = asked.close(rows, lambda row: row.name)
    return {
        "ReservedCacheNodes": [reserved_node_view(row, now=ctx.now) for row in shown],
        "Marker": marker,
    }


@action("PurchaseReservedCacheNodesOffering")
async def purchase_reserved_cache_nodes_offering(ctx: RequestContext, params: Params) -> Result:
    """Record a reservation; it is ``payment-pending`` for a moment and then ``active``."""
    offering_id = params["ReservedCacheNodesOfferingId"].lower()
    offering = ctx.catalog.offerings(ctx.region).get(offering_id)
    if offering is None:
        raise NotFound("reserved_cache_nodes_offering", params["ReservedCacheNodesOfferingId"])
    name = _check_name(ctx, params.get("ReservedCacheNodeId"))
    count = params.get("CacheNodeCount")
    if count is None:
        count = 1
    nodes_max = ctx.catalog.quota(QUOTA)
    if count < 1:
        raise wrong_value("CacheNodeCount must be at least 1.")
    wanted_tags = tags.parse(params.get("Tags"))
    async with ctx.begin() as tx:
        row = ReservedNode(
            uid=ids.new_uid(),
            account=ctx.account,
            region=ctx.region,
            name=name,
            offering_id=offering.offering_id,
            node_type=offering.node_type,
            duration_s=offering.duration_s,
            fixed_price=offering.fixed_price,
            usage_price=offering.usage_price,
            product=offering.product,
            offering_type=offering.offering_type,
            recurring_hourly=offering.recurring_hourly,
            node_count=min(count, nodes_max + 1),  # what is more is refused below
            started_at=tx.now,
        )
        await tx.insert(row)
        if await _count_reserved(tx) > nodes_max:
            raise Fault(
                "ReservedCacheNodeQuotaExceededFault",
                f"A region can have {nodes_max} reserved cache nodes.",
            )
        await tags.put(tx, ReservedNode.arn_kind, name, wanted_tags)
        return {"ReservedCacheNode": reserved_node_view(row, now=tx.now)}


async def _count_reserved(tx: Transaction) -> int:
    query = select(func.sum(ReservedNode.node_count)).where(
        ReservedNode.account == tx.scope.account, ReservedNode.region == tx.scope.region
    )
    return int(await tx.session.scalar(query) or 0)


def _check_name(ctx: RequestContext, name: str | None) -> str:
    if not name:
        return f"ri-{ctx.now:%Y-%m-%d-%H-%M-%S}-{ctx.now.microsecond // 1000:03}"
    return check_identifier("ReservedCacheNodeId", name, chars_max=ID_CHARS_MAX)


def _filters(params: Params) -> dict[str, Any]:
    """Return what is asked for by column; a filter that is empty is none.

    Raises:
        Fault: a duration or an offering type is none of those that there are.
    """
    wanted: dict[str, Any] = {}
    if params.get("ReservedCacheNodesOfferingId"):
        wanted["offering_id"] = params["ReservedCacheNodesOfferingId"].lower()
    if params.get("CacheNodeType"):
        wanted["node_type"] = params["CacheNodeType"]
    if params.get("ProductDescription"):
        wanted["product"] = params["ProductDescription"].lower()
    if params.get("Duration"):
        duration_s = {**DURATIONS_S, **ISO_DURATIONS_S}.get(params["Duration"])
        if duration_s is None:
            raise wrong_value(
                f"Invalid Duration {params['Duration']}. Valid values are {', '.join(DURATIONS_S)}."
            )
        wanted["duration_s"] = duration_s
    if params.get("OfferingType"):
        if params["OfferingType"] not in OFFERING_TYPES:
            raise wrong_value(
                f"Invalid OfferingType {params['OfferingType']}. Valid values are "
                f"{', '.join(OFFERING_TYPES)}."
            )
        wanted["offering_type"] = params["OfferingType"]
    return wanted
