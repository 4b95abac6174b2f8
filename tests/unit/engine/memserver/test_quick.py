"""The C module: what it takes off Python's hands, what it leaves, and that nothing leaks."""

from __future__ import annotations

import random
import socket
import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

from cachefleet.engine.memserver.connection import Connection
from cachefleet.engine.memserver.lru import NEVER, Item
from cachefleet.engine.memserver.server import PURE_VARIABLE, Server, quick_module
from cachefleet.engine.memserver.session import Session
from cachefleet.engine.memserver.store import Store
from tests.unit.engine.memserver.sessions import ask, later, store, text

POLLIN = 1
POLLHUP = 16
SET = b"set %b 0 0 3\r\n%b\r\n"
OUT_BYTES = 64 << 10


class Watched(Connection):
    """A connection that notes what Python had to answer."""

    left: list[bytes]

    def on_data(self, data: bytes) -> None:
        self.left.append(data)
        super().on_data(data)


class Line:
    """A client and a connection, with the C module between socket and session."""

    def __init__(self, quick: ModuleType, some: Store) -> None:
        self.client, ours = socket.socketpair()
        ours.setblocking(False)
        self.client.setblocking(False)
        self.modified: list[int] = []
        self.forgotten: list[Connection] = []
        poller = SimpleNamespace(modify=lambda fd, mask: self.modified.append(mask))
        server = SimpleNamespace(
            store=some, stats=some.stats, poller=poller, waiting=[], forget=self.forgotten.append
        )
        listener = SimpleNamespace(kind="tcp", address="")
        self.conn = Watched(cast(Any, server), cast(Any, listener), ours, text(some))
        self.conn.left = []
        pump = quick.Pump(some, NEVER, Item, Watched, Session)
        self.on_ready: Callable[[int], None] = quick.Channel(
            pump, self.conn, ours.fileno()
        ).on_ready

    def ask(self, request: bytes) -> bytes:
        """The reply to *request*, b"" where there is none yet."""
        self.client.sendall(request)
        self.on_ready(POLLIN)
        try:
            return self.client.recv(1 << 20)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        self.client.close()
        self.conn.sock.close()


@pytest.fixture(name="quick")
def _quick(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.delenv(PURE_VARIABLE, raising=False)
    module = quick_module()
    if module is None:
        pytest.skip("the C module was not built")
    return module


@pytest.fixture(name="line")
def _line(quick: ModuleType) -> Iterator[Line]:
    line = Line(quick, store())
    ask(line.conn.store, SET % (b"a", b"abc"))
    ask(line.conn.store, SET % (b"b", b"bcd"))
    yield line
    line.close()


def test_plain_requests_never_reach_python(line: Line) -> None:
    assert line.ask(b"get a\r\n") == b"VALUE a 0 3\r\nabc\r\nEND\r\n"
    assert line.ask(SET % (b"a", b"new")) == b"STORED\r\n"
    assert line.ask(b"get b a b\r\n") == (
        b"VALUE b 0 3\r\nbcd\r\nVALUE a 0 3\r\nnew\r\nVALUE b 0 3\r\nbcd\r\nEND\r\n"
    )
    assert line.ask(b"set a 0 100 3\r\nttl\r\n") == b"STORED\r\n"
    assert line.conn.left == []


LEFT = [
    pytest.param(b"get nosuch\r\n", b"END\r\n", id="a-miss"),
    pytest.param(b"get a nosuch\r\n", b"VALUE a 0 3\r\nabc\r\nEND\r\n", id="one-missing"),
    pytest.param(b"get  a\r\n", b"VALUE a 0 3\r\nabc\r\nEND\r\n", id="two-blanks"),
    pytest.param(b"get a \r\n", b"VALUE a 0 3\r\nabc\r\nEND\r\n", id="blank-at-the-end"),
    pytest.param(b"get a\n", b"VALUE a 0 3\r\nabc\r\nEND\r\n", id="bare-newline"),
    pytest.param(b"get a\r\nget b\r\n", b"", id="two-gets"),
    pytest.param(b"get a", b"", id="half-a-line"),
    pytest.param(b"get \r\n", b"ERROR\r\n", id="no-key"),
    pytest.param(b"get %b\r\n" % (b"k" * 251), None, id="key-too-long"),
    pytest.param(b"gets a\r\n", None, id="gets"),
    pytest.param(b"set a 0 0 3\r\nab", b"", id="half-a-value"),
    pytest.param(b"set a 0 0 3 noreply\r\nabc\r\n", b"", id="noreply"),
    pytest.param(b"set a 0 0 4\r\nabcd\r\n", b"STORED\r\n", id="another-size"),
    pytest.param(b"set a 7 0 3\r\nabc\r\n", b"STORED\r\n", id="other-flags"),
    pytest.param(b"set a 12 0 1\r\nabc\r\n", None, id="more-flags-less-size"),
    pytest.param(b"set new 0 0 3\r\nabc\r\n", b"STORED\r\n", id="a-new-key"),
    pytest.param(b"set a 0 -1 3\r\nabc\r\n", b"STORED\r\n", id="expired-at-once"),
    pytest.param(b"set a 0 2592001 3\r\nabc\r\n", b"STORED\r\n", id="a-date"),
    pytest.param(b"set a 0 0 03\r\nabc\r\n", b"STORED\r\n", id="leading-zero"),
    pytest.param(b"set a 0 0 3\r\nabcd\r\n", None, id="value-too-long"),
    pytest.param(b"set a 0 0 3\nabc\r\n", b"STORED\r\n", id="bare-newline-in-set"),
    pytest.param(b"set a  0 0 3\r\nabc\r\n", b"STORED\r\n", id="two-blanks-in-set"),
    pytest.param(b"set  0 0 3\r\nabc\r\n", None, id="set-without-key"),
    pytest.param(b"set a 0 0\r\n", b"ERROR\r\n", id="short-set"),
    pytest.param(b"version\r\n", None, id="version"),
]


@pytest.mark.parametrize(("request_", "reply"), LEFT)
def test_the_rest_is_pythons(line: Line, request_: bytes, reply: bytes | None) -> None:
    got = line.ask(request_)
    assert line.conn.left == [request_]
    if reply:
        assert got == reply
    # Python alone, on a store of its own, says the same.
    other = store()
    ask(other, SET % (b"a", b"abc"))
    ask(other, SET % (b"b", b"bcd"))
    assert got == ask(other, request_)


def fields_of(item: Item | None) -> list[object]:
    return [getattr(item, name) for name in Item.__slots__]


def test_what_is_counted_and_noted_is_what_python_notes(quick: ModuleType) -> None:
    """The same conversation with the C module and without: every item and counter alike."""
    dice = random.Random(5)
    line, plain = Line(quick, store()), store()
    session = text(plain)
    quickly = 0
    for _ in range(3000):
        key = b"k%d" % dice.randrange(8)
        kind = dice.randrange(10)
        exptime = dice.choice([b"0", b"0", b"0", b"5", b"2592000"])
        value = b"v" * dice.choice([3, 3, 3, 20, 0])
        request = b"get %b\r\n" % b" ".join([key] * dice.choice([1, 1, 2, 5]))
        if kind < 4:
            flags = dice.choice([b"0", b"0", b"3"])
            request = b"set %b %b %b %d\r\n%b\r\n" % (key, flags, exptime, len(value), value)
        elif kind == 4:
            request = b"delete %b\r\n" % key
        before = len(line.conn.left)
        answer = session.answer(request)
        if answer is None:
            session.receive(request)
        expected = (answer or b"") + b"".join(session.out)
        session.out.clear()
        assert line.ask(request) == expected, request
        quickly += len(line.conn.left) == before
        pair = [one.table.get(key) for one in (line.conn.store, plain)]
        assert pair[0] is None or fields_of(pair[0]) == fields_of(pair[1]), request
        if dice.random() < 0.02:
            later(line.conn.store, 1)
            later(plain, 1)
    some = line.conn.store
    names = [name for name in type(some.stats).__slots__ if not name.startswith("bytes_")]
    counters = [{n: getattr(one.stats, n) for n in names} for one in (some, plain)]
    assert counters[0] == counters[1]
    items = [{k: fields_of(item) for k, item in one.table.items()} for one in (some, plain)]
    assert items[0] == items[1]
    assert (some.cas_id, some.bytes, some.used) == (plain.cas_id, plain.bytes, plain.used)
    assert (some.class_sets, some.timed_sets) == (plain.class_sets, plain.timed_sets)
    assert quickly > 1000
    line.close()


def test_expired_items_and_odd_keys_are_not_its_business(line: Line) -> None:
    some = line.conn.store
    assert line.ask(b"set a 0 10 3\r\nttl\r\n") == b"STORED\r\n"
    line.conn.left.clear()
    later(some, 11)
    assert line.ask(b"get a\r\n") == b"END\r\n"
    assert some.stats.get_expired == 1
    assert some.put(b"b\0c", 0, NEVER, b"odd\r\n") is not None
    assert line.ask(b"get b\r\n") == b"VALUE b 0 3\r\nbcd\r\nEND\r\n"
    assert line.conn.left == [b"get a\r\n", b"get b\r\n"]


def test_a_reply_too_long_for_it_is_pythons(line: Line) -> None:
    some = line.conn.store
    some.put(b"big", 0, NEVER, b"x" * OUT_BYTES + b"\r\n")
    assert len(line.ask(b"get big\r\n")) > OUT_BYTES
    keys = b" ".join([b"a"] * 300)
    assert line.ask(b"get " + keys + b"\r\n").count(b"VALUE a ") == 300
    assert len(line.conn.left) == 2


def test_a_reply_that_is_not_taken_waits(line: Line) -> None:
    line.conn.store.put(b"big", 0, NEVER, b"x" * 60_000 + b"\r\n")
    before = line.conn.stats.bytes_written
    while not line.conn.unsent:
        line.client.sendall(b"get big\r\n")
        line.on_ready(POLLIN)
    assert line.conn.left == []
    assert len(line.modified) == 1  # from now on it is asked for room to write
    got = 0
    waiting = sum(map(len, line.conn.unsent))
    sent = line.conn.stats.bytes_written - before
    while got < sent:
        got += len(line.client.recv(1 << 20))
    assert (got + waiting) % len(line.conn.store.table[b"big"].blob + b"END\r\n") == 0
    line.conn.on_ready(4)
    assert line.conn.unsent == []
    assert len(line.client.recv(1 << 20)) == waiting


def test_hangs_up_when_the_client_does(line: Line) -> None:
    line.client.close()
    line.on_ready(POLLIN)
    assert line.conn.closed
    assert line.forgotten == [line.conn]


def test_an_event_that_is_no_input_is_pythons(line: Line) -> None:
    line.client.close()
    line.on_ready(POLLIN | POLLHUP)
    assert line.conn.closed


def test_no_reference_is_lost_or_kept(line: Line) -> None:
    some = line.conn.store
    item = some.table[b"a"]
    line.ask(b"get a a\r\n")

    def counts() -> list[int]:
        watched = [item, item.blob, some.table, some.stats, NEVER, line.conn, line.conn.session]
        return [sys.getrefcount(one) for one in watched]

    some.now = 10**6  # an int of its own, not one of the interpreter's small ones
    line.ask(b"get a b b\r\n")  # the second time an item is read, it notes when
    line.ask(SET % (b"a", b"abc"))
    before = [*counts(), sys.getrefcount(some.now)]
    for _ in range(100):
        line.ask(b"get a b\r\n")
        line.ask(SET % (b"a", b"abc"))
        line.ask(b"get nosuch\r\n")
        line.ask(b"set a 7 0 3\r\nabc\r\n")
        line.ask(b"set a 10 0 2\r\nab\r\n")
        line.ask(SET % (b"a", b"abc"))
        line.conn.left.clear()
    line.ask(b"get a b\r\n")
    line.ask(SET % (b"a", b"abc"))
    assert [*counts(), sys.getrefcount(some.now)] == before


def test_a_class_that_lost_a_slot_is_refused(quick: ModuleType) -> None:
    class Bare:
        pass

    with pytest.raises(AttributeError, match="blob"):
        quick.Pump(store(), NEVER, Bare, Watched, Session)
    with pytest.raises(AttributeError, match="table"):
        quick.Pump(Bare(), NEVER, Item, Watched, Session)


def test_can_be_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PURE_VARIABLE, "1")
    assert quick_module() is None
    server = Server(store().settings)
    assert server.quick_way(cast(Any, None)) is None
    server._close()
