"""Users and user groups through the front-end: what is shown, and what a change leads to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from cachefleet.engine.valkey.acl import password_sha256
from cachefleet.provisioner.state import users
from cachefleet.provisioner.state.access_tables import User
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.tables import Operation
from cachefleet.provisioner.state.users import Change
from tests.builders import groups
from tests.support.api import SCOPE, Api, Refused, open_api
from tests.support.settled import settle

ARN = "arn:aws:elasticache:us-east-1:000000000000"
PASSWORD = "a-password-of-16"
TLS: dict[str, Any] = {"transit_encryption_enabled": True, "transit_encryption_mode": "required"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        yield opened


async def create(api: Api, user_id: str = "app", **params: Any) -> dict[str, Any]:
    wanted = {"UserName": user_id, "Engine": "redis", "AccessString": "on ~* +@all"}
    if not {"NoPasswordRequired", "AuthenticationMode"} & params.keys():
        wanted["Passwords"] = [PASSWORD]  # type: ignore[assignment]
    return await api("CreateUser", UserId=user_id, **{**wanted, **params})


async def work(api: Api) -> list[tuple[str, Change]]:
    """Return what is filed: subjects and changes."""
    async with api.store.read(SCOPE) as tx:
        query = select(Operation).where(Operation.kind == OperationKind.APPLY_ACCESS)
        rows = (await tx.session.scalars(query.order_by(Operation.id))).all()
        return [(row.subject_uid, Change.of(row.payload)) for row in rows]


async def test_a_user_is_active_at_once_and_shows_no_password(api: Api) -> None:
    made = await create(api, "App", UserName="The-App", AccessString="~a:*", Tags=[{"Key": "k"}])
    assert made == {
        "UserId": "app",
        "UserName": "The-App",
        "Status": "active",
        "Engine": "redis",
        "MinimumEngineVersion": "6.0",
        "AccessString": "off ~a:* -@all",
        "UserGroupIds": [],
        "Authentication": {"Type": "password", "PasswordCount": 1},
        "ARN": f"{ARN}:user:app",
    }
    assert (await api("DescribeUsers", UserId="APP"))["Users"] == [made]
    async with api.store.read(SCOPE) as tx:
        assert (await tx.get(User, "app")).password_sha256s == [password_sha256(PASSWORD)]
    tagged = await api("ListTagsForResource", ResourceName=made["ARN"])
    assert tagged["TagList"] == [{"Key": "k", "Value": ""}]
    assert await work(api) == []


@pytest.mark.parametrize(
    ("params", "authentication", "version"),
    [
        ({"NoPasswordRequired": True}, {"Type": "no-password"}, "6.0"),
        ({"AuthenticationMode": {"Type": "no-password-required"}}, {"Type": "no-password"}, "6.0"),
        ({"AuthenticationMode": {"Type": "iam"}}, {"Type": "iam"}, "7.0"),
        (
            {"AuthenticationMode": {"Type": "password", "Passwords": [PASSWORD, PASSWORD + "2"]}},
            {"Type": "password", "PasswordCount": 2},
            "6.0",
        ),
        ({"Engine": "VALKEY"}, {"Type": "password", "PasswordCount": 1}, "7.2"),
        ({"AccessString": "on &a"}, {"Type": "password", "PasswordCount": 1}, "6.2"),
        ({"AccessString": "on (~a)"}, {"Type": "password", "PasswordCount": 1}, "7.0"),
    ],
)
async def test_ways_to_authenticate_and_versions(
    api: Api, params: dict[str, Any], authentication: dict[str, Any], version: str
) -> None:
    made = await create(api, **params)
    assert made["Authentication"] == authentication
    assert made["MinimumEngineVersion"] == version
    assert made["Engine"] == made["Engine"].lower()


async def test_the_default_user_is_always_there(api: Api) -> None:
    (shown,) = (await api("DescribeUsers"))["Users"]
    assert shown == {
        "UserId": "default",
        "UserName": "default",
        "Status": "active",
        "Engine": "redis",
        "MinimumEngineVersion": "6.0",
        "AccessString": "on ~* +@all",
        "UserGroupIds": [],
        "Authentication": {"Type": "no-password"},
        "ARN": f"{ARN}:user:default",
    }
    await api("CreateUserGroup", UserGroupId="g", Engine="redis", UserIds=["default"])
    (shown,) = (await api("DescribeUsers", UserId="default"))["Users"]
    assert shown["UserGroupIds"] == ["g"]


async def test_users_are_filtered_and_paged(api: Api) -> None:
    for number in range(5):
        await create(api, f"u{number}", Engine="redis" if number % 2 else "valkey")
    listed = await api.listed("DescribeUsers", "Users", MaxRecords=2)
    assert [one["UserId"] for one in listed] == ["default", "u0", "u1", "u2", "u3", "u4"]
    only = await api("DescribeUsers", Engine="Valkey")
    assert [one["UserId"] for one in only["Users"]] == ["u0", "u2", "u4"]
    filters = [{"Name": "User-Id", "Values": ["u1", "U2"]}, {"Name": "engine", "Values": ["redis"]}]
    some = await api("DescribeUsers", Filters=filters)
    assert [one["UserId"] for one in some["Users"]] == ["u1"]


async def attach(api: Api, *group_ids: str) -> str:
    """Have a cache that groups are attached to; returns its uid."""
    async with api.store.begin(SCOPE) as tx:
        return (await groups.replication_group(tx, user_group_ids=list(group_ids), **TLS)).uid


async def test_what_no_cache_knows_rests_at_once(api: Api) -> None:
    await create(api)
    changed = await api("ModifyUser", UserId="app", AccessString="on +@all")
    assert (changed["Status"], changed["AccessString"]) == ("modifying", "on +@all")
    (shown,) = (await api("DescribeUsers", UserId="app"))["Users"]
    assert shown == {**changed, "Status": "active"}
    made = await api("CreateUserGroup", UserGroupId="team", Engine="redis", UserIds=["default"])
    assert made["Status"] == "creating"
    changed = await api("ModifyUserGroup", UserGroupId="team", UserIdsToAdd=["app"])
    assert changed["Status"] == "modifying"
    (group,) = (await api("DescribeUserGroups"))["UserGroups"]
    assert (group["Status"], group["UserIds"]) == ("active", ["default", "app"])
    assert (await api("DeleteUser", UserId="app"))["Status"] == "deleting"
    with pytest.raises(Refused, match="UserNotFound"):
        await api("DescribeUsers", UserId="app")
    assert (await api("DeleteUserGroup", UserGroupId="team"))["Status"] == "deleting"
    assert (await api("DescribeUserGroups"))["UserGroups"] == []
    assert await work(api) == []


async def test_a_change_is_shown_at_once_and_takes_until_nodes_have_it(api: Api) -> None:
    await create(api)
    await api("CreateUserGroup", UserGroupId="team", Engine="redis", UserIds=["default", "app"])
    uid = await attach(api, "team")
    changed = await api("ModifyUser", UserId="app", AccessString="on +@all")
    assert (changed["Status"], changed["AccessString"]) == ("modifying", "on +@all")
    assert await work(api) == [(uid, Change(user_ids=frozenset({"app"})))]
    with pytest.raises(Refused, match="Only active users can be modified"):
        await api("ModifyUser", UserId="app", AccessString="on +get")
    await settle(api)
    (shown,) = (await api("DescribeUsers", UserId="app"))["Users"]
    assert shown == {**changed, "Status": "active"}
    appended = await api("ModifyUser", UserId="app", AppendAccessString="-del")
    assert appended["AccessString"] == "on +@all -del"


async def test_a_change_of_a_user_is_filed_with_every_cache_that_knows_it(api: Api) -> None:
    await create(api)
    await api("CreateUserGroup", UserGroupId="team", Engine="redis", UserIds=["default", "app"])
    await settle(api)
    async with api.store.begin(SCOPE) as tx:
        uids = [
            (await groups.replication_group(tx, name, user_group_ids=["team"], **TLS)).uid
            for name in ("one", "two")
        ]
        await groups.replication_group(tx, "other", **TLS)
    changed = await api("ModifyUser", UserId="app", Passwords=[PASSWORD + "!"])
    assert changed["UserGroupIds"] == ["team"]
    filed = await work(api)
    assert sorted(subject for subject, _ in filed) == sorted(uids)
    # The first that is done does not bring the user to rest; the last does.
    for number in (0, 1):
        async with api.store.begin(SCOPE) as tx:
            rows = (await tx.session.scalars(select(Operation).order_by(Operation.id))).all()
            await users.conclude_change(tx, rows[number].id, filed[number][1])
        async with api.store.read(SCOPE) as tx:
            assert (await tx.get(User, "app")).status == ("modifying", "active")[number]


async def test_a_deleted_user_leaves_its_groups_and_goes(api: Api) -> None:
    made = await create(api)
    await api("CreateUserGroup", UserGroupId="team", Engine="redis", UserIds=["default", "app"])
    await settle(api)
    gone = await api("DeleteUser", UserId="app")
    assert gone == {**made, "Status": "deleting", "UserGroupIds": ["team"]}
    (group,) = (await api("DescribeUserGroups", UserGroupId="team"))["UserGroups"]
    assert group["UserIds"] == ["default"]
    with pytest.raises(Refused, match="UserNotFound"):
        await api("CreateUserGroup", UserGroupId="x", Engine="redis", UserIds=["default", "app"])
    await settle(api)
    with pytest.raises(Refused, match="UserNotFound"):
        await api("DescribeUsers", UserId="app")
    await create(api)


async def test_a_group_from_its_creation_to_its_end(api: Api) -> None:
    await create(api)
    made = await api(
        "CreateUserGroup", UserGroupId="Team", Engine="Redis", UserIds=["default"], Tags=[]
    )
    assert made == {
        "UserGroupId": "team",
        "Status": "creating",
        "Engine": "redis",
        "UserIds": ["default"],
        "MinimumEngineVersion": "6.0",
        "ReplicationGroups": [],
        "ServerlessCaches": [],
        "ARN": f"{ARN}:usergroup:team",
    }
    await attach(api, "team")
    changed = await api("ModifyUserGroup", UserGroupId="team", UserIdsToAdd=["APP"])
    assert changed == {
        **made,
        "Status": "modifying",
        "ReplicationGroups": ["rg"],
        "PendingChanges": {"UserIdsToAdd": ["app"]},
    }
    (shown,) = (await api("DescribeUserGroups"))["UserGroups"]
    assert shown == changed
    await settle(api)
    (shown,) = (await api("DescribeUserGroups"))["UserGroups"]
    ended = {"Status": "active", "UserIds": ["default", "app"], "ReplicationGroups": ["rg"]}
    assert shown == {**made, **ended}
    with pytest.raises(Refused, match="InvalidUserGroupState"):
        await api("DeleteUserGroup", UserGroupId="team")


async def test_a_default_user_is_swapped_for_another_in_one_call(api: Api) -> None:
    await create(api, "own", UserName="default")
    await api("CreateUserGroup", UserGroupId="team", Engine="redis", UserIds=["default"])
    await attach(api, "team")
    await api(
        "ModifyUserGroup", UserGroupId="team", UserIdsToAdd=["own"], UserIdsToRemove=["default"]
    )
    [(_, change)] = await work(api)
    assert change == Change(group_ids=frozenset({"team"}), severed=frozenset({"default"}))


async def test_user_groups_of_a_cache_are_pending_until_its_nodes_have_them(api: Api) -> None:
    await api("CreateUserGroup", UserGroupId="old", Engine="redis", UserIds=["default"])
    await create(api, "own", UserName="default")
    await api("CreateUserGroup", UserGroupId="new", Engine="redis", UserIds=["own"])
    await settle(api)
    async with api.store.begin(SCOPE) as tx:
        group = await groups.replication_group(tx, user_group_ids=["old"], **TLS)
    answer = await api(
        "ModifyReplicationGroup",
        ReplicationGroupId="rg",
        UserGroupIdsToAdd=["new"],
        UserGroupIdsToRemove=["old"],
    )
    shown = answer["ReplicationGroup"]
    assert (shown["Status"], shown["UserGroupIds"]) == ("modifying", ["old"])
    assert shown["PendingModifiedValues"]["UserGroups"] == {
        "UserGroupIdsToAdd": ["new"],
        "UserGroupIdsToRemove": ["old"],
    }
    filed = await work(api)
    assert filed == [(group.uid, Change(severed=frozenset({"default"})))]
    await settle(api)
    (shown,) = (await api("DescribeReplicationGroups"))["ReplicationGroups"]
    assert (shown["Status"], shown["UserGroupIds"]) == ("available", ["new"])
    (one,) = (await api("DescribeUserGroups", UserGroupId="new"))["UserGroups"]
    assert one["ReplicationGroups"] == ["rg"]


async def test_a_cache_is_created_with_its_user_group(api: Api) -> None:
    await api("CreateUserGroup", UserGroupId="team", Engine="redis", UserIds=["default"])
    await settle(api)
    answer = await api(
        "CreateReplicationGroup",
        ReplicationGroupId="new",
        ReplicationGroupDescription="d",
        CacheNodeType="cache.t3.micro",
        TransitEncryptionEnabled=True,
        UserGroupIds=["TEAM"],
    )
    assert answer["ReplicationGroup"]["UserGroupIds"] == ["team"]
    async with api.store.read(SCOPE) as tx:
        found = await users.users_of(tx, ["team"])
    assert [user.name for user in found] == ["default"]


async def test_quotas(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(api.catalog), "quota", lambda self, name: 1)
    await create(api, "one")
    with pytest.raises(Refused, match="UserQuotaExceeded"):
        await create(api, "two")
    await api("CreateUserGroup", UserGroupId="one", Engine="redis", UserIds=["default"])
    with pytest.raises(Refused, match="UserGroupQuotaExceeded"):
        await api("CreateUserGroup", UserGroupId="two", Engine="redis", UserIds=["default"])


async def test_each_change_is_an_event(api: Api) -> None:
    await create(api)
    await api("CreateUserGroup", UserGroupId="team", Engine="redis", UserIds=["default"])
    await api("DeleteUser", UserId="app")
    shown = await api.listed("DescribeEvents", "Events", SourceType="user")
    assert [one["Message"] for one in shown] == ["User app deleted", "User app created"]
    shown = await api.listed("DescribeEvents", "Events", SourceType="user-group")
    assert [one["Message"] for one in shown] == ["User group team created"]
