"""Users: what they may do, how they prove who they are, and in which groups they are.

A change is recorded and shown at once; the user is ``modifying`` until every node that knows it
has it. Passwords are turned into hashes here and go no further. The user ``default`` is always
there and cannot be changed: another user of that name takes its place in a group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault
from cachefleet.api.pagination import Window, page, window
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation import user_access as checks
from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.api.validation.user_groups import check_members, check_version, has_iam
from cachefleet.api.views.users import user_view
from cachefleet.provisioner.state import events, lifecycle, tags, users
from cachefleet.provisioner.state.access_tables import User
from cachefleet.provisioner.state.errors import NotFound
from cachefleet.provisioner.state.ids import new_uid
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.users import DEFAULT_USER, Change

QUOTA = "Users per Region"
EVENT = "user_changed"
_CHANGES = (
    "AccessString",
    "AppendAccessString",
    "Passwords",
    "NoPasswordRequired",
    "AuthenticationMode",
    "Engine",
)

# What a listing can be filtered by, in lower case and without hyphens.
_FILTERS: Mapping[str, Callable[[User], str]] = MappingProxyType(
    {
        "userid": lambda user: user.name,
        "username": lambda user: user.user_name,
        "engine": lambda user: user.engine,
        "status": lambda user: user.status,
    }
)


@action("CreateUser")
async def create_user(ctx: RequestContext, params: Params) -> Result:
    """Create a user; it can be used at once."""
    user_id = checks.check_id("UserId", params["UserId"])
    user_name = checks.check_user_name(params["UserName"])
    engine = checks.check_engine(params["Engine"])
    access_string = checks.check_access_string(params["AccessString"])
    authentication = checks.check_authentication(params)
    if authentication is None:
        raise checks.no_password()
    checks.check_whole(
        user_id=user_id,
        user_name=user_name,
        engine=engine,
        authentication_type=authentication.type,
    )
    wanted_tags = tags.parse(params.get("Tags"))
    async with ctx.begin() as tx:
        if user_id == DEFAULT_USER:
            raise Fault("UserAlreadyExistsFault", "User default already exists.")
        user = User(
            uid=new_uid(),
            account=ctx.account,
            region=ctx.region,
            name=user_id,
            user_name=user_name,
            status=lifecycle.ACTIVE,
            engine=engine,
            access_string=access_string,
            authentication_type=authentication.type,
            password_sha256s=list(authentication.password_sha256s),
        )
        await tx.insert(user, at_most=ctx.catalog.quota(QUOTA))
        await tags.put(tx, User.arn_kind, user_id, wanted_tags)
        events.record(tx, ctx.catalog, EVENT, user_id, user=user_id, what="created")
        return user_view(user, group_ids=[])


@action("DescribeUsers")
async def describe_users(ctx: RequestContext, params: Params) -> Result:
    """Return one user, or a page of those that pass the filters, ``default`` among them."""
    asked = window(params, ctx.paging)
    wanted = _filters(params)
    user_id = params.get("UserId")
    async with ctx.read() as tx:
        groups_of = await users.groups_of(tx)
        if wanted or user_id:
            found = [await users.get(tx, user_id)] if user_id else await users.everybody(tx)
            passing = [user for user in found if all(test(user) for test in wanted)]
            shown, marker = page(passing, lambda user: user.name, params, ctx.paging)
        else:
            shown, marker = asked.close(await _page(tx, asked), lambda user: user.name)
    return {
        "Users": [user_view(user, group_ids=groups_of.get(user.name, [])) for user in shown],
        "Marker": marker,
    }


@action("ModifyUser")
async def modify_user(ctx: RequestContext, params: Params) -> Result:
    """Change a user; what it may do changes on every node, for connections that are open too."""
    user_id = params["UserId"].lower()
    _refuse_default(user_id)
    if all(params.get(name) in (None, "", [], {}) for name in _CHANGES):
        raise wrong_combination("At least one property of the user must be modified.")
    if params.get("AccessString") and params.get("AppendAccessString"):
        raise wrong_combination("AccessString and AppendAccessString cannot be used together.")
    authentication = checks.check_authentication(params)
    if authentication is None and params.get("NoPasswordRequired") is False:
        raise checks.no_password()
    async with ctx.begin() as tx:
        user = await tx.get(User, user_id, lock=True)
        lifecycle.require(user, lifecycle.Event.MODIFY)
        was_iam = user.authentication_type == users.IAM
        access_string = _access_string_after(user, params)
        engine = _engine_after(user, params)
        lifecycle.fire(user, lifecycle.Event.MODIFY)
        user.access_string, user.engine = access_string, engine
        if authentication is not None:
            user.authentication_type = authentication.type
            user.password_sha256s = list(authentication.password_sha256s)
        checks.check_whole(
            user_id=user.name,
            user_name=user.user_name,
            engine=user.engine,
            authentication_type=user.authentication_type,
        )
        await tx.session.flush()
        group_ids = await _require_groups_allow(tx, user)
        change = Change(
            user_ids=frozenset({user.name}),
            reroutes=was_iam != (user.authentication_type == users.IAM),
        )
        caches = await users.file_change(tx, change, group_ids=group_ids, token=ctx.request_id)
        events.record(tx, ctx.catalog, EVENT, user.name, user=user.name, what="modified")
        view = user_view(user, group_ids=group_ids)
        await users.rest_unknown(tx, change, caches)
        return view


@action("DeleteUser")
async def delete_user(ctx: RequestContext, params: Params) -> Result:
    """Delete a user: it leaves its groups, its connections end, then it is gone."""
    user_id = params["UserId"].lower()
    _refuse_default(user_id)
    async with ctx.begin() as tx:
        held = await tx.hold(User, user_id)
        if held is None:
            raise NotFound(User.resource, params["UserId"])
        if not await users.is_grouped(tx, held.name):
            return await _delete_at_once(ctx, tx, held)
        user = await tx.get(User, user_id)
        groups = await users.groups_with(tx, user.name)
        if user.user_name == DEFAULT_USER:
            raise Fault(
                "DefaultUserAssociatedToUserGroupFault",
                f"User {user.name} is the default user of the user group {groups[0].name}.",
            )
        lifecycle.fire(user, lifecycle.Event.DELETE)
        for group in groups:
            group.user_ids = [one for one in group.user_ids if one != user.name]
        group_ids = [group.name for group in groups]
        change = Change(
            user_ids=frozenset({user.name}),
            severed=frozenset({user.user_name}),
            reroutes=user.authentication_type == users.IAM,
        )
        caches = await users.file_change(tx, change, group_ids=group_ids, token=ctx.request_id)
        events.record(tx, ctx.catalog, EVENT, user.name, user=user.name, what="deleted")
        view = user_view(user, group_ids=group_ids)
        await users.rest_unknown(tx, change, caches)
        return view


async def _delete_at_once(ctx: RequestContext, tx: Transaction, user: User) -> Result:
    """Delete a user whom no cache knows; it is shown as ``deleting`` all the same."""
    await tx.remove(user)
    await tags.forget(tx, User.arn_kind, user.name)
    events.record(tx, ctx.catalog, EVENT, user.name, user=user.name, what="deleted")
    lifecycle.fire(user, lifecycle.Event.DELETE)
    return user_view(user, group_ids=[])


def _refuse_default(user_id: str) -> None:
    if user_id == DEFAULT_USER:
        raise wrong_value("The default user cannot be changed or deleted.")


def _access_string_after(user: User, params: Params) -> str:
    if params.get("AccessString"):
        return checks.check_access_string(params["AccessString"])
    if params.get("AppendAccessString"):
        return checks.check_access_string(f"{user.access_string} {params['AppendAccessString']}")
    return user.access_string


def _engine_after(user: User, params: Params) -> str:
    if not params.get("Engine"):
        return user.engine
    engine = checks.check_engine(params["Engine"])
    if (user.engine, engine) == ("valkey", "redis"):
        raise wrong_combination("The engine of a user cannot be changed from valkey to redis.")
    return engine


async def _require_groups_allow(tx: Transaction, user: User) -> list[str]:
    """Return the groups that a changed user is in; refuse the change where one cannot hold it."""
    groups = await users.groups_with(tx, user.name)
    for group in groups:
        members = await users.members(tx, group.user_ids)
        check_members(group.engine, members)
        for cache in await users.attached(tx, [group.name]):
            check_version(
                group.name,
                engine_version=cache.engine_version,
                version_min=users.group_version_min(group, members),
                has_iam=has_iam(members),
            )
    return [group.name for group in groups]


async def _page(tx: Transaction, asked: Window) -> Sequence[User]:
    """Return the users that a page may show, ``default`` in its place."""
    rows = await tx.page(User, after=asked.after, limit=asked.fetch)
    default = users.default_user(tx.scope)
    if asked.after is None or default.name > asked.after:
        rows = sorted([*rows, default], key=lambda user: user.name)[: asked.fetch]
    return rows


def _filters(params: Params) -> list[Callable[[User], bool]]:
    tests = []
    if params.get("Engine"):
        engine = checks.check_engine(params["Engine"])
        tests.append(_passes(_FILTERS["engine"], [engine]))
    given: Sequence[Mapping[str, Any]] = params.get("Filters") or ()
    for one in given:
        read = _FILTERS.get(one["Name"].lower().replace("-", ""))
        if read is None:
            raise wrong_value(f"The filter {one['Name']} is not supported.")
        tests.append(_passes(read, one["Values"]))
    return tests


def _passes(read: Callable[[User], str], values: Sequence[str]) -> Callable[[User], bool]:
    lowered = {value.lower() for value in values}
    return lambda user: read(user).lower() in lowered
