"""Processes on this machine, each in a session and a directory of its own.

Identity: a process holds a lock on ``<directory>/lock`` that it inherited at its start. Whoever
can take the lock knows that nothing runs there, so a crash between the start of a process and the
note of its pid can neither start it twice nor lose it. Exits are seen by pidfd, at once and also
for processes that another control plane started.

Ephemeral fleets get a guard: a tiny process that waits for the end of ours, however it came, and
then ends every node and removes the directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from cachefleet.provisioner.drivers.base import (
    ExitListener,
    LaunchFailed,
    ProcessHandle,
    ProcessSpec,
)

SOCKET_PATH_BYTES_MAX = 100  # sun_path is 104 on macOS and 108 on Linux
KILL_TIMEOUT_S = 5.0
POLL_WITHOUT_PIDFD_S = 0.2
STRAGGLER_POLL_S = 0.02
LOG_TAIL_BYTES = 8192
LOCK_FILE = "lock"
PID_FILE = "pid"
LOG_FILE = "log"
LOG_PREFIX = re.compile(r"^\d+:[A-Z] \d\d \w{3} \d{4} [\d:.]+ [-.*#] ")
REASONS = ("already in use", "denied", "no such file", "no space left", "cannot assign")
COMPLAINTS = ("error", "fail", "could not", "can't", "cannot", "fatal", "unable", "bad ")


@dataclass(slots=True)
class _Watched:
    handle: ProcessHandle
    gone: asyncio.Event
    popen: subprocess.Popen[bytes] | None  # None where an earlier control plane started it
    unwatch: Callable[[], None]


class LocalDriver:
    """Implements :class:`cachefleet.provisioner.drivers.base.Driver`."""

    def __init__(self, root: Path, *, ephemeral: bool = False) -> None:
        self._root = root
        self._ephemeral = ephemeral
        self._nodes = root / "nodes"
        self._nodes.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._sockets = _socket_directory(root)
        self._watched: dict[str, _Watched] = {}
        self._on_exit: ExitListener = lambda uid: None
        self._guard: subprocess.Popen[bytes] | None = None
        if ephemeral:
            self._guard = _start_guard(root, self._sockets)

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
        lock = _take_lock(directory)
        if lock is None:
            lock = await self._take_from_stragglers(directory)
        try:
            self.socket_path(spec.uid).unlink(missing_ok=True)
            for name, text in spec.files.items():
                _write_private(directory / name, text)
            popen = _spawn(spec, directory, lock)
        finally:
            os.close(lock)
        handle = ProcessHandle(popen.pid, _started_at_s(popen.pid) or 0.0)
        _write_private(directory / PID_FILE, f"{handle.pid} {handle.started_at_s}\n")
        self._watch(spec.uid, handle, popen)
        return handle

    async def find(self, uid: str) -> ProcessHandle | None:
        watched = self._watched.get(uid)
        if watched is not None:
            return watched.handle
        directory = self.directory(uid)
        if not directory.exists():
            return None
        lock = _take_lock(directory)
        if lock is not None:
            os.close(lock)
            return None
        handle = _noted_process(directory) or _searched_process(directory)
        if handle is None:
            # The holder is between its end and the release of its files, or is a child that an
            # engine forked (a save in progress) and that ends by itself.
            return None
        self._watch(uid, handle, None)
        return handle

    def pid(self, uid: str) -> int | None:
        watched = self._watched.get(uid)
        return None if watched is None else watched.handle.pid

    def command_line(self, uid: str) -> tuple[str, ...]:
        watched = self._watched.get(uid)
        if watched is None:
            return ()
        try:
            return tuple(psutil.Process(watched.handle.pid).cmdline())
        except psutil.Error:
            return ()

    async def signal(self, uid: str, number: int) -> None:
        handle = await self.find(uid)
        if handle is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(handle.pid, number)

    async def kill(self, uid: str) -> None:
        handle = await self.find(uid)
        if handle is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(handle.pid, signal.SIGKILL)
        if not await self.wait_gone(uid, timeout_s=KILL_TIMEOUT_S):
            raise LaunchFailed(f"process {handle.pid} of node {uid} outlived SIGKILL")

    async def wait_gone(self, uid: str, *, timeout_s: float) -> bool:
        watched = self._watched.get(uid)
        if watched is None:
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await watched.gone.wait()
        except TimeoutError:
            return False
        return True

    async def remove(self, uid: str) -> None:
        await self.kill(uid)
        self.socket_path(uid).unlink(missing_ok=True)
        directory = self.directory(uid)
        if directory.is_symlink():  # it lies elsewhere; there may be nothing left of it
            target = directory.resolve()
            shutil.rmtree(target, ignore_errors=True)
            with contextlib.suppress(OSError):
                target.parent.rmdir()  # the last one takes the fleet's folder with it
            directory.unlink(missing_ok=True)
        shutil.rmtree(directory, ignore_errors=True)

    async def known(self) -> set[str]:
        return {
            entry.name for entry in self._nodes.iterdir() if entry.is_dir() or entry.is_symlink()
        }

    def explain(self, uid: str) -> str:
        path = self.directory(uid) / LOG_FILE
        try:
            with path.open("rb") as log:
                log.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
                lines = log.read().decode(errors="replace").splitlines()
        except OSError:
            return "it left no log"
        return telling_line(lines)

    async def aclose(self) -> None:
        for watched in self._watched.values():
            watched.unwatch()
            if watched.popen is not None:
                # It goes on without us: tell subprocess not to wait for it.
                watched.popen.returncode = 0
        self._watched.clear()
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
            await asyncio.to_thread(self._guard.wait, KILL_TIMEOUT_S)

    async def _take_from_stragglers(self, directory: Path) -> int:
        """End what a dead engine left behind (a save in progress) and take the lock from it."""
        deadline_s = time.monotonic() + KILL_TIMEOUT_S
        while time.monotonic() < deadline_s:
            for process in _processes_in(directory):
                with contextlib.suppress(psutil.Error):
                    process.kill()
            lock = _take_lock(directory)
            if lock is not None:
                return lock
            await asyncio.sleep(STRAGGLER_POLL_S)
        raise LaunchFailed(f"another process holds {directory / LOCK_FILE}")

    def _watch(
        self, uid: str, handle: ProcessHandle, popen: subprocess.Popen[bytes] | None
    ) -> None:
        watched = _Watched(handle, asyncio.Event(), popen, unwatch=lambda: None)
        self._watched[uid] = watched
        watched.unwatch = _on_process_end(handle.pid, lambda: self._ended(uid, watched))

    def _ended(self, uid: str, watched: _Watched) -> None:
        watched.unwatch()
        # A save that the engine had forked would outlive it and hold the directory's lock.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(watched.handle.pid, signal.SIGKILL)
        if watched.popen is not None:
            watched.popen.wait()  # the process has ended: this only takes its exit status
        if self._watched.get(uid) is watched:
            del self._watched[uid]
        watched.gone.set()
        self._on_exit(uid)


def _socket_directory(root: Path) -> Path:
    """Return a directory whose sockets have short paths, the same for the same *root*."""
    directory = root / "sockets"
    if len(os.fsencode(directory)) + 17 > SOCKET_PATH_BYTES_MAX:
        digest = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
        directory = Path(tempfile.gettempdir()) / f"cachefleet-{os.getuid()}-{digest}"
    directory.mkdir(mode=0o700, exist_ok=True)
    if directory.stat().st_uid != os.getuid():
        raise LaunchFailed(f"{directory} belongs to somebody else")
    return directory


def _take_lock(directory: Path) -> int | None:
    descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _write_private(path: Path, text: str) -> None:
    aside = path.with_name(path.name + ".aside")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    aside.replace(path)


def _spawn(spec: ProcessSpec, directory: Path, lock: int) -> subprocess.Popen[bytes]:
    log = os.open(directory / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            spec.argv,
            cwd=directory,
            env={"PATH": os.environ.get("PATH", os.defpath), **spec.env},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(lock,),
        )
    except OSError as error:
        raise LaunchFailed(f"cannot run {spec.argv[0]}: {error.strerror}") from error
    finally:
        os.close(log)


def _started_at_s(pid: int) -> float | None:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def _noted_process(directory: Path) -> ProcessHandle | None:
    try:
        pid, started_at_s = (directory / PID_FILE).read_text().split()
        noted = ProcessHandle(int(pid), float(started_at_s))
    except (OSError, ValueError):
        return None
    return noted if _started_at_s(noted.pid) == noted.started_at_s else None


def _searched_process(directory: Path) -> ProcessHandle | None:
    """Look for a process that works in *directory* and leads its session: a start cut short."""
    for process in _processes_in(directory):
        with contextlib.suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == process.pid:
                return ProcessHandle(process.pid, float(process.create_time()))
    return None


def _processes_in(directory: Path) -> list[psutil.Process]:
    found = []
    where = str(directory.resolve())
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.cwd() == where:
                found.append(process)
    return found


def _on_process_end(pid: int, callback: Callable[[], None]) -> Callable[[], None]:
    """Call *callback* on the loop when *pid* ends; return what takes that back."""
    loop = asyncio.get_running_loop()
    if not hasattr(os, "pidfd_open"):
        return _poll_process_end(pid, callback)
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        handle = loop.call_soon(callback)
        return handle.cancel
    loop.add_reader(descriptor, callback)

    def unwatch() -> None:
        nonlocal descriptor
        if descriptor >= 0:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            descriptor = -1

    return unwatch


def _poll_process_end(pid: int, callback: Callable[[], None]) -> Callable[[], None]:
    loop = asyncio.get_running_loop()
    started_at_s = _started_at_s(pid)
    timer: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal timer
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and process.create_time() == started_at_s:
                timer = loop.call_later(POLL_WITHOUT_PIDFD_S, look)
                return
        callback()

    timer = loop.call_later(POLL_WITHOUT_PIDFD_S, look)
    return lambda: timer.cancel() if timer is not None else None


def telling_line(lines: list[str]) -> str:
    """Return the line of an engine's log that says why it stopped, without its pid and time.

    That is the last which gives the system's reason, else the last which complains.
    """
    for words in (REASONS, COMPLAINTS, ("",)):
        for line in reversed(lines):
            if any(word in line.lower() for word in words):
                return LOG_PREFIX.sub("", line.strip())
    return "it said nothing"


def _start_guard(root: Path, sockets: Path) -> subprocess.Popen[bytes]:
    guard = Path(__file__).with_name("guard.py")
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(guard), str(root), str(sockets)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
