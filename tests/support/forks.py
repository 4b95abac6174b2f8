"""Starts Python programs as forks of a template that has imported them already.

    process = start(("-m", "cachefleet", "serve"), folder=..., environment=..., err=log)
    process.stdout.readline(); process.send_signal(signal.SIGTERM); process.wait(10)

There is one template a test process, made when it is first needed. Where forking a process that
has imported much is not safe (macOS), each is started in the ordinary way.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

from tests.support.template import MESSAGE_BYTES_MAX

ROOT = Path(__file__).resolve().parents[2]
END_BYTES = 8
END_TIMEOUT_S = 10.0


class Process(Protocol):
    """What tests need of a process; ``subprocess.Popen`` has it."""

    @property
    def pid(self) -> int: ...
    @property
    def stdout(self) -> IO[str] | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


class Fork:
    """A process that the template is the parent of."""

    def __init__(self, pid: int, stdout: IO[str], end: int) -> None:
        self.pid = pid
        self.stdout = stdout
        self._end = end
        self._status: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return the status it ended with, a signal's as a negative number; None while it runs."""
        return self._read(0)

    def wait(self, timeout: float | None = None) -> int:
        """Return the status it ends with.

        Raises:
            subprocess.TimeoutExpired: it runs on.
        """
        status = self._read(timeout)
        if status is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        return status

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def kill(self) -> None:
        """End it without a word."""
        self.send_signal(signal.SIGKILL)

    def _read(self, timeout_s: float | None) -> int | None:
        with self._lock:
            if self._status is None and self._has_ended(timeout_s):
                told = os.read(self._end, END_BYTES)
                os.close(self._end)
                assert len(told) == END_BYTES, "the template has ended"
                self._status = int.from_bytes(told, "big", signed=True)
            return self._status

    def _has_ended(self, timeout_s: float | None) -> bool:
        ended = select.poll()  # unlike select, of descriptors of any number
        ended.register(self._end, select.POLLIN)
        return bool(ended.poll(None if timeout_s is None else timeout_s * 1000))


class _Template:
    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.template", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
                pass_fds=(theirs.fileno(),),
            )

    def fork(self, request: Mapping[str, object], err: int) -> Fork:
        out, their_out = os.pipe()
        end, their_end = os.pipe()
        message = json.dumps(request).encode()
        assert len(message) <= MESSAGE_BYTES_MAX
        try:
            with self._lock:
                socket.send_fds(self._requests, [message], [their_out, err, their_end])
                told = self._requests.recv(8)
        finally:
            os.close(their_out)
            os.close(their_end)
        assert told, "the template has ended"
        return Fork(int.from_bytes(told, "big"), os.fdopen(out, encoding="utf-8"), end)

    def close(self) -> None:
        self._requests.close()
        self._process.wait(END_TIMEOUT_S)


@functools.cache
def _template() -> _Template:
    template = _Template()
    atexit.register(template.close)
    return template


def run(
    words: Sequence[str], *, folder: Path, environment: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run Python with *words* to its end, with nothing on its standard input.

    Raises:
        subprocess.TimeoutExpired: it took too long, and was killed.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as err:
        process = start(words, folder=folder, environment=environment, err=err)
        killer = threading.Timer(timeout_s, process.kill)
        killer.start()
        try:
            assert process.stdout is not None
            with process.stdout as stdout:
                out = stdout.read()
            status = process.wait(timeout_s)
        finally:
            killer.cancel()
        if status == -signal.SIGKILL:
            raise subprocess.TimeoutExpired(list(words), timeout_s)
        err.seek(0)
        return subprocess.CompletedProcess(list(words), status, out, err.read())


def start(
    words: Sequence[str], *, folder: Path, environment: Mapping[str, str], err: IO[str]
) -> Process:
    """Run Python with *words* (``-m MODULE ...``, or a script and its arguments) in a new session.

    Its standard output is ``stdout`` of what is returned; its standard error goes to *err*.
    """
    if sys.platform == "darwin":
        return subprocess.Popen(
            [sys.executable, *words],
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
        )
    request = {"words": list(words), "folder": str(folder), "environment": dict(environment)}
    return _template().fork(request, err.fileno())
