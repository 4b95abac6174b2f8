"""Cache subnet groups: created, listed, changed and deleted at once, with no status of their own.

The group ``default`` is always there and cannot be changed. A group that a cache is in cannot be
deleted, nor can a zone be taken from it that a node of such a cache is in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault
from cachefleet.api.pagination import window
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation.identifiers import check_identifier
from cachefleet.api.validation.refusals import wrong_value
from cachefleet.api.views.subnet_groups import subnet_group_view
from cachefleet.engine.catalog import Catalog
from cachefleet.provisioner.state import events, subnets, tags
from cachefleet.provisioner.state.ids import new_uid
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import (
    CacheCluster,
    CacheNode,
    SubnetGroup,
)

GROUPS_QUOTA = "Subnet groups per Region"
SUBNETS_QUOTA = "Subnets per subnet group"
NAME_CHARS_MAX = 255
DESCRIPTION_CHARS_MAX = 255

EVENT = "subnet_group_changed"


@action("CreateCacheSubnetGroup")
async def create_cache_subnet_group(ctx: RequestContext, params: Params) -> Result:
    """Create a group of subnets."""
    name = _check_name(params["CacheSubnetGroupName"])
    description = _check_description(params["CacheSubnetGroupDescription"])
    ids = _check_subnet_ids(ctx.catalog, params["SubnetIds"])
    wanted_tags = tags.parse(params.get("Tags"))
    async with ctx.begin() as tx:
        group = SubnetGroup(
            uid=new_uid(),
            account=ctx.account,
            region=ctx.region,
            name=name,
            description=description,
            vpc_id=subnets.vpc_of(ctx.scope),
            subnets=await subnets.place_in_scope(tx, ids),
        )
        await tx.insert(group, at_most=ctx.catalog.quota(GROUPS_QUOTA))
        await tags.put(tx, SubnetGroup.arn_kind, name, wanted_tags)
        events.record(tx, ctx.catalog, EVENT, name, group=name, what="created")
        return {"CacheSubnetGroup": subnet_group_view(group)}


@action("DescribeCacheSubnetGroups")
async def describe_cache_subnet_groups(ctx: RequestContext, params: Params) -> Result:
    """Return one group, or a page of all of them with ``default`` in its place."""
    asked = window(params, ctx.paging)
    name = params.get("CacheSubnetGroupName")
    async with ctx.read() as tx:
        if name:
            group = await subnets.get(tx, name)
            return {"CacheSubnetGroups": [subnet_group_view(group)]}
        rows = list(await tx.page(SubnetGroup, after=asked.after, limit=asked.fetch))
    default = subnets.default_group(ctx.scope)
    if asked.after is None or default.name > asked.after:
        rows = sorted([*rows, default], key=lambda row: row.name)[: asked.fetch]
    shown, marker = asked.close(rows, lambda row: row.name)
    return {"CacheSubnetGroups": [subnet_group_view(row) for row in shown], "Marker": marker}


@action("ModifyCacheSubnetGroup")
async def modify_cache_subnet_group(ctx: RequestContext, params: Params) -> Result:
    """Replace a group's description, its list of subnets, or both."""
    name = params["CacheSubnetGroupName"]
    _refuse_default(name, "modified")
    description = params.get("CacheSubnetGroupDescription")
    if description is not None:
        description = _check_description(description)
    ids = params.get("SubnetIds")
    if ids is not None:
        ids = _check_subnet_ids(ctx.catalog, ids)
    async with ctx.begin() as tx:
        group = await tx.get(SubnetGroup, name, lock=True)
        if description is not None:
            group.description = description
        if ids is not None:
            placed = await subnets.place_in_scope(tx, ids)
            await _require_zones_kept(tx, group, placed)
            group.subnets = placed
        events.record(tx, ctx.catalog, EVENT, group.name, group=group.name, what="modified")
        return {"CacheSubnetGroup": subnet_group_view(group)}


@action("DeleteCacheSubnetGroup")
async def delete_cache_subnet_group(ctx: RequestContext, params: Params) -> Result:
    """Delete a group that no cache is in."""
    name = params["CacheSubnetGroupName"]
    _refuse_default(name, "deleted")
    async with ctx.begin() as tx:
        group = await tx.hold(SubnetGroup, name)
        if group is None:
            raise Fault(
                "CacheSubnetGroupNotFoundFault", f"Cache Subnet Group {name} does not exist"
            )
        if await subnets.is_used(tx, group):
            raise Fault(
                "CacheSubnetGroupInUse",
                f"Cache subnet group {group.name} is currently in use by a cache cluster.",
            )
        await tx.remove(group)
        await tags.forget(tx, SubnetGroup.arn_kind, group.name)
        events.record(tx, ctx.catalog, EVENT, group.name, group=group.name, what="deleted")
    return None


def _check_name(name: str) -> str:
    checked = check_identifier("CacheSubnetGroupName", name, chars_max=NAME_CHARS_MAX)
    if checked == subnets.DEFAULT_GROUP:
        raise wrong_value(f"The name {name} is reserved for the default cache subnet group.")
    return checked


def _check_description(description: str) -> str:
    if not 1 <= len(description) <= DESCRIPTION_CHARS_MAX:
        raise wrong_value(
            "The parameter CacheSubnetGroupDescription must have 1 to "
            f"{DESCRIPTION_CHARS_MAX} characters."
        )
    return description


def _check_subnet_ids(catalog: Catalog, ids: Sequence[str]) -> list[str]:
    if not ids:
        raise wrong_value("The parameter SubnetIds must be provided.")
    distinct = list(dict.fromkeys(ids))
    subnets_max = catalog.quota(SUBNETS_QUOTA)
    if len(distinct) > subnets_max:
        raise Fault(
            "CacheSubnetQuotaExceededFault",
            f"A cache subnet group can have {subnets_max} subnets.",
        )
    invalid = subnets.invalid_ids(distinct)
    if invalid:
        raise wrong_value(f"Some input subnets in :[{', '.join(invalid)}] are invalid.")
    return distinct


def _refuse_default(name: str, act: str) -> None:
    if name.lower() == subnets.DEFAULT_GROUP:
        raise wrong_value(f"The default cache subnet group cannot be {act}.")


async def _require_zones_kept(
    tx: Transaction, group: SubnetGroup, placed: Sequence[dict[str, Any]]
) -> None:
    """Refuse to take away the last subnet of a zone that a node of the group's caches is in."""
    query = (
        select(CacheNode.availability_zone)
        .join(CacheCluster, CacheNode.cache_cluster_uid == CacheCluster.uid)
        .where(
            CacheCluster.account == group.account,
            CacheCluster.region == group.region,
            CacheCluster.subnet_group_name == group.name,
        )
        .distinct()
    )
    needed = set(await tx.session.scalars(query)) - {one["az"] for one in placed}
    kept = {one["id"] for one in placed}
    for subnet in group.subnets:
        if subnet["id"] not in kept and subnet["az"] in needed:
            raise Fault(
                "SubnetInUse", f"The subnet {subnet['id']} is in use by a cache node of the group."
            )
