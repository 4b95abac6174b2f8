"""The byte pump: one client connection, one backend connection, bytes both ways.

Both sides are asyncio protocols on the transports' fast path: what arrives on one is written to
the other at once. A side whose peer cannot keep up stops reading, the end of one direction is
passed on while the other goes on, and neither holds more than the route's buffer limit. What
arrives before the backend is connected waits, one read of it at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from cachefleet.engine.gateway.interception import Interceptor, WireViolation
from cachefleet.engine.gateway.routes import Address
from cachefleet.engine.gateway.serving import ClientSide

# A backend that closed its direction serves this client no more, and a side that is gone leaves
# at most a buffer of unsent bytes behind: neither may hold descriptors for longer than this.
LINGER_S = 30.0


class LinkOwner(Protocol):
    """The route that a link belongs to."""

    def link_opened(self, link: Link) -> bool:
        """A client is there; False refuses it."""
        ...

    def link_ended(self, link: Link) -> None:
        """Both sides are closed."""
        ...

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Call *callback* once, unless the handle is cancelled before."""
        ...

    def link_broken(self, link: Link, violation: WireViolation) -> None:
        """A side broke the protocol; the link is being closed."""
        ...


class Link:
    """A client connection and, once joined, the backend connection that serves it."""

    __slots__ = ("_linger", "backend", "buffer_bytes", "client", "interceptor", "owner")

    def __init__(
        self, owner: LinkOwner, *, buffer_bytes: int, interceptor: Interceptor | None
    ) -> None:
        self.owner = owner
        self.buffer_bytes = buffer_bytes
        self.interceptor = interceptor
        self.client = Side(self)
        self.backend: Side | None = None
        self._linger: asyncio.TimerHandle | None = None

    def backend_side(self) -> Side:
        """Make the protocol for a connection to a backend; :meth:`join` puts it to use."""
        return Side(self)

    def join(self, backend: Side) -> None:
        """Start pumping between the client and *backend*, which is connected."""
        assert self.backend is None
        assert not self.client.lost
        self.backend = backend
        self.client.peer, backend.peer = backend, self.client
        if self.interceptor is None:
            self.client.forward = backend.transport.write
            backend.forward = self.client.transport.write
        else:
            self.client.forward = self._intercept_client
            backend.forward = self._intercept_backend
        for side, peer in ((self.client, backend), (backend, self.client)):
            early, side.early = side.early, b""
            if early and not peer.transport.is_closing():
                side.forward(early)
            side.resume()
        for side, peer in ((self.client, backend), (backend, self.client)):
            if side.finished:
                self._pass_on_end(side, peer)

    def abort(self) -> None:
        """Close both sides now; bytes that were not sent yet are lost."""
        for side in (self.client, self.backend):
            if side is not None and not side.lost:
                side.transport.abort()

    def close(self) -> None:
        """Close both sides once their unsent bytes are sent."""
        for side in (self.client, self.backend):
            if side is not None and not side.lost:
                side.transport.close()

    # Called by the sides.

    def side_made(self, side: Side) -> None:
        side.transport.set_write_buffer_limits(high=self.buffer_bytes)
        if side is self.client and not self.owner.link_opened(self):
            side.transport.abort()

    def side_finished(self, side: Side) -> None:
        """*side* sends no more: pass that on, and close when neither sends."""
        if side.peer is not None:
            self._pass_on_end(side, side.peer)

    def side_lost(self, side: Side) -> None:
        if side is not self.client and side is not self.backend:
            return  # a backend connection that was never joined
        peer = side.peer
        if peer is not None and not peer.lost:
            # What this side said before it went still belongs to the other.
            if not peer.transport.is_closing():
                self._flush(side, peer)
                if peer.transport.get_write_buffer_size():
                    self._start_linger()
                peer.transport.close()
            return
        if self._linger is not None:
            self._linger.cancel()
        # The sides, their transports and the link refer to each other; cut the knot here, so
        # that memory comes back with the connection and not with the garbage collector.
        self.client.forward = _discard
        if self.backend is not None:
            self.backend.forward = _discard
            self.client.peer = self.backend.peer = None
        self.owner.link_ended(self)

    def _pass_on_end(self, side: Side, peer: Side) -> None:
        if peer.lost or peer.transport.is_closing():
            return
        self._flush(side, peer)
        if peer.finished or not peer.transport.can_write_eof():
            self.close()
            return
        peer.transport.write_eof()
        if side is self.backend:
            self._start_linger()

    def _flush(self, side: Side, peer: Side) -> None:
        """Send what the interceptor still holds of *side*'s bytes."""
        if self.interceptor is None or peer.transport.is_closing():
            return
        finish = (
            self.interceptor.client_finished
            if side is self.client
            else self.interceptor.backend_finished
        )
        if not side.flushed and (rest := finish()):
            peer.transport.write(rest)
        side.flushed = True

    def _start_linger(self) -> None:
        if self._linger is None:
            self._linger = self.owner.call_later(LINGER_S, self.abort)

    def _intercept_client(self, data: bytes) -> None:
        assert self.interceptor is not None
        assert self.backend is not None
        self._intercept(self.interceptor.client_sent, data, self.backend)

    def _intercept_backend(self, data: bytes) -> None:
        assert self.interceptor is not None
        self._intercept(self.interceptor.backend_sent, data, self.client)

    def _intercept(self, transform: Callable[[bytes], bytes], data: bytes, peer: Side) -> None:
        try:
            passed = transform(data)
        except WireViolation as violation:
            self.owner.link_broken(self, violation)
            self.abort()
            return
        if passed:
            peer.transport.write(passed)


class Side(ClientSide):
    """One of the two connections of a link."""

    __slots__ = (
        "byte_count", "early", "finished", "flushed", "forward", "link", "lost", "made", "paused",
        "peer", "transport",
    )  # fmt: skip

    transport: asyncio.Transport  # from connection_made on

    def __init__(self, link: Link) -> None:
        self.link = link
        self.forward: Callable[[bytes], object] = self._hold
        self.early = b""  # what arrived before the link was joined
        self.peer: Side | None = None
        self.byte_count = 0
        self.finished = False  # it sends no more
        self.flushed = False
        self.lost = False
        self.made = False
        self.paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.made = True
        self.link.side_made(self)

    def data_received(self, data: bytes) -> None:
        self.byte_count += len(data)
        self.forward(data)

    def eof_received(self) -> bool:
        self.finished = True
        self.link.side_finished(self)
        # The other direction goes on, where the transport knows directions: TLS closes both.
        return self.transport.can_write_eof()

    def pause_writing(self) -> None:
        if self.peer is not None:
            self.peer.pause()

    def resume_writing(self) -> None:
        if self.peer is not None:
            self.peer.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost:
            self.lost = True
            self.link.side_lost(self)

    def forsake(self) -> None:
        """Give the connection up when the loop may not say that it is lost.

        uvloop says nothing when the task that hands it a socket is cancelled just after
        connection_made; asyncio does.
        """
        if self.made and not self.lost:
            self.transport.abort()
            self.connection_lost(None)

    def pause(self) -> None:
        if not self.paused and not self.lost and not self.transport.is_closing():
            self.paused = True
            self.transport.pause_reading()

    def _hold(self, data: bytes) -> None:
        # Not paused from the start: a loop may begin to read only after connection_made.
        self.early += data
        self.pause()

    def resume(self) -> None:
        if self.paused and not self.lost and not self.transport.is_closing():
            self.paused = False
            self.transport.resume_reading()


def peer_address(side: Side) -> Address | None:
    """Where the other end of *side*'s connection is."""
    name = side.transport.get_extra_info("peername")
    return None if name is None else Address(name[0], name[1])


def _discard(data: bytes) -> None:
    """Bytes that arrive after the link ended go nowhere."""
