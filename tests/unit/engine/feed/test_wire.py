"""Streams of commands and of replies: the same pieces however the bytes arrive."""

from __future__ import annotations

import random

import pytest

from cachefleet.engine.feed.wire import CommandStream, Replies, encode, error_of, words_of
from cachefleet.engine.replstream import BrokenStream

COMMANDS = [
    [b"SELECT", b"0"],
    [b"set", b"k", b"*3\r\n$1\r\n-ERR"],
    [b"PING"],
    [b"SET", b"", b"\x00\xff" * 300],
]
REPLIES = [
    b"+OK\r\n",
    b":1\r\n",
    b"$7\r\n\r\n-no\r\n\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"*3\r\n:1\r\n*2\r\n+a\r\n$0\r\n\r\n-ERR inside\r\n",
    b"%1\r\n+a\r\n:2\r\n",
    b"-MOVED 1 a:1\r\n",
    b"*0\r\n",
]


def cut(wire: bytes, dice: random.Random) -> list[bytes]:
    cuts = sorted(dice.sample(range(len(wire)), 9))
    return [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]


@pytest.mark.parametrize("seed", range(20))
def test_same_commands_however_the_bytes_arrive(seed: int) -> None:
    wire = b"\n".join(encode(words) for words in COMMANDS) + b"*2\r\n$3\r\nDEL"
    dripped = [bytes([byte]) for byte in wire]
    for parts in ([wire], dripped, cut(wire, random.Random(seed))):
        stream = CommandStream(1000)
        found = [command for part in parts for command in stream.feed(part)]
        assert [words_of(command.raw) for command in found] == COMMANDS
        assert [command.name for command in found] == [b"SELECT", b"SET", b"PING", b"SET"]
        # Lines that keep the connection alive count as well.
        assert found[0].end == 1000 + len(encode(COMMANDS[0]))
        assert stream.offset == 1000 + len(wire) - len(b"*2\r\n$3\r\nDEL")
        assert stream.received == 1000 + len(wire)


@pytest.mark.parametrize("seed", range(20))
def test_same_replies_however_the_bytes_arrive(seed: int) -> None:
    wire = b"".join(REPLIES) + b"$5\r\nhal"
    for parts in ([wire], [bytes([byte]) for byte in wire], cut(wire, random.Random(seed))):
        reader = Replies()
        assert [reply for part in parts for reply in reader.feed(part)] == REPLIES


@pytest.mark.parametrize(
    "wire",
    [b"+OK\r\n", b"*0\r\n", b"*1\r\n+x\r\n", b"*a\r\n", b"*" + b"1" * 40, b"*1\r\n$x\r\n"],
    ids=repr,
)
def test_what_is_no_command_is_refused(wire: bytes) -> None:
    with pytest.raises(BrokenStream):
        CommandStream(0).feed(wire)


@pytest.mark.parametrize("wire", [b"x\r\n", b"$x\r\n", b"+" + b"a" * 70_000], ids=lambda w: w[:9])
def test_what_is_no_reply_is_refused(wire: bytes) -> None:
    with pytest.raises(BrokenStream):
        Replies().feed(wire)


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (b"-MOVED 1 a:1\r\n", "MOVED 1 a:1"),
        (b"*2\r\n+OK\r\n-WRONGTYPE it is\r\n", "WRONGTYPE it is"),
        (b"$9\r\n\r\n-ERR no\r\n\r\n", None),
        (b"+OK\r\n", None),
    ],
    ids=repr,
)
def test_errors_are_found(reply: bytes, told: str | None) -> None:
    assert error_of(reply) == told
