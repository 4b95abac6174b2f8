"""What the service refuses of users."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.parity.people import (
    COMBINATION,
    ON_ALL,
    PASSWORD,
    VALUE,
    Row,
    cases,
    check,
    populate,
    user,
    without,
)
from tests.support.api import Api, open_api

ARN = "arn:aws:elasticache:us-east-1:000000000000"
NO_PASSWORD = "No password was provided."
LENGTH = "Passwords length must be between 16-128 characters."
SAME = "User Id and User name must be same for authentication type: iam"
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


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """One scope for all rows."""
    async with open_api(tmp_path_factory.mktemp("users")) as opened:
        await populate(opened)
        yield opened


def mode(kind: str, **more: Any) -> dict[str, Any]:
    return {"AuthenticationMode": {"Type": kind, **more}}


def modify(user_id: str, **params: Any) -> dict[str, Any]:
    return {"UserId": user_id, **params}


ROWS: list[Row] = [
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


@cases(ROWS)
async def test_refuses(
    api: Api, operation: str, params: dict[str, Any], code: str, words: str, status: int
) -> None:
    await check(api, operation, params, code, words, status)
