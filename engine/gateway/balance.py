"""In which order the backends of a route are tried for a new connection. The clock is passed in.

A backend that refused a moment ago goes to the end of the line, so a dead replica costs one
connection a moment its detour and not every second one. Nothing is ever left out: when all are
suspect, all are tried.
"""

from __future__ import annotations

from collections.abc import Callable

from cachefleet.engine.gateway.routes import Address, Route, RouteKind

SUSPECT_S = 1.0  # a node that comes back is used again within this


class Balancer:
    """The memory of one route: whose turn it is, and who failed when."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._turn = 0
        self._failed_at: dict[Address, float] = {}

    def order(self, route: Route) -> list[Address]:
        """Return all addresses of *route*, best first; a reader's turn moves on by one."""
        now = self._clock()
        suspects = {address for address, at in self._failed_at.items() if 0 <= now - at < SUSPECT_S}
        healthy = [address for address in route.backends if address not in suspects]
        if route.kind is RouteKind.READER and healthy:
            turn = self._turn % len(healthy)
            self._turn += 1
            healthy = healthy[turn:] + healthy[:turn]
        healthy += [address for address in route.fallback if address not in suspects]
        last = [address for address in (*route.backends, *route.fallback) if address in suspects]
        return list(dict.fromkeys(healthy + last))

    def note_failed(self, address: Address) -> None:
        self._failed_at[address] = self._clock()

    def note_connected(self, address: Address) -> None:
        self._failed_at.pop(address, None)

    def keep_only(self, addresses: frozenset[Address]) -> None:
        """Forget the failures of addresses that left the route."""
        self._failed_at = {a: at for a, at in self._failed_at.items() if a in addresses}
