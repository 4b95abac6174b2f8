"""Drops packets that arrive at the sockets of another process of ours, as a broken network does.

Linux only, and without a network namespace or a firewall: ``pidfd_getfd`` gives us the process's
own sockets, and a socket filter (classic BPF) on each of them sees every packet's source before
TCP does. What it drops is gone without a word: connections stall and are sent again, new ones get
no answer. Filters of a listening socket are inherited by the connections it takes.

Refused by the system where we may not trace the process, or may not filter TCP (newer kernels ask
for CAP_NET_ADMIN): then :class:`CannotCut` says so, and nothing is cut.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import sys
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

SYS_PIDFD_GETFD = 438  # the same on every architecture
SO_ATTACH_FILTER = 26
SO_DETACH_FILTER = 27
# Offsets below zero are from a header: this one is the network's (SKF_NET_OFF), 12 its source.
SOURCE_ADDRESS = 0xFFF00000 + 12
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
WHOLE_PACKET, NOTHING = 0xFFFFFFFF, 0
INSTRUCTIONS_MAX = 4096

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand


class CannotCut(Exception):
    """The system does not let us; the message says why, in one line."""


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def render_filter(dropped: AbstractSet[str], allowed: AbstractSet[str] | None) -> list[Instruction]:
    """Return a program that drops packets from *dropped*, or all but those from *allowed*. Pure.

    Raises:
        CannotCut: it would be longer than the kernel takes.
    """
    if allowed is None:
        named, verdict, otherwise = dropped, NOTHING, WHOLE_PACKET
    else:
        named, verdict, otherwise = allowed - dropped, WHOLE_PACKET, NOTHING
    program: list[Instruction] = [(LOAD, 0, 0, SOURCE_ADDRESS)]
    for host in sorted(named):
        address = struct.unpack("!I", socket.inet_aton(host))[0]
        program += [(JUMP_IF_EQUAL, 0, 1, address), (RETURN, 0, 0, verdict)]
    program.append((RETURN, 0, 0, otherwise))
    if len(program) > INSTRUCTIONS_MAX:
        raise CannotCut(f"a partition of {len(named)} nodes is more than one filter holds")
    return program


@dataclass(slots=True)
class SocketFilter:
    """What the sockets of one process drop. *covered* are those that do so already, by inode."""

    pid: int
    dropped: frozenset[str]
    allowed: frozenset[str] | None
    covered: frozenset[str] = frozenset()

    def apply(self) -> None:
        """Put the filter on every socket that has not got it yet; blocks for microseconds each.

        Raises:
            CannotCut: the system does not let us.
        """
        program = render_filter(self.dropped, self.allowed)
        found = _sockets(self.pid)
        for inode, descriptor in found.items():
            if inode not in self.covered:
                with _taken(self.pid, descriptor) as one:
                    if one is not None:
                        _attach(one, program)
        self.covered = frozenset(found)

    def lift(self) -> None:
        """Take the filter off every socket; nothing happens where the process is gone.

        Raises:
            CannotCut: the system does not let us.
        """
        for descriptor in _sockets(self.pid).values():
            with _taken(self.pid, descriptor) as one:
                if one is not None:
                    with contextlib.suppress(OSError):  # it had none
                        one.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        self.covered = frozenset()


def _sockets(pid: int) -> dict[str, int]:
    """Return one descriptor of each socket of a process, by inode."""
    found = {}
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                link = os.readlink(entry)
                if link.startswith("socket:"):
                    found[link] = int(entry.name)
    return found


@contextlib.contextmanager
def _taken(pid: int, descriptor: int) -> Iterator[socket.socket | None]:
    """Give another process's TCP socket, or None where it is gone, or of another kind."""
    if sys.platform != "linux":
        raise CannotCut("partitions need Linux")
    try:
        process = os.pidfd_open(pid)
    except OSError:
        yield None
        return
    library = ctypes.CDLL(None, use_errno=True)
    try:
        copy = int(library.syscall(SYS_PIDFD_GETFD, process, descriptor, 0))
    finally:
        os.close(process)
    if copy < 0:
        number = ctypes.get_errno()
        if isinstance(OSError(number, ""), PermissionError):
            raise CannotCut(f"its sockets are out of reach: {os.strerror(number)}")
        yield None
        return
    with socket.socket(fileno=copy) as taken:
        is_tcp = taken.family == socket.AF_INET and taken.type == socket.SOCK_STREAM
        yield taken if is_tcp else None


def _attach(taken: socket.socket, program: list[Instruction]) -> None:
    lines = (_Instruction * len(program))(*[_Instruction(*line) for line in program])
    whole = _Program(len(program), ctypes.cast(lines, ctypes.c_void_p))
    library = ctypes.CDLL(None, use_errno=True)
    status = library.setsockopt(
        taken.fileno(),
        socket.SOL_SOCKET,
        SO_ATTACH_FILTER,
        ctypes.byref(whole),
        ctypes.sizeof(whole),
    )
    if status != 0:
        raise CannotCut(f"its packets cannot be filtered: {os.strerror(ctypes.get_errno())}")
