"""Anything may come in, cut anywhere: the bundled memcached's parsers against bytes of every kind.

The invariant is one sentence: bytes whole, dripped and trailed get the same replies, nothing is
ever raised, and what is held of a request is bounded. ``CACHEFLEET_FUZZ_EXAMPLES`` sets how many
conversations are tried.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cachefleet.engine.memserver import wire
from cachefleet.engine.memserver.binary import BinarySession
from cachefleet.engine.memserver.session import Session
from cachefleet.engine.memserver.store import Store
from tests.unit.engine.memserver.sessions import binary, dripped, feed, store, text

EXAMPLES = int(os.environ.get("CACHEFLEET_FUZZ_EXAMPLES", "150"))
# What one request may hold: an item with its line or header.
HELD_BYTES_MAX = (1 << 20) + wire.MULTIGET_LINE_BYTES_MAX
HEADER = struct.Struct(">BBHBBHIIQ")

# -- bytes of a conversation -----------------------------------------------------------------------

KEYS = st.sampled_from(
    [b"a", b"b", b"n", b"k" * 250, b"k" * 251, b"\xc3\xa9", b"a\0b", b"YQ==", b""]
)
NUMBERS = st.sampled_from(
    [b"0", b"1", b"3", b"-1", b"+3", b"007", b"x", b"", b"100", b"2592001", b"4294967296",
     b"18446744073709551615", b"18446744073709551616", b"9" * 40]
)  # fmt: skip
DATA = st.one_of(
    st.binary(max_size=40), st.sampled_from([b"", b"7", b"get a\r\n", b"x" * 300, b"\r\n\r\n"])
)
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"", b"\r", b" \r\n"])
META_FLAGS = st.lists(
    st.one_of(
        st.sampled_from(
            [b"v", b"k", b"c", b"t", b"q", b"s", b"f", b"h", b"l", b"u", b"I", b"b", b""]
        ),
        st.builds(lambda letter, number: letter + number,
                  st.sampled_from([b"O", b"T", b"N", b"R", b"C", b"F", b"J", b"D", b"M"]), NUMBERS),
    ),
    max_size=20,
)  # fmt: skip
VERBS = st.sampled_from(
    [b"get", b"gets", b"gat", b"gats", b"delete", b"incr", b"decr", b"touch", b"flush_all",
     b"version", b"verbosity", b"cache_memlimit", b"config get", b"config set", b"nonsense",
     b"GET", b"quit", b"shutdown", b"lru", b"slabs", b"refresh_certs", b"mn", b"mx", b""]
)  # fmt: skip


def storage(verb: bytes, key: bytes, words: list[bytes], size: int | None, data: bytes) -> bytes:
    told = b"%d" % (len(data) if size is None else size)
    return b" ".join([verb, key, *words, told]) + b"\r\n" + data + b"\r\n"


STORAGE = st.builds(
    storage,
    st.sampled_from([b"set", b"add", b"replace", b"append", b"prepend", b"cas", b"ms"]),
    KEYS,
    st.lists(NUMBERS, max_size=3),
    st.one_of(st.none(), st.none(), st.none(), st.integers(-3, 60)),
    DATA,
)
PLAIN = st.builds(
    lambda key, flags, data: b"set %b %b 0 %d\r\n%b\r\n" % (key, flags, len(data), data),
    KEYS,
    st.sampled_from([b"0", b"7"]),
    DATA,
)
LINE = st.builds(
    lambda verb, words, end: b" ".join([verb, *words]) + end,
    VERBS,
    st.lists(st.one_of(KEYS, NUMBERS), max_size=5),
    ENDS,
)
META = st.builds(
    lambda verb, key, flags, end: b" ".join([verb, key, *flags]) + end,
    st.sampled_from([b"mg", b"md", b"ma", b"me", b"ms"]),
    KEYS,
    META_FLAGS,
    ENDS,
)
META_SET = st.builds(
    lambda key, flags, data: (
        b" ".join([b"ms", key, b"%d" % len(data), *flags]) + b"\r\n" + data + b"\r\n"
    ),
    KEYS,
    META_FLAGS,
    DATA,
)
GARBAGE = st.binary(min_size=1, max_size=60)


def packet(
    magic: int, opcode: int, sizes: tuple[int, int, int], key: bytes, extras: bytes, body: bytes
) -> bytes:
    """A packet; *sizes* are what its header says beyond the truth."""
    total = max(len(key) + len(extras) + len(body) + sizes[2], 0)
    header = HEADER.pack(
        magic,
        opcode,
        max(len(key) + sizes[0], 0),
        min(max(len(extras) + sizes[1], 0), 255),
        0,
        0,
        total,
        7,
        0,
    )
    return header + extras + key + body


SLIPS = st.sampled_from([0, 0, 0, 0, 0, 0, 1, -1, 200])
PACKETS = st.builds(
    packet,
    st.sampled_from([0x80, 0x80, 0x80, 0x80, 0x80, 0x81]),
    # Statistics tell how the bytes came in; all else is asked.
    st.integers(0, 0x70).filter(lambda opcode: opcode != 0x10),
    st.tuples(SLIPS, SLIPS, SLIPS),
    st.sampled_from([b"", b"a", b"b", b"n", b"k" * 250, b"k" * 251]),
    st.sampled_from([b"", b"\0" * 4, b"\0" * 8, b"\0" * 20, b"\0" * 7 + b"\1" + b"\0" * 12]),
    DATA,
)

CONVERSATIONS = {
    "text": st.lists(st.one_of(STORAGE, PLAIN, LINE, GARBAGE), min_size=1, max_size=8),
    "meta": st.lists(st.one_of(META, META_SET, PLAIN, GARBAGE), min_size=1, max_size=8),
    "binary": st.lists(st.one_of(PACKETS, PACKETS, PACKETS, GARBAGE), min_size=1, max_size=8),
}
SESSIONS: dict[str, Callable[[Store], Session | BinarySession]] = {
    "text": text,
    "meta": text,
    "binary": binary,
}


def held(session: Session | BinarySession) -> int:
    return len(session._held)


def replies(kind: str, pieces: list[bytes]) -> bytes:
    """What a session of its own, with a store of its own, answers."""
    session = SESSIONS[kind](store())
    answered = feed(session, pieces)
    assert held(session) <= HELD_BYTES_MAX
    return answered


@pytest.mark.parametrize("kind", CONVERSATIONS)
def test_the_same_replies_however_the_bytes_arrive(kind: str) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(requests=CONVERSATIONS[kind], cut=st.integers(0, 400))
    def holds(requests: list[bytes], cut: int) -> None:
        bytes_ = b"".join(requests)
        whole = replies(kind, [bytes_])
        assert replies(kind, dripped(bytes_)) == whole, "dripped"
        assert replies(kind, requests) == whole, "request by request"
        at = cut % (len(bytes_) + 1)
        assert replies(kind, [bytes_[:at], bytes_[at:]]) == whole, "trailed by the rest"
        # What was answered before more came stays as it was.
        assert whole.startswith(replies(kind, [bytes_[:at]])), "taken back"

    holds()


@pytest.mark.parametrize("kind", ["text", "meta"])
@pytest.mark.parametrize("start", [b"", b"get ", b"set a 0 0 ", b"mg ", b"ms a "])
def test_an_endless_line_is_not_kept(kind: str, start: bytes) -> None:
    session = SESSIONS[kind](store())
    feed(session, [start, *[b"x" * 4096] * 600])
    assert held(session) <= HELD_BYTES_MAX
