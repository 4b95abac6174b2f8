"""What the service refuses of users and user groups, and of caches that are to have them.

Each row is one call on a scope with a few users and groups, and the answer: code, status, and the
fragment of the message that clients match. Whatever is refused changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cachefleet.provisioner.state.access_tables import User, UserGroup
from tests.builders import groups
from tests.support.api import SCOPE, Api, Refused, open_api
from tests.support.settled import settle

VALUE = "InvalidParameterValue"
COMBINATION = "InvalidParameterCombination"
PASSWORD = "a-password-of-16"
ON_ALL = "on ~* +@all"
ARN = "arn:aws:elasticache:us-east-1:000000000000"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


def user(**params: Any) -> dict[str, Any]:
    return {
        "UserId": "new",
        "UserName": "new",
        "Engine": "redis",
        "AccessString": ON_ALL,
        "Passwords": [PASSWORD],
        **params,
    }


def without(params: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name not in names}


def mode(kind: str, **more: Any) -> dict[str, Any]:
    return {"AuthenticationMode": {"Type": kind, **more}}


@pytest.fixture(scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """One scope for all rows."""
    async with open_api(tmp_path_factory.mktemp("users")) as opened:
        await _populate(opened)
        yield opened


async def _populate(api: Api) -> None:
    open_user = without(user(NoPasswordRequired=True), "Passwords")
    for one in (
        user(UserId="app", UserName="app"),
        user(UserId="namesake", UserName="app"),
        user(UserId="busy", UserName="busy"),
        user(UserId="own-default", UserName="default"),
        user(UserId="other-default", UserName="default"),
        {**open_user, "UserId": "open", "UserName": "open"},
        user(UserId="valk", UserName="valk", Engine="valkey"),
        user(UserId="selects", UserName="selects", AccessString="on (~a +get)"),
        user(UserId="newest", UserName="newest", AccessString="on %R~a +get"),
    ):
        await api("CreateUser", **one)
    for name, engine, ids in (
        ("team", "redis", ["default", "app"]),
        ("own", "redis", ["own-default"]),
        ("valkeys", "valkey", ["valk"]),
        ("attached", "redis", ["default", "app", "open"]),
        ("changing", "redis", ["default"]),
        ("modern", "redis", ["default", "newest"]),
    ):
        await api("CreateUserGroup", UserGroupId=name, Engine=engine, UserIds=ids)
    await settle(api)
    tls: dict[str, Any] = {
        "transit_encryption_enabled": True,
        "transit_encryption_mode": "required",
    }
    async with api.store.begin(SCOPE) as tx:
        (await tx.get(User, "busy")).status = "modifying"
        (await tx.get(UserGroup, "changing")).status = "modifying"
        await groups.replication_group(
            tx, "cache", user_group_ids=["attached"], engine_version="6.2.6", **tls
        )
        await groups.replication_group(tx, "plain")
        await groups.replication_group(tx, "sealed", **tls)
        preferred: dict[str, Any] = {**tls, "transit_encryption_mode": "preferred"}
        await groups.replication_group(tx, "half", **preferred)
        await groups.replication_group(tx, "sixes", engine_version="6.2.6", **tls)
        await groups.replication_group(tx, "fives", engine_version="5.0.6", **tls)
        await groups.replication_group(tx, "token", auth_token_enabled=True, **tls)


def modify(user_id: str, **params: Any) -> dict[str, Any]:
    return {"UserId": user_id, **params}


def group(*user_ids: str, engine: str = "redis", name: str = "new") -> dict[str, Any]:
    return {"UserGroupId": name, "Engine": engine, "UserIds": list(user_ids)}


def change(name: str, **params: Any) -> dict[str, Any]:
    return {"UserGroupId": name, **params}


def attach(cache: str, **params: Any) -> dict[str, Any]:
    return {"ReplicationGroupId": cache, "ApplyImmediately": True, **params}


def create(**params: Any) -> dict[str, Any]:
    return {
        "ReplicationGroupId": "new",
        "ReplicationGroupDescription": "d",
        "CacheNodeType": "cache.t3.micro",
        "TransitEncryptionEnabled": True,
        **params,
    }


BAD_STRINGS = {
    "password": "on >password +@all",
    "hash": f"on #{'0' * 64}",
    "nopass": "on nopass",
    "resetpass": "on resetpass",
    "reset": "on reset",
    "unknown": "on +nosuch",
    "restricted": "on +config",
    "restricted-part": "on +acl|setuser",
    "syntax": "on ~* hello",
    "selector": "on (~a",
}
NO_PASSWORD = "No password was provided."
LENGTH = "Passwords length must be between 16-128 characters."
SAME = "User Id and User name must be same for authentication type: iam"
DEFAULT = "User group needs to contain a user with the user name default."
BY_USERS = "requires encryption-in-transit"

ROWS = [
    ("CreateUser", "id-digit", user(UserId="1a"), VALUE, "", 400),
    ("CreateUser", "id-dot", user(UserId="a.b"), VALUE, "", 400),
    ("CreateUser", "id-long", user(UserId="a" * 256), VALUE, "", 400),
    ("CreateUser", "name-blank", user(UserName="a b"), VALUE, "UserName", 400),
    ("CreateUser", "name-quote", user(UserName='a"b'), VALUE, "UserName", 400),
    ("CreateUser", "name-long", user(UserName="a" * 121), VALUE, "UserName", 400),
    ("CreateUser", "name-unprintable", user(UserName="a\u2028b"), VALUE, "UserName", 400),
    ("CreateUser", "name-of-ours", user(UserName="cachefleet"), VALUE, "reserved", 400),
    ("CreateUser", "engine", user(Engine="memcached"), VALUE, "", 400),
    ("CreateUser", "exists", user(UserId="APP"), "UserAlreadyExists", "", 400),
    ("CreateUser", "default", user(UserId="default"), "UserAlreadyExists", "", 400),
    ("CreateUser", "no-access", without(user(), "AccessString"), VALUE, "AccessString", 400),
    ("CreateUser", "no-password", without(user(), "Passwords"), VALUE, NO_PASSWORD, 400),
    ("CreateUser", "short", user(Passwords=["x" * 15]), VALUE, LENGTH, 400),
    ("CreateUser", "long", user(Passwords=["x" * 129]), VALUE, LENGTH, 400),
    *[
        ("CreateUser", f"with-{ord(c)}", user(Passwords=[f"{c}{'x' * 16}"]), VALUE, "", 400)
        for c in ',"/@\n'
    ],
    ("CreateUser", "three", user(Passwords=[PASSWORD + c for c in "abc"]), VALUE, "", 400),
    ("CreateUser", "twice", user(Passwords=[PASSWORD] * 2), VALUE, "differ", 400),
    ("CreateUser", "both", user(NoPasswordRequired=True), COMBINATION, "", 400),
    ("CreateUser", "mode-and-list", user(**mode("iam")), COMBINATION, "", 400),
    (
        "CreateUser",
        "mode-and-flag",
        without(user(NoPasswordRequired=True, **mode("iam")), "Passwords"),
        COMBINATION,
        "",
        400,
    ),
    (
        "CreateUser",
        "mode-without",
        without(user(**mode("password")), "Passwords"),
        COMBINATION,
        "requires passwords",
        400,
    ),
    (
        "CreateUser",
        "iam-with",
        without(user(**mode("iam", Passwords=[PASSWORD])), "Passwords"),
        COMBINATION,
        "takes no passwords",
        400,
    ),
    (
        "CreateUser",
        "iam-name",
        without(user(UserName="other", **mode("iam")), "Passwords"),
        COMBINATION,
        SAME,
        400,
    ),
    (
        "CreateUser",
        "mode-unknown",
        without(user(**mode("kerberos")), "Passwords"),
        VALUE,
        "",
        400,
    ),
    (
        "CreateUser",
        "valkey-open",
        without(user(Engine="valkey", NoPasswordRequired=True), "Passwords"),
        COMBINATION,
        "valkey",
        400,
    ),
    *[
        ("CreateUser", f"string-{name}", user(AccessString=text), VALUE, "", 400)
        for name, text in BAD_STRINGS.items()
    ],
    ("DescribeUsers", "none", {"UserId": "none"}, "UserNotFound", "none", 404),
    ("DescribeUsers", "size", {"MaxRecords": 101}, VALUE, "", 400),
    ("DescribeUsers", "marker", {"Marker": "junk"}, VALUE, "", 400),
    ("DescribeUsers", "engine", {"Engine": "mongo"}, VALUE, "", 400),
    (
        "DescribeUsers",
        "filter",
        {"Filters": [{"Name": "colour", "Values": ["red"]}]},
        VALUE,
        "colour",
        400,
    ),
    ("ModifyUser", "none", modify("none", AccessString=ON_ALL), "UserNotFound", "none", 404),
    (
        "ModifyUser",
        "busy",
        modify("busy", AccessString=ON_ALL),
        "InvalidUserState",
        "User busy has status modifying. Only active users can be modified.",
        400,
    ),
    ("ModifyUser", "default", modify("default", AccessString=ON_ALL), VALUE, "default", 400),
    ("ModifyUser", "nothing", modify("app"), COMBINATION, "At least one", 400),
    (
        "ModifyUser",
        "both",
        modify("app", AccessString=ON_ALL, AppendAccessString="+get"),
        COMBINATION,
        "",
        400,
    ),
    ("ModifyUser", "append", modify("app", AppendAccessString="~a"), VALUE, "no effect", 400),
    ("ModifyUser", "password", modify("app", Passwords=["short"]), VALUE, LENGTH, 400),
    (
        "ModifyUser",
        "flag",
        modify("app", NoPasswordRequired=False, AccessString=ON_ALL),
        VALUE,
        NO_PASSWORD,
        400,
    ),
    ("ModifyUser", "iam", modify("namesake", **mode("iam")), COMBINATION, SAME, 400),
    ("ModifyUser", "to-redis", modify("valk", Engine="redis"), COMBINATION, "", 400),
    ("ModifyUser", "to-valkey", modify("app", Engine="valkey"), COMBINATION, "", 400),
    ("ModifyUser", "open", modify("valk", NoPasswordRequired=True), COMBINATION, "", 400),
    (
        "ModifyUser",
        "too-new",
        modify("app", AccessString="on %R~a +get"),
        COMBINATION,
        "engine version 7.0",
        400,
    ),
    (
        "ModifyUser",
        "iam-too-new",
        modify("app", **mode("iam")),
        COMBINATION,
        "IAM authentication",
        400,
    ),
    ("DeleteUser", "none", {"UserId": "none"}, "UserNotFound", "none", 404),
    ("DeleteUser", "busy", {"UserId": "busy"}, "InvalidUserState", "modifying", 400),
    ("DeleteUser", "default", {"UserId": "Default"}, VALUE, "default", 400),
    (
        "DeleteUser",
        "in-use",
        {"UserId": "own-default"},
        "DefaultUserAssociatedToUserGroup",
        "own",
        400,
    ),
    ("CreateUserGroup", "id", group("default", name="9"), VALUE, "", 400),
    ("CreateUserGroup", "engine", group("default", engine="x"), VALUE, "", 400),
    (
        "CreateUserGroup",
        "exists",
        group("default", name="TEAM"),
        "UserGroupAlreadyExists",
        "",
        400,
    ),
    ("CreateUserGroup", "no-default", group("app"), "DefaultUserRequired", DEFAULT, 400),
    (
        "CreateUserGroup",
        "nobody",
        without(group(), "UserIds"),
        "DefaultUserRequired",
        DEFAULT,
        400,
    ),
    (
        "CreateUserGroup",
        "namesakes",
        group("default", "app", "namesake"),
        "DuplicateUserName",
        "app",
        400,
    ),
    (
        "CreateUserGroup",
        "two-defaults",
        group("default", "own-default"),
        "DuplicateUserName",
        "default",
        400,
    ),
    ("CreateUserGroup", "unknown", group("default", "none"), "UserNotFound", "none", 404),
    ("CreateUserGroup", "valkey-in-redis", group("default", "valk"), COMBINATION, "valk", 400),
    ("CreateUserGroup", "open-in-valkey", group("open", engine="valkey"), COMBINATION, "", 400),
    (
        "CreateUserGroup",
        "default-in-valkey",
        group("default", engine="valkey"),
        COMBINATION,
        "default",
        400,
    ),
    (
        "DescribeUserGroups",
        "none",
        {"UserGroupId": "none"},
        "UserGroupNotFound",
        "none",
        404,
    ),
    (
        "ModifyUserGroup",
        "none",
        change("none", UserIdsToAdd=["app"]),
        "UserGroupNotFound",
        "none",
        404,
    ),
    (
        "ModifyUserGroup",
        "busy",
        change("changing", UserIdsToAdd=["app"]),
        "InvalidUserGroupState",
        "modifying",
        400,
    ),
    ("ModifyUserGroup", "nothing", change("team"), VALUE, "", 400),
    (
        "ModifyUserGroup",
        "both",
        change("team", UserIdsToAdd=["app"], UserIdsToRemove=["app"]),
        COMBINATION,
        "",
        400,
    ),
    ("ModifyUserGroup", "member", change("team", UserIdsToAdd=["app"]), VALUE, "already", 400),
    (
        "ModifyUserGroup",
        "not-member",
        change("team", UserIdsToAdd=["open"], UserIdsToRemove=["valk"]),
        VALUE,
        "is not a member of user group",
        400,
    ),
    (
        "ModifyUserGroup",
        "unknown",
        change("team", UserIdsToAdd=["none"]),
        "UserNotFound",
        "none",
        404,
    ),
    (
        "ModifyUserGroup",
        "no-default",
        change("team", UserIdsToRemove=["default"]),
        "DefaultUserRequired",
        DEFAULT,
        400,
    ),
    (
        "ModifyUserGroup",
        "second-default",
        change("team", UserIdsToAdd=["own-default"]),
        "DuplicateUserName",
        "",
        400,
    ),
    ("ModifyUserGroup", "valkey-user", change("team", UserIdsToAdd=["valk"]), COMBINATION, "", 400),
    ("ModifyUserGroup", "to-redis", change("valkeys", Engine="redis"), COMBINATION, "", 400),
    ("ModifyUserGroup", "to-valkey", change("team", Engine="valkey"), COMBINATION, "", 400),
    (
        "ModifyUserGroup",
        "too-new",
        change("attached", UserIdsToAdd=["selects"]),
        COMBINATION,
        "7.0",
        400,
    ),
    (
        "DeleteUserGroup",
        "none",
        {"UserGroupId": "none"},
        "UserGroupNotFound",
        "none",
        404,
    ),
    (
        "DeleteUserGroup",
        "attached",
        {"UserGroupId": "attached"},
        "InvalidUserGroupState",
        "cache",
        400,
    ),
    (
        "DeleteUserGroup",
        "busy",
        {"UserGroupId": "changing"},
        "InvalidUserGroupState",
        "modifying",
        400,
    ),
    (
        "CreateReplicationGroup",
        "in-clear",
        create(TransitEncryptionEnabled=False, UserGroupIds=["team"]),
        COMBINATION,
        BY_USERS,
        400,
    ),
    (
        "CreateReplicationGroup",
        "unknown",
        create(UserGroupIds=["none"]),
        "UserGroupNotFound",
        "none",
        404,
    ),
    (
        "CreateReplicationGroup",
        "changing",
        create(UserGroupIds=["changing"]),
        "InvalidUserGroupState",
        "",
        400,
    ),
    (
        "CreateReplicationGroup",
        "valkey-users",
        create(UserGroupIds=["valkeys"], Engine="redis"),
        COMBINATION,
        "valkey",
        400,
    ),
    (
        "CreateReplicationGroup",
        "old",
        create(UserGroupIds=["team"], Engine="redis", EngineVersion="5.0.6"),
        COMBINATION,
        "6.0",
        400,
    ),
    (
        "CreateReplicationGroup",
        "too-new",
        create(UserGroupIds=["modern"], Engine="redis", EngineVersion="6.2"),
        COMBINATION,
        "7.0",
        400,
    ),
    (
        "ModifyReplicationGroup",
        "in-clear",
        attach("plain", UserGroupIdsToAdd=["team"]),
        COMBINATION,
        BY_USERS,
        400,
    ),
    (
        "ModifyReplicationGroup",
        "preferred",
        attach("half", UserGroupIdsToAdd=["team"]),
        COMBINATION,
        "Transit encryption preferred is not supported with redis access control.",
        400,
    ),
    (
        "ModifyReplicationGroup",
        "unknown",
        attach("sealed", UserGroupIdsToAdd=["none"]),
        "UserGroupNotFound",
        "none",
        404,
    ),
    (
        "ModifyReplicationGroup",
        "second",
        attach("cache", UserGroupIdsToAdd=["team"]),
        VALUE,
        "At most 1",
        400,
    ),
    (
        "ModifyReplicationGroup",
        "again",
        attach("cache", UserGroupIdsToAdd=["attached"]),
        VALUE,
        "already",
        400,
    ),
    (
        "ModifyReplicationGroup",
        "not-attached",
        attach("cache", UserGroupIdsToRemove=["team"]),
        VALUE,
        "is not associated",
        400,
    ),
    (
        "ModifyReplicationGroup",
        "token",
        attach("token", UserGroupIdsToAdd=["team"]),
        COMBINATION,
        "auth token enabled",
        400,
    ),
    (
        "ModifyReplicationGroup",
        "valkey-users",
        attach("sealed", UserGroupIdsToAdd=["valkeys"]),
        COMBINATION,
        "valkey",
        400,
    ),
    (
        "ModifyReplicationGroup",
        "too-new",
        attach("sixes", UserGroupIdsToAdd=["modern"]),
        COMBINATION,
        "7.0",
        400,
    ),
    (
        "ModifyReplicationGroup",
        "old",
        attach("fives", UserGroupIdsToAdd=["team"]),
        COMBINATION,
        "6.0",
        400,
    ),
    (
        "ModifyReplicationGroup",
        "changing",
        attach("sealed", UserGroupIdsToAdd=["changing"]),
        "InvalidUserGroupState",
        "",
        400,
    ),
    (
        "ListTagsForResource",
        "busy-user",
        {"ResourceName": f"{ARN}:user:busy"},
        "UserNotFound",
        "is not available for tagging",
        404,
    ),
    (
        "ListTagsForResource",
        "default-user",
        {"ResourceName": f"{ARN}:user:default"},
        VALUE,
        "default",
        400,
    ),
]


@pytest.mark.parametrize(
    ("operation", "params", "code", "words", "status"),
    [
        pytest.param(operation, params, code, words, status, id=f"{operation}-{name}")
        for operation, name, params, code, words, status in ROWS
    ],
)
async def test_refuses(
    api: Api, operation: str, params: dict[str, Any], code: str, words: str, status: int
) -> None:
    before = await api.store.revision(SCOPE)
    with pytest.raises(Refused) as refusal:
        await api(operation, **params)
    assert (refusal.value.code, refusal.value.status) == (code, status), refusal.value.message
    assert words in refusal.value.message
    assert PASSWORD not in refusal.value.message
    assert await api.store.revision(SCOPE) == before
