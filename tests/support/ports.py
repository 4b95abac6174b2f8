"""Ports and networks that are this test process's alone, until it ends.

A port that was free a moment ago can be a client's by the time a server binds it: the kernel gives
clients theirs from the same range from which it answers a request for any port. So these come from
below that range, and other test processes of this machine are kept off by a name in the kernel,
which goes with the process that has it.
"""

from __future__ import annotations

import functools
import itertools
import os
import socket
import sys
from collections.abc import Iterator, Sequence

PORT_FIRST, PORT_LAST = 10_240, 19_999  # a cluster's bus is 10,000 above; the kernel's begin later
BLOCK_PORTS = 40
NETWORK_FIRST, NETWORK_LAST = 101, 250  # of 127.0.0.0/8; 100 is what servers take by themselves

_claimed: list[socket.socket] = []


@functools.cache
def _claim(what: str) -> bool:
    """Take a name for this process, once; False where another has it."""
    if sys.platform != "linux":
        return True
    name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        name.bind(f"\0cachefleet-tests-{what}")
    except OSError:
        name.close()
        return False
    _claimed.append(name)
    return True


def _ports() -> Iterator[int]:
    blocks = range(PORT_FIRST, PORT_LAST + 1 - BLOCK_PORTS, BLOCK_PORTS)
    for first in _in_turns(blocks):
        if _claim(f"ports-{first}"):
            yield from range(first, first + BLOCK_PORTS)


def _networks() -> Iterator[str]:
    for number in _in_turns(range(NETWORK_FIRST, NETWORK_LAST + 1)):
        if _claim(f"network-{number}"):
            yield from (f"127.{number}.{third}.0/24" for third in range(256))


def _in_turns(numbers: Sequence[int]) -> Iterator[int]:
    """Go through *numbers* again and again, from a place that differs by process."""
    start = os.getpid() % len(numbers)
    return itertools.cycle([*numbers[start:], *numbers[:start]])


_free_ports, _free_networks = _ports(), _networks()


def own_port(host: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on, and that nobody else will be given."""
    for port in itertools.islice(_free_ports, PORT_LAST - PORT_FIRST):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue  # of something that is no test
        return port
    raise AssertionError("every port is taken")


def own_network() -> str:
    """Return a network that no other server of this machine's test runs uses."""
    return next(_free_networks)
