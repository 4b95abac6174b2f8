"""Fleets whose processes are fakes and which find no engine."""

from __future__ import annotations

from pathlib import Path

from cachefleet.engine.catalog import Catalog
from cachefleet.engine.discovery import Inventory
from cachefleet.provisioner.clock import Clock
from cachefleet.provisioner.drivers.fake import FakeDriver, FakeMachine
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.settings import ProvisionerSettings
from cachefleet.provisioner.state.addresses import PortsPool
from cachefleet.provisioner.state.store import Store


def fake_fleet(
    root: Path, store: Store, clock: Clock, *, machine: FakeMachine | None = None
) -> Fleet:
    """Return one that keeps its files in *root*; its processes are those of *machine*."""
    return Fleet(
        store=store,
        driver=FakeDriver(root, machine=machine),
        inventory=Inventory(binaries=()),
        catalog=Catalog.load(),
        clock=clock,
        settings=ProvisionerSettings(data_dir=root, pool=PortsPool("127.0.0.1", 20_000, 20_999)),
        holder="us",
    )
