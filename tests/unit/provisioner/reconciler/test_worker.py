"""A worker process of the fleet's own: when it may be blamed for its silence."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from cachefleet.engine.errors import NodeUnreachable
from cachefleet.provisioner.drivers.base import LaunchFailed
from cachefleet.provisioner.drivers.fake import FakeDriver
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.worker import Worker

pytestmark = pytest.mark.anyio


class Socket:
    """Stands for the worker's control socket, which is silent for its first *silences* pings."""

    def __init__(self, worker: Worker, silences: int) -> None:
        self._worker = worker
        self._silences = silences
        self.blamed: list[bool] = []

    async def ping(self) -> None:
        self.blamed.append(not self._worker.is_starting)
        if len(self.blamed) <= self._silences:
            raise NodeUnreachable("nobody listens yet")


@pytest.fixture
def driver(tmp_path: Path) -> FakeDriver:
    return FakeDriver(tmp_path)


@pytest.fixture
def worker(driver: FakeDriver) -> Worker:
    fleet = SimpleNamespace(driver=driver, settings=SimpleNamespace(start_timeout_s=0.05))
    return Worker(cast("Fleet", fleet), "w", module="some.module", name="worker")


async def test_is_not_blamed_before_its_first_answer(worker: Worker) -> None:
    control = Socket(worker, silences=3)
    await worker.ensure({"--file": "f.json"}, control.ping)
    assert control.blamed == [False] * 4
    assert not worker.is_starting


async def test_is_blamed_once_it_has_had_its_time(worker: Worker) -> None:
    with pytest.raises(LaunchFailed, match="the worker did not answer in time"):
        await worker.ensure({}, Socket(worker, silences=10_000).ping)
    assert not worker.is_starting


async def test_one_that_runs_is_not_waited_for(worker: Worker) -> None:
    await worker.ensure({}, Socket(worker, silences=0).ping)
    control = Socket(worker, silences=10_000)
    await worker.ensure({}, control.ping)
    assert control.blamed == []


async def test_files_are_whole_and_private(worker: Worker) -> None:
    worker.write("f.json", "one")
    worker.write("f.json", "two")
    assert [path.name for path in worker.directory.iterdir()] == ["f.json"]
    assert (worker.directory / "f.json").read_text() == "two"
    assert (worker.directory / "f.json").stat().st_mode & 0o777 == 0o600
