"""What is found becomes updates and actions, and those that are due are filed in their window."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from cachefleet.engine.catalog import Catalog
from cachefleet.engine.discovery import Inventory
from cachefleet.engine.types import Build, Engine, EngineBinary
from cachefleet.provisioner.drivers.base import ProcessSpec
from cachefleet.provisioner.drivers.fake import FakeDriver
from cachefleet.provisioner.maintenance.updates import UpdateWatch
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.settings import ProvisionerSettings
from cachefleet.provisioner.state import leases
from cachefleet.provisioner.state.addresses import PortsPool
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.tables import Operation, ReplicationGroup
from tests.builders import groups as build
from tests.support.api import SCOPE, Api, open_api

HOLDER = "us"
WINDOW = "fri:05:00-fri:06:00"
INSIDE = datetime(2026, 1, 2, 5, 10, tzinfo=UTC)  # a Friday
OUTSIDE = INSIDE + timedelta(hours=2)
OLD = Build(kind=Engine.REDIS, version=(7, 0, 15), build="a")


def binary(*version: int, name: str = "b") -> EngineBinary:
    return EngineBinary(
        kind=Engine.REDIS,
        argv=("/engines/redis-server",),
        version=version,
        tls=True,
        source="path",
        detail="a redis",
        build=name,
    )


@dataclass
class Watched:
    """A watch over groups whose processes are fakes."""

    api: Api
    fleet: Fleet
    watch: UpdateWatch
    held: dict[str, Lease] = field(default_factory=dict)

    async def look(self) -> None:
        """Look, and take the step that the watch asks for at once."""
        await self.watch.look()
        await self.watch.look()

    async def group(self, name: str = "demo", **columns: Any) -> str:
        """Make a group of two nodes that run what is old by now."""
        async with self.api.store.begin(SCOPE) as tx:
            await build.replication_group(
                tx, name, maintenance_window=WINDOW, engine_version="7.0", **columns
            )
        async with self.api.store.read(SCOPE) as tx:
            row = await tx.get(ReplicationGroup, name)
            uids = [node.uid for member in row.members for node in member.nodes]
        for uid in uids:
            await self.start(uid)
        await self.at(self.api.clock.now())
        return row.uid

    async def at(self, instant: datetime) -> None:
        """Let time pass until *instant*, and take what leases have run out by then."""
        self.api.clock.instant = instant
        async with self.api.store.begin(SCOPE) as tx:
            for lease in await leases.acquire_free(tx, holder=HOLDER):
                self.held[lease.subject_uid] = lease

    async def start(self, uid: str, running: Build = OLD) -> None:
        await self.fleet.driver.kill(uid)
        handle = await self.fleet.driver.ensure(ProcessSpec(uid=uid, argv=("redis",)))
        self.fleet.builds[uid] = handle, running

    def install(self, *version: int, name: str = "b") -> None:
        self.fleet.inventory = Inventory(binaries=(binary(*version, name=name),))

    async def updates(self) -> dict[str, str]:
        listed = await self.api("DescribeServiceUpdates")
        return {
            one["EngineVersion"]: one["ServiceUpdateStatus"] for one in listed["ServiceUpdates"]
        }

    async def actions(self, name: str = "demo") -> list[str]:
        listed = await self.api("DescribeUpdateActions", ReplicationGroupIds=[name])
        return [one["UpdateActionStatus"] for one in listed["UpdateActions"]]

    async def filed(self) -> list[tuple[str, str]]:
        async with self.api.store.read(SCOPE) as tx:
            rows = (await tx.session.scalars(select(Operation))).all()
            return [(row.kind, row.subject_uid) for row in rows]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        opened.clock.instant = OUTSIDE
        yield opened


def watched_with(api: Api, tmp_path: Path, days: int | None) -> Watched:
    fleet = Fleet(
        store=api.store,
        driver=FakeDriver(tmp_path),
        inventory=Inventory(binaries=(binary(7, 0, 16),)),
        catalog=Catalog.load(),
        clock=api.clock,
        settings=ProvisionerSettings(data_dir=tmp_path, pool=PortsPool("127.0.0.1", 1, 2)),
        holder=HOLDER,
    )
    held: dict[str, Lease] = {}
    return Watched(api, fleet, UpdateWatch(fleet, held=lambda: held, days=days), held)


@pytest.fixture
def watched(api: Api, tmp_path: Path) -> Watched:
    return watched_with(api, tmp_path, None)


@pytest.fixture
def hasty(api: Api, tmp_path: Path) -> Watched:
    return watched_with(api, tmp_path, 0)


async def test_an_older_process_is_offered_what_would_be_started(watched: Watched) -> None:
    await watched.group()
    await watched.look()
    assert await watched.updates() == {"redis 7.0.16": "available"}
    assert await watched.actions() == ["not-applied"]
    listed = await watched.api("DescribeEvents", SourceType="cache-cluster", Duration=60)
    assert len(listed["Events"]) == 2


async def test_what_is_up_to_date_or_does_not_answer_is_offered_nothing(watched: Watched) -> None:
    uid = await watched.group()
    watched.fleet.builds.clear()  # nobody answers
    await watched.look()
    assert await watched.updates() == {}
    watched.install(7, 0, 15, name="a")
    async with watched.api.store.read(SCOPE) as tx:
        group = await tx.session.get(ReplicationGroup, uid)
        assert group is not None
        nodes = [node.uid for member in group.members for node in member.nodes]
    for node in nodes:
        await watched.start(node)
    await watched.look()
    assert await watched.updates() == {}


async def test_a_busy_group_is_left_alone(watched: Watched) -> None:
    await watched.group(status="modifying")
    await watched.look()
    assert await watched.updates() == {}


async def test_a_newer_one_takes_the_place_of_what_was_offered(watched: Watched) -> None:
    await watched.group()
    await watched.look()
    watched.install(7, 0, 17, name="c")
    watched.watch._seen.clear()  # as a change of the files does
    await watched.look()
    assert await watched.updates() == {"redis 7.0.16": "cancelled", "redis 7.0.17": "available"}
    assert sorted(await watched.actions()) == ["not-applicable", "not-applied"]


async def test_nodes_that_were_started_again_by_whatever_are_updated(watched: Watched) -> None:
    await watched.group()
    await watched.look()
    for uid in list(watched.fleet.builds):
        await watched.start(uid, watched.fleet.inventory.binaries[0].identity)
    await watched.look()
    assert await watched.actions() == ["complete"]
    watched.api.clock.advance(7 * 24 * 3600 + 1)
    assert await watched.actions() == [], "complete ones are shown for a week"


async def test_one_that_falls_back_is_offered_it_again(watched: Watched) -> None:
    await watched.group()
    await watched.look()
    for running in (watched.fleet.inventory.binaries[0].identity, OLD):
        for uid in list(watched.fleet.builds):
            await watched.start(uid, running)
        await watched.look()
    assert await watched.actions() == ["not-applied"]


async def test_what_is_due_waits_for_the_window_and_is_filed_once(hasty: Watched) -> None:
    uid = await hasty.group()
    await hasty.watch.look()  # found, and due at once
    assert await hasty.actions() == ["scheduling"]
    await hasty.watch.look()
    assert await hasty.actions() == ["scheduled"]
    assert await hasty.filed() == []
    await hasty.at(INSIDE + timedelta(weeks=1))
    await hasty.look()
    assert await hasty.actions() == ["waiting-to-start"]
    assert await hasty.filed() == [("apply_update", uid)]
    (one,) = (await hasty.api("DescribeUpdateActions", ShowNodeLevelUpdateStatus=True))[
        "UpdateActions"
    ]
    (shard,) = one["NodeGroupUpdateStatus"]
    assert {n["NodeUpdateInitiatedBy"] for n in shard["NodeGroupMemberUpdateStatus"]} == {"system"}
    async with hasty.api.store.read(SCOPE) as tx:
        group = await tx.session.get(ReplicationGroup, uid)
        assert group is not None
        assert {group.status, *(member.status for member in group.members)} == {"modifying"}


async def test_engines_are_left_where_versions_are_not_to_follow(hasty: Watched) -> None:
    await hasty.group(auto_minor_version_upgrade=False)
    await hasty.at(INSIDE + timedelta(weeks=1))
    await hasty.look()
    assert await hasty.actions() == ["not-applied"]


async def test_the_date_follows_from_the_severity(watched: Watched) -> None:
    await watched.group()
    await watched.look()
    await watched.at(OUTSIDE + timedelta(days=29))
    await watched.look()
    assert await watched.actions() == ["not-applied"]
    await watched.at(OUTSIDE + timedelta(days=32))
    await watched.look()
    assert await watched.actions() == ["scheduled"]
    (one,) = (await watched.api("DescribeUpdateActions"))["UpdateActions"]
    assert one["SlaMet"] == "no"


async def test_a_new_engine_is_looked_for_once_files_stand_still(
    watched: Watched, tmp_path: Path
) -> None:
    path = tmp_path / "memcached"
    path.write_text("#!/bin/sh\necho 'memcached 1.6.30'\n")
    path.chmod(0o755)
    settings = watched.fleet.settings
    engines = replace(settings.engines, memcached=str(path), memcached_flavor="stock")
    watched.fleet.settings = replace(settings, engines=engines)
    await watched.watch.refresh_inventory()
    assert watched.fleet.inventory.memcached_flavor == "bundled", "it may be changing still"
    await watched.watch.refresh_inventory()
    chosen = watched.fleet.inventory.choose(Engine.MEMCACHED, "1.6.22")
    assert (chosen.source, chosen.version) == ("settings", (1, 6, 30))
