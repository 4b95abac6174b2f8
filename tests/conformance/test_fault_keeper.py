"""Injected faults on processes that are fakes: which process is hit, and when it is let go."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from cachefleet.engine.catalog import Catalog
from cachefleet.engine.discovery import Inventory
from cachefleet.provisioner.drivers.base import ProcessSpec
from cachefleet.provisioner.drivers.fake import FakeDriver
from cachefleet.provisioner.health.faults import REFUSAL, FaultKeeper
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.loop import SYSTEM_SCOPE
from cachefleet.provisioner.settings import ProvisionerSettings
from cachefleet.provisioner.state import faults, leases
from cachefleet.provisioner.state.addresses import PortsPool
from cachefleet.provisioner.state.fault_tables import FaultHit, InjectedFault
from cachefleet.provisioner.state.faults import FaultKind, FaultTarget, HitState
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Store
from tests.builders.groups import cache_cluster
from tests.unit.api.driver import SteppedClock

HERE = Scope("000000000000", "us-east-1")


class Bench:
    """A fleet of one cluster with one node, and the keeper of its faults."""

    def __init__(self, fleet: Fleet, driver: FakeDriver, lease: Lease, node_uid: str) -> None:
        self.fleet, self.driver, self.node_uid = fleet, driver, node_uid
        self.lease = lease
        self.keeper = self.another_keeper()

    def another_keeper(self) -> FaultKeeper:
        """Return the keeper of a control plane that has just started."""
        return FaultKeeper(self.fleet, held=lambda: {self.lease.subject_uid: self.lease})

    async def inject(self, kind: FaultKind, *, duration_s: float = 5.0) -> str:
        async with self.fleet.store.begin(HERE) as tx:
            target = FaultTarget(cache_cluster_id="demo")
            return (await faults.inject(tx, kind=kind, target=target, duration_s=duration_s)).uid

    async def undo(self, fault_uid: str) -> None:
        async with self.fleet.store.begin(HERE) as tx:
            await faults.undo(tx, await faults.find_fault(tx, fault_uid))

    async def hit(self, fault_uid: str) -> FaultHit:
        async with self.fleet.store.read(HERE) as tx:
            fault = await tx.session.get(InjectedFault, fault_uid)
            assert fault is not None
            [hit] = fault.hits
            return hit

    async def run_node(self) -> None:
        await self.driver.ensure(ProcessSpec(uid=self.node_uid, argv=("engine",)))

    @property
    def signals(self) -> list[int]:
        return self.driver.machine.processes[self.node_uid].signals


@pytest.fixture
async def bench(database_url: str, clock: SteppedClock, tmp_path: Path) -> AsyncIterator[Bench]:
    store = Store.open(database_url, clock=clock)
    driver = FakeDriver(tmp_path)
    fleet = Fleet(
        store=store,
        driver=driver,
        inventory=Inventory(binaries=()),
        catalog=Catalog.load(),
        clock=clock,
        settings=ProvisionerSettings(
            data_dir=tmp_path, pool=PortsPool("127.0.0.1", 20_000, 20_999), allow_faults=True
        ),
        holder="us",
    )
    async with store.begin(HERE) as tx:
        cluster = await cache_cluster(tx, "demo")
        node_uid = cluster.nodes[0].uid
    async with store.begin(SYSTEM_SCOPE) as tx:
        [lease] = await leases.acquire_free(tx, holder="us")
    bench = Bench(fleet, driver, lease, node_uid)
    await bench.run_node()
    yield bench
    await store.aclose()


async def test_a_stop_is_taken_back(bench: Bench) -> None:
    fault = await bench.inject(FaultKind.STOP)
    await bench.keeper.look()
    assert bench.signals == [signal.SIGSTOP]
    assert (await bench.hit(fault)).state == HitState.ACTIVE
    await bench.undo(fault)
    await bench.keeper.look()
    assert bench.signals[-1] == signal.SIGCONT
    assert (await bench.hit(fault)).state == HitState.ENDED


async def test_a_stop_is_over_in_time_also_for_the_next_control_plane(
    bench: Bench, clock: SteppedClock
) -> None:
    fault = await bench.inject(FaultKind.STOP, duration_s=5)
    await bench.keeper.look()
    clock.advance(6)
    await bench.another_keeper().look()
    assert bench.signals[-1] == signal.SIGCONT
    assert (await bench.hit(fault)).state == HitState.ENDED


async def test_the_process_that_takes_its_place_is_left_alone(bench: Bench) -> None:
    await bench.inject(FaultKind.STOP)
    await bench.keeper.look()
    bench.driver.machine.end(bench.node_uid)
    await bench.run_node()
    await bench.keeper.look()
    await bench.another_keeper().look()
    assert bench.signals == []


async def test_a_kill_hits_once_and_keeps_down_while_it_lasts(
    bench: Bench, clock: SteppedClock
) -> None:
    fault = await bench.inject(FaultKind.KILL, duration_s=5)
    await bench.keeper.look()
    assert bench.driver.machine.processes == {}
    assert bench.fleet.held_down == {bench.node_uid}
    bench.fleet.held_down = set()
    await bench.another_keeper().adopt()
    assert bench.fleet.held_down == {bench.node_uid}, "before anything could start it"
    clock.advance(6)
    await bench.keeper.look()
    assert bench.fleet.held_down == set()
    assert (await bench.hit(fault)).state == HitState.ENDED


async def test_a_kill_without_a_time_leaves_the_next_process_alone(bench: Bench) -> None:
    fault = await bench.inject(FaultKind.KILL, duration_s=0)
    await bench.keeper.look()
    assert bench.driver.machine.processes == {}
    assert bench.fleet.held_down == set()
    await bench.run_node()
    await bench.keeper.look()
    assert bench.node_uid in bench.driver.machine.processes
    assert (await bench.hit(fault)).state == HitState.ENDED


async def test_what_nobody_began_in_time_is_dropped(bench: Bench, clock: SteppedClock) -> None:
    fault = await bench.inject(FaultKind.KILL, duration_s=0)
    clock.advance(faults.BEGIN_WITHIN_S + 1)
    async with bench.fleet.store.begin(SYSTEM_SCOPE) as tx:
        [bench.lease] = await leases.acquire_free(tx, holder="us")
    await bench.keeper.look()
    assert bench.node_uid in bench.driver.machine.processes
    assert (await bench.hit(fault)).note == "it was over before it began"


async def test_a_provisioner_that_does_not_allow_it_says_so(bench: Bench) -> None:
    bench.fleet.settings = replace(bench.fleet.settings, allow_faults=False)
    fault = await bench.inject(FaultKind.STOP)
    await bench.keeper.look()
    hit = await bench.hit(fault)
    assert (hit.state, hit.note) == (HitState.FAILED, REFUSAL)
    assert bench.signals == []


async def test_a_partition_needs_addresses_of_the_nodes_own(bench: Bench) -> None:
    fault = await bench.inject(FaultKind.PARTITION)
    await bench.keeper.look()
    hit = await bench.hit(fault)
    assert hit.state == HitState.FAILED
    assert "--endpoint-mode loopback" in hit.note
    assert bench.fleet.unreachable == set()


async def test_nothing_is_done_to_the_nodes_of_others(bench: Bench) -> None:
    fault = await bench.inject(FaultKind.STOP)
    await FaultKeeper(bench.fleet, held=dict).look()
    assert bench.signals == []
    assert (await bench.hit(fault)).state == HitState.REQUESTED


async def test_an_orderly_stop_ends_all(bench: Bench) -> None:
    fault = await bench.inject(FaultKind.STOP)
    await bench.keeper.look()
    await bench.keeper.let_go()
    await bench.keeper.lift_all()
    assert bench.signals[-1] == signal.SIGCONT
    assert (await bench.hit(fault)).note == "cachefleet was stopped"
