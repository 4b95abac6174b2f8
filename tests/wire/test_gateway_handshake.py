"""IAM logins on the wire: however the bytes arrive, tokens are swapped and nothing else changes."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachefleet.engine.gateway.handshake import (
    HELD_BYTES_MAX,
    INLINE_BYTES_MAX,
    IamHandshake,
    encode,
)
from cachefleet.engine.gateway.interception import WireViolation

PASSWORD = b"internal-password"
TOKEN = b"cache/?Action=connect&X-Amz-Signature=00"
USER = b"someone"


class Peer:
    """A handshake, what the engine got, and how often somebody authenticated."""

    def __init__(self) -> None:
        self.got = b""
        self.authenticated = 0
        self.handshake = IamHandshake(self._swap, on_authenticated=self._note)

    def _swap(self, user: bytes, token: bytes) -> bytes | None:
        if user != USER:
            raise LookupError
        return PASSWORD if token == TOKEN else None

    def _note(self) -> None:
        self.authenticated += 1

    def feed(self, data: bytes) -> bytes:
        passed = self.handshake.client_sent(data)
        self.got += passed
        return passed

    @property
    def wrong(self) -> bytes:
        return self.handshake._wrong


def auth(*words: bytes) -> bytes:
    return encode([b"AUTH", *words])


def hello(*words: bytes) -> bytes:
    return encode([b"HELLO", *words])


def feed_in_pieces(peer: Peer, wire: bytes, size: int = 1000) -> None:
    for place in range(0, len(wire), size):
        peer.feed(wire[place : place + size])


# What the client sends, and what the engine gets; None stands for a password that is wrong.
Case = tuple[bytes, Sequence[bytes | None] | bytes, int]
CASES: dict[str, Case] = {
    "good": (auth(USER, TOKEN), [b"AUTH", USER, PASSWORD], 1),
    "bad": (auth(USER, b"no token"), [b"AUTH", USER, None], 0),
    "empty": (auth(USER, b""), [b"AUTH", USER, None], 0),
    "internal": (auth(USER, PASSWORD), [b"AUTH", USER, None], 0),
    "other-user": (auth(b"app", b"secret"), auth(b"app", b"secret"), 0),
    "default-user": (auth(b"secret"), auth(b"secret"), 0),
    "too-many-words": (auth(USER, TOKEN, b"x"), auth(USER, TOKEN, b"x"), 0),
    "no-words": (encode([b"AUTH"]), encode([b"AUTH"]), 0),
    "small-letters": (encode([b"aUtH", USER, TOKEN]), [b"aUtH", USER, PASSWORD], 1),
    "hello-3": (hello(b"3", b"AUTH", USER, TOKEN), [b"HELLO", b"3", b"AUTH", USER, PASSWORD], 1),
    "hello-2": (hello(b"2", b"auth", USER, b"x"), [b"HELLO", b"2", b"auth", USER, None], 0),
    "hello-named": (
        hello(b"3", b"SETNAME", b"me", b"AUTH", USER, TOKEN),
        [b"HELLO", b"3", b"SETNAME", b"me", b"AUTH", USER, PASSWORD],
        1,
    ),
    "hello-named-auth": (
        hello(b"3", b"SETNAME", b"AUTH", b"AUTH", USER, TOKEN, b"SETNAME", b"x"),
        [b"HELLO", b"3", b"SETNAME", b"AUTH", b"AUTH", USER, PASSWORD, b"SETNAME", b"x"],
        1,
    ),
    "hello-half": (hello(b"3", b"AUTH", USER), hello(b"3", b"AUTH", USER), 0),
    "hello-unknown": (
        hello(b"3", b"X", b"AUTH", USER, TOKEN),
        hello(b"3", b"X", b"AUTH", USER, TOKEN),
        0,
    ),
    "hello-bare": (hello(), hello(), 0),
    "hello-plain": (hello(b"3"), hello(b"3"), 0),
    "inline": (b"AUTH someone " + TOKEN + b"\r\n", [b"AUTH", USER, PASSWORD], 1),
    "inline-bare-lf": (b"  auth\tsomeone  x\n", [b"auth", USER, None], 0),
    "inline-quoted": (b'AUTH "someone" x\r\n', b'AUTH "someone" x\r\n', 0),
    "inline-other": (b"PING\r\n", b"PING\r\n", 0),
    "empty-line": (b"\r\n\n", b"\r\n\n", 0),
    "empty-request": (b"*0\r\n", b"*0\r\n", 0),
    "value-like-a-login": (
        encode([b"SET", b"k", auth(USER, TOKEN)]),
        encode([b"SET", b"k", auth(USER, TOKEN)]),
        0,
    ),
    "long-name": (
        encode([b"AUTHENTICATE-AS-SOMEBODY", USER, TOKEN]),
        encode([b"AUTHENTICATE-AS-SOMEBODY", USER, TOKEN]),
        0,
    ),
    "big-value": (
        encode([b"SET", b"k", b"v" * 100_000]),
        encode([b"SET", b"k", b"v" * 100_000]),
        0,
    ),
    "many-words": (encode([b"DEL", *[b"k"] * 500]), encode([b"DEL", *[b"k"] * 500]), 0),
}


def expected(peer: Peer, wanted: Sequence[bytes | None] | bytes) -> bytes:
    if isinstance(wanted, bytes):
        return wanted
    return encode([peer.wrong if word is None else word for word in wanted])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_whole_dripped_and_trailed(case: Case) -> None:
    wire, wanted, count = case
    whole, dripped, trailed = Peer(), Peer(), Peer()
    assert whole.feed(wire) == expected(whole, wanted)
    for place in range(len(wire)):
        dripped.feed(wire[place : place + 1])
    assert dripped.got == expected(dripped, wanted)
    trailed.feed(wire + b"*2\r\n$4\r\nAU")
    assert trailed.got == expected(trailed, wanted)
    assert trailed.handshake.client_finished() == b"*2\r\n$4\r\nAU"
    assert [peer.authenticated for peer in (whole, dripped, trailed)] == [count] * 3


# Nothing that an engine would not read as a request is swapped, nor anything behind it: what comes
# later could be the middle of something for the engine.
@pytest.mark.parametrize(
    "noise",
    [
        b"*-1\r\n",
        b"*01\r\n",
        b"*+1\r\n",
        b"* 1\r\n",
        b"*1 \r\n",
        b"*\r\n",
        b"*x\r\n",
        b"*1\rx",
        b"*99999999999\r\n",
        b"*" + b"1" * 100,
        b"*2\r\n:1\r\n",
        b"*2\r\nAUTH\r\n",
        b"*2\r\n$-1\r\n",
        b"*2\r\n$04\r\nAUTH\r\n",
        b"*2\r\n$4\nAUTH\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$x\r\n",
        b"*3\r\n$4\r\nAUTH\r\n*1\r\n",
        b"PING \x00\r\n",
        b"x" * (INLINE_BYTES_MAX + 1),
    ],
    ids=lambda noise: repr(noise[:24]),
)
def test_what_is_no_request_ends_all_swapping(noise: bytes) -> None:
    for size in (1, 7, len(noise) + 1000):
        peer, wire = Peer(), noise + auth(USER, TOKEN)
        for place in range(0, len(wire), size):
            peer.feed(wire[place : place + size])
        assert peer.got + peer.handshake.client_finished() == wire
        assert peer.authenticated == 0


@pytest.mark.parametrize(
    "wire",
    [
        auth(USER, b"x" * HELD_BYTES_MAX),
        auth(USER)[: -len("$7\r\nsomeone\r\n")] + b"$999999999\r\n",
        encode([b"AUTH", *[b"x"] * 20]),
        encode([b"HELLO", b"3", *[b"x"] * 20]),
    ],
    ids=["large", "announced", "many", "many-options"],
)
def test_credentials_that_are_too_large_end_the_connection_early(wire: bytes) -> None:
    peer = Peer()
    with pytest.raises(WireViolation):
        feed_in_pieces(peer, wire)
    assert peer.got == b""


def test_nothing_more_than_one_login_is_held() -> None:
    peer = Peer()
    peer.feed(b"*3\r\n$4\r\nAUTH\r\n$7\r\nsomeone\r\n$30000\r\n")
    for _ in range(29):
        assert peer.feed(b"x" * 1000) == b""
    value = Peer()
    value.feed(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$400000000\r\n")
    assert value.feed(b"x" * 1000) == b"x" * 1000


def test_not_within_a_transaction() -> None:
    peer = Peer()
    multi, execute = encode([b"multi"]), encode([b"EXEC"])
    peer.feed(multi + auth(USER, TOKEN))
    assert (peer.got, peer.authenticated) == (multi + auth(USER, peer.wrong), 0)
    assert peer.feed(execute + auth(USER, TOKEN)) == execute + auth(USER, PASSWORD)
    peer.feed(b"MULTI\r\n")
    assert peer.feed(auth(USER, TOKEN)) == auth(USER, peer.wrong)
    peer.feed(b"DISCARD\r\n")
    assert peer.feed(auth(USER, TOKEN)) == auth(USER, PASSWORD)
    assert peer.authenticated == 2


def test_what_the_engine_says_passes() -> None:
    peer = Peer()
    assert peer.handshake.backend_sent(b"-WRONGPASS no\r\n") == b"-WRONGPASS no\r\n"
    assert peer.handshake.backend_finished() == b""


def test_every_connection_has_a_wrong_password_of_its_own() -> None:
    assert Peer().wrong != Peer().wrong


Step = tuple[bytes, Sequence[bytes | None] | bytes]
STEPS = st.sampled_from([(wire, wanted) for wire, wanted, _ in CASES.values() if len(wire) < 9000])


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(STEPS, max_size=6), seed=st.integers(0, 2**32))
def test_requests_in_a_row_in_any_pieces(steps: list[Step], seed: int) -> None:
    peer, dice = Peer(), random.Random(seed)
    wire = b"".join(sent for sent, _ in steps)
    place = 0
    while place < len(wire):
        size = dice.choice([1, 2, 3, 10, 100, 10_000])
        peer.feed(wire[place : place + size])
        place += size
    assert peer.got == b"".join(expected(peer, wanted) for _, wanted in steps)
    assert peer.handshake.client_finished() == b""


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=300), seed=st.integers(0, 2**32))
def test_noise_passes_as_it_is(data: bytes, seed: int) -> None:
    peer, dice = Peer(), random.Random(seed)
    place = 0
    while place < len(data):
        size = dice.randrange(1, 20)
        peer.feed(data[place : place + size])
        place += size
    assert peer.got + peer.handshake.client_finished() == data


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_bent_request_never_gives_the_password_away(seed: int) -> None:
    """Bytes are changed at random: the password leaves only in the place of a good token."""
    dice = random.Random(seed)
    wire = bytearray(
        encode([b"SET", b"k", b"v"]) + auth(USER, TOKEN) + encode([b"GET", b"k"]) + b"PING\r\n"
    )
    for _ in range(dice.randrange(1, 4)):
        wire[dice.randrange(len(wire))] = dice.choice(b"*$\r\n0123456789 AUTHx")
    peer = Peer()
    try:
        peer.feed(bytes(wire))
    except WireViolation:
        return
    got = peer.got + peer.handshake.client_finished()
    assert got.count(PASSWORD) == peer.authenticated
    for login in (auth(USER, PASSWORD), auth(USER, PASSWORD).replace(b"AUTH", b"auth")):
        got = got.replace(login, b"")
    words = b"$7\r\nsomeone\r\n$%d\r\n%s\r\n" % (len(PASSWORD), PASSWORD)
    assert got.count(PASSWORD) == got.count(words)
