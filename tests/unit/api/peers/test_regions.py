"""Two front-ends as each other's regions: what is asked of whom, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select

from cachefleet.provisioner.maintenance import peers as watching
from cachefleet.provisioner.peering.client import (
    PeerRefused,
)
from cachefleet.provisioner.state import global_groups, peered
from cachefleet.provisioner.state.tables import (
    CacheNode,
    Event,
    Operation,
    ParameterGroup,
    ReplicationGroup,
)
from tests.builders import groups as build
from tests.support.api import Refused
from tests.support.wired import (
    HERE,
    NAME,
    OF,
    THERE,
    Side,
    Two,
    joined,
    joined_shards,
    joining,
    leading,
    leading_shards,
    rest,
)
from tests.unit.api.driver import send

pytestmark = pytest.mark.anyio

STATE = "InvalidGlobalReplicationGroupState"
TOWARDS_FAR = {"PrimaryRegion": THERE, "PrimaryReplicationGroupId": "far"}


async def group_of(side: Side, name: str) -> ReplicationGroup:
    async with side.api.store.read(side.scope) as tx:
        return await tx.get(ReplicationGroup, name)


async def roles(side: Side) -> dict[str, str]:
    answer = await side.api("DescribeGlobalReplicationGroups", ShowMemberInfo=True, **OF)
    [row] = answer["GlobalReplicationGroups"]
    return {one["ReplicationGroupRegion"]: one["Role"] for one in row["Members"]}


def upstreams(group: ReplicationGroup) -> list[Any]:
    return [shard.upstream and shard.upstream["host"] for shard in group.node_groups]


async def test_a_group_joins_another_cachefleets(two: Two) -> None:
    near, far = two
    await joined(near, far)
    there = await group_of(far, "far")
    here = await group_of(near, "near")
    assert (there.global_name, there.global_role) == (NAME, "SECONDARY")
    assert (there.node_type, there.engine_version) == (here.node_type, here.engine_version)
    assert upstreams(there) == ["127.0.1.1"]
    assert there.replication_secret == here.replication_secret
    assert there.parameter_group_name == "global-datastore-far"
    assert await roles(near) == await roles(far) == {HERE: "PRIMARY", THERE: "SECONDARY"}
    answers = [
        await side.api("DescribeGlobalReplicationGroups", ShowMemberInfo=True, **OF) for side in two
    ]
    assert answers[0] == answers[1]
    assert here.replication_secret not in json.dumps(answers, default=str)


async def test_what_cannot_join_is_let_in_nowhere(two: Two) -> None:
    near, far = two
    await leading(near)
    with pytest.raises(Refused, match="InvalidParameterValue"):
        await far.api("CreateReplicationGroup", **joining(Port=1))
    assert await roles(near) == {HERE: "PRIMARY"}
    async with far.api.store.begin(far.scope) as tx:
        await build.replication_group(tx, "taken")
    with pytest.raises(Refused, match="ReplicationGroupAlreadyExists"):
        await far.api("CreateReplicationGroup", **joining("taken"))
    assert await roles(near) == {HERE: "PRIMARY"}
    await rest(near)
    with pytest.raises(Refused, match="GlobalReplicationGroupNotFoundFault"):
        await far.api("CreateReplicationGroup", **joining(GlobalReplicationGroupId="ldgnf-other"))
    await rest(near)
    await far.api("CreateReplicationGroup", **joining())
    with pytest.raises(Refused, match=STATE):  # one joins, another one waits
        await far.api("CreateReplicationGroup", **joining("later"))


async def test_who_was_let_in_and_does_not_come_is_forgotten(two: Two) -> None:
    near, far = two
    await leading(near)
    body = {"account": "000000000000", "name": NAME, "region": THERE, "group_name": "lost"}
    who = {**body, "fleet": f"fleet-{THERE}"}
    await far.peers.ask(HERE, "join", {**who, "only_ask": True})
    assert await roles(near) == {HERE: "PRIMARY"}
    for _ in range(2):
        await far.peers.ask(HERE, "join", {**who, "only_ask": False})
    assert await roles(near) == {HERE: "PRIMARY", THERE: "SECONDARY"}
    await far.peers.ask(HERE, "leave", {**body, "fleet": f"fleet-{THERE}"})
    assert await roles(near) == {HERE: "PRIMARY"}


async def test_a_region_that_is_no_peer_is_not_let_in(two: Two) -> None:
    near, far = two
    await leading(near)
    body = {"account": "000000000000", "name": NAME, "region": "ap-south-1", "group_name": "new"}
    with pytest.raises(PeerRefused, match="ap-south-1 is no peer of the primary's cachefleet"):
        await far.peers.ask(HERE, "join", {**body, "fleet": "other", "only_ask": False})
    assert await roles(near) == {HERE: "PRIMARY"}


async def test_its_shards_become_ours(two: Two) -> None:
    near, far = two
    await joined_shards(near, far)
    here, there = await group_of(near, "near"), await group_of(far, "far")
    assert slots(there) == slots(here) == {"0001": "0-8191", "0002": "8192-16383"}
    assert there.replication_secret == here.replication_secret
    for shard, host in zip(there.node_groups, ("127.0.1.10", "127.0.1.20"), strict=True):
        assert shard.feed is not None
        assert shard.feed["outside"] == {"host": host, "port": 6379}
        assert (shard.feed["waits"], shard.upstream) == (False, None)
    # A shard that leads fails over: the feed of ours goes on from where it is now.
    tokens = [shard.feed and shard.feed["token"] for shard in there.node_groups]
    async with near.api.store.begin(near.scope) as tx:
        shard = (await tx.get(ReplicationGroup, "near")).node_groups[1]
        shard.nodes[0].host = "127.0.1.99"
    await far.watch.look()
    there = await group_of(far, "far")
    assert [shard.feed and shard.feed["token"] for shard in there.node_groups] == tokens
    assert [(shard.feed or {})["outside"]["host"] for shard in there.node_groups] == [
        "127.0.1.10",
        "127.0.1.99",
    ]


def slots(group: ReplicationGroup) -> dict[str, str]:
    return {shard.node_group_id: shard.slots for shard in group.node_groups}


async def test_what_is_nowhere_yet_cannot_be_followed(two: Two) -> None:
    near, far = two
    await leading_shards(near)
    async with near.api.store.begin(near.scope) as tx:
        (await tx.get(ReplicationGroup, "near")).node_groups[1].nodes[0].host = None
    with pytest.raises(Refused, match="near has no endpoint yet"):
        await far.api("CreateReplicationGroup", **joining(shards=True))
    assert await roles(near) == {HERE: "PRIMARY"}


async def test_shards_that_led_wait_until_the_survivor_says_that_it_leads(two: Two) -> None:
    near, far = two
    await joined_shards(near, far)
    far.peers.apps.clear()
    await far.api("FailoverGlobalReplicationGroup", **TOWARDS_FAR, **OF)
    there = await group_of(far, "far")
    assert (there.global_role, [one.feed for one in there.node_groups]) == ("PRIMARY", [None, None])
    await near.watch.first_look()
    here = await group_of(near, "near")
    assert here.global_role == "SECONDARY"
    # It is modifying: its own feed may still bring what we write.
    assert [(shard.feed or {})["waits"] for shard in here.node_groups] == [True, True]
    await rest(far)
    await near.watch.look()
    here = await group_of(near, "near")
    assert [(shard.feed or {})["waits"] for shard in here.node_groups] == [False, False]
    assert [(shard.feed or {})["start"] for shard in here.node_groups] == [None, None]


INCREASE = {"NodeGroupCount": 3, "ApplyImmediately": True, **OF}


async def test_new_shards_are_planned_by_everybody(two: Two) -> None:
    near, far = two
    await joined_shards(near, far)
    await far.api("IncreaseNodeGroupsInGlobalReplicationGroup", **INCREASE)
    async with near.api.store.read(near.scope) as tx:
        pending = (await global_groups.get(tx, NAME)).pending
    [plan] = pending["plans"][THERE]
    assert plan["node_group_id"] == "0003"
    assert [node["member_name"] for node in plan["nodes"]] == ["far-0003-001"]


async def test_shards_that_one_cannot_have_nobody_gets(two: Two) -> None:
    near, far = two
    await joined_shards(near, far)
    before = await recorded(near)
    zones = {"PreferredAvailabilityZones": ["us-east-1a"], "NodeGroupId": "0003"}
    with pytest.raises(Refused, match="us-east-1a") as refusal:
        await near.api(
            "IncreaseNodeGroupsInGlobalReplicationGroup",
            **INCREASE,
            RegionalConfigurations=[
                {
                    "ReplicationGroupId": "far",
                    "ReplicationGroupRegion": THERE,
                    "ReshardingConfiguration": [zones],
                }
            ],
        )
    assert refusal.value.code == "InvalidParameterValue"
    assert await recorded(near) == before
    near.peers.apps.clear()
    with pytest.raises(Refused, match="is needed for this"):
        await near.api("IncreaseNodeGroupsInGlobalReplicationGroup", **INCREASE)
    assert await recorded(near) == before


async def encrypted(side: Side) -> None:
    async with side.api.store.begin(side.scope) as tx:
        group = await tx.get(ReplicationGroup, "near")
        group.transit_encryption_enabled, group.transit_encryption_mode = True, "required"


async def test_nobody_joins_before_it_is_known_who_vouches_for_the_first_one(two: Two) -> None:
    near, far = two
    await leading(near)
    await encrypted(near)
    async with near.api.store.begin(near.scope) as tx:
        await peered.publish_authority(tx, "")
    with pytest.raises(Refused, match="near has no endpoint yet"):
        await far.api("CreateReplicationGroup", **joining())


async def test_with_encryption_in_transit_its_authority_comes_along(two: Two) -> None:
    near, far = two
    await leading(near)
    await encrypted(near)
    await near.watch.look()
    await far.api("CreateReplicationGroup", **joining())
    first = near.fleet.certificates.authority_path.read_text()
    there = await group_of(far, "far")
    assert [shard.upstream and shard.upstream["ca"] for shard in there.node_groups] == [first]
    assert there.transit_encryption_mode == "required"
    # It is another one some day; until nothing of the first is in use, both are trusted.
    near.fleet.certificates.rotate()
    await near.watch.look()
    await far.watch.look()
    both = near.fleet.certificates.authority_path.read_text()
    assert both != first
    there = await group_of(far, "far")
    assert [shard.upstream and shard.upstream["ca"] for shard in there.node_groups] == [both]


async def test_a_change_is_asked_of_whoever_leads(two: Two) -> None:
    near, far = two
    await joined(near, far)
    answer = await far.api(
        "ModifyGlobalReplicationGroup",
        ApplyImmediately=True,
        GlobalReplicationGroupDescription="told far away",
        **OF,
    )
    assert answer["GlobalReplicationGroup"]["Status"] == "modifying"
    async with near.api.store.read(near.scope) as tx:
        assert (await global_groups.get(tx, NAME)).description == "told far away"
    # While it is busy it says no, and that is what is answered.
    with pytest.raises(Refused, match=STATE):
        await far.api("FailoverGlobalReplicationGroup", **TOWARDS_FAR, **OF)


HERS = "global-datastore-near", "global-datastore-far"


def policy(value: str, name: str = "maxmemory-policy") -> dict[str, Any]:
    return {"ParameterNameValues": [{"ParameterName": name, "ParameterValue": value}]}


async def values(side: Side, name: str) -> dict[str, Any]:
    async with side.api.store.read(side.scope) as tx:
        return dict((await tx.get(ParameterGroup, name)).values)


async def applied(side: Side) -> list[Any]:
    async with side.api.store.read(side.scope) as tx:
        query = select(Operation.payload).where(Operation.kind == "apply_parameters")
        return [payload["changed"] for payload in (await tx.session.scalars(query)).all()]


@pytest.mark.parametrize("asked", ["near", "far"])
async def test_parameters_are_those_of_the_one_that_leads(two: Two, asked: str) -> None:
    near, far = two
    await joined(near, far)
    side, name = {"near": (near, HERS[0]), "far": (far, HERS[1])}[asked]
    answer = await side.api(
        "ModifyCacheParameterGroup", CacheParameterGroupName=name, **policy("allkeys-lfu")
    )
    assert answer == {"CacheParameterGroupName": name}
    assert await values(near, HERS[0]) == {"maxmemory-policy": "allkeys-lfu"}
    assert await values(far, HERS[1]) == {}
    for _ in range(2):  # what is heard again changes nothing
        await far.watch.look()
        assert await values(far, HERS[1]) == {"maxmemory-policy": "allkeys-lfu"}
        assert await applied(near) == await applied(far) == [["maxmemory-policy"]]
    for one in two:  # the engines have them
        async with one.api.store.begin(one.scope) as tx:
            for node in (await tx.session.scalars(select(CacheNode))).all():
                node.parameter_group_status = "in-sync"
    await side.api(
        "ResetCacheParameterGroup", CacheParameterGroupName=name, ResetAllParameters=True
    )
    await far.watch.look()
    assert await values(near, HERS[0]) == await values(far, HERS[1]) == {}


async def test_parameters_that_cannot_be_are_changed_nowhere(two: Two) -> None:
    near, far = two
    await joined(near, far)
    asked = {"CacheParameterGroupName": HERS[1]}
    with pytest.raises(Refused, match="InvalidParameterValue"):
        await far.api("ModifyCacheParameterGroup", **asked, **policy("no such policy"))
    # Who leads is busy, and says so; then it is away.
    async with near.api.store.begin(near.scope) as tx:
        (await global_groups.get(tx, NAME)).status = "modifying"
    with pytest.raises(Refused, match=STATE):
        await far.api("ModifyCacheParameterGroup", **asked, **policy("allkeys-lfu"))
    far.peers.apps.clear()
    with pytest.raises(Refused, match=r"does not answer.*Nothing was changed") as refusal:
        await far.api("ResetCacheParameterGroup", **asked, ResetAllParameters=True)
    assert refusal.value.code == STATE
    assert await values(near, HERS[0]) == await values(far, HERS[1]) == {}


async def test_parameters_are_the_survivors_own_once_it_leads(two: Two) -> None:
    near, far = two
    await joined(near, far)
    far.peers.apps.clear()
    await far.api("FailoverGlobalReplicationGroup", **TOWARDS_FAR, **OF)
    await rest(far)
    await far.api(
        "ModifyCacheParameterGroup", CacheParameterGroupName=HERS[1], **policy("allkeys-lru")
    )
    await near.watch.first_look()
    assert await values(near, HERS[0]) == {"maxmemory-policy": "allkeys-lru"}


CALLS: list[tuple[str, dict[str, Any]]] = [
    (
        "ModifyGlobalReplicationGroup",
        {"ApplyImmediately": True, "CacheNodeType": "cache.r7g.xlarge"},
    ),
    ("DeleteGlobalReplicationGroup", {"RetainPrimaryReplicationGroup": True}),
    ("RebalanceSlotsInGlobalReplicationGroup", {"ApplyImmediately": True}),
    (
        "DisassociateGlobalReplicationGroup",
        {"ReplicationGroupId": "far", "ReplicationGroupRegion": THERE},
    ),
    (
        "FailoverGlobalReplicationGroup",
        {"PrimaryRegion": "ap-south-1", "PrimaryReplicationGroupId": "else"},
    ),
]


@pytest.mark.parametrize(("operation", "params"), CALLS)
async def test_what_needs_one_that_is_away_changes_nothing(
    two: Two, operation: str, params: dict[str, Any]
) -> None:
    near, far = two
    await joined(near, far)
    far.peers.apps.clear()
    before = await recorded(far)
    with pytest.raises(Refused, match="does not answer") as refusal:
        await far.api(operation, **params, **OF)
    assert refusal.value.code == STATE
    assert await recorded(far) == before


@pytest.mark.parametrize(
    ("operation", "params"), [CALLS[0], ("FailoverGlobalReplicationGroup", TOWARDS_FAR)]
)
async def test_whoever_leads_needs_the_others_too(
    two: Two, operation: str, params: dict[str, Any]
) -> None:
    near, far = two
    await joined(near, far)
    near.peers.apps.clear()
    before = await recorded(near)
    with pytest.raises(Refused, match=r"is needed for this.*does not answer"):
        await near.api(operation, **params, **OF)
    assert await recorded(near) == before


async def recorded(side: Side) -> Any:
    async with side.api.store.read(side.scope) as tx:
        row = await global_groups.get(tx, NAME)
        operations = (await tx.session.scalars(select(Operation.id))).all()
        return row.status, row.epoch, dict(row.pending), [m.role for m in row.members], operations


async def test_a_survivor_takes_over_and_the_other_one_follows(two: Two) -> None:
    near, far = two
    await joined(near, far)
    far.peers.apps.clear()
    answer = await far.api("FailoverGlobalReplicationGroup", **TOWARDS_FAR, **OF)
    assert answer["GlobalReplicationGroup"]["Status"] == "modifying"
    there = await group_of(far, "far")
    assert (there.global_role, upstreams(there)) == ("PRIMARY", [None])
    async with far.api.store.read(far.scope) as tx:
        said = (await tx.session.scalars(select(Event.message))).all()
    assert any("may take writes until it is heard again" in message for message in said)
    # Asked again, as by a client that missed the answer, it is refused: it leads already.
    await rest(far)
    with pytest.raises(Refused, match="is the primary already"):
        await far.api("FailoverGlobalReplicationGroup", **TOWARDS_FAR, **OF)
    # The other one is back, and looks before it does anything else.
    await near.watch.first_look()
    here = await group_of(near, "near")
    assert (here.global_role, upstreams(here)) == ("SECONDARY", ["127.0.2.1"])
    assert await roles(near) == {HERE: "SECONDARY", THERE: "PRIMARY"}
    await near.watch.first_look()  # and again: nothing more happens
    async with near.api.store.read(near.scope) as tx:
        assert (await global_groups.get(tx, NAME)).epoch == 1


async def test_somebody_strange_is_no_reason_to_take_over(two: Two) -> None:
    near, far = two
    await joined(near, far)
    far.peers.answers = [(200, b"<html>")] * 2
    with pytest.raises(Refused, match="no cachefleet with the same peer secret"):
        await far.api("FailoverGlobalReplicationGroup", **TOWARDS_FAR, **OF)
    assert await roles(far) == {HERE: "PRIMARY", THERE: "SECONDARY"}


async def test_a_record_that_is_no_more_lets_its_groups_go(two: Two) -> None:
    near, far = two
    await joined(near, far)
    async with near.api.store.begin(near.scope) as tx:
        await tx.session.delete(await global_groups.get(tx, NAME))
    await far.watch.look()
    there = await group_of(far, "far")
    assert (there.global_name, there.global_role, upstreams(there)) == (None, None, [None])


async def test_another_cachefleet_at_the_same_place_is_not_believed(two: Two) -> None:
    near, far = two
    await joined(near, far)
    async with far.api.store.begin(far.scope) as tx:
        for member in (await global_groups.get(tx, NAME)).members:
            if member.fleet is not None:
                member.fleet = "fleet-of-before"
    async with near.api.store.begin(near.scope) as tx:
        await tx.session.delete(await global_groups.get(tx, NAME))
    for _ in range(3):
        await far.watch.look()
        far.api.clock.advance(watching.RARELY_S)
    assert (await group_of(far, "far")).global_role == "SECONDARY"
    assert far.watch.is_away("fleet-of-before")


async def test_who_is_not_heard_is_away(two: Two) -> None:
    near, far = two
    await joined(near, far)
    # Nothing is said of one that was not asked yet, however long we run.
    near.api.clock.advance(1000)
    assert not near.watch.is_away("fleet-of-a-new-region")
    near.api.clock.advance(1000)
    assert not near.watch.is_away("fleet-of-a-new-region")
    await near.watch.look()
    assert not near.watch.is_away(f"fleet-{THERE}")
    near.peers.apps.clear()
    for _ in range(20):
        near.api.clock.advance(watching.RARELY_S)
        await near.watch.look()
    assert near.watch.is_away(f"fleet-{THERE}")
    near.peers.apps[THERE] = far.api.app
    near.api.clock.advance(watching.RARELY_S)
    await near.watch.look()
    assert not near.watch.is_away(f"fleet-{THERE}")


async def test_a_region_of_another_cachefleet_is_asked_there(two: Two) -> None:
    near, far = two
    async with far.api.store.begin(far.scope) as tx:
        await build.replication_group(tx, "only-there")
    status, found = await got(near, "/v1/replication-groups")
    assert (status, [one["ReplicationGroupId"] for one in found["ReplicationGroups"]]) == (
        200,
        ["only-there"],
    )
    status, refusal = await got(near, "/v1/replication-groups/no")
    assert (status, refusal["code"]) == (404, "ReplicationGroupNotFoundFault")
    near.peers.apps.clear()
    status, refusal = await got(near, "/v1/replication-groups")
    assert (status, refusal["code"]) == (503, "ServiceUnavailable")
    assert "eu-west-1 is another cachefleet's" in refusal["message"]


async def got(side: Side, path: str) -> tuple[int, Any]:
    answer = await send(side.api.app, method="GET", path=path, query=f"region={THERE}")
    return answer.status, json.loads(answer.body)


async def test_two_that_send_each_other_in_circles_are_told(two: Two) -> None:
    _, far = two
    call = {"account": "000000000000", "region": THERE, "operation": "DescribeEvents"}
    with pytest.raises(PeerRefused, match="say of each other that they have the region"):
        await far.peers.ask(HERE, "call", {**call, "params": {}, "request_id": "r"})
