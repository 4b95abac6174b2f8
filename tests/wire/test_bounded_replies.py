"""Replies with a limit: the same however the bytes arrive, and given up while they are small."""

from __future__ import annotations

from typing import Any

import pytest

from cachefleet.engine.valkey.replies import (
    NEED_DATA,
    ErrorReply,
    NotAReply,
    ReplyReader,
    ReplyTooLarge,
    packed,
)

BYTES_MAX = 4096
REPLIES = [
    pytest.param(b"+OK\r\n", b"OK", id="status"),
    pytest.param(b"-ERR no\r\n", ErrorReply("ERR no"), id="error"),
    pytest.param(b":-7\r\n", -7, id="number"),
    pytest.param(b"$5\r\na\r\nbc\r\n", b"a\r\nbc", id="text-with-line-end"),
    pytest.param(b"$-1\r\n", None, id="nothing"),
    pytest.param(b"*-1\r\n", None, id="no-list"),
    pytest.param(b"*3\r\n:1\r\n*1\r\n$1\r\nx\r\n$-1\r\n", [1, [b"x"], None], id="lists"),
]


@pytest.mark.parametrize(("wire", "reply"), REPLIES)
def test_same_reply_however_the_bytes_arrive(wire: bytes, reply: Any) -> None:
    whole, dripped, trailed = (ReplyReader(bytes_max=BYTES_MAX) for _ in range(3))
    whole.feed(wire)
    assert whole.next_reply() == reply
    for at in range(len(wire)):
        assert dripped.next_reply() is NEED_DATA
        dripped.feed(wire[at : at + 1])
    assert dripped.next_reply() == reply
    trailed.feed(wire + b"+mo")
    assert trailed.next_reply() == reply
    assert trailed.next_reply() is NEED_DATA


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(b"$999999999\r\n", id="announced"),
        pytest.param(b"*999999999\r\n", id="announced-list"),
        pytest.param(b"*2000\r\n" + b":1234567\r\n" * 500, id="growing"),
        pytest.param(b"*1\r\n" * 40, id="deep"),
        pytest.param(b"+" + b"x" * 100_000, id="endless-line"),
    ],
)
def test_gives_up_what_is_too_large(wire: bytes) -> None:
    reader = ReplyReader(bytes_max=BYTES_MAX)
    reader.feed(wire)
    with pytest.raises(ReplyTooLarge):
        reader.next_reply()


@pytest.mark.parametrize("wire", [b"?\r\n", b":x\r\n", b"$x\r\n"])
def test_refuses_what_is_no_reply(wire: bytes) -> None:
    reader = ReplyReader(bytes_max=BYTES_MAX)
    reader.feed(wire)
    with pytest.raises(NotAReply):
        reader.next_reply()


def test_packs_words_of_any_bytes() -> None:
    assert packed(["GET", b"\x00\r\n"]) == b"*2\r\n$3\r\nGET\r\n$3\r\n\x00\r\n\r\n"
