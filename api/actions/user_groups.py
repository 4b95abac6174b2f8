"""User groups: which users may use the caches that a group is attached to.

A change of members is shown as pending until every node of every such cache has it; those who left
are disconnected. A group with engine redis always has a user named ``default``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault
from cachefleet.api.pagination import window
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation import user_access
from cachefleet.api.validation import user_groups as checks
from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.api.views.users import user_group_view
from cachefleet.provisioner.state import events, lifecycle, tags, users
from cachefleet.provisioner.state.access_tables import User, UserGroup
from cachefleet.provisioner.state.errors import NotFound
from cachefleet.provisioner.state.ids import new_uid
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup
from cachefleet.provisioner.state.users import Change

QUOTA = "User groups per Region"
EVENT = "user_group_changed"


@action("CreateUserGroup")
async def create_user_group(ctx: RequestContext, params: Params) -> Result:
    """Create a group of users; it is ``creating`` for a moment."""
    group_id = user_access.check_id("UserGroupId", params["UserGroupId"])
    engine = user_access.check_engine(params["Engine"])
    user_ids = _ids(params.get("UserIds"))
    wanted_tags = tags.parse(params.get("Tags"))
    async with ctx.begin() as tx:
        members = await _require_users(tx, user_ids)
        checks.check_members(engine, members)
        group = UserGroup(
            uid=new_uid(),
            account=ctx.account,
            region=ctx.region,
            name=group_id,
            status=lifecycle.CREATING,
            engine=engine,
            user_ids=user_ids,
            user_ids_before=[],
        )
        view = user_group_view(group, members=members, cache_ids=[])
        # No cache uses it yet: there is nothing to wait for.
        lifecycle.fire(group, lifecycle.Event.PROVISIONED)
        await tx.insert(group, at_most=ctx.catalog.quota(QUOTA))
        await tags.put(tx, UserGroup.arn_kind, group_id, wanted_tags)
        events.record(tx, ctx.catalog, EVENT, group_id, user_group=group_id, what="created")
        return view


@action("DescribeUserGroups")
async def describe_user_groups(ctx: RequestContext, params: Params) -> Result:
    """Return one group, or a page of all of them."""
    asked = window(params, ctx.paging)
    group_id = params.get("UserGroupId")
    async with ctx.read() as tx:
        if group_id:
            rows: Sequence[UserGroup] = [await tx.get(UserGroup, group_id)]
        else:
            rows = await tx.page(UserGroup, after=asked.after, limit=asked.fetch)
        shown, marker = asked.close(rows, lambda row: row.name)
        attached = await users.attachments(tx)
        ids = {user_id for group in shown for user_id in group.user_ids}
        found = {user.name: user for user in await users.members(tx, ids)}
    return {
        "UserGroups": [
            user_group_view(
                group,
                members=[found[one] for one in group.user_ids if one in found],
                cache_ids=attached.caches_of.get(group.name, []),
                serverless_ids=attached.serverless_of.get(group.name, []),
            )
            for group in shown
        ],
        "Marker": marker,
    }


@action("ModifyUserGroup")
async def modify_user_group(ctx: RequestContext, params: Params) -> Result:
    """Add and remove users; caches that the group is attached to are ``modifying`` meanwhile."""
    added, removed = _ids(params.get("UserIdsToAdd")), _ids(params.get("UserIdsToRemove"))
    wanted_engine = params.get("Engine")
    if not (added or removed or wanted_engine):
        raise wrong_value("Either UserIdsToAdd or UserIdsToRemove must be provided.")
    if both := sorted(set(added) & set(removed)):
        raise wrong_combination(f"The user {both[0]} cannot be both added and removed.")
    async with ctx.begin() as tx:
        group = await tx.get(UserGroup, params["UserGroupId"], lock=True)
        lifecycle.require(group, lifecycle.Event.MODIFY)
        _require_membership(group, added, removed)
        engine = _engine_after(group, wanted_engine)
        before = await users.members(tx, group.user_ids)
        after_ids = [one for one in group.user_ids if one not in removed] + added
        await _require_users(tx, added)
        after = await users.members(tx, after_ids)
        checks.check_members(engine, after)
        caches = await users.attached(tx, [group.name])
        lifecycle.fire(group, lifecycle.Event.MODIFY)
        group.user_ids_before, group.user_ids, group.engine = group.user_ids, after_ids, engine
        _require_caches_allow(group, after, caches)
        change = _change(group, users.severed_names(before, after))
        await users.file_change(tx, change, group_ids=[group.name], token=ctx.request_id)
        for cache in caches:
            _show_modifying(cache)
        events.record(tx, ctx.catalog, EVENT, group.name, user_group=group.name, what="modified")
        view = user_group_view(
            group,
            members=after,
            cache_ids=[cache.name for cache in caches if cache.serverless_uid is None],
            serverless_ids=[cache.name for cache in caches if cache.serverless_uid is not None],
        )
        await users.rest_unknown(tx, change, caches)
        return view


@action("DeleteUserGroup")
async def delete_user_group(ctx: RequestContext, params: Params) -> Result:
    """Delete a group that is attached to no cache."""
    async with ctx.begin() as tx:
        group = await tx.hold(UserGroup, params["UserGroupId"])
        if group is None:
            raise NotFound(UserGroup.resource, params["UserGroupId"])
        lifecycle.require(group, lifecycle.Event.DELETE)
        user = (await users.attachments(tx)).first_user(group.name)
        if user is not None:
            raise Fault(
                "InvalidUserGroupStateFault",
                f"User group {group.name} is attached to {user} and cannot be deleted.",
            )
        members = await users.members(tx, group.user_ids)
        await tx.remove(group)
        await tags.forget(tx, UserGroup.arn_kind, group.name)
        events.record(tx, ctx.catalog, EVENT, group.name, user_group=group.name, what="deleted")
        lifecycle.fire(group, lifecycle.Event.DELETE)
        return user_group_view(group, members=members, cache_ids=[])


def _change(group: UserGroup, severed: Collection[str] = ()) -> Change:
    return Change(group_ids=frozenset({group.name}), severed=frozenset(severed))


def _ids(given: Sequence[str] | None) -> list[str]:
    return list(dict.fromkeys(one.lower() for one in given or ()))


def _engine_after(group: UserGroup, wanted: str | None) -> str:
    if not wanted:
        return group.engine
    engine = user_access.check_engine(wanted)
    if (group.engine, engine) == ("valkey", "redis"):
        raise wrong_combination("The engine of a group cannot be changed from valkey to redis.")
    return engine


def _require_membership(group: UserGroup, added: Sequence[str], removed: Sequence[str]) -> None:
    for user_id in removed:
        if user_id not in group.user_ids:
            raise wrong_value(f"User {user_id} is not a member of user group {group.name}.")
    for user_id in added:
        if user_id in group.user_ids:
            raise wrong_value(f"User {user_id} is a member of user group {group.name} already.")


async def _require_users(tx: Transaction, user_ids: Sequence[str]) -> list[User]:
    """Return the users with these ids, held against their deletion meanwhile."""
    found = {user.name: user for user in await users.members(tx, user_ids, hold=True)}
    for user_id in user_ids:
        if user_id not in found or found[user_id].status == lifecycle.DELETING:
            raise NotFound(User.resource, user_id)
    return [found[user_id] for user_id in user_ids]


def _require_caches_allow(
    group: UserGroup, members: Sequence[User], caches: Sequence[ReplicationGroup]
) -> None:
    for cache in caches:
        checks.check_engine_of_cache(group, engine=cache.engine)
        checks.check_version(
            group.name,
            engine_version=cache.engine_version,
            version_min=users.group_version_min(group, members),
            has_iam=checks.has_iam(members),
        )


def _show_modifying(cache: ReplicationGroup) -> None:
    """Show that users of a cache change; one that something else is done to shows that."""
    rows: list[ReplicationGroup | CacheCluster] = [cache, *cache.members]
    for row in rows:
        if lifecycle.target(row.resource, row.status, lifecycle.Event.MODIFY) is not None:
            lifecycle.fire(row, lifecycle.Event.MODIFY)
