"""Every driver starts once, finds what runs, hears of ends, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from cachefleet.provisioner.drivers.base import Driver, LaunchFailed, ProcessSpec
from cachefleet.provisioner.drivers.fake import FakeDriver, FakeMachine
from cachefleet.provisioner.drivers.local import SOCKET_PATH_BYTES_MAX, LocalDriver

DEADLINE_S = 30.0
FOREVER = ("sleep", "300")
UID = "a" * 16


class Exits:
    """Hears of ended processes; ``next`` waits for one."""

    def __init__(self, driver: Driver) -> None:
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        driver.listen(self._queue.put_nowait)

    async def next(self) -> str:
        async with asyncio.timeout(DEADLINE_S):
            return await self._queue.get()

    @property
    def count(self) -> int:
        return self._queue.qsize()


@dataclass
class Place:
    """Where one kind of driver runs processes, for any number of driver instances in turn."""

    kind: str
    root: Path
    machine: FakeMachine = field(default_factory=FakeMachine)
    drivers: list[Driver] = field(default_factory=list)

    def driver(self) -> Driver:
        made: Driver
        if self.kind == "fake":
            made = FakeDriver(self.root, machine=self.machine)
        else:
            made = LocalDriver(self.root)
        self.drivers.append(made)
        return made

    async def crash(self, uid: str, pid: int) -> None:
        """End a process behind its driver's back."""
        if self.kind == "fake":
            self.machine.end(uid)
        else:
            os.kill(pid, signal.SIGKILL)


def spec(uid: str = UID, argv: tuple[str, ...] = FOREVER, **files: str) -> ProcessSpec:
    return ProcessSpec(uid=uid, argv=argv, files=files)


@pytest.fixture(params=["local", "fake"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    made = Place(request.param, tmp_path)
    yield made
    await _end_all(made)


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[Place]:
    made = Place("local", tmp_path)
    yield made
    await _end_all(made)


async def _end_all(made: Place) -> None:
    last = made.driver()
    for uid in await last.known():
        await last.remove(uid)
    for driver in made.drivers:
        await driver.aclose()
    reap()


def reap() -> None:
    """Take the exit statuses of children that a closed driver has left to init."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


async def test_a_process_is_started_once(place: Place) -> None:
    driver = place.driver()
    first = await driver.ensure(spec())
    assert await driver.ensure(spec()) == first
    assert await driver.find(UID) == first
    assert driver.pid(UID) == first.pid


async def test_each_uid_has_a_process_of_its_own(place: Place) -> None:
    driver = place.driver()
    handles = [await driver.ensure(spec(uid)) for uid in ("a", "b", "c")]
    assert len({handle.pid for handle in handles}) == 3
    assert await driver.known() == {"a", "b", "c"}
    assert len({driver.directory(uid) for uid in "abc"}) == 3
    assert len({driver.socket_path(uid) for uid in "abc"}) == 3


async def test_nothing_is_found_where_nothing_was_started(place: Place) -> None:
    driver = place.driver()
    assert await driver.find(UID) is None
    assert driver.pid(UID) is None
    assert driver.command_line(UID) == ()
    assert await driver.known() == set()
    assert await driver.wait_gone(UID, timeout_s=0)


async def test_the_next_control_plane_finds_and_watches_what_runs(place: Place) -> None:
    first = place.driver()
    handle = await first.ensure(spec())
    await first.aclose()
    second = place.driver()
    exits = Exits(second)
    assert await second.find(UID) == handle
    assert await second.ensure(spec()) == handle
    assert second.command_line(UID) == FOREVER
    await place.crash(UID, handle.pid)
    assert await exits.next() == UID
    reap()
    assert await second.find(UID) is None


async def test_an_end_is_heard_at_once_and_once(place: Place) -> None:
    driver = place.driver()
    exits = Exits(driver)
    handle = await driver.ensure(spec())
    await place.crash(UID, handle.pid)
    assert await exits.next() == UID
    assert await driver.find(UID) is None
    assert driver.pid(UID) is None
    assert await driver.wait_gone(UID, timeout_s=0)
    assert exits.count == 0


async def test_what_has_ended_is_started_anew(place: Place) -> None:
    driver = place.driver()
    exits = Exits(driver)
    first = await driver.ensure(spec())
    await driver.kill(UID)
    second = await driver.ensure(spec())
    assert second.pid != first.pid
    assert exits.count == 1
    assert await driver.find(UID) == second


async def test_a_stopped_process_is_killed(place: Place) -> None:
    driver = place.driver()
    await driver.ensure(spec())
    await driver.signal(UID, signal.SIGSTOP)
    assert not await driver.wait_gone(UID, timeout_s=0.05)
    async with asyncio.timeout(DEADLINE_S):
        await driver.kill(UID)
    assert await driver.find(UID) is None


async def test_orders_to_nobody_do_nothing(place: Place) -> None:
    driver = place.driver()
    await driver.signal(UID, signal.SIGTERM)
    await driver.kill(UID)
    await driver.remove(UID)
    assert await driver.known() == set()


async def test_an_end_is_waited_for(place: Place) -> None:
    driver = place.driver()
    handle = await driver.ensure(spec())
    assert not await driver.wait_gone(UID, timeout_s=0.01)
    waiting = asyncio.create_task(driver.wait_gone(UID, timeout_s=DEADLINE_S))
    await asyncio.sleep(0)  # the task takes its place
    await place.crash(UID, handle.pid)
    assert await waiting


async def test_removing_ends_the_process_and_deletes_its_files(place: Place) -> None:
    driver = place.driver()
    exits = Exits(driver)
    handle = await driver.ensure(spec(config="x"))
    driver.socket_path(UID).touch()
    await driver.remove(UID)
    assert exits.count == 1
    assert not driver.directory(UID).exists()
    assert not driver.socket_path(UID).exists()
    assert await driver.known() == set()
    await driver.remove(UID)
    again = await driver.ensure(spec())
    assert again.pid != handle.pid


async def test_files_are_written_before_a_start_only(place: Place) -> None:
    driver = place.driver()
    path = driver.directory(UID) / "config"
    await driver.ensure(spec(config="first"))
    await driver.ensure(spec(config="second"))
    assert path.read_text() == "first"
    await driver.kill(UID)
    await driver.ensure(spec(config="third"))
    assert path.read_text() == "third"


async def test_a_start_that_cannot_be_leaves_nothing_running(place: Place) -> None:
    driver = place.driver()
    place.machine.refusals[UID] = "No such file or directory"
    with pytest.raises(LaunchFailed, match=r"cannot run /no/such/program: No such file"):
        await driver.ensure(spec(argv=("/no/such/program",)))
    assert await driver.find(UID) is None
    handle = await driver.ensure(spec())
    assert driver.pid(UID) == handle.pid


async def test_processes_go_on_when_the_driver_is_closed(place: Place) -> None:
    driver = place.driver()
    exits = Exits(driver)
    handle = await driver.ensure(spec())
    await driver.aclose()
    second = place.driver()
    heard = Exits(second)
    assert await second.find(UID) == handle
    await place.crash(UID, handle.pid)
    assert await heard.next() == UID
    assert exits.count == 0  # who is closed hears of nothing


# --- what only real processes can show --------------------------------------------------------


def ended(*pids: int) -> None:
    """Wait for processes that need not be ours to end."""
    processes = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            processes.append(psutil.Process(pid))
    _, alive = psutil.wait_procs(processes, timeout=DEADLINE_S)
    assert not alive


async def test_a_start_cut_short_before_its_note_is_found(local: Place) -> None:
    first = local.driver()
    handle = await first.ensure(spec())
    await first.aclose()
    (first.directory(UID) / "pid").unlink()
    second = local.driver()
    assert await second.find(UID) == handle
    assert await second.ensure(spec()) == handle
    await second.kill(UID)


async def test_a_note_about_somebody_else_is_not_believed(local: Place) -> None:
    first = local.driver()
    handle = await first.ensure(spec())
    await first.aclose()
    ours = psutil.Process()
    (first.directory(UID) / "pid").write_text(f"{ours.pid} {ours.create_time() - 60}\n")
    assert await local.driver().find(UID) == handle


@pytest.mark.parametrize("note", ["", "garbage", "1", "x y"], ids=["empty", "word", "half", "text"])
async def test_a_broken_note_does_no_harm(local: Place, note: str) -> None:
    first = local.driver()
    handle = await first.ensure(spec())
    await first.aclose()
    (first.directory(UID) / "pid").write_text(note)
    assert await local.driver().find(UID) == handle


async def test_a_straggler_that_holds_the_lock_is_ended(local: Place) -> None:
    first = local.driver()
    leader = await first.ensure(spec(argv=("sh", "-c", "sleep 300 & echo $! > child; wait")))
    child_note = first.directory(UID) / "child"
    async with asyncio.timeout(DEADLINE_S):
        while not child_note.exists() or not child_note.read_text().strip():
            await asyncio.sleep(0.005)
    child = int(child_note.read_text())
    await first.aclose()  # nobody is there to end the child with its parent
    os.kill(leader.pid, signal.SIGKILL)
    await asyncio.to_thread(os.waitpid, leader.pid, 0)
    assert psutil.pid_exists(child)
    second = local.driver()
    assert await second.find(UID) is None
    handle = await second.ensure(spec())
    ended(child)
    assert handle.pid not in (leader.pid, child)


async def test_what_a_process_has_forked_ends_with_it(local: Place) -> None:
    driver = local.driver()
    exits = Exits(driver)
    leader = await driver.ensure(spec(argv=("sh", "-c", "sleep 300 & echo $! > child; wait")))
    child_note = driver.directory(UID) / "child"
    async with asyncio.timeout(DEADLINE_S):
        while not child_note.exists() or not child_note.read_text().strip():
            await asyncio.sleep(0.005)
    os.kill(leader.pid, signal.SIGKILL)
    await exits.next()
    ended(int(child_note.read_text()))


async def test_files_and_directories_are_private(local: Place) -> None:
    driver = local.driver()
    previous = os.umask(0)
    try:
        await driver.ensure(spec(config="secret"))
    finally:
        os.umask(previous)
    directory = driver.directory(UID)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    assert modes == dict.fromkeys(("config", "lock", "log", "pid"), 0o600)
    for folder in (directory, directory.parent, driver.socket_path(UID).parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_a_long_root_gets_short_socket_paths_that_stay(local: Place) -> None:
    local.root = local.root / ("d" * 120)
    first, second = local.driver(), local.driver()
    path = first.socket_path(UID)
    try:
        assert path == second.socket_path(UID)
        assert len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX
        assert path.parent.parent == Path(tempfile.gettempdir())
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    finally:
        path.parent.rmdir()


async def test_two_long_roots_do_not_share_sockets(tmp_path: Path) -> None:
    folders = [LocalDriver(tmp_path / (c * 120)).socket_path(UID).parent for c in "de"]
    for folder in folders:
        folder.rmdir()
    assert folders[0] != folders[1]


async def test_the_line_that_complains_is_the_explanation(local: Place) -> None:
    driver = local.driver()
    exits = Exits(driver)
    script = "echo starting; echo 'Fatal: no such option'; echo bye; exit 1"
    await driver.ensure(spec(argv=("sh", "-c", script)))
    await exits.next()
    assert driver.explain(UID) == "Fatal: no such option"
    assert driver.explain("nobody") == "it left no log"


async def test_a_process_is_given_our_path_and_nothing_else(local: Place) -> None:
    driver = local.driver()
    exits = Exits(driver)
    await driver.ensure(
        ProcessSpec(uid=UID, argv=("sh", "-c", "env > seen"), env={"CHOSEN": "yes"})
    )
    await exits.next()
    lines = (driver.directory(UID) / "seen").read_text().splitlines()
    names = {line.partition("=")[0] for line in lines} - {"PWD", "OLDPWD", "SHLVL", "_"}
    assert names == {"PATH", "CHOSEN"}


# --- ephemeral fleets -------------------------------------------------------------------------

CONTROL_PLANE = """
import asyncio, json, sys
from pathlib import Path
from cachefleet.provisioner.drivers.base import ProcessSpec
from cachefleet.provisioner.drivers.local import LocalDriver

async def main():
    driver = LocalDriver(Path(sys.argv[1]), ephemeral=True)
    pids = [
        (await driver.ensure(ProcessSpec(uid=uid, argv=("sleep", "300")))).pid for uid in "abc"
    ]
    sockets = driver.socket_path("a").parent
    assert sockets.exists()  # nobody else can say: it may be gone as soon as it is told
    print(json.dumps([pids, str(sockets)]), flush=True)
    if sys.argv[2] == "close":
        await driver.aclose()
        return
    await asyncio.Event().wait()

asyncio.run(main())
"""


@contextlib.contextmanager
def control_plane(root: Path, ending: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Run an ephemeral fleet of three in a process of its own; give it and its nodes' pids."""
    process = subprocess.Popen(
        [sys.executable, "-c", CONTROL_PLANE, str(root), ending],
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        pids, sockets = json.loads(process.stdout.readline())
        try:
            yield process, pids
        finally:
            process.kill()
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    assert not Path(sockets).exists()


def guard_of(process: subprocess.Popen[str], nodes: list[int]) -> psutil.Process:
    [guard] = [c for c in psutil.Process(process.pid).children() if c.pid not in nodes]
    return guard


def ignores(pid: int, number: int) -> bool:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigIgn:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


@pytest.mark.parametrize("note", ["noted", "note-missing", "note-stale"])
def test_a_killed_control_plane_takes_its_ephemeral_fleet_along(tmp_path: Path, note: str) -> None:
    root = tmp_path / "fleet"
    with control_plane(root, "wait") as (process, pids):
        guard = guard_of(process, pids)
        if note == "note-missing":
            (root / "nodes" / "b" / "pid").unlink()
        if note == "note-stale":
            (root / "nodes" / "b" / "pid").write_text("4194000 1.0\n")
        os.kill(pids[2], signal.SIGSTOP)
        process.kill()
        process.wait()
        ended(*pids, guard.pid)
        assert not root.exists()


def test_the_guard_outlives_signals_to_the_terminal(tmp_path: Path) -> None:
    with control_plane(tmp_path / "fleet", "wait") as (process, pids):
        guard = guard_of(process, pids)
        deadline_s = time.monotonic() + DEADLINE_S
        while not ignores(guard.pid, signal.SIGTERM):  # the interpreter has to start first
            assert time.monotonic() < deadline_s
        guard.send_signal(signal.SIGINT)
        guard.send_signal(signal.SIGTERM)
        process.kill()
        ended(*pids, guard.pid)


def test_an_orderly_end_takes_the_ephemeral_fleet_along(tmp_path: Path) -> None:
    root = tmp_path / ("f" * 120)  # its sockets are elsewhere, and are removed as well
    with control_plane(root, "close") as (process, pids):
        assert process.wait(timeout=DEADLINE_S) == 0
        assert not root.exists()
        ended(*pids)
