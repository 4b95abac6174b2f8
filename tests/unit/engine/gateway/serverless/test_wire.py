"""Commands and replies read whole, one byte at a time, and with more behind them."""

from __future__ import annotations

import pytest

from cachefleet.engine.gateway.serverless.replies import (
    INCOMPLETE,
    Error,
    NotAReply,
    ReplyScanner,
    parse,
    render,
)
from cachefleet.engine.gateway.serverless.requests import BadRequest, RequestReader, encode

COMMANDS = [
    pytest.param(b"*1\r\n$4\r\nPING\r\n", [b"PING"], id="one"),
    pytest.param(b"*2\r\n$3\r\nGET\r\n$2\r\n\r\n\r\n", [b"GET", b"\r\n"], id="line-end-inside"),
    pytest.param(b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", [b"GET", b""], id="empty-word"),
    pytest.param(b"set  a 1\r\n", [b"set", b"a", b"1"], id="typed"),
    pytest.param(b"*0\r\n", [], id="none"),
]


@pytest.mark.parametrize(("wire", "words"), COMMANDS)
def test_same_command_however_the_bytes_arrive(wire: bytes, words: list[bytes]) -> None:
    whole, dripped, trailed = RequestReader(), RequestReader(), RequestReader()
    whole.feed(wire)
    found = whole.next_command()
    assert found is not None
    assert found[0] == words
    assert whole.next_command() is None
    for number in range(len(wire)):
        assert dripped.next_command() is None
        dripped.feed(wire[number : number + 1])
    found = dripped.next_command()
    assert found is not None
    assert found[0] == words
    trailed.feed(wire + b"*1\r\n$4\r\nPI")
    found = trailed.next_command()
    assert found is not None
    assert found[0] == words
    assert trailed.next_command() is None
    trailed.feed(b"NG\r\n")
    assert trailed.next_command() == ([b"PING"], b"*1\r\n$4\r\nPING\r\n")
    assert trailed.unread_bytes == 0


def test_a_large_word_is_looked_at_when_it_is_there() -> None:
    reader = RequestReader()
    wire = encode([b"SET", b"k", b"v" * 100_000])
    for at in range(0, len(wire), 1000):
        assert reader.next_command() is None
        reader.feed(wire[at : at + 1000])
    found = reader.next_command()
    assert found is not None
    assert found[1] == wire


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(b"*4001\r\n", id="too-many-words"),
        pytest.param(b"*1\r\n$536870913\r\n", id="too-long-a-word"),
        pytest.param(b"*1\r\n+PING\r\n", id="no-bulk"),
        pytest.param(b"*x\r\n", id="no-number"),
        pytest.param(b"*" + b"1" * 20, id="endless-number"),
        pytest.param(b"x" * 70_000, id="endless-line"),
    ],
)
def test_refuses_what_is_no_command(wire: bytes) -> None:
    reader = RequestReader()
    reader.feed(wire)
    with pytest.raises(BadRequest, match="Protocol error"):
        reader.next_command()


REPLIES = [
    pytest.param(b"+OK\r\n", b"OK", id="simple"),
    pytest.param(b"-ERR no\r\n", Error(b"ERR no"), id="error"),
    pytest.param(b":-3\r\n", -3, id="number"),
    pytest.param(b"$3\r\na\r\n\r\n", b"a\r\n", id="bulk"),
    pytest.param(b"$-1\r\n", None, id="null-bulk"),
    pytest.param(b"*-1\r\n", None, id="null-list"),
    pytest.param(b"*0\r\n", [], id="empty-list"),
    pytest.param(b"*2\r\n*1\r\n:1\r\n$1\r\nx\r\n", [[1], b"x"], id="nested"),
    pytest.param(b"%1\r\n+a\r\n*1\r\n_\r\n", {b"a": [None]}, id="map"),
    pytest.param(b"~1\r\n#t\r\n", [True], id="set"),
    pytest.param(b",1.5\r\n", b"1.5", id="double"),
    pytest.param(b"=7\r\ntxt:abc\r\n", b"abc", id="verbatim"),
    pytest.param(b"|1\r\n+a\r\n+b\r\n:1\r\n", 1, id="attribute"),
    pytest.param(b">2\r\n+x\r\n+y\r\n", [b"x", b"y"], id="push"),
]


@pytest.mark.parametrize(("wire", "value"), REPLIES)
def test_same_reply_however_the_bytes_arrive(wire: bytes, value: object) -> None:
    assert parse(wire) == value
    assert ReplyScanner().end_of_next(wire) == len(wire)
    dripped = ReplyScanner()
    for upto in range(len(wire)):
        assert dripped.end_of_next(wire[:upto]) == INCOMPLETE
    assert dripped.end_of_next(wire) == len(wire)
    trailed = ReplyScanner()
    assert trailed.end_of_next(wire + b"$5\r\nab") == len(wire)
    assert trailed.end_of_next(wire + b"$5\r\nab") == INCOMPLETE
    assert trailed.end_of_next(wire + b"$5\r\nabcde\r\n") == len(wire) + 11


@pytest.mark.parametrize("wire", [b"GET /\r\n", b"$x\r\n", b"+" + b"x" * 70_000])
def test_refuses_what_is_no_reply(wire: bytes) -> None:
    with pytest.raises(NotAReply):
        ReplyScanner().end_of_next(wire)


def test_renders_what_it_parses() -> None:
    value = [1, b"a", None, [b"b", {b"c": 2}]]
    assert parse(render(value, resp3=True)) == value
    assert parse(render(value)) == [1, b"a", None, [b"b", [b"c", 2]]]
