"""Processes that exist in memory only, for tests and for trying the provisioner out.

A :class:`FakeMachine` stands for the machine: its processes outlive the driver that started them,
as real ones outlive their control plane, and they end when a test says so. Directories and files
are real, because whoever uses a driver reads and writes them.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from cachefleet.provisioner.drivers.base import (
    ExitListener,
    LaunchFailed,
    ProcessHandle,
    ProcessSpec,
)

DEADLY = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT})
FIRST_PID = 4_200_000  # above any real machine's: a mistaken kill hits nobody


@dataclass(slots=True)
class FakeProcess:
    """A process; ``signals`` are those that it was sent and outlived."""

    handle: ProcessHandle
    argv: tuple[str, ...]
    signals: list[int] = field(default_factory=list)
    watchers: list[Callable[[], None]] = field(default_factory=list)


@dataclass
class FakeMachine:
    """Where fake processes run. ``processes`` and ``refusals`` are by uid."""

    processes: dict[str, FakeProcess] = field(default_factory=dict)
    # The next start of a uid fails for this reason.
    refusals: dict[str, str] = field(default_factory=dict)
    _pids: count[int] = field(default_factory=lambda: count(FIRST_PID))

    def start(self, uid: str, argv: tuple[str, ...]) -> FakeProcess:
        """Start a process; there must be none of this uid."""
        assert uid not in self.processes, f"{uid} runs already"
        pid = next(self._pids)
        process = FakeProcess(ProcessHandle(pid, float(pid)), argv)
        self.processes[uid] = process
        return process

    def end(self, uid: str) -> None:
        """End the process of *uid*, as a crash would; who watches it hears of it at once."""
        for heard in self.processes.pop(uid).watchers:
            heard()


class FakeDriver:
    """Implements :class:`cachefleet.provisioner.drivers.base.Driver` in memory."""

    def __init__(self, root: Path, *, machine: FakeMachine | None = None) -> None:
        self.machine = machine or FakeMachine()
        self._nodes = root / "nodes"
        self._sockets = root / "sockets"
        for path in (self._nodes, self._sockets):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._gone: dict[str, asyncio.Event] = {}
        self._on_exit: ExitListener = lambda uid: None
        self._closed = False

    def directory(self, uid: str) -> Path:
        return self._nodes / uid

    def socket_path(self, uid: str) -> Path:
        return self._sockets / uid

    def listen(self, on_exit: ExitListener) -> None:
        self._on_exit = on_exit

    async def ensure(self, spec: ProcessSpec) -> ProcessHandle:
        running = await self.find(spec.uid)
        if running is not None:
            return running
        directory = self.directory(spec.uid)
        directory.mkdir(mode=0o700, exist_ok=True)
        for name, text in spec.files.items():
            path = directory / name
            path.touch(mode=0o600)
            path.write_text(text)
        refusal = self.machine.refusals.pop(spec.uid, None)
        if refusal is not None:
            raise LaunchFailed(f"cannot run {spec.argv[0]}: {refusal}")
        process = self.machine.start(spec.uid, spec.argv)
        self._watch(spec.uid, process)
        return process.handle

    async def find(self, uid: str) -> ProcessHandle | None:
        process = self.machine.processes.get(uid)
        if process is None:
            return None
        if uid not in self._gone:
            self._watch(uid, process)
        return process.handle

    def pid(self, uid: str) -> int | None:
        process = self.machine.processes.get(uid)
        return process.handle.pid if process is not None and uid in self._gone else None

    def command_line(self, uid: str) -> tuple[str, ...]:
        process = self.machine.processes.get(uid)
        return process.argv if process is not None and uid in self._gone else ()

    async def signal(self, uid: str, number: int) -> None:
        process = self.machine.processes.get(uid)
        if process is None:
            return
        if number in DEADLY:
            self.machine.end(uid)
        else:
            process.signals.append(number)

    async def kill(self, uid: str) -> None:
        await self.signal(uid, signal.SIGKILL)

    async def wait_gone(self, uid: str, *, timeout_s: float) -> bool:
        gone = self._gone.get(uid)
        if gone is None:
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await gone.wait()
        except TimeoutError:
            return False
        return True

    async def remove(self, uid: str) -> None:
        await self.kill(uid)
        self.socket_path(uid).unlink(missing_ok=True)
        shutil.rmtree(self.directory(uid), ignore_errors=True)

    async def known(self) -> set[str]:
        return {entry.name for entry in self._nodes.iterdir() if entry.is_dir()}

    def explain(self, uid: str) -> str:
        return "it left no log"

    async def aclose(self) -> None:
        self._closed = True
        self._gone.clear()

    def _watch(self, uid: str, process: FakeProcess) -> None:
        gone = self._gone[uid] = asyncio.Event()

        def heard() -> None:
            if self._closed:
                return
            self._gone.pop(uid, None)
            gone.set()
            self._on_exit(uid)

        process.watchers.append(heard)
