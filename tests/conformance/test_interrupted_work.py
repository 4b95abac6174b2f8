"""Work that breaks off between two writes is picked up, and what is gone leaves nothing open.

A fleet without engines: only what needs none is done here (deletion, and looking at nothing).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from cachefleet.engine.errors import NoEngineBinary
from cachefleet.engine.types import Engine
from cachefleet.provisioner.drivers.base import LaunchFailed, ProcessSpec
from cachefleet.provisioner.drivers.fake import FakeDriver
from cachefleet.provisioner.reconciler.addressing import ensure_addresses
from cachefleet.provisioner.reconciler.failover import write_roles
from cachefleet.provisioner.reconciler.fleet import Fleet, WatchedNode
from cachefleet.provisioner.reconciler.loop import HANDLERS, SYSTEM_SCOPE, Provisioner
from cachefleet.provisioner.reconciler.outcomes import Done, Requeue
from cachefleet.provisioner.reconciler.records import SubjectRecord, load_subject
from cachefleet.provisioner.reconciler.settle import converge, settle
from cachefleet.provisioner.reconciler.stopping import end_node
from cachefleet.provisioner.state import ids, leases, operations
from cachefleet.provisioner.state.errors import Stale
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Store, Transaction
from cachefleet.provisioner.state.tables import CacheCluster, CacheNode, Event, Operation, Subject
from tests.builders.fleets import fake_fleet
from tests.builders.groups import cache_cluster, replication_group
from tests.builders.snapshots import snapshot_of
from tests.unit.api.driver import SteppedClock

HERE = Scope("000000000000", "us-east-1")
DEADLINE_S = 30.0


class BreakingStore(Store):
    """Loses its database for one transaction of the provisioner's own, or has others write."""

    breaks_at: int | None = None  # counts down with each
    after_write: Callable[[], Awaitable[None]] | None = None  # what somebody else does, once

    @contextlib.asynccontextmanager
    async def begin(self, scope: Scope) -> AsyncIterator[Transaction]:
        if scope == SYSTEM_SCOPE and self.breaks_at is not None:
            self.breaks_at -= 1
            if self.breaks_at == 0:
                self.breaks_at = None
                raise OperationalError("BEGIN", None, Exception("the connection is gone"))
        async with super().begin(scope) as tx:
            yield tx
        if scope == HERE and self.after_write is not None:
            meddle, self.after_write = self.after_write, None
            await meddle()


@pytest.fixture
async def store(database_url: str, clock: SteppedClock) -> AsyncIterator[BreakingStore]:
    opened = BreakingStore.open(database_url, clock=clock)
    assert isinstance(opened, BreakingStore)
    yield opened
    await opened.aclose()


@pytest.fixture
def fleet(store: BreakingStore, clock: SteppedClock, tmp_path: Path) -> Fleet:
    """Give a fleet whose processes are fakes and which finds no engine."""
    return fake_fleet(tmp_path, store, clock)


async def deleting_cluster(store: Store) -> str:
    """File the deletion of a cluster of one node; return its uid."""
    async with store.begin(HERE) as tx:
        cluster = await cache_cluster(tx, "demo", engine="memcached", status="deleting")
        for node in cluster.nodes:
            node.status = "deleting"
        tx.enqueue("settle", subject_uid=cluster.uid)
        return cluster.uid


async def claimed(store: Store) -> tuple[Lease, Operation]:
    async with store.begin(SYSTEM_SCOPE) as tx:
        [lease] = await leases.acquire_free(tx, holder="us")
        [operation] = await operations.claim(tx, subject_uids=[lease.subject_uid])
    return lease, operation


async def states(store: Store) -> list[str]:
    async with store.read(SYSTEM_SCOPE) as tx:
        return list((await tx.session.scalars(select(Operation.state))).all())


async def test_what_is_gone_leaves_no_operation_open(store: Store, fleet: Fleet) -> None:
    uid = await deleting_cluster(store)
    lease, operation = await claimed(store)
    outcome = await settle(lease, fleet, operation_id=operation.id)
    # Here the control plane may end: the outcome is never recorded.
    assert isinstance(outcome, Done)
    assert await states(store) == ["done"]
    async with store.read(HERE) as tx:
        assert await tx.count(CacheCluster) == 0
        assert await tx.session.get(Subject, uid) is None


async def test_a_group_that_is_gone_leaves_no_operation_open(store: Store, fleet: Fleet) -> None:
    async with store.begin(HERE) as tx:
        group = await replication_group(tx, status="deleting")
        uid = group.uid
    async with store.begin(HERE) as tx:
        for node in (await tx.session.scalars(select(CacheNode))).all():
            node.status = "deleting"
        tx.enqueue("settle", subject_uid=uid)
    lease, operation = await claimed(store)
    await settle(lease, fleet, operation_id=operation.id)
    assert await states(store) == ["done"]
    async with store.read(HERE) as tx:
        assert await tx.session.get(Subject, uid) is None
        assert await tx.count(CacheCluster) == 0


async def test_a_snapshot_that_is_gone_leaves_no_operation_open(store: Store, fleet: Fleet) -> None:
    async with store.begin(HERE) as tx:
        cluster = await cache_cluster(tx, "demo", engine="redis")
        snapshot = await snapshot_of(tx, "s", member=cluster, status="deleting")
        uid = snapshot.uid
        tx.enqueue("settle", subject_uid=uid)
    async with store.begin(SYSTEM_SCOPE) as tx:
        taken = {one.subject_uid: one for one in await leases.acquire_free(tx, holder="us")}
        lease = taken[uid]
        [operation] = await operations.claim(tx, subject_uids=[uid])
    await HANDLERS[OperationKind(operation.kind)](operation, lease, fleet)
    # Here the control plane may end: the outcome is never recorded.
    assert await states(store) == ["done"]
    async with store.read(HERE) as tx:
        assert await tx.session.get(Subject, uid) is None


async def test_endpoints_follow_though_leases_are_renewed_when_a_cache_is_just_gone(
    store: Store, fleet: Fleet, clock: SteppedClock
) -> None:
    uid = await deleting_cluster(store)
    followed, renewed, broken_off = asyncio.Event(), asyncio.Event(), []

    async def after_work() -> None:
        clock.advance(leases.RENEW_EVERY_S + 1)  # the next renewal is due
        store.work_filed.set()
        try:
            await asyncio.wait_for(renewed.wait(), DEADLINE_S)
        except asyncio.CancelledError:
            broken_off.append(uid)
            raise
        followed.set()

    provisioner = Provisioner(fleet, after_work=after_work)
    async with running(provisioner):
        async with asyncio.timeout(DEADLINE_S):
            while clock.passed_s == 0 or uid in provisioner.leases:
                await asyncio.sleep(0.01)
            renewed.set()
            if not broken_off:
                await followed.wait()
    assert broken_off == []


@pytest.mark.parametrize("housed", [False, True], ids=["by-then-homeless", "by-then-lost"])
async def test_a_node_that_is_asked_for_during_a_pass_gets_an_address_in_it(
    store: BreakingStore, fleet: Fleet, housed: bool
) -> None:
    async with store.begin(HERE) as tx:
        cluster = await cache_cluster(tx, "demo", engine="memcached")
        uid = cluster.uid
    async with store.begin(SYSTEM_SCOPE) as tx:
        [lease] = await leases.acquire_free(tx, holder="us")

    async def loaded() -> SubjectRecord:
        async with store.read(HERE) as tx:
            record = await load_subject(tx, lease)
        assert record is not None
        return record

    async def add_node() -> None:
        async with store.begin(HERE) as tx:
            cluster = await tx.session.get_one(CacheCluster, uid)
            columns = ("subject_uid", "member_name", "availability_zone", "parameter_group_status")
            first = {name: getattr(cluster.nodes[0], name) for name in columns}
            secrets = {"engine_node_id": ids.new_engine_id(), "admin_secret": ids.new_secret()}
            more = CacheNode(uid=ids.new_uid(), cache_node_id="0002", status="creating")
            for name, value in {**first, **secrets}.items():
                setattr(more, name, value)
            cluster.nodes.append(more)

    if housed:
        await ensure_addresses(await loaded(), fleet)
    store.after_write = add_node  # of the addresses, or of the loss of the first node
    with contextlib.suppress(NoEngineBinary):
        await converge(await loaded(), fleet)
    assert store.after_write is None
    assert [node.host for node in (await loaded()).live_nodes] == ["127.0.0.1", "127.0.0.1"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        pytest.param({"users": ["u"]}, "available", id="of-rights"),
        pytest.param({"groups": ["g"]}, "modifying", id="of-groups"),
    ],
)
async def test_a_change_is_not_left_to_work_that_will_not_end_it(
    store: Store, fleet: Fleet, change: dict[str, list[str]], status: str
) -> None:
    async with store.begin(HERE) as tx:
        cluster = await cache_cluster(
            tx, "demo", engine="memcached", node_count=0, status="modifying"
        )
        tx.enqueue("settle", subject_uid=cluster.uid)
    lease, operation = await claimed(store)
    async with store.begin(HERE) as tx:  # somebody changes a user meanwhile
        tx.enqueue("apply_access", subject_uid=lease.subject_uid, payload=change)
    assert isinstance(await settle(lease, fleet, operation_id=operation.id), Done)
    async with store.read(HERE) as tx:
        assert (await tx.session.scalars(select(CacheCluster.status))).all() == [status]


async def test_a_gateway_that_does_not_start_is_waited_for(store: Store, fleet: Fleet) -> None:
    async with store.begin(HERE) as tx:
        await cache_cluster(tx, "demo", engine="memcached", node_count=0, status="creating")
    async with store.begin(SYSTEM_SCOPE) as tx:
        [lease] = await leases.acquire_free(tx, holder="us")

    async def sync(settled: str | None) -> None:
        raise LaunchFailed("the gateway ended: it said nothing")

    fleet.sync_endpoints = sync
    outcome = await settle(lease, fleet)
    assert isinstance(outcome, Requeue)
    assert "the gateway ended" in outcome.reason
    async with store.read(HERE) as tx:
        assert (await tx.session.scalars(select(CacheCluster.status))).all() == ["creating"]


@contextlib.asynccontextmanager
async def running(provisioner: Provisioner) -> AsyncIterator[None]:
    task = asyncio.create_task(provisioner.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def nothing() -> None:
    """Have no endpoints to look after."""


async def until_done(store: Store) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while {*await states(store)} != {"done"}:
            await asyncio.sleep(0.01)


# The renewal, the claim, the record of the outcome.
@pytest.mark.parametrize("breaks_at", [1, 2, 3], ids=["renewing", "claiming", "recording"])
async def test_a_database_that_is_away_for_a_moment_stops_no_work(
    store: BreakingStore, fleet: Fleet, breaks_at: int
) -> None:
    async with store.begin(HERE) as tx:
        cluster = await cache_cluster(tx, "demo", engine="memcached", node_count=0)
        tx.enqueue("settle", subject_uid=cluster.uid)
    store.breaks_at = breaks_at
    async with running(Provisioner(fleet, after_work=nothing)):
        await until_done(store)
    assert store.breaks_at is None


async def test_a_clash_with_another_transaction_is_no_loss_of_the_subject(
    store: BreakingStore, fleet: Fleet, clock: SteppedClock
) -> None:
    async with store.begin(HERE) as tx:
        cluster = await cache_cluster(tx, "demo", engine="memcached", node_count=0)
        tx.enqueue("settle", subject_uid=cluster.uid)
    clashes = 0

    async def clash(settled: str | None) -> None:
        nonlocal clashes
        clashes += 1
        if clashes == 1:
            clock.advance(leases.RENEW_EVERY_S + 1)  # the next renewal is due
            raise Stale("another transaction was there first")

    fleet.sync_endpoints = clash
    async with running(Provisioner(fleet, after_work=nothing)):
        await until_done(store)
    assert clashes > 1


async def test_two_losses_at_once_are_repaired_by_one_pass_at_a_time(
    store: BreakingStore, fleet: Fleet
) -> None:
    async with store.begin(HERE) as tx:
        cluster = await cache_cluster(tx, "demo", engine="memcached", node_count=0)
    at_once, most = 0, 0
    hold = asyncio.Event()

    async def sync(settled: str | None) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            await hold.wait()
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(asyncio.sleep(0.01))  # a pass takes time to unwind
            at_once -= 1

    fleet.sync_endpoints = sync
    provisioner = Provisioner(fleet, after_work=nothing)
    async with running(provisioner):
        async with asyncio.timeout(DEADLINE_S):
            while not at_once:
                await asyncio.sleep(0.01)
        provisioner.preempt(cluster.uid)
        provisioner.preempt(cluster.uid)  # before the first repair has begun
        provisioner.preempt(cluster.uid)
        hold.set()
        await until_done(store)
    assert most == 1


@pytest.fixture
def heard(fleet: Fleet) -> list[str]:
    """Collect the ends that are nobody's doing, as the monitor tells them apart."""
    ends: list[str] = []
    fleet.driver.listen(lambda uid: None if uid in fleet.ending else ends.append(uid))
    return ends


async def test_ending_a_node_that_does_not_run_hides_no_later_loss(
    store: Store, fleet: Fleet, heard: list[str]
) -> None:
    async with store.begin(HERE) as tx:
        [node] = (await cache_cluster(tx, "demo", engine="memcached")).nodes
    await end_node(node, Engine.MEMCACHED, fleet, save=False)
    assert heard == []
    await fleet.driver.ensure(ProcessSpec(uid=node.uid, argv=("engine",)))
    fleet.watched[node.uid] = WatchedNode("subject", Engine.MEMCACHED)
    await end_node(node, Engine.MEMCACHED, fleet, save=False)
    assert heard == []
    await fleet.driver.ensure(ProcessSpec(uid=node.uid, argv=("engine",)))
    assert isinstance(fleet.driver, FakeDriver)
    fleet.driver.machine.end(node.uid)
    assert heard == [node.uid]


class PassingOn(FakeDriver):
    """Has the lease pass on to somebody else while a node is removed."""

    store: Store
    passed_on: asyncio.Event

    async def remove(self, uid: str) -> None:
        async with self.store.begin(SYSTEM_SCOPE) as tx:
            for subject in (await tx.session.scalars(select(Subject))).all():
                subject.lease_holder, subject.lease_epoch = "them", subject.lease_epoch + 1
        await super().remove(uid)
        self.passed_on.set()


async def test_what_came_of_it_is_not_written_under_somebody_elses_lease(
    store: Store, fleet: Fleet, tmp_path: Path
) -> None:
    async with store.begin(HERE) as tx:
        cluster = await cache_cluster(tx, "demo", engine="memcached", status="create-failed")
        tx.enqueue("settle", subject_uid=cluster.uid)
        uid = cluster.uid
    driver = PassingOn(tmp_path)
    driver.store, driver.passed_on, fleet.driver = store, asyncio.Event(), driver
    provisioner = Provisioner(fleet, after_work=nothing)
    async with running(provisioner), asyncio.timeout(DEADLINE_S):
        await driver.passed_on.wait()
        while uid in provisioner.leases:
            await asyncio.sleep(0.01)
    assert await states(store) == ["running"], "it is for the new holder to say"


async def test_a_failover_whose_commit_was_cut_short_is_told_once(
    store: Store, fleet: Fleet
) -> None:
    async with store.begin(HERE) as tx:
        group = await replication_group(tx)
    async with store.begin(SYSTEM_SCOPE) as tx:
        [lease] = await leases.acquire_free(tx, holder="us")
    async with store.read(HERE) as tx:
        record = await load_subject(tx, lease)
    assert record is not None
    primary, successor = sorted(record.live_nodes, key=lambda node: node.member_name)
    fleet.replicas = {successor.uid}
    for _ in range(2):  # from a record that was read before the database had gone on
        await write_roles(primary, successor, record, fleet)
    async with store.read(HERE) as tx:
        told = (await tx.session.scalars(select(Event.source_identifier))).all()
        nodes = (await tx.session.scalars(select(CacheNode))).all()
    roles = {node.member_name: node.role for node in nodes}
    assert sorted(told) == [group.name, primary.member_name]
    assert fleet.replicas == set(), "a primary's silence is noticed at a primary's pace"
    assert roles == {primary.member_name: "replica", successor.member_name: "primary"}


async def test_nothing_is_done_under_a_lease_that_may_have_passed_on(
    fleet: Fleet, clock: SteppedClock
) -> None:
    lease = Lease("s", "cache_cluster", HERE, epoch=1)
    fleet.trusted_until_s["s"] = clock.monotonic_s() + leases.TRUSTED_S
    fleet.require_trusted(lease)
    clock.advance(leases.TRUSTED_S)
    with pytest.raises(Stale):
        fleet.require_trusted(lease)
    assert leases.TRUSTED_S < leases.TTL_S
