"""The pump on transports that only remember: what is passed on, when, and what is let go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from cachefleet.engine.gateway.interception import WireViolation
from cachefleet.engine.gateway.pump import LINGER_S, Link, Side


class FakeTransport(asyncio.Transport):
    """Remembers what was asked of it; the test plays the network."""

    def __init__(self, *, can_half_close: bool = True) -> None:
        super().__init__()
        self.sent = b""
        self.unsent = 0
        self.ended = self.closed = self.aborted = False
        self.reading = True
        self.can_half_close = can_half_close

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.ended, "written to after the end"
        assert not self.closed, "written to after close"
        self.sent += data

    def can_write_eof(self) -> bool:
        return self.can_half_close

    def write_eof(self) -> None:
        assert self.can_half_close
        self.ended = True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Timer(asyncio.TimerHandle):
    """What a loop's call_later gives, on no loop."""

    def __init__(self, delay_s: float, callback: Callable[[], None]) -> None:
        self.delay_s = delay_s
        self.callback = callback
        self.off = False

    def cancel(self) -> None:
        self.off = True


class Owner:
    def __init__(self) -> None:
        self.timers: list[Timer] = []
        self.admits = True
        self.ended: list[Link] = []
        self.broken: list[WireViolation] = []

    def link_opened(self, link: Link) -> bool:
        return self.admits

    def link_ended(self, link: Link) -> None:
        self.ended.append(link)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        self.timers.append(Timer(delay_s, callback))
        return self.timers[-1]

    def link_broken(self, link: Link, violation: WireViolation) -> None:
        self.broken.append(violation)


class Upper:
    """An interceptor that shouts at the backend, and holds a dot until more arrives."""

    def __init__(self) -> None:
        self.held = b""

    def client_sent(self, data: bytes) -> bytes:
        if b"!" in data:
            raise WireViolation("no shouting")
        data, self.held = self.held + data, b""
        if data.endswith(b"."):
            data, self.held = data[:-1], b"."
        return data.upper()

    def backend_sent(self, data: bytes) -> bytes:
        return data.lower()

    def client_finished(self) -> bytes:
        return self.held

    def backend_finished(self) -> bytes:
        return b"~"


class Pair:
    """A link with a fake transport at each end."""

    def __init__(self, *, interceptor: Upper | None = None, can_half_close: bool = True) -> None:
        self.owner = Owner()
        self.link = Link(self.owner, buffer_bytes=4096, interceptor=interceptor)
        self.client = FakeTransport(can_half_close=can_half_close)
        self.backend = FakeTransport(can_half_close=can_half_close)
        self.link.client.connection_made(self.client)

    def connect(self) -> Side:
        side = self.link.backend_side()
        side.connection_made(self.backend)
        return side

    def join(self) -> Side:
        side = self.connect()
        self.link.join(side)
        return side


def test_carries_both_ways_and_counts() -> None:
    pair = Pair()
    backend = pair.join()
    pair.link.client.data_received(b"ask")
    backend.data_received(b"answer")
    assert (pair.backend.sent, pair.client.sent) == (b"ask", b"answer")
    assert (pair.link.client.byte_count, backend.byte_count) == (3, 6)
    assert pair.client.high == pair.backend.high == 4096


def test_what_came_early_waits_and_stops_its_side() -> None:
    pair = Pair()
    pair.link.client.data_received(b"ea")
    assert not pair.client.reading
    backend = pair.connect()
    backend.data_received(b"hel")
    backend.data_received(b"lo")
    assert not pair.backend.reading
    pair.link.join(backend)
    assert (pair.backend.sent, pair.client.sent) == (b"ea", b"hello")
    assert pair.client.reading
    assert pair.backend.reading
    pair.link.client.data_received(b"rly")
    assert pair.backend.sent == b"early"


def test_an_early_end_is_passed_on_behind_the_early_bytes() -> None:
    pair = Pair()
    pair.link.client.data_received(b"all")
    assert pair.link.client.eof_received()
    pair.join()
    assert (pair.backend.sent, pair.backend.ended) == (b"all", True)
    assert not pair.client.ended


def test_both_ends_early_close_the_link() -> None:
    pair = Pair()
    backend = pair.connect()
    for side in (pair.link.client, backend):
        side.data_received(b"x")
        side.eof_received()
    pair.link.join(backend)
    assert (pair.client.sent, pair.backend.sent) == (b"x", b"x")
    assert pair.client.closed
    assert pair.backend.closed


def test_ends_one_direction_at_a_time() -> None:
    pair = Pair()
    backend = pair.join()
    assert pair.link.client.eof_received()
    assert pair.backend.ended
    assert not pair.client.closed
    backend.data_received(b"late")
    assert pair.client.sent == b"late"
    assert backend.eof_received()
    assert pair.client.closed
    assert pair.backend.closed
    assert not pair.client.aborted


def test_where_no_half_close_exists_the_end_closes_both() -> None:
    pair = Pair(can_half_close=False)
    pair.join()
    assert not pair.link.client.eof_received()
    assert pair.client.closed
    assert pair.backend.closed


@pytest.mark.parametrize("slow", ["client", "backend"])
def test_a_full_buffer_stops_the_other_side_only(slow: str) -> None:
    pair = Pair()
    backend = pair.join()
    full = pair.link.client if slow == "client" else backend
    filler, other = (pair.backend, pair.client) if slow == "client" else (pair.client, pair.backend)
    full.pause_writing()
    assert not filler.reading
    assert other.reading
    full.resume_writing()
    assert filler.reading


def test_the_other_side_gets_what_was_said_before_a_side_was_lost() -> None:
    pair = Pair()
    backend = pair.join()
    backend.data_received(b"last")
    backend.connection_lost(ConnectionResetError())
    assert (pair.client.sent, pair.client.closed, pair.client.aborted) == (b"last", True, False)
    assert pair.owner.ended == []
    pair.link.client.connection_lost(None)
    assert pair.owner.ended == [pair.link]


def test_a_client_that_leaves_before_there_is_a_backend_ends_the_link_once() -> None:
    pair = Pair()
    backend = pair.connect()
    pair.link.client.connection_lost(None)
    backend.connection_lost(None)
    assert pair.owner.ended == [pair.link]


def test_a_forsaken_client_ends_its_link_once_whatever_the_loop_says_later() -> None:
    pair = Pair()
    pair.link.client.forsake()
    assert pair.client.aborted
    pair.link.client.connection_lost(None)
    pair.link.client.forsake()
    assert pair.owner.ended == [pair.link]


def test_a_side_that_was_never_made_has_nothing_to_forsake() -> None:
    owner = Owner()
    Link(owner, buffer_bytes=4096, interceptor=None).client.forsake()
    assert owner.ended == []


def test_refused_clients_are_aborted() -> None:
    owner = Owner()
    owner.admits = False
    transport = FakeTransport()
    Link(owner, buffer_bytes=4096, interceptor=None).client.connection_made(transport)
    assert transport.aborted


def test_interception_in_both_directions_and_at_the_ends() -> None:
    pair = Pair(interceptor=Upper())
    pair.link.client.data_received(b"ea.")
    backend = pair.join()
    assert pair.backend.sent == b"EA"
    backend.data_received(b"OK")
    pair.link.client.data_received(b".")
    assert (pair.backend.sent, pair.client.sent) == (b"EA.", b"ok")
    pair.link.client.eof_received()
    assert (pair.backend.sent, pair.backend.ended) == (b"EA..", True)
    backend.eof_received()
    assert pair.client.sent == b"ok~"


def test_what_an_interceptor_holds_goes_out_when_a_side_is_lost() -> None:
    pair = Pair(interceptor=Upper())
    backend = pair.join()
    backend.eof_received()
    backend.connection_lost(None)
    assert pair.client.sent == b"~", "once, though the end was seen twice"


def test_a_violation_aborts_both_sides() -> None:
    pair = Pair(interceptor=Upper())
    pair.join()
    pair.link.client.data_received(b"hey!")
    assert [str(violation) for violation in pair.owner.broken] == ["no shouting"]
    assert pair.client.aborted
    assert pair.backend.aborted
    assert pair.backend.sent == b""


def test_a_backend_that_ended_is_not_waited_for_without_limit() -> None:
    pair = Pair()
    backend = pair.join()
    pair.link.client.data_received(b"go on")
    assert pair.owner.timers == []
    backend.eof_received()
    assert pair.client.ended
    (timer,) = pair.owner.timers
    assert (timer.delay_s, timer.callback) == (LINGER_S, pair.link.abort)
    backend.connection_lost(None)
    pair.link.client.connection_lost(None)
    assert timer.off


def test_a_client_that_ended_may_listen_as_long_as_it_likes() -> None:
    pair = Pair()
    pair.join()
    pair.link.client.eof_received()
    assert pair.owner.timers == []


def test_unsent_bytes_for_a_side_are_not_kept_without_limit() -> None:
    pair = Pair()
    backend = pair.join()
    pair.client.unsent = 100
    backend.connection_lost(None)
    (timer,) = pair.owner.timers
    timer.callback()
    assert pair.client.aborted
