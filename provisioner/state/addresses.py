"""Which address an endpoint gets, and which are in use.

Loopback mode gives every endpoint a host of its own from a network and the port that was asked
for; ports mode gives every endpoint a port of its own on one host, the wanted one where it is free.
Fresh addresses go round the pool: one that was just given up is the last to be given again, so
that a client which still knocks at it meets nobody.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from cachefleet.provisioner.state.errors import AddressesExhausted
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import EndpointAddress

ATTEMPTS_MAX = 20  # lost races against another provisioner on the same database

IsFree = Callable[[str, int], bool]


@dataclass(frozen=True, slots=True)
class LoopbackPool:
    """A host an endpoint."""

    network: ipaddress.IPv4Network


@dataclass(frozen=True, slots=True)
class PortsPool:
    """A port an endpoint, on one host; ``first`` and ``last`` are both included."""

    host: str
    first: int
    last: int


Pool = LoopbackPool | PortsPool


async def allocate(
    tx: Transaction,
    pool: Pool,
    *,
    kind: str,
    subject_uid: str,
    wanted_port: int,
    node_uid: str | None = None,
    is_free: IsFree,
) -> EndpointAddress:
    """Write and return a free address.

    Raises:
        AddressesExhausted: the pool has none left.
    """
    for _ in range(ATTEMPTS_MAX):
        host, port = await _choose(tx, pool, wanted_port=wanted_port, is_free=is_free)
        row = EndpointAddress(
            kind=kind, subject_uid=subject_uid, node_uid=node_uid, host=host, port=port
        )
        try:
            async with tx.session.begin_nested():
                tx.session.add(row)
        except IntegrityError:
            continue
        return row
    raise AddressesExhausted(f"no address could be taken in {ATTEMPTS_MAX} attempts")


async def _choose(
    tx: Transaction, pool: Pool, *, wanted_port: int, is_free: IsFree
) -> tuple[str, int]:
    rows = (
        await tx.session.execute(
            select(EndpointAddress.host, EndpointAddress.port).order_by(EndpointAddress.id)
        )
    ).all()
    used = [(str(host), int(port)) for host, port in rows]
    if isinstance(pool, LoopbackPool):
        return choose_host(pool, used), wanted_port
    return pool.host, choose_port(pool, used, wanted_port=wanted_port, is_free=is_free)


def choose_host(pool: LoopbackPool, used: list[tuple[str, int]]) -> str:
    """Return the next free host behind the one that was given last, going round."""
    network = pool.network
    base, size = int(network.network_address), network.num_addresses
    # Not by ipaddress: a fleet has thousands of addresses, and a group is given several.
    numbers = [int.from_bytes(socket.inet_aton(host)) - base for host, _ in used]
    taken, newest = set(numbers), numbers[-1] if numbers else 0
    for step in range(1, size + 1):
        index = (newest + step) % size
        if 0 < index < size - 1 and index not in taken:
            return str(network[index])
    raise AddressesExhausted(f"all addresses of {network} are in use")


def choose_port(
    pool: PortsPool, used: list[tuple[str, int]], *, wanted_port: int, is_free: IsFree
) -> int:
    """Return the wanted port where it is free, else the next free one of the range."""
    taken = {port for host, port in used if host == pool.host}
    if wanted_port not in taken and is_free(pool.host, wanted_port):
        return wanted_port
    size = pool.last - pool.first + 1
    in_range = [port for _, port in used if pool.first <= port <= pool.last]
    newest = in_range[-1] - pool.first if in_range else -1
    for step in range(1, size + 1):
        port = pool.first + (newest + step) % size
        if port not in taken and is_free(pool.host, port):
            return port
    raise AddressesExhausted(f"all ports from {pool.first} to {pool.last} are in use")
