"""Users and user groups of which calls are refused, and the caches that have them.

Each row is one call on them, and the answer: code, the fragment of the message that clients match,
status. Whatever is refused changes nothing, and no message holds a password.
"""

from __future__ import annotations

from typing import Any

import pytest

from cachefleet.provisioner.state.access_tables import User, UserGroup
from tests.builders import groups
from tests.support.api import SCOPE, Api, Refused
from tests.support.settled import settle

VALUE = "InvalidParameterValue"
COMBINATION = "InvalidParameterCombination"
PASSWORD = "a-password-of-16"
ON_ALL = "on ~* +@all"

Row = tuple[str, str, dict[str, Any], str, str, int]


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


async def populate(api: Api) -> None:
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


def cases(rows: list[Row]) -> pytest.MarkDecorator:
    """Return the decorator that makes a case of each row, named by its operation and its name."""
    return pytest.mark.parametrize(
        ("operation", "params", "code", "words", "status"),
        [
            pytest.param(operation, params, code, words, status, id=f"{operation}-{name}")
            for operation, name, params, code, words, status in rows
        ],
    )


async def check(api: Api, operation: str, params: dict[str, Any], *expected: str | int) -> None:
    """See that a call is refused as *expected* (code, words, status) and changes nothing."""
    code, words, status = expected
    before = await api.store.revision(SCOPE)
    with pytest.raises(Refused) as refusal:
        await api(operation, **params)
    assert (refusal.value.code, refusal.value.status) == (code, status), refusal.value.message
    assert str(words) in refusal.value.message
    assert PASSWORD not in refusal.value.message
    assert await api.store.revision(SCOPE) == before
