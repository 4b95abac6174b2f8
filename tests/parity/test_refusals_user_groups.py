"""What the service refuses of user groups, and of caches that are to have them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.parity.people import COMBINATION, VALUE, Row, cases, check, populate, without
from tests.support.api import Api, open_api

DEFAULT = "User group needs to contain a user with the user name default."
BY_USERS = "requires encryption-in-transit"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """One scope for all rows."""
    async with open_api(tmp_path_factory.mktemp("users")) as opened:
        await populate(opened)
        yield opened


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


ROWS: list[Row] = [
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
]


@cases(ROWS)
async def test_refuses(
    api: Api, operation: str, params: dict[str, Any], code: str, words: str, status: int
) -> None:
    await check(api, operation, params, code, words, status)
