"""Cache parameter groups: created, listed, changed, reset, deleted; and their parameters.

Default groups are always there and are never changed. A change of a group in use is recorded at
once and filed for every cache that uses the group: what the engine takes while it runs is
``applying`` until every node has it, the rest is ``pending-reboot`` until each node was rebooted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cachefleet.api.actions.global_parameters import at_leader, other_copies
from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault
from cachefleet.api.pagination import page, window
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation.identifiers import check_identifier
from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.api.views.parameter_groups import (
    SOURCES,
    listing_view,
    parameter_group_view,
    parameter_rows,
    select_source,
)
from cachefleet.engine.catalog import Catalog, ParameterFamily
from cachefleet.engine.catalog.catalog import NotInCatalog
from cachefleet.provisioner.state import events, parameter_groups, parameters, tags
from cachefleet.provisioner.state.ids import new_uid
from cachefleet.provisioner.state.parameter_changes import record_values
from cachefleet.provisioner.state.tables import ParameterGroup

GROUPS_QUOTA = "Parameter groups per Region"
NAME_CHARS_MAX = 255
DESCRIPTION_CHARS_MAX = 255

GROUP_EVENT = "parameter_group_changed"
PARAMETER_EVENT = "parameter_updated"


@action("CreateCacheParameterGroup")
async def create_cache_parameter_group(ctx: RequestContext, params: Params) -> Result:
    """Create a group with the values of its family."""
    name = check_identifier(
        "CacheParameterGroupName", params["CacheParameterGroupName"], chars_max=NAME_CHARS_MAX
    )
    family = _family(ctx.catalog, params["CacheParameterGroupFamily"])
    description = params["Description"]
    if len(description) > DESCRIPTION_CHARS_MAX:
        raise wrong_value(
            f"The parameter Description must have 1 to {DESCRIPTION_CHARS_MAX} characters."
        )
    wanted_tags = tags.parse(params.get("Tags"))
    async with ctx.begin() as tx:
        row = ParameterGroup(
            uid=new_uid(),
            account=ctx.account,
            region=ctx.region,
            name=name,
            family=family.name,
            description=description,
            values={},
        )
        await tx.insert(row, at_most=ctx.catalog.quota(GROUPS_QUOTA))
        await tags.put(tx, ParameterGroup.arn_kind, name, wanted_tags)
        events.record(tx, ctx.catalog, GROUP_EVENT, name, group=name, what="created")
        group = parameter_groups.of_row(row)
    return {"CacheParameterGroup": parameter_group_view(group, ctx.scope)}


@action("DescribeCacheParameterGroups")
async def describe_cache_parameter_groups(ctx: RequestContext, params: Params) -> Result:
    """Return one group, or a page of all of them, default and custom in one order."""
    asked = window(params, ctx.paging)
    name = params.get("CacheParameterGroupName")
    async with ctx.read() as tx:
        if name:
            found = await parameter_groups.find(tx, ctx.catalog, name)
            if found is None:
                raise _not_found(f"CacheParameterGroup {name} not found.")
            return {"CacheParameterGroups": [parameter_group_view(found, ctx.scope)]}
        rows = await tx.page(ParameterGroup, after=asked.after, limit=asked.fetch)
    groups = [parameter_groups.of_row(row) for row in rows]
    groups += [
        default
        for default in parameter_groups.default_groups(ctx.catalog)
        if asked.after is None or default.name > asked.after
    ]
    groups.sort(key=lambda group: group.name)
    shown, marker = asked.close(groups[: asked.fetch], lambda group: group.name)
    return {
        "CacheParameterGroups": [parameter_group_view(group, ctx.scope) for group in shown],
        "Marker": marker,
    }


@action("DescribeCacheParameters")
async def describe_cache_parameters(ctx: RequestContext, params: Params) -> Result:
    """Return a page of a group's parameters."""
    name, source = params["CacheParameterGroupName"], params.get("Source")
    if source and source not in SOURCES:
        raise wrong_value(f"Source must be one of {', '.join(SOURCES)}.")
    async with ctx.read() as tx:
        group = await parameter_groups.find(tx, ctx.catalog, name)
        if group is None:
            raise _not_found(f"CacheParameterGroup {name} not found.")
        users = await parameter_groups.find_users(tx, group.name)
    rows = parameter_rows(ctx.catalog.family(group.family), group=group, attached=bool(users))
    shown, marker = page(select_source(rows, source), lambda row: row.key, params, ctx.paging)
    return {**listing_view(shown), "Marker": marker}


@action("DescribeEngineDefaultParameters")
async def describe_engine_default_parameters(ctx: RequestContext, params: Params) -> Result:
    """Return a page of a family's parameters."""
    family = _family(ctx.catalog, params["CacheParameterGroupFamily"])
    rows = parameter_rows(family)
    shown, marker = page(rows, lambda row: row.key, params, ctx.paging)
    return {
        "EngineDefaults": {
            "CacheParameterGroupFamily": family.name,
            **listing_view(shown),
            "Marker": marker,
        }
    }


@action("ModifyCacheParameterGroup")
async def modify_cache_parameter_group(ctx: RequestContext, params: Params) -> Result:
    """Set up to twenty values, all or none."""
    name = params["CacheParameterGroupName"]
    _refuse_default(ctx.catalog, name)
    if (elsewhere := await at_leader(ctx, params)) is not None:
        return elsewhere
    async with ctx.begin() as tx:
        row = await tx.get(ParameterGroup, name, lock=True)
        users = await parameter_groups.find_users(tx, row.name)
        family = ctx.catalog.family(row.family)
        wanted = [
            (pair.get("ParameterName", ""), pair.get("ParameterValue", ""))
            for pair in params["ParameterNameValues"]
        ]
        attached = bool(users) or await parameter_groups.is_awaited(tx, row.name)
        changes = parameters.check_changes(family, wanted, attached=attached)
        for inside, copy in await other_copies(tx, row):
            theirs = await parameter_groups.find_users(inside, copy.name)
            values = {**copy.values, **changes}
            record_values(inside, copy, family, values, theirs, token=ctx.request_id)
        record_values(tx, row, family, {**row.values, **changes}, users, token=ctx.request_id)
        for parameter, value in changes.items():
            events.record(tx, ctx.catalog, PARAMETER_EVENT, row.name, name=parameter, value=value)
        return {"CacheParameterGroupName": row.name}


@action("ResetCacheParameterGroup")
async def reset_cache_parameter_group(ctx: RequestContext, params: Params) -> Result:
    """Give all parameters of a group, or those that are named, their family's values again."""
    name = params["CacheParameterGroupName"]
    resets_all, pairs = bool(params.get("ResetAllParameters")), params.get("ParameterNameValues")
    if resets_all == bool(pairs):
        raise wrong_combination(
            "Either ResetAllParameters must be true or ParameterNameValues must be given."
        )
    _refuse_default(ctx.catalog, name)
    if (elsewhere := await at_leader(ctx, params)) is not None:
        return elsewhere
    async with ctx.begin() as tx:
        row = await tx.get(ParameterGroup, name, lock=True)
        users = await parameter_groups.find_users(tx, row.name)
        if any(node.parameter_group_status == parameters.APPLYING for node in users.nodes):
            raise Fault(
                "InvalidCacheParameterGroupStateFault",
                f"The parameter group {row.name} has pending changes.",
            )
        family = ctx.catalog.family(row.family)
        attached = bool(users) or await parameter_groups.is_awaited(tx, row.name)
        dropped = set(row.values)
        if not resets_all:
            dropped = _check_reset(family, pairs or (), attached=attached)
        kept = {key: value for key, value in row.values.items() if key not in dropped}
        if resets_all and attached:
            # A cache keeps for life what it was created with.
            fixed = family.creation_time_parameters
            kept.update({key: row.values[key] for key in row.values if key in fixed})
        for inside, copy in await other_copies(tx, row):
            theirs = await parameter_groups.find_users(inside, copy.name)
            record_values(inside, copy, family, kept, theirs, token=ctx.request_id)
        record_values(tx, row, family, kept, users, token=ctx.request_id)
        events.record(tx, ctx.catalog, GROUP_EVENT, row.name, group=row.name, what="reset")
        return {"CacheParameterGroupName": row.name}


@action("DeleteCacheParameterGroup")
async def delete_cache_parameter_group(ctx: RequestContext, params: Params) -> Result:
    """Delete a custom group that no cache uses."""
    # Default groups fall by their dots, as they do at the service.
    name = check_identifier(
        "CacheParameterGroupName", params["CacheParameterGroupName"], chars_max=NAME_CHARS_MAX
    )
    async with ctx.begin() as tx:
        row = await tx.hold(ParameterGroup, name)
        if row is None:
            raise _not_found(f"CacheParameterGroupnot found: {name}")
        if await parameter_groups.is_wanted(tx, row.name):
            raise Fault(
                "InvalidCacheParameterGroupStateFault",
                "One or more cache clusters are still members of this parameter group "
                f"{row.name}, so the group cannot be deleted.",
            )
        await tx.remove(row)
        await tags.forget(tx, ParameterGroup.arn_kind, row.name)
        events.record(tx, ctx.catalog, GROUP_EVENT, row.name, group=row.name, what="deleted")
    return None


def _family(catalog: Catalog, name: str) -> ParameterFamily:
    try:
        return catalog.family(name)
    except NotInCatalog:
        raise wrong_value(
            f"CacheParameterGroupFamily {name} is not a valid parameter group family."
        ) from None


def _refuse_default(catalog: Catalog, name: str) -> None:
    if parameter_groups.default_group(catalog, name) is not None:
        raise wrong_value(f"The parameter group {name} is a default group and cannot be modified.")


def _not_found(message: str) -> Fault:
    return Fault("CacheParameterGroupNotFoundFault", message)


def _check_reset(
    family: ParameterFamily, pairs: Sequence[Mapping[str, Any]], *, attached: bool
) -> set[str]:
    """Return the names to reset."""
    names = [pair.get("ParameterName", "") for pair in pairs]
    parameters.check_names(family, names)
    for name in names:
        parameter = family.parameter(name)
        if parameter is None or not parameters.is_modifiable(family, parameter, attached=attached):
            raise wrong_value(f"The parameter {name} cannot be modified.")
    return set(names)
