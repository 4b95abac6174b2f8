"""The port through which processes are run. Every driver passes the same conformance suite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


class DriverError(Exception):
    """Root of what a driver can refuse."""


class LaunchFailed(DriverError):
    """The process could not be started; the message says why, in one line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessSpec:
    """What to run. ``files`` (name -> text) are written, private to us, before a start only."""

    uid: str
    argv: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProcessHandle:
    """A process that is certain to be the one we started: pids are used again, start times not."""

    pid: int
    started_at_s: float


ExitListener = Callable[[str], None]  # called with the uid, on the event loop


class Driver(Protocol):
    """Runs one process a uid, each in a directory of its own."""

    def directory(self, uid: str) -> Path:
        """Return where the process of *uid* keeps its files; it may not exist yet."""
        ...

    def socket_path(self, uid: str) -> Path:
        """Return a path, short enough for a unix socket, that is private to *uid*."""
        ...

    def listen(self, on_exit: ExitListener) -> None:
        """Call *on_exit* whenever a watched process ends, whoever ended it."""
        ...

    async def ensure(self, spec: ProcessSpec) -> ProcessHandle:
        """Return the running process of *spec.uid*, started now if there was none.

        Raises:
            LaunchFailed: it could not be started.
        """
        ...

    async def find(self, uid: str) -> ProcessHandle | None:
        """Return the running process of *uid*, watched from now on, or None."""
        ...

    def pid(self, uid: str) -> int | None:
        """Return the pid of the process of *uid* while it is watched."""
        ...

    def command_line(self, uid: str) -> tuple[str, ...]:
        """Return the arguments of the running process of *uid*; empty where there is none."""
        ...

    async def signal(self, uid: str, number: int) -> None:
        """Send a signal to the process of *uid*; nothing happens where there is none."""
        ...

    async def kill(self, uid: str) -> None:
        """End the process at once and return when it is gone; a hung one ends too."""
        ...

    async def wait_gone(self, uid: str, *, timeout_s: float) -> bool:
        """Return True when the process has ended, False where it has not within *timeout_s*."""
        ...

    async def remove(self, uid: str) -> None:
        """Kill the process and delete its directory; a no-op where both are gone."""
        ...

    async def known(self) -> set[str]:
        """Return the uids that have a directory, running or not."""
        ...

    def explain(self, uid: str) -> str:
        """Return the last line that the process said about itself, for people."""
        ...

    async def aclose(self) -> None:
        """Stop watching. Processes go on running, unless the driver is an ephemeral one."""
        ...
