"""Maintenance windows put what is pending into operations: once a window, and only what is ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from cachefleet.provisioner.maintenance.retention import EVENTS_KEPT, TIDY_EVERY_S, Retention
from cachefleet.provisioner.maintenance.scheduler import Maintenance
from cachefleet.provisioner.state import leases
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.operations import OperationKind, OperationState, finish
from cachefleet.provisioner.state.tables import (
    CacheCluster,
    Event,
    Operation,
    ReplicationGroup,
    Subject,
)
from tests.builders import groups as build
from tests.support.api import SCOPE, Api, open_api

HOLDER = "us"
WINDOW = "fri:05:00-fri:06:00"
BEFORE = datetime(2026, 1, 2, 4, 59, tzinfo=UTC)  # a Friday
INSIDE = datetime(2026, 1, 2, 5, 10, tzinfo=UTC)
WEEK_S = 7 * 24 * 3600
LARGER: dict[str, Any] = {"CacheNodeType": "cache.t4g.small"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        opened.clock.instant = INSIDE
        yield opened


async def hold(api: Api, *, holder: str = HOLDER) -> dict[str, Lease]:
    """Take every free lease in the name of *holder*."""
    async with api.store.begin(SCOPE) as tx:
        taken = await leases.acquire_free(tx, holder=holder)
    return {lease.subject_uid: lease for lease in taken}


def maintenance(api: Api, held: dict[str, Lease]) -> Maintenance:
    return Maintenance(api.store, api.clock, holder=HOLDER, held=lambda: held)


async def make_cluster(api: Api, **settings: Any) -> str:
    async with api.store.begin(SCOPE) as tx:
        options = {"maintenance_window": WINDOW, "pending": LARGER, **settings}
        return (await build.cache_cluster(tx, **options)).uid


async def filed(api: Api) -> list[tuple[str, str]]:
    async with api.store.read(SCOPE) as tx:
        rows = (await tx.session.scalars(select(Operation).order_by(Operation.id))).all()
        return [(row.kind, row.subject_uid) for row in rows]


async def test_what_is_pending_is_filed_when_the_window_opens(api: Api) -> None:
    uid = await make_cluster(api)
    work = maintenance(api, await hold(api))
    api.clock.instant = BEFORE
    assert await work.file_due() == []
    api.clock.advance(60)
    assert await work.file_due() == [uid]
    assert await filed(api) == [(OperationKind.MODIFY, uid)]
    async with api.store.read(SCOPE) as tx:
        row = await tx.get(CacheCluster, "demo")
        assert (row.status, row.pending) == ("modifying", LARGER)


async def test_a_group_is_modified_with_its_members(api: Api) -> None:
    async with api.store.begin(SCOPE) as tx:
        group = await build.replication_group(tx, maintenance_window=WINDOW, pending=LARGER)
    assert await maintenance(api, await hold(api)).file_due() == [group.uid]
    assert await filed(api) == [(OperationKind.MODIFY, group.uid)]
    async with api.store.read(SCOPE) as tx:
        changed = await tx.get(ReplicationGroup, "rg")
        assert {changed.status, *(member.status for member in changed.members)} == {"modifying"}


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"pending": {}}, id="nothing-pending"),
        pytest.param({"status": "snapshotting"}, id="busy"),
        pytest.param({"status": "modifying"}, id="being-modified"),
        pytest.param({"maintenance_window": "fri:06:00-fri:07:00"}, id="window-closed"),
    ],
)
async def test_waits(api: Api, settings: dict[str, Any]) -> None:
    await make_cluster(api, **settings)
    assert await maintenance(api, await hold(api)).file_due() == []
    assert await filed(api) == []


async def test_a_window_is_used_once_and_the_next_one_again(api: Api) -> None:
    uid = await make_cluster(api)
    held = await hold(api)
    assert await maintenance(api, held).file_due() == [uid]
    async with api.store.begin(SCOPE) as tx:  # tried, and still pending
        (await tx.get(CacheCluster, "demo")).status = "available"
        for operation in (await tx.session.scalars(select(Operation))).all():
            await finish(tx, operation.id, OperationState.FAILED, "")
    api.clock.advance(600)
    await keep_lease(api, uid)
    assert await maintenance(api, held).file_due() == [], "a restart must not use it again"
    api.clock.advance(WEEK_S)
    await keep_lease(api, uid)
    assert await maintenance(api, held).file_due() == [uid]


async def keep_lease(api: Api, uid: str) -> None:
    """Lengthen a lease, as its holder does all the time."""
    async with api.store.begin(SCOPE) as tx:
        (await tx.session.get_one(Subject, uid)).lease_expires_at = tx.now + timedelta(seconds=1)


async def test_a_window_that_passed_while_nobody_was_there_is_not_made_up_for(api: Api) -> None:
    uid = await make_cluster(api)
    api.clock.advance(2 * 3600)
    held = await hold(api)
    assert await maintenance(api, held).file_due() == []
    api.clock.advance(WEEK_S - 2 * 3600)
    await keep_lease(api, uid)
    assert await maintenance(api, held).file_due() == [uid], "it is made up for in the next one"
    assert await maintenance(api, held).file_due() == [], "once"


async def test_leaves_subjects_of_others_alone(api: Api) -> None:
    await make_cluster(api)
    theirs = await hold(api, holder="them")
    assert await maintenance(api, {}).file_due() == []
    assert await maintenance(api, theirs).file_due() == [], "the lease has passed on"
    assert await filed(api) == []


async def test_old_events_and_ended_operations_go_and_the_rest_stays(api: Api) -> None:
    async with api.store.begin(SCOPE) as tx:
        build.event(tx, tx.now - EVENTS_KEPT - timedelta(seconds=1), message="old")
        build.event(tx, tx.now - EVENTS_KEPT, message="young")
        for _ in range(3):
            tx.enqueue(OperationKind.SETTLE, subject_uid="s")
        await tx.session.flush()
        first, second, _ = (await tx.session.scalars(select(Operation))).all()
        for operation in (first, second):
            await finish(tx, operation.id, OperationState.DONE, "")
        await tx.session.flush()
        first.finished_at = tx.now - EVENTS_KEPT - timedelta(seconds=1)
    retention = Retention(api.store, api.clock)
    assert await retention.tidy_when_due()
    async with api.store.read(SCOPE) as tx:
        assert (await tx.session.scalars(select(Event.message))).all() == ["young"]
        states = (await tx.session.scalars(select(Operation.state).order_by(Operation.id))).all()
        assert states == [OperationState.DONE, OperationState.QUEUED]
    api.clock.advance(TIDY_EVERY_S - 1)
    assert not await retention.tidy_when_due()
    api.clock.advance(1)
    assert await retention.tidy_when_due()
    async with api.store.read(SCOPE) as tx:
        assert (await tx.session.scalars(select(Event.message))).all() == []
