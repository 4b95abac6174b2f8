"""Answers that are kept are the ones that would be given: after any change, and no earlier.

One front-end keeps its answers through a story of changes; after each change every question is put
to it and to another one over the same records that has never been asked anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, event, select

from cachefleet.api.app import create_app
from cachefleet.provisioner.state import tags
from cachefleet.provisioner.state.access_tables import User
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup
from tests.builders import groups
from tests.support.api import SCOPE, Api, Refused, open_api
from tests.unit.api.driver import quiet_settings

QUESTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("DescribeUsers", {}),
    ("DescribeUsers", {"UserId": "u"}),
    ("DescribeUserGroups", {}),
    ("DescribeCacheParameterGroups", {"CacheParameterGroupName": "pg"}),
    ("DescribeCacheParameters", {"CacheParameterGroupName": "pg", "Source": "user"}),
    ("DescribeCacheSubnetGroups", {}),
    ("DescribeReplicationGroups", {}),
    ("DescribeCacheClusters", {"ShowCacheNodeInfo": True}),
    ("DescribeSnapshots", {}),
    ("DescribeServerlessCaches", {}),
    ("ListTagsForResource", {"ResourceName": SCOPE.arn("user", "u")}),
    ("ListAllowedNodeTypeModifications", {"ReplicationGroupId": "g"}),
)

Act = Callable[[Api], Awaitable[object]]


def call(operation: str, /, **params: Any) -> Act:
    return lambda api: api(operation, **params)


async def _group_without_the_api(api: Api) -> None:
    async with api.store.begin(SCOPE) as tx:
        await groups.replication_group(tx, "g", user_group_ids=["ug"])


async def _status_by_the_session(api: Api) -> None:
    async with api.store.begin(SCOPE) as tx:
        (await tx.get(ReplicationGroup, "g")).status = "modifying"


async def _node_by_the_session(api: Api) -> None:
    async with api.store.begin(SCOPE) as tx:
        for cluster in await tx.session.scalars(select(CacheCluster)):
            for node in cluster.nodes:
                node.status = "rebooting"


async def _tag_by_the_session(api: Api) -> None:
    async with api.store.begin(SCOPE) as tx:
        await tags.put(tx, User.arn_kind, "u", {"k": "another"})


async def _clusters_in_bulk(api: Api) -> None:
    async with api.store.begin(SCOPE) as tx:
        await tx.session.execute(delete(CacheCluster))


async def _group_by_the_session(api: Api) -> None:
    async with api.store.begin(SCOPE) as tx:
        await tx.session.delete(await tx.get(ReplicationGroup, "g"))


USER = {"Engine": "redis", "AccessString": "on ~* +get", "NoPasswordRequired": True}
STORY: tuple[Act, ...] = (
    call("CreateUser", UserId="u", UserName="u", **USER),
    call("CreateUser", UserId="d", UserName="default", **USER),
    call("CreateUserGroup", UserGroupId="ug", Engine="redis", UserIds=["d"]),
    call("ModifyUserGroup", UserGroupId="ug", UserIdsToAdd=["u"]),
    call("ModifyUser", UserId="u", AccessString="on ~a +get"),
    call("AddTagsToResource", ResourceName=SCOPE.arn("user", "u"), Tags=[{"Key": "k"}]),
    _tag_by_the_session,
    call(
        "CreateCacheParameterGroup",
        CacheParameterGroupName="pg",
        CacheParameterGroupFamily="redis7",
        Description="d",
    ),
    call(
        "ModifyCacheParameterGroup",
        CacheParameterGroupName="pg",
        ParameterNameValues=[{"ParameterName": "timeout", "ParameterValue": "60"}],
    ),
    call(
        "CreateCacheSubnetGroup",
        CacheSubnetGroupName="sg",
        CacheSubnetGroupDescription="d",
        SubnetIds=["subnet-a"],
    ),
    call(
        "ModifyCacheSubnetGroup", CacheSubnetGroupName="sg", CacheSubnetGroupDescription="another"
    ),
    _group_without_the_api,
    call(
        "CreateReplicationGroup",
        ReplicationGroupId="h",
        ReplicationGroupDescription="d",
        CacheNodeType="cache.t3.micro",
    ),
    _status_by_the_session,
    _node_by_the_session,
    _clusters_in_bulk,
    _group_by_the_session,
    call("DeleteUser", UserId="u"),
    call("DeleteUserGroup", UserGroupId="ug"),
    call("DeleteUser", UserId="d"),
    call("DeleteCacheSubnetGroup", CacheSubnetGroupName="sg"),
    call("DeleteCacheParameterGroup", CacheParameterGroupName="pg"),
)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        yield opened


async def _answers(api: Api) -> list[object]:
    found: list[object] = []
    for operation, params in QUESTIONS:
        try:
            found.append(await api(operation, **params))
        except Refused as refused:
            found.append(str(refused))
    return found


def _forgetful(api: Api) -> Api:
    app = create_app(
        store=api.store, settings=quiet_settings(), catalog=api.catalog, clock=api.clock
    )
    return Api(app, api.store, api.clock, api.catalog)


async def test_after_every_change_every_answer_is_the_one_that_would_be_given(api: Api) -> None:
    for number, act in enumerate(STORY):
        await act(api)
        kept, fresh = await _answers(api), await _answers(_forgetful(api))
        for (operation, _), ours, theirs in zip(QUESTIONS, kept, fresh, strict=True):
            assert ours == theirs, f"{operation} after step {number} of the story"


async def _reads(api: Api, operation: str, **params: Any) -> int:
    """Return how many statements an answer takes."""
    engine, count = api.store._engine.sync_engine, 0

    def note(*_: object) -> None:
        nonlocal count
        count += 1

    event.listen(engine, "begin", note)
    try:
        await api(operation, **params)
    finally:
        event.remove(engine, "begin", note)
    return count


async def test_what_users_are_is_not_read_again_for_the_steps_of_a_cache(api: Api) -> None:
    await api("CreateUser", UserId="u", UserName="u", **USER)
    await _group_without_the_api(api)
    for operation in ("DescribeUsers", "DescribeCacheSubnetGroups"):
        assert await _reads(api, operation) == 1
        await _status_by_the_session(api)
        async with api.store.begin(SCOPE) as tx:
            tx.emit("replication-group", "g", "Something happened")
        assert await _reads(api, operation) == 0
    assert await _reads(api, "DescribeReplicationGroups") == 1
    await api("ModifyUser", UserId="u", AccessString="on ~a +get")
    assert await _reads(api, "DescribeReplicationGroups") == 0
    assert await _reads(api, "DescribeUsers") == 1
