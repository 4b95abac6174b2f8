"""Who gets in: a file of names and passwords, the text login, SASL PLAIN, UDP's frames."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from cachefleet.engine.memserver.auth import (
    BadAuthFile,
    Credentials,
    login_commands,
    read_credentials,
    read_logins,
    sha256,
)
from cachefleet.engine.memserver.binary import BinarySession
from cachefleet.engine.memserver.host import Host
from cachefleet.engine.memserver.session import Session
from cachefleet.engine.memserver.text import text_commands
from cachefleet.engine.memserver.udp import answer_datagram, frame_reply
from tests.unit.engine.memserver.sessions import dripped, feed, store, text

PEOPLE = Credentials({b"ann": b"se:cret"})


def stranger() -> Session:
    some = store()
    return Session(some, Host(), login_commands(PEOPLE, text_commands(some.settings)))


def test_reads_memcacheds_file(tmp_path: Path) -> None:
    path = tmp_path / "auth"
    path.write_bytes(b"ann:se:cret\nbob:x\n")
    people = read_credentials(str(path))
    assert people.check(b"ann", b"se:cret")
    assert not people.check(b"ann", b"x")
    assert not people.check(b"eve", b"x")
    assert not people.check(b"eve", b"")


@pytest.mark.parametrize("content", [b"", b"no-colon\n", b":x\n", b"a:b\n" + b"\n".join(
    b"u%d:x" % n for n in range(9)
)])  # fmt: skip
def test_refuses_a_bad_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "auth"
    path.write_bytes(content)
    with pytest.raises(BadAuthFile):
        read_credentials(str(path))


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadAuthFile):
        read_credentials(str(tmp_path / "none"))


def test_the_control_planes_file_has_digests_and_may_change(tmp_path: Path) -> None:
    path = tmp_path / "logins"
    assert read_logins(str(path)) == {}
    path.write_bytes(b"".join(b"%b %b\n" % (n, sha256(p).hex().encode()) for n, p in (
        (b"ann", b"new"), (b"ann", b"old"), (b"bob", b"x"),
    )))  # fmt: skip
    people = Credentials({b"eve": b"x"})
    people.replace(read_logins(str(path)))
    assert people.check(b"ann", b"new")
    assert people.check(b"ann", b"old")
    assert not people.check(b"ann", b"x")
    assert not people.check(b"eve", b"x")
    assert b"bob" in people
    assert b"eve" not in people


@pytest.mark.parametrize(
    "content",
    [b"ann\n", b" " + b"0" * 64, b"ann 00\n", b"ann " + b"g" * 64, b"a " + b"0" * 64 + b"\n" * 65],
    ids=["no-digest", "no-name", "short", "no-hex", "many"],
)
def test_refuses_a_bad_file_of_logins(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "logins"
    path.write_bytes(content)
    with pytest.raises(BadAuthFile):
        read_logins(str(path))


@pytest.mark.parametrize(
    ("wire", "reply"),
    [
        (b"get a\r\n", b"CLIENT_ERROR unauthenticated\r\n"),
        (b"get a\r\nget b\r\n", b"CLIENT_ERROR unauthenticated\r\n" * 2),
        (b"version\r\n", b"CLIENT_ERROR unauthenticated\r\n"),
        (b"set x 0 0\r\n", b"CLIENT_ERROR unauthenticated\r\n"),
        (b"set x 0 0 11\r\nann wrong!!\r\n", b"CLIENT_ERROR authentication failure\r\n"),
        (b"set x 0 0 3\r\nann\r\n", b"CLIENT_ERROR bad authentication token format\r\n"),
        (b"set x 0 0 3\r\nann!!", b"CLIENT_ERROR bad command line termination\r\n"),
        (b"set x 0 0 11\r\nann se:cret\r\nget a\r\n", b"STORED\r\nEND\r\n"),
    ],
)
def test_text_login(wire: bytes, reply: bytes) -> None:
    assert feed(stranger(), [wire]) == reply
    assert feed(stranger(), dripped(wire)) == reply


def sasl(opcode: int, key: bytes, body: bytes) -> bytes:
    head = struct.pack(">BBHBBHIIQ", 0x80, opcode, len(key), 0, 0, 0, len(key) + len(body), 0, 0)
    return head + key + body


def test_sasl_plain() -> None:
    some = store(sasl=True)
    session = BinarySession(some, Host(), credentials=PEOPLE)
    assert feed(session, [sasl(0x20, b"", b"")]).endswith(b"PLAIN")
    assert b"Auth failure." in feed(session, [sasl(0x21, b"PLAIN", b"\0ann\0no")])
    assert not session.closing
    assert b"Authenticated" in feed(session, [sasl(0x21, b"PLAIN", b"\0ann\0se:cret")])
    assert b"Not found" in feed(session, [sasl(0x00, b"k", b"")])
    assert (some.stats.auth_cmds, some.stats.auth_errors) == (2, 1)


def test_sasl_strangers_are_turned_away() -> None:
    session = BinarySession(store(sasl=True), Host(), credentials=PEOPLE)
    assert b"Auth failure." in feed(session, [sasl(0x00, b"k", b"")])
    assert session.closing


def test_udp_replies_come_in_numbered_datagrams() -> None:
    some = store()
    feed(text(some), [b"set k 0 0 3000\r\n" + b"x" * 3000 + b"\r\n"])
    replies = answer_datagram(text(some), b"\x12\x34\0\0\0\x01\0\0get k\r\n")
    assert [reply[:8] for reply in replies] == [
        b"\x12\x34" + struct.pack(">HHH", number, 3, 0) for number in range(3)
    ]
    whole = b"".join(reply[8:] for reply in replies)
    assert whole == b"VALUE k 0 3000\r\n" + b"x" * 3000 + b"\r\nEND\r\n"
    assert max(map(len, replies)) == 1400


@pytest.mark.parametrize("datagram", [b"", b"short", b"\0" * 7])
def test_udp_ignores_what_has_no_frame(datagram: bytes) -> None:
    assert answer_datagram(text(), datagram) == []


def test_udp_refuses_requests_in_parts() -> None:
    (reply,) = answer_datagram(text(), b"\0\1\0\0\0\2\0\0get k\r\n")
    assert reply[8:] == b"SERVER_ERROR multi-packet request not supported\r\n"


def test_udp_sends_no_more_than_can_be_numbered() -> None:
    assert frame_reply(1, b"x" * (1392 * 65536)) == []
