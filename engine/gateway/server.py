"""The worker: all routes, their listeners, and what the control socket can ask of them.

A reload compares addresses, not routes: a socket that stays wanted is never closed, even when
another route takes it over. Nothing is applied from a file that does not parse.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from cachefleet.engine.gateway.iam_keys import KeyRing, KeyRings
from cachefleet.engine.gateway.listener import Listener
from cachefleet.engine.gateway.reports import GatewayStatus, ListenFailure, ReloadReport
from cachefleet.engine.gateway.routes import (
    Address,
    IamOptions,
    IllegalRoutes,
    Route,
    RouteKind,
    RouteTable,
)
from cachefleet.engine.gateway.routes_file import FILE_BYTES_MAX, parse_routes
from cachefleet.engine.gateway.saslauthd import SaslSocket
from cachefleet.engine.gateway.serverless.service import ServerlessService
from cachefleet.engine.gateway.service import RouteService
from cachefleet.engine.gateway.serving import Serving
from cachefleet.engine.gateway.sessions import SessionTimer, loop_timer, utc_now
from cachefleet.engine.gateway.tls import Contexts

STOP_S_MAX = 2.0  # bytes on their way may leave within this

log = logging.getLogger(__name__)


class UnknownRoute(LookupError):
    """No route has that name."""


class _Budget:
    """Implements :class:`~cachefleet.engine.gateway.service.Budget`."""

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling  # what the process has descriptors for
        self.limit = ceiling
        self.taken = 0
        self.idle = asyncio.Event()  # nothing is taken
        self.idle.set()

    def take(self) -> bool:
        if self.taken >= min(self.limit, self.ceiling):
            return False
        self.taken += 1
        self.idle.clear()
        return True

    def give_back(self) -> None:
        self.taken -= 1
        if not self.taken:
            self.idle.set()


class Gateway:
    """Serves what the routes file says; every method runs on the event loop's thread."""

    def __init__(
        self,
        routes_path: Path,
        *,
        connections_ceiling: int,
        clock: Callable[[], float],
        now: Callable[[], datetime] = utc_now,
        session_timer: SessionTimer = loop_timer,
    ) -> None:
        self._routes_path = routes_path
        self._clock = clock
        self._now = now
        self._session_timer = session_timer
        self._budget = _Budget(connections_ceiling)
        self._table = RouteTable(version=0)
        self._error: str | None = None
        self._services: dict[str, Serving] = {}
        self._leaving: set[Serving] = set()  # removed routes whose links are ending
        self._listeners: dict[Address, Listener] = {}
        self._contexts = Contexts()
        self._key_rings = KeyRings()
        self._failures: dict[Address, ListenFailure] = {}
        self._login_sockets: dict[str, SaslSocket] = {}
        self._reloading = asyncio.Lock()

    async def reload(self) -> ReloadReport:
        """Read the routes file and serve it; raises :class:`IllegalRoutes`, changing nothing."""
        async with self._reloading:
            try:
                table = parse_routes(self._read())
            except IllegalRoutes as error:
                self._error = str(error)
                log.warning("reload_refused reason=%s", error)
                raise
            self._error = None
            await self._apply(table)
            await self._change_login_sockets(table)
            report = ReloadReport(version=table.version, failures=tuple(self._failures.values()))
        log.info("reloaded version=%d failures=%d", report.version, len(report.failures))
        return report

    def cut(self, name: str, backend: Address | None) -> int:
        """Close the connections of a route, or to one backend of it; return how many."""
        if name not in self._services:
            raise UnknownRoute(f"no route is named {name}")
        return self._services[name].cut(backend)

    def status(self) -> GatewayStatus:
        return GatewayStatus(
            pid=os.getpid(),
            version=self._table.version,
            error=self._error,
            connections=self._budget.taken,
            routes=tuple(
                self._services[route.name].status(
                    listening=tuple(a for a in route.listen if a in self._listeners),
                    failures=tuple(self._failures[a] for a in route.listen if a in self._failures),
                )
                for route in self._table.routes
            ),
        )

    async def stop(self) -> None:
        """Stop listening, let what is on its way leave, close everything."""
        async with self._reloading:
            for listener in self._listeners.values():
                await listener.close()
            self._listeners.clear()
            await self._change_login_sockets(RouteTable(version=0))
            services = [*self._services.values(), *self._leaving]
            for service in services:
                await service.ended()
                service.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_S_MAX):
                    await self._budget.idle.wait()
            for service in services:
                service.cut(None)
            # The loop tells every connection that it is lost; whatever happens, the process ends.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_S_MAX):
                    await self._budget.idle.wait()
            if self._budget.taken:
                log.error("stopped_with_links count=%d", self._budget.taken)

    def _read(self) -> str:
        try:
            with self._routes_path.open("rb") as file:
                return file.read(FILE_BYTES_MAX + 1).decode()
        except (OSError, ValueError) as error:
            raise IllegalRoutes(f"cannot read {self._routes_path}: {error}") from error

    async def _apply(self, table: RouteTable) -> None:
        bad = self._contexts.refresh(
            route.options.tls for route in table.routes if route.options.tls is not None
        )
        self._key_rings.refresh(iam.keys_path for route in table.routes if (iam := _iam_of(route)))
        self._failures = {
            address: ListenFailure(route=route.name, listen=address, reason=bad[route.options.tls])
            for route in table.routes
            if route.options.tls in bad
            for address in route.listen
        }
        # A route that has no certificate to show listens nowhere, least of all in plain.
        wanted = {
            address: route
            for route in table.routes
            if self._contexts.usable(route.options.tls)
            for address in route.listen
        }
        # Addresses that are given up go first: a new one may overlap with an old one.
        for address in self._listeners.keys() - wanted.keys():
            await self._listeners.pop(address).close()
        self._table = table
        self._budget.limit = table.connections_max
        self._change_services(table)
        for address, listener in self._listeners.items():
            listener.service = self._services[wanted[address].name]
        for address in wanted.keys() - self._listeners.keys():
            self._open(address, wanted[address])

    def _open(self, address: Address, route: Route) -> None:
        listener = Listener(address, self._services[route.name])
        try:
            listener.open()
        except OSError as error:
            reason = error.strerror or str(error)
            self._failures[address] = ListenFailure(route=route.name, listen=address, reason=reason)
            log.warning("listen_failed address=%s reason=%s", address, reason)
        else:
            self._listeners[address] = listener

    async def _change_login_sockets(self, table: RouteTable) -> None:
        wanted = {one.socket_path: one for one in table.login_sockets}
        for path in self._login_sockets.keys() - wanted.keys():
            await self._login_sockets.pop(path).close()
        for path, one in wanted.items():
            if path in self._login_sockets:
                self._login_sockets[path].wanted = one
                continue
            opened = SaslSocket(one)
            try:
                await opened.open()
            except OSError as error:
                # memcached refuses every login then.
                log.warning("login_socket_failed path=%s reason=%s", path, error)
            else:
                self._login_sockets[path] = opened

    def _change_services(self, table: RouteTable) -> None:
        self._leaving = {service for service in self._leaving if service.connections}
        names = {route.name for route in table.routes}
        self._rename_services(table, names)
        for name in self._services.keys() - names:
            service = self._services.pop(name)
            service.cut(None)
            self._leaving.add(service)
        for route in table.routes:
            if route.name in self._services:
                self._services[route.name].change(route)
            else:
                serves = ServerlessService if route.kind is RouteKind.SERVERLESS else RouteService
                self._services[route.name] = serves(
                    route,
                    budget=self._budget,
                    clock=self._clock,
                    now=self._now,
                    session_timer=self._session_timer,
                )
            self._services[route.name].tls_context = self._contexts.get(route.options.tls)
            iam = _iam_of(route)
            self._services[route.name].iam_keys = (
                KeyRing() if iam is None else self._key_rings.get(iam.keys_path)
            )

    def _rename_services(self, table: RouteTable, names: set[str]) -> None:
        """Let a route that is new by its name alone keep the clients of the one that was there.

        A node that outlives its group is another subject's, with the same address and engine.
        """
        left = {
            (service.route.kind, service.route.listen): name
            for name, service in self._services.items()
            if name not in names and service.route.listen
        }
        for route in table.routes:
            old = left.pop((route.kind, route.listen), None)
            if old is not None and route.name not in self._services:
                self._services[route.name] = self._services.pop(old)


def _iam_of(route: Route) -> IamOptions | None:
    auth = route.options.auth
    return None if auth is None else auth.iam
