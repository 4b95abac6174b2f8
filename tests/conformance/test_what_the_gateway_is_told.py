"""Who watches for changes compares with what the gateway was told last, by whomever.

What came along with a change of routes and is gone before the next look has to go from the gateway.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from cachefleet.engine.errors import NodeUnreachable
from cachefleet.engine.gateway.routes import (
    AuthOptions,
    IamOptions,
    IamUser,
    Route,
    RouteKind,
    RouteOptions,
)
from cachefleet.provisioner.clock import Clock
from cachefleet.provisioner.drivers.base import LaunchFailed
from cachefleet.provisioner.drivers.fake import FakeMachine
from cachefleet.provisioner.health.readers import ReaderWatch
from cachefleet.provisioner.reconciler.endpoints import GATEWAY_UID, Endpoints
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.iam import IamKeys
from cachefleet.provisioner.reconciler.loop import Provisioner
from cachefleet.provisioner.reconciler.security_groups import NoRules, SecurityGroups
from cachefleet.provisioner.state import access_keys
from cachefleet.provisioner.state.access_keys import KeyScope
from cachefleet.provisioner.state.access_tables import VpcSecurityGroup
from cachefleet.provisioner.state.master_key import ensure_master_key
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Store
from tests.builders.fleets import fake_fleet
from tests.builders.groups import cache_cluster

ACCOUNT = "1" * 12
NO_SCOPE, HOME = Scope("", ""), Scope(ACCOUNT, "us-east-1")


@pytest.fixture
def machine() -> FakeMachine:
    return FakeMachine()


@pytest.fixture
def fleet(tmp_path: Path, store: Store, clock: Clock, machine: FakeMachine) -> Fleet:
    return fake_fleet(tmp_path, store, clock, machine=machine)


def route_with_iam() -> Route:
    iam = IamOptions(
        cache_name="cache",
        account=ACCOUNT,
        region="us-east-1",
        keys_path="iam-keys.json",
        users=(IamUser(user_name="user", password="internal"),),
    )
    return Route(
        name="cache",
        listen=(),
        kind=RouteKind.TCP,
        options=RouteOptions(auth=AuthOptions(iam=iam)),
    )


class Gateway:
    """Stands for the endpoints: reads the keys as they do, and may fail to hand them on."""

    def __init__(self, keys: IamKeys, routes: Sequence[Route]) -> None:
        self._keys = keys
        self._routes = routes
        self.fails = False
        self.told: str | None = None

    async def sync(self, settled: str | None = None) -> None:
        text = await self._keys.text(self._routes)
        if self.fails:
            self._keys.forget()
            raise NodeUnreachable("it is on its way")
        self.told = text


async def make_key(fleet: Fleet) -> str:
    key = ensure_master_key(fleet.settings.master_key_path)
    async with fleet.store.begin(NO_SCOPE) as tx:
        pair = await access_keys.create(tx, key, account=ACCOUNT, scope=KeyScope.CONNECT)
    return pair.access_key_id


async def delete_key(fleet: Fleet, access_key_id: str) -> None:
    async with fleet.store.begin(NO_SCOPE) as tx:
        await access_keys.delete(tx, access_key_id)


async def test_a_key_that_came_with_other_news_goes_when_it_is_deleted(fleet: Fleet) -> None:
    keys = IamKeys(fleet)
    gateway = Gateway(keys, [route_with_iam()])
    await keys.look(gateway.sync)
    nothing = gateway.told
    key = await make_key(fleet)
    await gateway.sync()  # a change of routes
    assert key in (gateway.told or "")
    await delete_key(fleet, key)
    await keys.look(gateway.sync)
    assert gateway.told == nothing


async def test_keys_that_may_not_have_arrived_are_told_again(fleet: Fleet) -> None:
    keys = IamKeys(fleet)
    gateway = Gateway(keys, [route_with_iam()])
    await keys.look(gateway.sync)
    key = await make_key(fleet)
    gateway.fails = True
    with pytest.raises(NodeUnreachable):
        await keys.look(gateway.sync)
    gateway.fails = False
    await keys.look(gateway.sync)
    assert key in (gateway.told or "")


async def test_what_a_gateway_that_did_not_start_was_to_be_told_counts_for_nothing(
    fleet: Fleet, machine: FakeMachine
) -> None:
    endpoints, asked = Endpoints(fleet), 0

    async def sync(settled: str | None = None) -> None:
        nonlocal asked
        asked += 1

    fleet.driver.directory(GATEWAY_UID).mkdir()  # there was one
    machine.refusals[GATEWAY_UID] = "no"
    with pytest.raises(LaunchFailed):
        await endpoints.sync()
    await endpoints.iam_keys.look(sync)
    assert asked == 1


async def test_nobody_is_told_of_keys_that_no_route_needs(fleet: Fleet) -> None:
    keys = IamKeys(fleet)
    gateway = Gateway(keys, [])
    await keys.look(gateway.sync)
    gateway.fails = True
    await make_key(fleet)
    await keys.look(gateway.sync)
    assert gateway.told is None


async def test_a_network_that_came_with_other_news_goes_with_its_rule(fleet: Fleet) -> None:
    async with fleet.store.begin(HOME) as tx:
        cluster = await cache_cluster(tx, security_group_ids=["sg-1"])
    groups = SecurityGroups(fleet, NoRules())
    told: list[dict[str, tuple[str, ...]]] = []

    async def sync(settled: str | None = None) -> None:
        async with fleet.store.read(NO_SCOPE) as tx:
            told.append(await groups.admitted(tx))

    await groups.look(sync)
    assert told == [{cluster.uid: ()}]
    await groups.look(sync)
    assert len(told) == 1, "nothing has changed"
    rule = {"cidr": "10.0.0.0/8", "from_port": 0, "to_port": 65_535}
    async with fleet.store.begin(HOME) as tx:
        tx.session.add(
            VpcSecurityGroup(
                account=HOME.account, region=HOME.region, group_id="sg-1", ingress=[rule]
            )
        )
    await sync()  # a change of routes
    assert told[-1] == {cluster.uid: ("10.0.0.0/8",)}
    async with fleet.store.begin(HOME) as tx:
        found = await tx.session.get(VpcSecurityGroup, (HOME.account, HOME.region, "sg-1"))
        await tx.session.delete(found)
    await groups.look(sync)
    assert told[-1] == {cluster.uid: ()}


async def test_readers_that_the_gateway_was_not_told_of_are_told_again(
    fleet: Fleet, machine: FakeMachine
) -> None:
    endpoints = Endpoints(fleet)
    watch = ReaderWatch(fleet, Provisioner(fleet, after_work=endpoints.sync), endpoints)
    fleet.unfit_readers = {"gone"}
    fleet.driver.directory(GATEWAY_UID).mkdir()  # there was one
    for _ in range(2):
        machine.refusals[GATEWAY_UID] = "no"
        with pytest.raises(LaunchFailed):
            await watch.look()
    assert fleet.unfit_readers == set()
