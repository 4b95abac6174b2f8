"""Servers as processes, for the tests that need one: ours, and memcached as the oracle."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachefleet.engine.memserver.launch import command
from tests.support.ports import own_port

START_S_MAX = 30.0
REPLY_S_MAX = 30.0
PAUSE_S = 0.005
ORACLE_VERSION = "1.6.18"


def connect(port: int, *, within_s: float = START_S_MAX) -> socket.socket:
    """A connection to *port* as soon as somebody listens there."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            sock = socket.create_connection(("127.0.0.1", port), timeout=REPLY_S_MAX)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, f"nobody listens on {port}"
            time.sleep(PAUSE_S)  # nothing tells when a foreign process listens but trying
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock


@contextlib.contextmanager
def running(argv: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """*argv* as a process that listens on *port*, and is gone afterwards."""
    process = subprocess.Popen(argv, stderr=subprocess.PIPE)
    try:
        connect(port).close()
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


@contextlib.contextmanager
def our_server(*options: str) -> Iterator[int]:
    """Our server on a free port; the port."""
    port = own_port()
    version = ["--report-version", ORACLE_VERSION]
    with running([*command(), "-l", "127.0.0.1", "-p", str(port), *version, *options], port):
        yield port


@contextlib.contextmanager
def memcached(*options: str) -> Iterator[int]:
    """memcached on a free port; the port. Skips where it is not installed."""
    path = shutil.which("memcached")
    if path is None:
        pytest.skip("memcached is not installed")
    version = subprocess.run([path, "-V"], capture_output=True, text=True, check=True).stdout
    if ORACLE_VERSION not in version:
        pytest.skip(f"the comparison is with memcached {ORACLE_VERSION}, not {version.strip()}")
    port = own_port()
    user = ["-u", "root"] if os.geteuid() == 0 else []
    with running([path, "-l", "127.0.0.1", "-p", str(port), *user, *options], port):
        yield port


def read_until(sock: socket.socket, end: bytes) -> bytes:
    """Everything up to and with *end*; what came, where the peer closes before."""
    got = bytearray()
    while not got.endswith(end):
        data = sock.recv(1 << 16)
        if not data:
            break
        got += data
    return bytes(got)


def exchange(port: int, request: bytes, end: bytes) -> bytes:
    """Send *request* on a connection of its own and read the reply up to *end*."""
    with connect(port) as sock:
        sock.sendall(request)
        return read_until(sock, end)


def read_to_close(sock: socket.socket) -> bytes:
    """Everything until the peer closes."""
    got = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while data := sock.recv(1 << 16):
            got += data
    return bytes(got)


def control(path: Path, request: bytes, end: bytes = b"\r\n") -> bytes:
    """Send *request* to a control socket as soon as it is there."""
    deadline = time.monotonic() + START_S_MAX
    while True:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(REPLY_S_MAX)
        try:
            sock.connect(os.fspath(path))
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            assert time.monotonic() < deadline, f"no control socket at {path}"
            time.sleep(PAUSE_S)
            continue
        with sock:
            sock.sendall(request)
            return read_until(sock, end)
