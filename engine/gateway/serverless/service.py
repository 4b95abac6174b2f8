"""The endpoint of one serverless cache at work: its clients, its slots, its budget."""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from cachefleet.engine.gateway.admission import Admission
from cachefleet.engine.gateway.iam_keys import KeyRing
from cachefleet.engine.gateway.iam_login import check_login
from cachefleet.engine.gateway.reports import ListenFailure, RouteStatus
from cachefleet.engine.gateway.routes import Address, Route, ServerlessOptions
from cachefleet.engine.gateway.serverless.budget import Budget
from cachefleet.engine.gateway.serverless.picture import Picture
from cachefleet.engine.gateway.serverless.session import Session
from cachefleet.engine.gateway.serverless.slots import SlotMap
from cachefleet.engine.gateway.service import Budget as Connections
from cachefleet.engine.gateway.sessions import Expiries, SessionTimer, loop_timer, utc_now
from cachefleet.engine.outside import trusting

log = logging.getLogger(__name__)


class ServerlessService:
    """Implements :class:`~cachefleet.engine.gateway.serving.Serving`."""

    def __init__(
        self,
        route: Route,
        *,
        budget: Connections,
        clock: Callable[[], float],
        now: Callable[[], datetime] = utc_now,
        session_timer: SessionTimer = loop_timer,
    ) -> None:
        self.route = route
        self.tls_context: ssl.SSLContext | None = None
        self.iam_keys = KeyRing()
        self.budget = Budget(_told(route).ecpu_per_s, clock=clock)
        self.slots = SlotMap(_told(route).shards)
        self._connections = budget
        self._now = now
        self._admission = Admission(route.options.admitted)
        self._sessions: set[Session] = set()
        self._expiries: Expiries[Session] = Expiries(session_timer)
        self._waiting: deque[Session] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.held = _told(route).held
        self._wrong = secrets.token_hex(32).encode()
        self._refused_total = 0
        self._bytes_from_clients = 0
        self._bytes_from_backends = 0

    @property
    def picture(self) -> Picture:
        """What clients are told of the cluster."""
        told = _told(self.route)
        return Picture(
            host=told.host, port=told.port, reads_port=told.reads_port, node_ids=told.node_ids
        )

    def is_for_reads(self, address: Sequence[Any] | None) -> bool:
        """Tell whether *address*, of ours, is the one for reads."""
        return address is not None and address[1] == _told(self.route).reads_port

    # What listeners and the gateway ask.

    def client_side(self) -> Session:
        """Make the protocol of a new client."""
        return Session(self)

    def change(self, route: Route) -> int:
        """Serve as *route* says; return how many connections were cut."""
        old, self.route = self.route, route
        told, before = _told(route), _told(old)
        self.slots.change(told.shards)
        self.budget.change(told.ecpu_per_s)
        if told.outside != before.outside:
            for session in list(self._sessions):
                session.change_sides()
        self.held = told.held
        if before.held and not told.held:
            for session in list(self._sessions):
                session.flush()
        if route.options.admitted == old.options.admitted:
            return 0
        self._admission = Admission(route.options.admitted)
        strangers = [one for one in self._sessions if not self._is_admitted(one)]
        for session in strangers:
            session.abort()
        return len(strangers)

    def admits(self, host: str) -> bool:
        """Tell whether a client may come from *host*, an IP address."""
        return self._admission.admits(host)

    def note_refused(self) -> None:
        """A client was turned away before it had a session."""
        self._refused_total += 1

    def cut(self, backend: Address | None) -> int:
        """End the clients that have a connection to *backend*, or all, at once."""
        cut = [one for one in self._sessions if backend is None or backend in one.upstreams]
        for session in cut:
            session.abort()
        return len(cut)

    def close(self) -> None:
        """End all once what is on its way is delivered."""
        for session in list(self._sessions):
            session.close()

    async def ended(self) -> None:
        """Return when nothing is under way that outlives a connection."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def connections(self) -> int:
        return len(self._sessions)

    def status(
        self, *, listening: tuple[Address, ...], failures: tuple[ListenFailure, ...]
    ) -> RouteStatus:
        """Return the counters."""
        living = list(self._sessions)
        return RouteStatus(
            name=self.route.name,
            kind=self.route.kind,
            listening=listening,
            failures=failures,
            connections=len(living),
            refused_total=self._refused_total,
            unserved_total=0,
            bytes_from_clients=self._bytes_from_clients + sum(one.byte_count for one in living),
            bytes_from_backends=self._bytes_from_backends + sum(one.bytes_back for one in living),
            backends=(),
            units_total=self.budget.spent_total,
            throttled_total=self.budget.throttled_total,
            outstanding=sum(one.outstanding for one in living),
        )

    # What sessions ask.

    def upstream_tls(self) -> ssl.SSLContext | None:
        """Return how connections to shards are encrypted; None where they are in clear."""
        ca = _told(self.route).outside_ca
        return trusting(ca) if ca else None

    def session_opened(self, session: Session) -> bool:
        """A client is there; False refuses it."""
        if len(self._sessions) >= self.route.options.connections_max:
            self._refused_total += 1
            return False
        if not self._connections.take():
            self._refused_total += 1
            return False
        self._sessions.add(session)
        return True

    def session_ended(self, session: Session) -> None:
        """A client is gone."""
        if session not in self._sessions:
            return  # it was refused
        self._sessions.discard(session)
        self._connections.give_back()
        self._expiries.forget(session)
        self._bytes_from_clients += session.byte_count
        self._bytes_from_backends += session.bytes_back

    def throttle(self, session: Session) -> None:
        """Have a client wait until there are units again."""
        self.budget.throttled_total += 1
        self._waiting.append(session)
        self._wait()

    def _wait(self) -> None:
        if self._timer is None and self._waiting:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self.budget.wait_s(), self._serve_waiting)

    def _serve_waiting(self) -> None:
        self._timer = None
        for _ in range(len(self._waiting)):
            if self.budget.wait_s() > 0:
                break
            self._waiting.popleft().throttle_ended()
        self._wait()

    def swapped(self, session: Session, words: list[bytes]) -> list[bytes]:
        """Return AUTH or HELLO with a good token of IAM turned into what the engine takes."""
        auth = self.route.options.auth
        if auth is None or auth.iam is None:
            return words
        upper = [word.upper() for word in words]
        at = upper.index(b"AUTH") + 1 if b"AUTH" in upper else len(words)
        if len(words) < at + 2 or (upper[0] == b"AUTH" and len(words) != 3):
            return words
        try:
            password = check_login(
                words[at],
                words[at + 1],
                iam=auth.iam,
                keys=self.iam_keys,
                now=self._now(),
                route=self.route.name,
            )
        except LookupError:
            return words  # a user with a password of its own
        if password is not None:
            self._expiries.begin(session, auth.iam.session_s_max, session.abort)
        return [*words[: at + 1], password or self._wrong, *words[at + 2 :]]

    def _is_admitted(self, session: Session) -> bool:
        peer = session.transport.get_extra_info("peername")
        return peer is not None and self.admits(peer[0])


def _told(route: Route) -> ServerlessOptions:
    assert route.options.serverless is not None, route.name
    return route.options.serverless
