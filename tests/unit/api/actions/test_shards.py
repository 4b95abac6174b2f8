"""ModifyReplicationGroupShardConfiguration: what it refuses, what it writes, what it shows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.tables import Operation, ReplicationGroup
from tests.support.api import SCOPE, Api, Refused, open_api
from tests.support.settled import put_status, settle

ZONES = ["us-east-1a", "us-east-1b"]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        yield opened


async def create(api: Api, **options: Any) -> None:
    wanted = {
        "NumNodeGroups": 3,
        "ReplicasPerNodeGroup": 1,
        "AutomaticFailoverEnabled": True,
        **options,
    }
    await api(
        "CreateReplicationGroup",
        ReplicationGroupId="demo",
        ReplicationGroupDescription="d",
        CacheNodeType="cache.t3.micro",
        **{name: value for name, value in wanted.items() if value is not None},
    )
    await settle(api)


async def change(api: Api, count: int, **options: Any) -> dict[str, Any]:
    answer = await api(
        "ModifyReplicationGroupShardConfiguration",
        **{
            "ReplicationGroupId": "demo",
            "NodeGroupCount": count,
            "ApplyImmediately": True,
            **options,
        },
    )
    group: dict[str, Any] = answer["ReplicationGroup"]
    return group


async def describe(api: Api) -> dict[str, Any]:
    group: dict[str, Any] = (await api("DescribeReplicationGroups"))["ReplicationGroups"][0]
    return group


async def operation(api: Api) -> Operation:
    async with api.store.read(SCOPE) as tx:
        return (await tx.session.scalars(select(Operation))).one()


def ids(group: dict[str, Any]) -> list[str]:
    return [shard["NodeGroupId"] for shard in group["NodeGroups"]]


async def put_slots(api: Api, *slots: str) -> None:
    async with api.store.begin(SCOPE) as tx:
        group = await tx.get(ReplicationGroup, "demo")
        for shard, text in zip(group.node_groups, slots, strict=True):
            shard.slots = text


async def test_scale_out_answers_before_the_new_shards_are_there(api: Api) -> None:
    await create(api, Tags=[{"Key": "k", "Value": "v"}])
    answered = await change(api, 5)
    assert answered["Status"] == "modifying"
    assert answered["PendingModifiedValues"] == {
        "Resharding": {"SlotMigration": {"ProgressPercentage": 0.0}}
    }
    assert ids(answered) == ["0001", "0002", "0003"]
    shown = await describe(api)
    assert [(shard["NodeGroupId"], shard["Status"]) for shard in shown["NodeGroups"]] == [
        ("0001", "available"),
        ("0002", "available"),
        ("0003", "available"),
        ("0004", "creating"),
        ("0005", "creating"),
    ]
    assert not any("Slots" in shard for shard in shown["NodeGroups"][3:])
    assert shown["MemberClusters"][-4:] == [
        "demo-0004-001",
        "demo-0004-002",
        "demo-0005-001",
        "demo-0005-002",
    ]
    (new,) = (await api("DescribeCacheClusters", CacheClusterId="demo-0005-002"))["CacheClusters"]
    assert new["CacheClusterStatus"] == "creating"
    filed = await operation(api)
    assert filed.kind == OperationKind.RESHARD
    assert filed.payload == {"remove": [], "add": ["0004", "0005"]}
    events = await api("DescribeEvents", SourceType="replication-group")
    assert (
        events["Events"][0]["Message"]
        == "Changing the shards of replication group demo from 3 to 5"
    )
    await settle(api)
    arn = "arn:aws:elasticache:us-east-1:000000000000:cluster:demo-0004-001"
    tags = await api("ListTagsForResource", ResourceName=arn)
    assert tags["TagList"] == [{"Key": "k", "Value": "v"}]


async def test_a_new_shard_has_as_many_nodes_as_the_smallest(api: Api) -> None:
    await create(
        api,
        NumNodeGroups=2,
        ReplicasPerNodeGroup=None,
        NodeGroupConfiguration=[{"ReplicaCount": 2}, {"ReplicaCount": 1}],
    )
    await change(api, 3)
    assert len((await describe(api))["NodeGroups"][2]["NodeGroupMembers"]) == 2


async def test_new_shards_take_the_numbers_behind_the_last(api: Api) -> None:
    await create(
        api,
        NumNodeGroups=2,
        NodeGroupConfiguration=[{"NodeGroupId": "0001"}, {"NodeGroupId": "0007"}],
    )
    await change(api, 3)
    assert ids(await describe(api)) == ["0001", "0007", "0008"]


async def test_new_shards_take_free_numbers_where_the_last_is_taken(api: Api) -> None:
    await create(
        api,
        NumNodeGroups=2,
        NodeGroupConfiguration=[{"NodeGroupId": "0001"}, {"NodeGroupId": "9999"}],
    )
    await change(api, 4)
    assert ids(await describe(api)) == ["0001", "0002", "0003", "9999"]


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param([{"PreferredAvailabilityZones": ZONES}], id="of-the-new-shard"),
        pytest.param(
            [{"PreferredAvailabilityZones": ZONES[::-1]}] * 3
            + [{"PreferredAvailabilityZones": ZONES}],
            id="of-every-shard",
        ),
        pytest.param(
            [
                {"NodeGroupId": "0002", "PreferredAvailabilityZones": ["nowhere"]},
                {"NodeGroupId": "0004", "PreferredAvailabilityZones": ZONES},
            ],
            id="by-name",
        ),
    ],
)
async def test_zones_that_were_asked_for(api: Api, entries: list[dict[str, Any]]) -> None:
    await create(api)
    await change(api, 4, ReshardingConfiguration=entries)
    members = (await describe(api))["NodeGroups"][3]["NodeGroupMembers"]
    assert [member["PreferredAvailabilityZone"] for member in members] == ZONES


async def test_a_name_that_was_asked_for(api: Api) -> None:
    await create(api)
    await change(api, 5, ReshardingConfiguration=[{"NodeGroupId": "12"}])
    assert sorted(ids(await describe(api)), key=int) == ["0001", "0002", "0003", "12", "0013"]


@pytest.mark.parametrize(
    "lists",
    [{"NodeGroupsToRemove": ["0002"]}, {"NodeGroupsToRetain": ["0001", "0003"]}],
    ids=["remove", "retain"],
)
async def test_scale_in_names_the_shards_and_leaves_them_until_they_are_empty(
    api: Api, lists: dict[str, Any]
) -> None:
    await create(api)
    answered = await change(api, 2, **lists)
    assert ids(answered) == ids(await describe(api)) == ["0001", "0002", "0003"]
    assert (await operation(api)).payload == {"remove": ["0002"], "add": []}


async def test_rebalance_of_what_is_uneven(api: Api) -> None:
    await create(api, NumNodeGroups=2)
    await put_slots(api, "0-999", "1000-16383")
    await change(api, 2)
    assert (await operation(api)).payload == {"remove": [], "add": []}


REFUSALS = [
    pytest.param(
        0, {}, "InvalidParameterValue", "NodeGroupCount must be at least 1", id="no-shards"
    ),
    pytest.param(
        91, {}, "NodeGroupsPerReplicationGroupQuotaExceeded", "90 node groups", id="91-shards"
    ),
    pytest.param(46, {}, "NodeQuotaForCustomerExceeded", "90 nodes", id="92-nodes"),
    pytest.param(4, {"ApplyImmediately": False}, "InvalidParameterValue", "true", id="later"),
    pytest.param(
        4,
        {"NodeGroupsToRemove": ["0001"]},
        "InvalidParameterCombination",
        "NodeGroupsToRemove cannot be specified when node groups are added",
        id="out-with-removals",
    ),
    pytest.param(
        3,
        {"NodeGroupsToRetain": ["0001", "0002", "0003"]},
        "InvalidParameterCombination",
        "NodeGroupsToRetain",
        id="rebalance-with-lists",
    ),
    pytest.param(
        2,
        {"NodeGroupsToRemove": ["0001"], "ReshardingConfiguration": [{"NodeGroupId": "0001"}]},
        "InvalidParameterCombination",
        "ReshardingConfiguration",
        id="in-with-configuration",
    ),
    pytest.param(2, {}, "InvalidParameterCombination", "exactly one", id="in-without-lists"),
    pytest.param(
        2,
        {"NodeGroupsToRemove": ["0001"], "NodeGroupsToRetain": ["0002", "0003"]},
        "InvalidParameterCombination",
        "exactly one",
        id="in-with-both-lists",
    ),
    pytest.param(
        2,
        {"NodeGroupsToRemove": ["0001", "0002"]},
        "InvalidParameterValue",
        "leaves 1 node groups, but NodeGroupCount is 2",
        id="removes-too-many",
    ),
    pytest.param(
        2,
        {"NodeGroupsToRetain": ["0001"]},
        "InvalidParameterValue",
        "leaves 1 node groups",
        id="retains-too-few",
    ),
    pytest.param(
        2,
        {"NodeGroupsToRemove": ["0009"]},
        "InvalidParameterValue",
        "Node group 0009 is not in",
        id="unknown-shard",
    ),
    pytest.param(
        3, {}, "InvalidReplicationGroupState", "uniformly distributed. Nothing to do.", id="even"
    ),
    pytest.param(
        4,
        {"ReshardingConfiguration": [{"PreferredAvailabilityZones": ["us-east-1a"]}]},
        "InvalidParameterValue",
        "1 entries for 2 nodes",
        id="too-few-zones",
    ),
    pytest.param(
        4,
        {"ReshardingConfiguration": [{"PreferredAvailabilityZones": ["us-east-1a", "mars"]}]},
        "InvalidParameterValue",
        "mars",
        id="unknown-zone",
    ),
    pytest.param(
        4,
        {"ReshardingConfiguration": [{"NodeGroupId": "0004"}, {"NodeGroupId": "0005"}]},
        "InvalidParameterValue",
        "2 entries for 1 new node groups",
        id="too-many-entries",
    ),
    pytest.param(
        5,
        {"ReshardingConfiguration": [{"NodeGroupId": "8"}, {"NodeGroupId": "8"}]},
        "InvalidParameterValue",
        "must differ",
        id="same-name-twice",
    ),
]


@pytest.mark.parametrize(("count", "options", "code", "fragment"), REFUSALS)
async def test_refuses(
    api: Api, count: int, options: dict[str, Any], code: str, fragment: str
) -> None:
    await create(api)
    before = await api.store.revision(SCOPE)
    with pytest.raises(Refused) as refused:
        await change(api, count, **options)
    assert (refused.value.code, refused.value.status) == (code, 400)
    assert fragment in refused.value.message
    assert await api.store.revision(SCOPE) == before, "a refused call changed the records"


async def test_refuses_a_group_without_cluster_mode(api: Api) -> None:
    await create(api, NumNodeGroups=None, ReplicasPerNodeGroup=1)
    with pytest.raises(Refused) as refused:
        await change(api, 2)
    assert (refused.value.code, refused.value.message) == (
        "InvalidParameterValue",
        "Operation is only applicable for cluster mode enabled replication groups.",
    )


async def test_refuses_a_group_that_is_being_changed(api: Api) -> None:
    await create(api)
    await put_status(api, ReplicationGroup, "demo", "modifying")
    with pytest.raises(Refused) as refused:
        await change(api, 4)
    assert (refused.value.code, refused.value.message) == (
        "InvalidReplicationGroupState",
        "Replication group must be in available state to modify.",
    )


async def test_refuses_an_unknown_group(api: Api) -> None:
    with pytest.raises(Refused) as refused:
        await change(api, 4)
    assert (refused.value.code, refused.value.status) == ("ReplicationGroupNotFoundFault", 404)


async def test_multi_az_is_kept_by_new_shards(api: Api) -> None:
    await create(api, MultiAZEnabled=True)
    with pytest.raises(Refused) as refused:
        await change(
            api, 4, ReshardingConfiguration=[{"PreferredAvailabilityZones": ["us-east-1a"] * 2}]
        )
    assert refused.value.code == "InvalidParameterCombination"
    await change(api, 4)
    members = (await describe(api))["NodeGroups"][3]["NodeGroupMembers"]
    assert len({member["PreferredAvailabilityZone"] for member in members}) == 2
