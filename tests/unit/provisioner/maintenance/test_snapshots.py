"""Automatic snapshots: one for each window, also for one that was missed, and none for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from cachefleet.provisioner.maintenance.snapshots import (
    Keeping,
    SnapshotCalendar,
    due_start,
    last_start,
)
from cachefleet.provisioner.maintenance.windows import NotAWindow
from cachefleet.provisioner.state import leases, snapshots
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.snapshot_tables import Snapshot
from cachefleet.provisioner.state.tables import ReplicationGroup
from tests.builders.snapshots import snapshot_of
from tests.support.api import SCOPE, Api, open_api
from tests.support.settled import settle

HOLDER = "us"
NOW = datetime(2026, 1, 2, 5, 30, tzinfo=UTC)
DAY_S = 24 * 3600
NODE = "cache.t3.micro"


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-01-{text}:00+00:00")


@pytest.mark.parametrize(
    ("window", "now", "start"),
    [
        ("05:00-06:00", "02T05:00", "02T05:00"),
        ("05:00-06:00", "02T05:59", "02T05:00"),
        ("05:00-06:00", "02T04:59", "01T05:00"),
        ("05:00-06:00", "02T23:00", "02T05:00"),
        ("23:30-00:30", "02T00:10", "01T23:30"),
    ],
)
def test_the_last_window(window: str, now: str, start: str) -> None:
    assert last_start(window, at(now)) == at(start)


def test_refuses_what_is_no_window() -> None:
    with pytest.raises(NotAWindow):
        last_start("mon:05:00-mon:06:00", NOW)


@pytest.mark.parametrize(
    ("status", "since", "due"),
    [
        ("available", "01T00:00", True),
        ("available", "02T05:00", True),
        ("available", "02T05:01", False),
        ("modifying", "01T00:00", False),
        ("snapshotting", "01T00:00", False),
    ],
)
def test_due(status: str, since: str, due: bool) -> None:
    keeping = Keeping(uid="u", status=status, window="05:00-06:00", since=at(since))
    assert (due_start(keeping, NOW) is not None) is due


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        opened.clock.instant = NOW - timedelta(days=1)
        yield opened


async def hold(api: Api) -> dict[str, Lease]:
    async with api.store.begin(SCOPE) as tx:
        taken = await leases.acquire_free(tx, holder=HOLDER)
    return {lease.subject_uid: lease for lease in taken}


async def calendar(api: Api) -> SnapshotCalendar:
    held = await hold(api)
    return SnapshotCalendar(api.store, api.clock, holder=HOLDER, held=lambda: held)


async def renewed(api: Api) -> None:
    """Keep our leases over the days that pass here."""
    async with api.store.begin(SCOPE) as tx:
        await leases.release_everything(tx)


async def make_group(api: Api, **options: Any) -> None:
    await api(
        "CreateReplicationGroup",
        ReplicationGroupId="demo",
        ReplicationGroupDescription="d",
        CacheNodeType=NODE,
        SnapshotWindow="05:00-06:00",
        PreferredMaintenanceWindow="mon:10:00-mon:11:00",
        SnapshotRetentionLimit=2,
        **options,
    )
    await settle(api)


async def names(api: Api) -> list[tuple[str, str | None, str | None]]:
    async with api.store.read(SCOPE) as tx:
        rows = (await tx.session.scalars(select(Snapshot).order_by(Snapshot.name))).all()
        return [(row.name, row.cache_cluster_id, row.replication_group_id) for row in rows]


async def finish(api: Api) -> None:
    """Conclude what is being taken, as the provisioner would."""
    async with api.store.begin(SCOPE) as tx:
        for row in (await tx.session.scalars(select(Snapshot))).all():
            if row.status == "creating":
                row.status = "available"
        for group in (await tx.session.scalars(select(ReplicationGroup))).all():
            snapshots.unmark(group, group.members)


async def test_one_a_window_of_the_replica(api: Api) -> None:
    await make_group(api, NumCacheClusters=2)
    api.clock.instant = NOW
    await renewed(api)
    looking = await calendar(api)
    assert len(await looking.file_due()) == 1
    assert await names(api) == [("automatic.demo-002-2026-01-02-05-30", "demo-002", None)]
    group = (await api("DescribeReplicationGroups"))["ReplicationGroups"][0]
    assert (group["Status"], group["SnapshottingClusterId"]) == ("snapshotting", "demo-002")
    await finish(api)
    assert await looking.file_due() == []


async def test_a_cluster_is_taken_whole(api: Api) -> None:
    await make_group(api, NumNodeGroups=2, AutomaticFailoverEnabled=True)
    api.clock.instant = NOW
    await renewed(api)
    await (await calendar(api)).file_due()
    assert await names(api) == [("automatic.demo-2026-01-02-05-30", None, "demo")]


async def test_a_window_that_was_missed_is_made_up_for(api: Api) -> None:
    await make_group(api)
    api.clock.instant = NOW + timedelta(hours=9)
    await renewed(api)
    looking = await calendar(api)
    assert len(await looking.file_due()) == 1
    await finish(api)
    assert await looking.file_due() == []


async def test_nothing_for_windows_from_before_it_was_asked_for(api: Api) -> None:
    api.clock.instant = NOW
    await make_group(api)
    assert await (await calendar(api)).file_due() == []


async def test_expired_ones_go_and_manual_ones_stay(api: Api) -> None:
    await make_group(api)
    api.clock.instant = NOW
    await renewed(api)
    looking = await calendar(api)
    await looking.file_due()
    await finish(api)
    async with api.store.begin(SCOPE) as tx:
        await snapshot_of(tx, "mine", group=await tx.get(ReplicationGroup, "demo"))
    assert await looking.retire_expired() == []
    api.clock.advance(2 * DAY_S + 1)
    assert await looking.retire_expired() == ["automatic.demo-001-2026-01-02-05-30"]
    shown = await api.listed("DescribeSnapshots", "Snapshots")
    assert {s["SnapshotName"]: s["SnapshotStatus"] for s in shown} == {
        "automatic.demo-001-2026-01-02-05-30": "deleting",
        "mine": "available",
    }
    system = await api("DescribeSnapshots", SnapshotSource="system")
    assert [s["SnapshotSource"] for s in system["Snapshots"]] == ["automated"]
    user = await api("DescribeSnapshots", SnapshotSource="user")
    assert [s["SnapshotName"] for s in user["Snapshots"]] == ["mine"]


async def test_retention_of_zero_takes_none(api: Api) -> None:
    await make_group(api)
    await api(
        "ModifyReplicationGroup",
        ReplicationGroupId="demo",
        SnapshotRetentionLimit=0,
        ApplyImmediately=True,
    )
    await settle(api)
    api.clock.instant = NOW
    await renewed(api)
    assert await (await calendar(api)).file_due() == []
