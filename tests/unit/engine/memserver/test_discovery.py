"""Auto discovery, byte for byte; readable by all, writable by the control plane."""

from __future__ import annotations

import struct

import pytest

from cachefleet.engine.memserver.discovery import CONFIG_BYTES_MAX, CONFIGS_MAX, ClusterConfig
from tests.unit.engine.memserver.sessions import ask, binary, feed, store, text

PAYLOAD = (
    b"12\n"
    b"myCluster.pc4ldq.0001.use1.cache.amazonaws.com|10.82.235.120|11211 "
    b"myCluster.pc4ldq.0002.use1.cache.amazonaws.com|10.80.249.27|11211\n"
)
REPLY = b"CONFIG cluster 0 136\r\n" + PAYLOAD + b"\r\nEND\r\n"
SET = b"config set cluster 0 136\r\n" + PAYLOAD + b"\r\n"


def test_answers_as_the_service_does() -> None:
    some = store()
    assert feed(text(some, privileged=True), [SET]) == b"STORED\r\n"
    assert ask(some, b"config get cluster\r\n") == REPLY
    assert ask(some, b"config get nothing cluster\r\n") == REPLY
    assert ask(some, b"config get nothing\r\n") == b"END\r\n"


def test_old_clients_read_a_key() -> None:
    some = store()
    feed(text(some, privileged=True), [SET])
    value = b"VALUE AmazonElastiCache:cluster 0 136\r\n" + PAYLOAD + b"\r\n"
    assert ask(some, b"get AmazonElastiCache:cluster\r\n") == value + b"END\r\n"
    ask(some, b"set foo 0 0 1\r\nx\r\n")
    both = b"get AmazonElastiCache:cluster foo\r\n"
    assert ask(some, both) == value + b"VALUE foo 0 1\r\nx\r\nEND\r\n"
    assert ask(some, b"stats\r\n").count(b"STAT curr_items 1\r\n") == 1


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        pytest.param(SET, b"CLIENT_ERROR config set not allowed\r\n", id="set"),
        pytest.param(
            b"config delete cluster\r\n", b"CLIENT_ERROR config delete not allowed\r\n", id="delete"
        ),
        pytest.param(b"config incr cluster 1\r\n", b"ERROR\r\n", id="incr"),
        pytest.param(b"config get\r\n", b"ERROR\r\n", id="get-nothing"),
        pytest.param(b"config\r\n", b"ERROR\r\n", id="nothing"),
    ],
)
def test_users_may_not_write(request_: bytes, reply: bytes) -> None:
    some = store()
    some.config.set(b"cluster", 0, PAYLOAD)
    # The data block is skipped: what follows is the next request.
    assert ask(some, request_ + b"version\r\n") == reply + b"VERSION 1.6.22\r\n"
    assert ask(some, b"config get cluster\r\n") == REPLY


def test_the_control_plane_deletes() -> None:
    some = store()
    some.config.set(b"cluster", 0, PAYLOAD)
    control = text(some, privileged=True)
    assert feed(control, [b"config delete cluster\r\n"]) == b"DELETED\r\n"
    assert feed(control, [b"config delete cluster\r\n"]) == b"NOT_FOUND\r\n"
    assert ask(some, b"config get cluster\r\n") == b"END\r\n"
    assert ask(some, b"get AmazonElastiCache:cluster\r\n") == b"END\r\n"


def test_a_bad_configuration_changes_nothing() -> None:
    some = store()
    control = text(some, privileged=True)
    feed(control, [SET])
    for request in (b"config set cluster 0 2\r\nabcd\r\n", b"config set cluster x 2\r\nab\r\n"):
        assert feed(control, [request]).startswith(b"CLIENT_ERROR")
    huge = b"config set cluster 0 %d\r\n%b\r\n" % (CONFIG_BYTES_MAX + 1, b"x" * 65537)
    assert feed(control, [huge]).startswith(b"SERVER_ERROR object too large")
    assert ask(some, b"config get cluster\r\n") == REPLY


def test_there_are_not_endlessly_many() -> None:
    config = ClusterConfig()
    assert all(config.set(b"c%d" % number, 0, b"x") for number in range(CONFIGS_MAX))
    assert not config.set(b"one-more", 0, b"x")
    assert config.set(b"c0", 0, b"y")
    assert config.set(b"c0", 0, b"y" * CONFIG_BYTES_MAX)
    assert not config.set(b"c0", 0, b"y" * (CONFIG_BYTES_MAX + 1))


def packet(opcode: int, key: bytes, extras: bytes = b"", body: bytes = b"") -> bytes:
    size = len(key) + len(extras) + len(body)
    head = struct.pack(">BBHBBHIIQ", 0x80, opcode, len(key), len(extras), 0, 0, size, 0, 0)
    return head + extras + key + body


def status(reply: bytes) -> int:
    return int.from_bytes(reply[6:8], "big")


def test_binary_opcodes() -> None:
    some = store()
    control, user = binary(some, privileged=True), binary(some)
    assert status(feed(user, [packet(0x60, b"cluster")])) == 1
    assert status(feed(user, [packet(0x64, b"cluster", b"\0" * 4, PAYLOAD)])) == 0x20
    assert status(feed(control, [packet(0x64, b"cluster", b"\0" * 4, PAYLOAD)])) == 0
    reply = feed(user, [packet(0x60, b"cluster")])
    assert status(reply) == 0
    assert reply[4] == 4
    assert reply[28:] == PAYLOAD
    assert status(feed(user, [packet(0x66, b"cluster")])) == 0x20
    assert status(feed(control, [packet(0x66, b"cluster")])) == 0
    assert status(feed(user, [packet(0x60, b"cluster")])) == 1
