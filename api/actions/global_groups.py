"""Global datastores: groups of several regions that hold the same data, one of which leads.

Every call can be made in any region. What it asks for is written to the global datastore's own
record; the provisioner then changes the regions' groups one by one. Secondaries join by
CreateReplicationGroup (:mod:`.global_members`).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from cachefleet.api.actions import global_peers
from cachefleet.api.context import RequestContext
from cachefleet.api.pagination import window
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation import global_groups as checks
from cachefleet.api.validation.refusals import wrong_value
from cachefleet.api.views.global_groups import global_group_view
from cachefleet.provisioner.peering.client import PeerAway
from cachefleet.provisioner.state import global_groups, ids, lifecycle, parameter_groups
from cachefleet.provisioner.state.global_tables import GlobalGroup, GlobalMember
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import ReplicationGroup, Subject


@action("CreateGlobalReplicationGroup")
async def create_global_replication_group(ctx: RequestContext, params: Params) -> Result:
    """Make a group the primary of a new global datastore."""
    suffix = checks.check_suffix(params["GlobalReplicationGroupIdSuffix"])
    description = checks.check_description(params.get("GlobalReplicationGroupDescription"))
    name = f"{global_groups.prefix_of(ctx.region)}-{suffix}"
    async with ctx.begin() as tx:
        group = await tx.get(ReplicationGroup, params["PrimaryReplicationGroupId"], lock=True)
        checks.check_primary(ctx.catalog, group)
        if group.cluster_mode == "compatible":
            raise wrong_value("Global replication group is not supported in compatible mode.")
        row = GlobalGroup(
            uid=ids.new_uid(),
            account=ctx.account,
            region=global_groups.NOWHERE,
            name=name,
            description=description,
            status=global_groups.CREATING,
            pending={},
            created_at=tx.now,
        )
        await tx.insert(row)
        await new_subject(tx, row)
        row.members.append(member_of(row, group, global_groups.PRIMARY, global_groups.ASSOCIATED))
        group.global_name, group.global_role = name, global_groups.PRIMARY
        parameters = await parameter_groups.get(tx, ctx.catalog, group.parameter_group_name)
        await global_groups.give_parameters(
            tx, group, family=parameters.family, values=parameters.values
        )
        lifecycle.fire(group, lifecycle.Event.MODIFY)
        tx.enqueue(OperationKind.SETTLE, subject_uid=group.uid, token=ctx.request_id)
        _file(tx, row, ctx.request_id)
        await tx.session.flush()
        return {"GlobalReplicationGroup": global_group_view(row, {group.uid: group})}


@action("DescribeGlobalReplicationGroups")
async def describe_global_replication_groups(ctx: RequestContext, params: Params) -> Result:
    """Return one global datastore, or a page of them in order of name."""
    asked = window(params, ctx.paging)
    name = params.get("GlobalReplicationGroupId")
    query = select(GlobalGroup).where(GlobalGroup.account == ctx.account)
    if asked.after is not None:
        query = query.where(GlobalGroup.name > asked.after)
    async with ctx.read() as tx:
        if name:
            query = query.where(GlobalGroup.name == (await global_groups.get(tx, name)).name)
        found = await tx.session.scalars(query.order_by(GlobalGroup.name).limit(asked.fetch))
        rows, marker = asked.close(found.all(), lambda row: row.name)
        shown = [
            global_group_view(
                row,
                await global_groups.groups_of(tx, row),
                with_members=bool(params.get("ShowMemberInfo")),
            )
            for row in rows
        ]
    return {"GlobalReplicationGroups": shown, "Marker": marker}


@action("ModifyGlobalReplicationGroup")
async def modify_global_replication_group(ctx: RequestContext, params: Params) -> Result:
    """Change every member, the secondaries first."""
    if (elsewhere := await global_peers.led(ctx, params)) is not None:
        return elsewhere
    await global_peers.require_members(ctx, params["GlobalReplicationGroupId"])
    async with ctx.begin() as tx:
        row = await global_groups.get(tx, params["GlobalReplicationGroupId"], lock=True)
        checks.require_at_rest(row, "modify")
        checks.require_now(params)
        groups = await global_groups.groups_of(tx, row)
        primary = groups[global_groups.primary_of(row).group_uid]
        changes = checks.check_changes(ctx.catalog, primary, params)
        if params.get("GlobalReplicationGroupDescription") is not None:
            row.description = checks.check_description(params["GlobalReplicationGroupDescription"])
        ask(tx, row, ctx.request_id, action="modify", changes=changes)
        return {"GlobalReplicationGroup": global_group_view(row, groups)}


@action("FailoverGlobalReplicationGroup")
async def failover_global_replication_group(ctx: RequestContext, params: Params) -> Result:
    """Have another region lead; the region that led follows it."""
    try:
        elsewhere = await global_peers.at_leader(ctx, params, timeout_s=global_peers.LOST_AFTER_S)
    except PeerAway as away:
        await global_peers.take_over(ctx, params, away)
        return await _as_recorded(ctx, params)
    if elsewhere is not None:
        return elsewhere
    name = params["GlobalReplicationGroupId"]
    await global_peers.require_member(ctx, name, params["PrimaryRegion"])
    async with ctx.begin() as tx:
        row = await global_groups.get(tx, params["GlobalReplicationGroupId"], lock=True)
        checks.require_at_rest(row, "failover")
        member = checks.find_member(
            row, params["PrimaryReplicationGroupId"], params["PrimaryRegion"]
        )
        if member.role == global_groups.PRIMARY:
            raise wrong_value(f"Replication group {member.group_name} is the primary already.")
        ask(tx, row, ctx.request_id, action="failover", group_uid=member.group_uid)
        return await shown(tx, row)


@action("DisassociateGlobalReplicationGroup")
async def disassociate_global_replication_group(ctx: RequestContext, params: Params) -> Result:
    """Let a secondary go: it keeps its data, and takes writes from then on."""
    if (elsewhere := await global_peers.led(ctx, params)) is not None:
        return elsewhere
    async with ctx.begin() as tx:
        row = await global_groups.get(tx, params["GlobalReplicationGroupId"], lock=True)
        checks.require_at_rest(row, "disassociate")
        member = checks.find_member(
            row, params["ReplicationGroupId"], params["ReplicationGroupRegion"]
        )
        if member.role == global_groups.PRIMARY:
            raise wrong_value(
                f"Replication group {member.group_name} is the primary and cannot be disassociated."
            )
        ask(tx, row, ctx.request_id, action="disassociate", group_uid=member.group_uid)
        return await shown(tx, row)


@action("DeleteGlobalReplicationGroup")
async def delete_global_replication_group(ctx: RequestContext, params: Params) -> Result:
    """Delete a global datastore that has its primary only; that stays or goes with it."""
    if (elsewhere := await global_peers.led(ctx, params)) is not None:
        return elsewhere
    async with ctx.begin() as tx:
        row = await global_groups.get(tx, params["GlobalReplicationGroupId"], lock=True)
        if row.status != global_groups.PRIMARY_ONLY:
            raise checks.cannot_delete(row)
        retain = bool(params["RetainPrimaryReplicationGroup"])
        ask(tx, row, ctx.request_id, action="delete", retain=retain)
        row.status = global_groups.DELETING
        return await shown(tx, row)


async def _as_recorded(ctx: RequestContext, params: Params) -> Result:
    async with ctx.read() as tx:
        return await shown(tx, await global_groups.get(tx, params["GlobalReplicationGroupId"]))


def new_member(row: GlobalGroup, group: ReplicationGroup) -> None:
    """Add a secondary that is being created."""
    row.members.append(member_of(row, group, global_groups.SECONDARY, global_groups.ASSOCIATING))
    group.global_name, group.global_role = row.name, global_groups.SECONDARY


def file_joining(tx: Transaction, row: GlobalGroup, token: str) -> None:
    """Have the global datastore be ``modifying`` until its newest member has joined."""
    row.status, row.pending = global_groups.MODIFYING, {}
    _file(tx, row, token)


def member_of(row: GlobalGroup, group: ReplicationGroup, role: str, status: str) -> GlobalMember:
    """Return a member that is a group of ours."""
    return GlobalMember(
        uid=ids.new_uid(),
        account=row.account,
        global_uid=row.uid,
        group_uid=group.uid,
        group_name=group.name,
        region=group.region,
        role=role,
        status=status,
    )


async def new_subject(tx: Transaction, row: GlobalGroup) -> None:
    """Write the row under which a global datastore is worked on."""
    tx.session.add(
        Subject(
            uid=row.uid, account=row.account, region=row.region, kind=row.resource, lease_epoch=0
        )
    )
    await tx.session.flush()


def ask(tx: Transaction, row: GlobalGroup, token: str, **pending: Any) -> None:
    """Write down what is to be done, and file it."""
    row.status, row.pending = global_groups.MODIFYING, pending
    _file(tx, row, token)


def _file(tx: Transaction, row: GlobalGroup, token: str) -> None:
    operation = tx.enqueue(OperationKind.SETTLE_GLOBAL, subject_uid=row.uid, token=token)
    operation.region = row.region


async def shown(tx: Transaction, row: GlobalGroup) -> Result:
    """Return the global datastore as it is now."""
    groups = await global_groups.groups_of(tx, row)
    return {"GlobalReplicationGroup": global_group_view(row, groups)}
