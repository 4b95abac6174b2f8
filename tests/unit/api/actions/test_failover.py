"""TestFailover: what it files, and all that keeps it from being filed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from cachefleet.api.actions.failover import TESTS_PER_DAY_MAX
from cachefleet.provisioner.state.operations import OperationKind, OperationState, finish
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.tables import CacheNode, Operation, ReplicationGroup
from tests.support.api import SCOPE, Api, Refused, open_api
from tests.support.settled import put_status, settle


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        yield opened


async def create(api: Api, **options: Any) -> None:
    await api(
        "CreateReplicationGroup",
        **{
            "ReplicationGroupId": "demo",
            "ReplicationGroupDescription": "d",
            "CacheNodeType": "cache.t3.micro",
            "NumNodeGroups": 2,
            "ReplicasPerNodeGroup": 1,
            "AutomaticFailoverEnabled": True,
            **options,
        },
    )
    await settle(api)


async def fail_over(api: Api, shard: str = "0001") -> dict[str, Any]:
    answer = await api("TestFailover", ReplicationGroupId="demo", NodeGroupId=shard)
    group: dict[str, Any] = answer["ReplicationGroup"]
    return group


async def refusal(api: Api, shard: str = "0001") -> tuple[str, int]:
    before = await api.store.revision(SCOPE)
    with pytest.raises(Refused) as refused:
        await fail_over(api, shard)
    assert await api.store.revision(SCOPE) == before, "a refused call changed the records"
    return refused.value.code, refused.value.status


async def operations(api: Api) -> list[Operation]:
    async with api.store.read(SCOPE) as tx:
        return list((await tx.session.scalars(select(Operation).order_by(Operation.id))).all())


async def end_operations(api: Api) -> None:
    async with api.store.begin(SCOPE) as tx:
        for operation in (await tx.session.scalars(select(Operation))).all():
            await finish(tx, operation.id, OperationState.DONE, "")


STATE = ("InvalidReplicationGroupState", 400)


@pytest.mark.parametrize("name", ["0002", "demo-0002", "DEMO-0002"])
async def test_files_the_end_of_the_primary(api: Api, name: str) -> None:
    await create(api)
    assert (await fail_over(api, name))["Status"] == "available"
    (filed,) = await operations(api)
    async with api.store.read(SCOPE) as tx:
        query = select(CacheNode.uid).where(CacheNode.member_name == "demo-0002-001")
        primary = (await tx.session.scalars(query)).one()
    assert filed.kind == OperationKind.TEST_FAILOVER
    assert filed.payload == {"node_group_id": "0002", "primary_uid": primary}
    (event, *_) = (await api("DescribeEvents", SourceType="replication-group"))["Events"]
    assert event["SourceIdentifier"] == "demo"
    assert event["Message"] == "Test Failover API called for node group 0002"


@pytest.mark.parametrize("name", ["0003", "1", "other-0001"])
async def test_refuses_an_unknown_shard(api: Api, name: str) -> None:
    await create(api)
    assert await refusal(api, name) == ("NodeGroupNotFoundFault", 404)


async def test_refuses_an_unknown_group(api: Api) -> None:
    assert await refusal(api) == ("ReplicationGroupNotFoundFault", 404)


async def test_refuses_what_is_no_shard_name(api: Api) -> None:
    await create(api)
    assert await refusal(api, "00001") == ("InvalidParameterValue", 400)


@pytest.mark.parametrize("status", ["creating", "modifying", "snapshotting", "deleting"])
async def test_refuses_a_group_that_is_not_available(api: Api, status: str) -> None:
    await create(api)
    await put_status(api, ReplicationGroup, "demo", status)
    assert await refusal(api) == STATE


async def test_refuses_without_automatic_failover(api: Api) -> None:
    await create(api, NumNodeGroups=1, AutomaticFailoverEnabled=False)
    assert await refusal(api) == STATE


async def test_refuses_without_a_replica(api: Api) -> None:
    await create(api, ReplicasPerNodeGroup=0)
    assert await refusal(api) == STATE


async def test_refuses_the_same_shard_until_the_first_test_has_ended(api: Api) -> None:
    await create(api)
    await fail_over(api)
    assert await refusal(api) == STATE
    await fail_over(api, "0002")
    await end_operations(api)
    await fail_over(api)


async def test_refuses_while_a_node_of_the_shard_is_replaced(api: Api) -> None:
    await create(api)
    async with api.store.begin(SCOPE) as tx:
        query = select(CacheNode).where(CacheNode.member_name == "demo-0001-002")
        (await tx.session.scalars(query)).one().recovering = True
    assert await refusal(api) == STATE
    await fail_over(api, "0002")


async def test_an_account_has_so_many_tests_in_24_hours(api: Api) -> None:
    await create(api)
    elsewhere = Scope(SCOPE.account, "eu-west-1")
    async with api.store.begin(elsewhere) as tx:
        for _ in range(TESTS_PER_DAY_MAX - 1):
            tx.enqueue(OperationKind.TEST_FAILOVER, subject_uid="s", payload={})
    async with api.store.begin(Scope("999999999999", SCOPE.region)) as tx:
        tx.enqueue(OperationKind.TEST_FAILOVER, subject_uid="t", payload={})
    await end_operations(api)
    await fail_over(api)
    await end_operations(api)
    assert await refusal(api, "0002") == ("APICallRateForCustomerExceeded", 400)
    api.clock.advance(timedelta(hours=24).total_seconds())
    await fail_over(api, "0002")
