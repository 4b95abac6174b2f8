"""One route at work: takes its clients, finds each a backend, counts, and cuts."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import ssl
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from cachefleet.engine.gateway.admission import Admission
from cachefleet.engine.gateway.balance import Balancer
from cachefleet.engine.gateway.discovery import Discovery
from cachefleet.engine.gateway.handshake import IamHandshake
from cachefleet.engine.gateway.iam_keys import KeyRing
from cachefleet.engine.gateway.iam_login import check_login
from cachefleet.engine.gateway.interception import Chain, Interceptor, WireViolation
from cachefleet.engine.gateway.opening import Opening
from cachefleet.engine.gateway.optional_token import rewriting
from cachefleet.engine.gateway.pump import Link, Side, peer_address
from cachefleet.engine.gateway.readonly import ReadOnly
from cachefleet.engine.gateway.refused_writes import RefusedWrites
from cachefleet.engine.gateway.reports import BackendStatus, ListenFailure, RouteStatus
from cachefleet.engine.gateway.routes import Address, Route, RouteKind, TlsMode
from cachefleet.engine.gateway.serverless.memcached import ServerlessMemcached
from cachefleet.engine.gateway.sessions import Expiries, SessionTimer, loop_timer, utc_now
from cachefleet.engine.outside import trusting

# All attempts of one client together: a client's own connect timeout has run out by then.
ATTEMPTS_S_MAX = 10.0

log = logging.getLogger(__name__)


class Budget(Protocol):
    """How many connections all routes together may have."""

    def take(self) -> bool: ...

    def give_back(self) -> None: ...


class _Tally:
    """The counters of one backend."""

    __slots__ = ("connections", "connections_total", "failures_total")

    def __init__(self) -> None:
        self.connections = 0
        self.connections_total = 0
        self.failures_total = 0


class RouteService:
    """Implements :class:`~cachefleet.engine.gateway.pump.LinkOwner` for one route."""

    def __init__(
        self,
        route: Route,
        *,
        budget: Budget,
        clock: Callable[[], float],
        now: Callable[[], datetime] = utc_now,
        session_timer: SessionTimer = loop_timer,
    ) -> None:
        self.route = route
        self.tls_context: ssl.SSLContext | None = None  # for the next handshake
        self.iam_keys = KeyRing()  # that tokens are checked with
        self._now = now
        self._budget = budget
        self._balancer = Balancer(clock=clock)
        self._links: dict[Link, Address | None] = {}  # None: no backend yet
        self._admission = Admission(route.options.admitted)
        self._sessions: Expiries[Link] = Expiries(session_timer)
        self._attempts: dict[Link, asyncio.Task[None]] = {}
        self._tallies: dict[Address, _Tally] = {}
        self._refused_total = 0
        self._unserved_total = 0
        self._bytes_from_clients = 0  # of links that ended; the living count themselves
        self._bytes_from_backends = 0

    def client_side(self) -> Side:
        """The protocol factory of this route's listeners."""
        link = Link(self, buffer_bytes=self.route.options.buffer_bytes, interceptor=None)
        link.interceptor = self._interceptor(link)
        return link.client

    def change(self, route: Route) -> int:
        """Serve new connections as *route* says; return how many old ones were cut."""
        old, self.route = self.route, route
        if route.options.admitted != old.options.admitted:
            self._admission = Admission(route.options.admitted)
            self._cut_strangers()
        known = frozenset((*route.backends, *route.fallback))
        self._balancer.keep_only(known)
        gone = {address for address in self._links.values() if address is not None} - known
        if route.kind is not old.kind:
            return self.cut(None)
        count = sum(self.cut(address) for address in gone) if route.options.cut_on_change else 0
        tls = route.options.tls
        if route.options.tls_only or (tls is not None and tls.mode is TlsMode.REQUIRED):
            count += self._cut_plain()
        return count

    def admits(self, host: str) -> bool:
        """Tell whether a client may come from *host*, an IP address."""
        return self._admission.admits(host)

    def _cut_strangers(self) -> None:
        for link in list(self._links):
            peer = peer_address(link.client)
            if peer is None or not self.admits(peer.host):
                link.abort()

    def _cut_plain(self) -> int:
        plain = [
            link
            for link in self._links
            if link.client.transport.get_extra_info("ssl_object") is None
        ]
        for link in plain:
            link.abort()
        return len(plain)

    def note_refused(self) -> None:
        """A client was turned away before it had a link."""
        self._refused_total += 1

    def cut(self, backend: Address | None) -> int:
        """Close the connections to *backend*, or all, at once; return how many."""
        links = [link for link, at in self._links.items() if backend is None or at == backend]
        for link in links:
            link.abort()
        return len(links)

    def close(self) -> None:
        """Close all connections once what is on its way is delivered."""
        for link in list(self._links):
            link.close()

    async def ended(self) -> None:
        """Return when no connection attempt is under way any more."""
        tasks = list(self._attempts.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def connections(self) -> int:
        return len(self._links)

    def status(
        self, *, listening: tuple[Address, ...], failures: tuple[ListenFailure, ...]
    ) -> RouteStatus:
        known = dict.fromkeys((*self.route.backends, *self.route.fallback, *self._tallies))
        idle = _Tally()
        living = list(self._links)
        return RouteStatus(
            name=self.route.name,
            kind=self.route.kind,
            listening=listening,
            failures=failures,
            connections=len(living),
            refused_total=self._refused_total,
            unserved_total=self._unserved_total,
            bytes_from_clients=self._bytes_from_clients
            + sum(link.client.byte_count for link in living),
            bytes_from_backends=self._bytes_from_backends
            + sum(link.backend.byte_count for link in living if link.backend is not None),
            backends=tuple(
                BackendStatus(
                    address=address,
                    connections=tally.connections,
                    connections_total=tally.connections_total,
                    failures_total=tally.failures_total,
                )
                for address in known
                for tally in (self._tallies.get(address, idle),)
            ),
        )

    # Called by the links.

    def link_opened(self, link: Link) -> bool:
        if len(self._links) >= self.route.options.connections_max or not self._budget.take():
            self._refused_total += 1
            return False
        self._links[link] = None
        task = asyncio.get_running_loop().create_task(self._serve(link))
        self._attempts[link] = task
        task.add_done_callback(lambda _: self._attempts.pop(link, None))
        return True

    def link_ended(self, link: Link) -> None:
        if link not in self._links:
            return  # it was refused
        self._budget.give_back()
        address = self._links.pop(link)
        self._sessions.forget(link)
        if (task := self._attempts.get(link)) is not None:
            task.cancel()
        self._bytes_from_clients += link.client.byte_count
        if address is not None and link.backend is not None:
            self._bytes_from_backends += link.backend.byte_count
            tally = self._tallies[address]
            tally.connections -= 1
            if not tally.connections and address not in self._addresses():
                del self._tallies[address]  # its backend left the route

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay_s, callback)

    def link_broken(self, link: Link, violation: WireViolation) -> None:
        log.info("link_broken route=%s reason=%s", self.route.name, violation)

    # Finding a backend.

    async def _serve(self, link: Link) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ATTEMPTS_S_MAX):
                # The list is made once: a client is not sent round for ever by reloads.
                for address in self._balancer.order(self.route):
                    if await self._serve_by(link, address):
                        return
        self._unserved_total += 1
        link.abort()

    async def _serve_by(self, link: Link, address: Address) -> bool:
        tally = self._tallies.setdefault(address, _Tally())
        try:
            async with asyncio.timeout(self.route.options.connect_timeout_s):
                side = await self._connect(link, address)
        except (OSError, TimeoutError) as error:
            tally.failures_total += 1
            self._balancer.note_failed(address)
            log.info("backend_refused route=%s backend=%s reason=%s",
                     self.route.name, address, error)  # fmt: skip
            return False
        if link.client.lost or link.client.transport.is_closing():
            side.transport.abort()  # the client left, or was cut, in the meantime
            return True
        if address not in self._addresses() and self.route.options.cut_on_change:
            side.transport.abort()  # a reload took this backend away while we connected
            return False
        self._balancer.note_connected(address)
        tally.connections += 1
        tally.connections_total += 1
        self._links[link] = address
        link.join(side)
        return True

    async def _connect(self, link: Link, address: Address) -> Side:
        """Raises OSError."""
        source, ca = self.route.options.bind_source, self.route.options.backend_ca
        transport, side = await asyncio.get_running_loop().create_connection(
            link.backend_side,
            address.host,
            address.port,
            local_addr=None if source is None else (source, 0),
            ssl=trusting(ca) if ca else None,
        )
        if met_itself(transport):
            transport.abort()
            raise ConnectionRefusedError("nobody listens; the connection met itself")
        return side

    def _addresses(self) -> tuple[Address, ...]:
        return (*self.route.backends, *self.route.fallback)

    def _interceptor(self, link: Link) -> Interceptor | None:
        found = self._first_interceptor(link)
        if not self.route.options.refused_writes:
            return found
        refused = RefusedWrites(self.route.options.refused_writes)
        return refused if found is None else Chain(found, refused)

    def _first_interceptor(self, link: Link) -> Interceptor | None:
        if self.route.kind is RouteKind.MEMCACHED_DISCOVERY:
            return Discovery(self._cluster_config)
        if self.route.kind is RouteKind.SERVERLESS_MEMCACHED:
            return ServerlessMemcached()
        login = self._login_interceptor(link)
        if not self.route.options.readonly:
            return login
        return ReadOnly() if login is None else Chain(login, ReadOnly())

    def _login_interceptor(self, link: Link) -> Interceptor | None:
        auth = self.route.options.auth
        if auth is not None and auth.iam is not None:
            return IamHandshake(
                self._swap, on_authenticated=functools.partial(self._begin_session, link)
            )
        if auth is not None and auth.optional_token_sha256s:
            return Opening(rewriting(auth.optional_token_sha256s))
        return None

    def _swap(self, user: bytes, token: bytes) -> bytes | None:
        """Return the internal password of a user of IAM whose *token* is good, else None.

        Raises LookupError for a user that does not authenticate with IAM.
        """
        auth = self.route.options.auth  # as it is now: users come and go under open connections
        if auth is None or auth.iam is None:
            raise LookupError
        return check_login(
            user, token, iam=auth.iam, keys=self.iam_keys, now=self._now(), route=self.route.name
        )

    def _begin_session(self, link: Link) -> None:
        auth = self.route.options.auth
        assert auth is not None, "somebody authenticated with IAM"
        assert auth.iam is not None, "somebody authenticated with IAM"
        self._sessions.begin(link, auth.iam.session_s_max, link.abort)

    def _cluster_config(self) -> bytes:
        return (self.route.options.cluster_config or "").encode()


def met_itself(transport: asyncio.BaseTransport) -> bool:
    """Whether both ends of the connection are the same socket.

    On loopback, a port in the ephemeral range that nobody listens on can be connected to itself:
    the client would talk to its own echo.
    """
    ends = (transport.get_extra_info("sockname"), transport.get_extra_info("peername"))
    return ends[0] is not None and ends[0] == ends[1]
