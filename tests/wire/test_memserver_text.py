"""The text protocol: the same replies however the bytes arrive, and a bound on all of them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.engine.memserver.sessions import ask, dripped, feed, later, store, text

CASES = [
    pytest.param(b"get a\r\n", b"END\r\n", id="miss"),
    pytest.param(b"get a\n", b"END\r\n", id="bare-line-end"),
    pytest.param(
        b"set a 5 0 3\r\nabc\r\nget a\r\n",
        b"STORED\r\nVALUE a 5 3\r\nabc\r\nEND\r\n",
        id="set-get",
    ),
    pytest.param(
        b"set a 0 0 2\r\n\r\n\r\nget a\r\n",
        b"STORED\r\nVALUE a 0 2\r\n\r\n\r\nEND\r\n",
        id="line-ends-as-data",
    ),
    pytest.param(
        b"set a 007 0 01\r\nx\r\ngets a\r\n",
        b"STORED\r\nVALUE a 7 1 1\r\nx\r\nEND\r\n",
        id="numbers-are-normalised",
    ),
    pytest.param(
        b"set a 0 0 1 noreply\r\nx\r\nget a\r\n", b"VALUE a 0 1\r\nx\r\nEND\r\n", id="noreply"
    ),
    pytest.param(
        b"set a 0 0 1\r\nabc\r\n", b"CLIENT_ERROR bad data chunk\r\nERROR\r\n", id="bad-chunk"
    ),
    pytest.param(b"set a 0 0 x\r\n", b"CLIENT_ERROR bad command line format\r\n", id="bad-size"),
    pytest.param(b"set a 0 0 -1\r\n", b"CLIENT_ERROR bad command line format\r\n", id="minus"),
    pytest.param(b"\r\n", b"ERROR\r\n", id="empty-line"),
    pytest.param(b"nonsense\r\n", b"ERROR\r\n", id="nonsense"),
    pytest.param(
        b"get " + b"k" * 251 + b"\r\n", b"CLIENT_ERROR bad command line format\r\n", id="long-key"
    ),
    pytest.param(
        b"set n 0 0 1\r\n9\r\nincr n 1\r\ndecr n 5\r\nget n\r\n",
        b"STORED\r\n10\r\n5\r\nVALUE n 0 2\r\n5 \r\nEND\r\n",
        id="arithmetic",
    ),
    pytest.param(
        b"set n 0 0 20\r\n18446744073709551615\r\nincr n 2\r\n", b"STORED\r\n1\r\n", id="wrap"
    ),
    pytest.param(
        b"ms k 2 T0 F3 c k Oxy\r\nhi\r\nmg k v f s t O1\r\nmn\r\n",
        b"HD c1 kk Oxy\r\nVA 2 f3 s2 t-1 O1\r\nhi\r\nMN\r\n",
        id="meta",
    ),
    pytest.param(b"mg k v q\r\nmd k q\r\nmn\r\n", b"NF\r\nMN\r\n", id="quiet-meta"),
    pytest.param(
        b"ms a 3\r\nabc\r\nmd a C9\r\nmd a I T30 k\r\nmg a v\r\nmg a v\r\nms a 2 C1 I\r\nxx\r\n"
        b"mg a v\r\nms a 2 C3 I\r\nyy\r\nmg a v\r\n",
        b"HD\r\nEX\r\nHD ka\r\nVA 3 X W\r\nabc\r\nVA 3 Z X\r\nabc\r\nHD\r\n"
        b"VA 2 Z X\r\nxx\r\nHD\r\nVA 2\r\nyy\r\n",
        id="stale-and-win",
    ),
    pytest.param(
        b"ms a 3\r\nabc\r\nms a 2 C9 I\r\nxx\r\nmg a v\r\n",
        b"HD\r\nEX\r\nVA 3\r\nabc\r\n",
        id="a-cas-from-the-future",
    ),
    pytest.param(
        b"mg z N30 v t\r\nmg z N30 v t\r\nmg z R20 t\r\nma c N0 J13 v\r\nma c D4 MD v\r\n",
        b"VA 0 t30 W\r\n\r\nVA 0 t30 Z\r\n\r\nHD t30 Z\r\nVA 2\r\n13\r\nVA 1\r\n9\r\n",
        id="vivify",
    ),
    pytest.param(
        b"ms k 9999999 T0\r\n" + b"x" * 9999999 + b"\r\nmn\r\n",
        b"SERVER_ERROR object too large for cache\r\nMN\r\n",
        id="too-large",
    ),
    pytest.param(b"config get cluster\r\n", b"END\r\n", id="discovery"),
    pytest.param(b"version\r\nquit\r\nversion\r\n", b"VERSION 1.6.22\r\n", id="nothing-after-quit"),
]


@pytest.mark.parametrize(("wire", "reply"), CASES)
def test_same_replies_however_the_bytes_arrive(wire: bytes, reply: bytes) -> None:
    assert feed(text(), [wire]) == reply
    if len(wire) < 100_000:
        assert feed(text(), dripped(wire)) == reply
    if b"quit" not in wire:
        session = text()
        assert feed(session, [wire + b"get nex"]) == reply
        assert feed(session, [b"t\r\n"]) == b"END\r\n"


WORDS = [
    b"get", b"gets", b"gat", b"set", b"add", b"cas", b"append", b"incr", b"decr", b"delete",
    b"touch", b"mg", b"ms", b"md", b"ma", b"me", b"mn", b"flush_all", b"verbosity", b"version",
    b"config", b"noreply", b"a", b"b", b"k" * 250, b"k" * 251, b"0", b"1", b"2", b"3", b"-1",
    b"99999999999999999999", b"v", b"q", b"k", b"c", b"T30", b"N30", b"b", b"YQ==", b"O1", b"MI",
    b"C1", b"cluster", b"AmazonElastiCache:cluster", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\0", b"",
    b"xy", b"xyz", b"xyz\r\n", b"x\r\n", b"HTTP/1.1", b"quit",
]  # fmt: skip


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Something like a conversation, and the same cut anywhere."""
    parts = draw(st.lists(st.sampled_from(WORDS) | st.binary(max_size=12), max_size=60))
    wire = b" ".join(parts).replace(b" \r\n ", b"\r\n").replace(b" \n ", b"\n")[:1900]
    cuts = sorted(draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    edges = [0, *cuts, len(wire)]
    return wire, [wire[a:b] for a, b in itertools.pairwise(edges)]


@given(conversations())
def test_cutting_a_conversation_changes_nothing(case: tuple[bytes, list[bytes]]) -> None:
    wire, pieces = case
    if b"watch" in wire or b"metadump" in wire:
        return
    whole, cut, drip = text(), text(), text()
    reply = feed(whole, [wire])
    assert feed(cut, [piece for piece in pieces if piece]) == reply
    assert feed(drip, dripped(wire)) == reply
    assert whole.closing == cut.closing == drip.closing
    assert whole.store.table.keys() == cut.store.table.keys() == drip.store.table.keys()


@given(st.binary(max_size=3000))
def test_garbage_raises_nothing(junk: bytes) -> None:
    session = text()
    feed(session, [junk])
    feed(session, dripped(junk[:200]))


def test_pipelined_gets_are_answered_in_turns() -> None:
    session = text(store(requests_per_event=20))
    session.receive(b"get a\r\n" * 50)
    assert session.more
    assert b"".join(session.out) == b"END\r\n" * 20
    session.out.clear()
    session.resume()
    session.resume()
    assert not session.more
    assert b"".join(session.out) == b"END\r\n" * 30
    assert session.store.stats.conn_yields == 2
    assert session.store.stats.cmd_get == 50


def test_a_run_of_gets_ends_where_something_else_begins() -> None:
    some = store()
    ask(some, b"set a 0 0 1\r\nx\r\n")
    wire = b"get a\r\nget a\r\nget a b\r\nversion\r\nget a\r\nset b 0 0 1\r\ny\r\nget b\r\n"
    hit = b"VALUE a 0 1\r\nx\r\n"
    assert ask(some, wire) == (
        (hit + b"END\r\n") * 3
        + b"VERSION 1.6.22\r\n"
        + hit
        + b"END\r\nSTORED\r\nVALUE b 0 1\r\ny\r\nEND\r\n"
    )


def test_a_run_of_gets_sees_expiry_and_counts_reads() -> None:
    some = store()
    ask(some, b"set a 0 5 1\r\nx\r\n")
    assert ask(some, b"get a\r\n" * 3) == b"VALUE a 0 1\r\nx\r\nEND\r\n" * 3
    later(some, 6)
    assert ask(some, b"get a\r\n" * 3) == b"END\r\n" * 3
    stats = some.stats
    assert (stats.cmd_get, stats.get_misses, stats.get_expired) == (6, 3, 1)


def test_a_lone_get_sees_expiry() -> None:
    some = store()
    assert ask(some, b"set a 0 5 1\r\nx\r\n") == b"STORED\r\n"
    assert ask(some, b"get a\r\n") == b"VALUE a 0 1\r\nx\r\nEND\r\n"
    later(some, 5)
    assert ask(some, b"get a\r\n") == b"END\r\n"
    assert ask(some, b"get a a\r\n") == b"END\r\n"


def test_a_lone_set_keeps_its_expiry_and_sums() -> None:
    some = store()
    ask(some, b"set a 0 0 1\r\nx\r\n")
    ask(some, b"set a 0 5 1\r\ny\r\n")
    assert ask(some, b"gets a\r\n") == b"VALUE a 0 1 2\r\ny\r\nEND\r\n"
    later(some, 5)
    assert ask(some, b"get a\r\n") == b"END\r\n"
    assert some.used == 0


def test_a_key_with_blanks_cannot_be_read_as_two() -> None:
    """Such keys come in base64 or over the binary protocol; a line must not find them."""
    some = store()
    ask(some, b"ms YSBi 1 b\r\nx\r\n")
    assert ask(some, b"get a b\r\n") == b"END\r\n"
    assert ask(some, b"get a b\r\nget a b\r\n") == b"END\r\nEND\r\n"
    ask(some, b"ms YQ0KZ2V0IGI= 1 b\r\nx\r\n")
    assert ask(some, b"get a\r\nget b\r\n") == b"END\r\nEND\r\n"


@pytest.mark.parametrize("start", [b"x", b"set a", b"getx", b" " * 120 + b"get a"])
def test_hangs_up_on_a_line_that_does_not_end(start: bytes) -> None:
    session = text()
    feed(session, [start + b"x" * 1000] * 3)
    assert session.closing


def test_a_multiget_may_be_long_but_not_endless() -> None:
    session = text()
    assert feed(session, [b"get" + b" a" * 100_000 + b"\r\n"]) == b"END\r\n"
    feed(session, [b"get"] + [b" aaaaaaa" * 1000] * 140)
    assert session.closing


def test_a_value_is_held_once_while_it_comes() -> None:
    session = text()
    feed(session, [b"set a 0 0 1000000\r\n"])
    for _ in range(100):
        assert feed(session, [b"x" * 10_000]) == b""
    assert feed(session, [b"\r\n"]) == b"STORED\r\n"


def test_a_refused_value_is_not_held() -> None:
    session = text()
    feed(session, [b"set a 0 0 2000000000\r\n"])
    for _ in range(10):
        feed(session, [b"x" * 100_000])
    assert not session._held


@pytest.mark.parametrize(
    ("changes", "wire", "reply"),
    [
        ({"flush": False}, b"flush_all\r\n", b"CLIENT_ERROR flush_all not allowed\r\n"),
        ({"dump": False}, b"lru_crawler metadump all\r\n", b"ERROR metadump not allowed\r\n"),
        (
            {"dump": False},
            b"stats cachedump 1 0\r\n",
            b"CLIENT_ERROR stats cachedump not allowed\r\n",
        ),
        ({"watch": False}, b"watch\r\n", b"CLIENT_ERROR watch commands not allowed\r\n"),
        ({"admin_commands": False}, b"lru mode flat\r\n", b"ERROR\r\n"),
        ({"admin_commands": False}, b"slabs automove 0\r\n", b"ERROR\r\n"),
        ({"admin_commands": False}, b"lru_crawler metadump all\r\n", b"ERROR\r\n"),
        ({"shutdown_command": True}, b"shutdown x\r\n", b"CLIENT_ERROR invalid shutdown mode\r\n"),
        ({"report_version": "1.5.10"}, b"version\r\n", b"VERSION 1.5.10\r\n"),
        ({"lru_crawler": False}, b"lru_crawler crawl all\r\n",
         b"CLIENT_ERROR lru crawler disabled\r\n"),
    ],
)  # fmt: skip
def test_settings_decide(changes: dict[str, object], wire: bytes, reply: bytes) -> None:
    assert ask(store(**changes), wire) == reply


def test_metadump_streams_and_the_conversation_goes_on() -> None:
    some = store()
    for number in range(350):
        ask(some, b"set key%d 0 0 1\r\nx\r\n" % number)
    reply = ask(some, b"lru_crawler metadump all\r\nversion\r\n")
    assert reply.count(b"\n") == 352
    assert reply.endswith(b"END\r\nVERSION 1.6.22\r\n")
    assert ask(some, b"lru_crawler crawl all\r\nversion\r\n") == b"OK\r\nVERSION 1.6.22\r\n"


def test_only_one_walk_at_a_time() -> None:
    some = store()
    for number in range(350):
        ask(some, b"set key%d 0 0 1\r\nx\r\n" % number)
    walker = text(some)
    walker.receive(b"lru_crawler metadump all\r\n")
    walker.resume()
    assert ask(some, b"lru_crawler metadump all\r\n").startswith(b"BUSY")
