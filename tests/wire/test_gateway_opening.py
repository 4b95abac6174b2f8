"""The commands that open a connection: read however they arrive, and nothing else touched."""

from __future__ import annotations

import hashlib
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachefleet.engine.gateway.opening import (
    COMMAND_BYTES_MAX,
    WORDS_MAX,
    Opening,
    encode,
)
from cachefleet.engine.gateway.optional_token import NOBODY, rewriting

TOKEN, OTHER, WRONG = b"the-first-token!", b"the-second-token", b"no-such-token-!!"
HASHES = [hashlib.sha256(token).hexdigest() for token in (TOKEN, OTHER)]
EXAMPLES = int(os.environ.get("CACHEFLEET_FUZZ_EXAMPLES", "200"))


def opening() -> Opening:
    return Opening(rewriting(HASHES))


def whole(wire: bytes) -> bytes:
    reader = opening()
    return reader.client_sent(wire) + reader.client_finished()


def dripped(wire: bytes) -> bytes:
    reader = opening()
    out = b"".join(reader.client_sent(wire[at : at + 1]) for at in range(len(wire)))
    return out + reader.client_finished()


def cut(wire: bytes, at: int) -> bytes:
    reader = opening()
    return reader.client_sent(wire[:at]) + reader.client_sent(wire[at:]) + reader.client_finished()


CASES = [
    pytest.param([b"AUTH", TOKEN], [b"AUTH", b"default", TOKEN], id="token"),
    pytest.param([b"auth", OTHER], [b"auth", b"default", OTHER], id="the-other-token"),
    pytest.param([b"AUTH", WRONG], [b"AUTH", NOBODY, WRONG], id="wrong-token"),
    pytest.param([b"AUTH", b""], [b"AUTH", NOBODY, b""], id="empty-token"),
    pytest.param([b"AUTH", b"default", TOKEN], [b"AUTH", b"default", TOKEN], id="by-name"),
    pytest.param([b"AUTH", b"default", WRONG], [b"AUTH", NOBODY, WRONG], id="wrong-by-name"),
    pytest.param([b"AUTH", b"bob", TOKEN], [b"AUTH", b"bob", TOKEN], id="somebody-else"),
    pytest.param([b"HELLO", b"3"], [b"HELLO", b"3"], id="hello"),
    pytest.param(
        [b"HELLO", b"3", b"AUTH", b"default", TOKEN, b"SETNAME", b"x"],
        [b"HELLO", b"3", b"AUTH", b"default", TOKEN, b"SETNAME", b"x"],
        id="hello-auth",
    ),
    pytest.param(
        [b"HELLO", b"3", b"SETNAME", b"x", b"auth", b"default", WRONG],
        [b"HELLO", b"3", b"SETNAME", b"x", b"auth", NOBODY, WRONG],
        id="hello-wrong",
    ),
    pytest.param([b"HELLO", b"3", b"AUTH", b"default"], [b"HELLO", b"3", b"AUTH", b"default"],
                 id="hello-short"),
    pytest.param([b"AUTH"], [b"AUTH"], id="no-token"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "passed"), CASES)
@pytest.mark.parametrize("read", [whole, dripped])
def test_what_the_engine_gets(said: list[bytes], passed: list[bytes], read: object) -> None:
    assert callable(read)
    assert read(encode(said)) == encode(passed)
    # Behind others that open a connection, and before the first that does not.
    around = encode([b"CLIENT", b"SETINFO", b"LIB-NAME", b"x"]), encode([b"GET", b"AUTH"])
    assert read(around[0] + encode(said) + around[1]) == around[0] + encode(passed) + around[1]


def test_a_line_that_a_person_typed_is_read_too() -> None:
    assert whole(b"AUTH %s\r\n" % TOKEN) == encode([b"AUTH", b"default", TOKEN])
    assert whole(b"\r\nPING\r\nAUTH %s\n" % WRONG) == b"\r\nPING\r\n" + encode(
        [b"AUTH", NOBODY, WRONG]
    )


def test_the_first_other_command_ends_it() -> None:
    wire = encode([b"SET", b"k", b"v"]) + encode([b"AUTH", WRONG])
    assert whole(wire) == dripped(wire) == wire


@pytest.mark.parametrize(
    "wire",
    [
        b"*1\r\n$-1\r\n",
        b"*-5\r\n",
        b"*%d\r\n" % (WORDS_MAX + 1),
        b"*2\r\n$4\r\nAUTH\r\n$%d\r\n" % (COMMAND_BYTES_MAX + 1),
        b"*99999999999999999999999\r\n",
        b"*2\r\n$4\r\nAUTH\r\n:1\r\n",
        b"*1" + b"0" * 100,
        b"AUTH 'quoted token'\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"\x00" * 64,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_what_cannot_be_read_is_the_engines_to_refuse(wire: bytes) -> None:
    assert whole(wire) == dripped(wire) == wire


def test_a_command_without_end_is_not_kept() -> None:
    reader = opening()
    held = 0
    passed = 0
    for _ in range(64):
        passed += len(reader.client_sent(b"x" * 1024))
        held = max(held, 0 if passed else held + 1024)
    assert passed == 64 * 1024
    assert held <= COMMAND_BYTES_MAX + 1024


words = st.lists(st.binary(max_size=40), min_size=1, max_size=6)
garbage = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from([b"*2\r\n", b"$4\r\n", b"AUTH", b"\r\n", b"HELLO", b"*", b"$", b"3\r\n"]),
        words.map(encode),
        st.sampled_from([encode([b"AUTH", TOKEN]), encode([b"AUTH", WRONG]), encode([b"PING"])]),
    ),
    max_size=8,
).map(b"".join)


@settings(max_examples=EXAMPLES, deadline=None)
@given(wire=garbage, at=st.integers(0, 400))
def test_how_bytes_arrive_makes_no_difference(wire: bytes, at: int) -> None:
    assert whole(wire) == dripped(wire) == cut(wire, min(at, len(wire)))


@settings(max_examples=EXAMPLES, deadline=None)
@given(wire=st.binary(max_size=400).filter(lambda wire: b"au" not in wire.lower()))
def test_without_a_login_nothing_is_touched(wire: bytes) -> None:
    assert whole(wire) == wire


def test_what_the_engine_says_is_the_clients() -> None:
    reader = opening()
    assert reader.backend_sent(b"+OK\r\n") == b"+OK\r\n"
    assert reader.backend_finished() == b""
