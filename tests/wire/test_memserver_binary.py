"""The binary protocol: the same packets however the bytes arrive, and a bound on all of them."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.engine.memserver.sessions import binary, dripped, feed, store

HEADER = struct.Struct(">BBHBBHIIQ")
MIB = 1 << 20


def packet(
    opcode: int, key: bytes = b"", extras: bytes = b"", body: bytes = b"", cas: int = 0
) -> bytes:
    size = len(key) + len(extras) + len(body)
    head = HEADER.pack(0x80, opcode, len(key), len(extras), 0, 0, size, 7, cas)
    return head + extras + key + body


def reply(
    opcode: int,
    status: int = 0,
    *,
    key: bytes = b"",
    extras: bytes = b"",
    body: bytes = b"",
    cas: int = 0,
) -> bytes:
    size = len(key) + len(extras) + len(body)
    head = HEADER.pack(0x81, opcode, len(key), len(extras), 0, status, size, 7, cas)
    return head + extras + key + body


SET = packet(1, b"k", b"\0\0\0\5\0\0\0\0", b"abc")
CASES = [
    pytest.param(packet(0x0A), reply(0x0A), id="noop"),
    pytest.param(packet(0x0B), reply(0x0B, body=b"1.6.22"), id="version"),
    pytest.param(packet(0, b"k"), reply(0, 1, body=b"Not found"), id="miss"),
    pytest.param(packet(0x0C, b"k"), reply(0x0C, 1, key=b"k"), id="miss-with-key"),
    pytest.param(packet(9, b"k"), b"", id="quiet-miss"),
    pytest.param(
        SET + packet(0, b"k"),
        reply(1, cas=1) + reply(0, extras=b"\0\0\0\5", body=b"abc", cas=1),
        id="set-get",
    ),
    pytest.param(
        SET + packet(0x0D, b"k"),
        reply(1, cas=1) + reply(0x0D, extras=b"\0\0\0\5", key=b"k", body=b"abc", cas=1),
        id="quiet-hit-with-key",
    ),
    pytest.param(
        packet(0x11, b"k", b"\0" * 8, b"x") + packet(0x14, b"k") + packet(0x0A),
        reply(0x0A),
        id="quiet-set-delete",
    ),
    pytest.param(
        packet(5, b"n", struct.pack(">QQI", 1, 41, 0)) * 2,
        reply(5, body=struct.pack(">Q", 41), cas=1) + reply(5, body=struct.pack(">Q", 42), cas=2),
        id="incr",
    ),
    pytest.param(
        packet(5, b"n", struct.pack(">QQI", 1, 41, 0xFFFFFFFF)),
        reply(5, 1, body=b"Not found"),
        id="incr-without-creating",
    ),
    pytest.param(
        SET + packet(1, b"k", b"\0" * 8, b"x", cas=9),
        reply(1, cas=1) + reply(1, 2, body=b"Data exists for key."),
        id="cas",
    ),
    pytest.param(
        packet(1, b"k", b"\0" * 8, b"x" * MIB),
        reply(1, 3, body=b"Too large."),
        id="too-large",
    ),
    pytest.param(packet(0x55), reply(0x55, 0x81, body=b"Unknown command"), id="unknown"),
    pytest.param(packet(0x10, b"nosuch"), reply(0x10, 1, body=b"Not found"), id="unknown-stat"),
]  # fmt: skip


@pytest.mark.parametrize(("wire", "answer"), CASES)
def test_same_packets_however_the_bytes_arrive(wire: bytes, answer: bytes) -> None:
    assert feed(binary(), [wire]) == answer
    if len(wire) < 10_000:
        assert feed(binary(), dripped(wire)) == answer
    session = binary()
    assert feed(session, [wire + packet(0x0A)[:10]]) == answer
    assert feed(session, [packet(0x0A)[10:]]) == reply(0x0A)


def test_stats_end_with_an_empty_packet() -> None:
    answer = feed(binary(), [packet(0x10, b"settings")])
    assert answer.endswith(reply(0x10))
    assert b"maxbytes67108864" in answer


def test_a_body_too_large_to_wait_for_is_skipped() -> None:
    session = binary()
    head = HEADER.pack(0x80, 1, 1, 8, 0, 0, 100 * MIB, 7, 0)
    assert feed(session, [head]) == reply(1, 3, body=b"Too large.")
    for _ in range(100):
        assert feed(session, [b"x" * MIB]) == b""
        assert len(session._held) == 0
    assert feed(session, [packet(0x0A)]) == reply(0x0A)


def test_hangs_up_on_a_body_that_nothing_needs() -> None:
    session = binary()
    feed(session, [HEADER.pack(0x80, 0, 1, 0, 0, 0, 100 * MIB, 7, 0)])
    assert session.closing


def test_flush_can_be_switched_off() -> None:
    session = binary(store(flush=False))
    assert feed(session, [packet(8)]) == reply(8, 0x20, body=b"Auth failure.")


def test_requests_come_in_turns() -> None:
    session = binary(store(requests_per_event=20))
    session.receive(packet(0x0A) * 50)
    assert session.more
    assert len(session.out) == 20
    session.resume()
    session.resume()
    assert not session.more
    assert len(session.out) == 50


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Packets, mostly well made, and the same bytes cut anywhere."""
    opcodes = st.integers(0, 0x26) | st.sampled_from([0x60, 0x64, 0x66])
    keys = st.sampled_from([b"", b"a", b"b", b"cluster", b"k" * 250, b"k" * 251])
    extras = st.sampled_from([b"", b"\0" * 4, b"\0" * 8, b"\0" * 20])
    parts = draw(
        st.lists(
            st.builds(packet, opcodes, keys, extras, st.binary(max_size=20), st.integers(0, 3))
            | st.binary(max_size=30),
            max_size=12,
        )
    )
    wire = b"".join(part for part in parts if part[1:2] != b"\x10")  # stats tell the time
    cuts = sorted(draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    edges = [0, *cuts, len(wire)]
    return wire, [wire[a:b] for a, b in itertools.pairwise(edges)]


@given(conversations())
def test_cutting_a_conversation_changes_nothing(case: tuple[bytes, list[bytes]]) -> None:
    wire, pieces = case
    whole, cut, drip = binary(), binary(), binary()
    answer = feed(whole, [wire])
    assert feed(cut, pieces) == answer
    assert feed(drip, dripped(wire)) == answer
    assert whole.closing == cut.closing == drip.closing
