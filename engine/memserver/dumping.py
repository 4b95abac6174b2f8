"""A copy of all items as they are at one instant, made while clients are served.

The process forks, as Redis does for its copies: the child has every item as it was, writes the
bytes of a memory file to the connection that asked, and ends. Nothing is written to a disk, and the
server itself is only stopped for as long as the fork takes.
"""

from __future__ import annotations

import gc
import os
import signal
import socket

from cachefleet.engine.memserver import memfile
from cachefleet.engine.memserver.store import Store

NICE = 5  # the server goes first
SILENCE_S_MAX = 60.0  # of whoever takes the copy
KEPT_DESCRIPTORS = 3  # standard input, output and error


def begin(store: Store, sock: socket.socket) -> int:
    """Have a child send all items of *store* through *sock*; return its pid.

    The caller closes its own end of *sock*: it is the child's from here on. Raises OSError where no
    process can be had.
    """
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        _send(store, sock)
        status = 0
    finally:
        os._exit(status)  # whatever happened: two servers must not run on


def is_over(pid: int) -> bool:
    """Tell whether the child *pid* has ended, and let go of it then."""
    try:
        return os.waitpid(pid, os.WNOHANG) != (0, 0)
    except ChildProcessError:
        return True


def _send(store: Store, sock: socket.socket) -> None:
    gc.disable()  # looking at every item would make a copy of every page
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)
    # The lock of the node's directory is among them: it must not outlive the server in us.
    own = sock.fileno()
    os.closerange(KEPT_DESCRIPTORS, own)
    os.closerange(own + 1, os.sysconf("SC_OPEN_MAX"))
    os.nice(NICE)
    sock.settimeout(SILENCE_S_MAX)
    with sock.makefile("wb", buffering=memfile.BLOCK_BYTES) as file:
        memfile.write(store, file)
    sock.shutdown(socket.SHUT_WR)
