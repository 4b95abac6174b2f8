"""Refusals of writes in the words of a replica; every other byte as it came."""

from __future__ import annotations

import random

import pytest

from cachefleet.engine.gateway.interception import Chain, WireViolation
from cachefleet.engine.gateway.readonly import ReadOnly
from cachefleet.engine.gateway.refused_writes import READONLY, RefusedWrites

WRITES = ("set", "function|flush")
REFUSED = b"-NOPERM User default has no permissions to run the 'set' command\r\n"
SCRIPT = (
    b"-ERR ACL failure in script: User u has no permissions to run the 'set' command "
    b"script: 2f, on @user_script:1.\r\n"
)
OLD_SCRIPT = (
    b"-ERR The user executing the script can't run this command or subcommand "
    b"script: 2f, on @u:1.\r\n"
)
OTHER = b"-NOPERM User default has no permissions to run the 'config|get' command\r\n"
VALUE = b"$%d\r\n%s\r\n" % (len(REFUSED) + 4, b"\r\n" + REFUSED + b"\r\n")

CASES = [
    pytest.param(REFUSED, READONLY + b"\r\n", id="refused"),
    pytest.param(SCRIPT, READONLY + b" script: 2f, on @user_script:1.\r\n", id="in-a-script"),
    pytest.param(OLD_SCRIPT, READONLY + b" script: 2f, on @u:1.\r\n", id="in-an-older-script"),
    pytest.param(b"*2\r\n+OK\r\n" + REFUSED, b"*2\r\n+OK\r\n" + READONLY + b"\r\n", id="inside"),
    pytest.param(OTHER, OTHER, id="another-right"),
    pytest.param(VALUE, VALUE, id="a-value-that-looks-like-it"),
    pytest.param(
        b"$-1\r\n*-1\r\n:1\r\n_\r\n" + VALUE, b"$-1\r\n*-1\r\n:1\r\n_\r\n" + VALUE, id="all"
    ),
    pytest.param(REFUSED * 2 + VALUE, (READONLY + b"\r\n") * 2 + VALUE, id="several"),
]


def answer(*parts: bytes) -> bytes:
    link = RefusedWrites(WRITES)
    return b"".join(link.backend_sent(part) for part in parts) + link.backend_finished()


@pytest.mark.parametrize(("wire", "told"), CASES)
def test_same_answer_however_the_bytes_arrive(wire: bytes, told: bytes) -> None:
    assert answer(wire) == told
    assert answer(*(bytes([byte]) for byte in wire)) == told
    assert answer(wire + b"+tra", b"iled") == told + b"+trailed"
    for seed in range(20):
        cuts = sorted(random.Random(seed).sample(range(len(wire)), 3))
        parts = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
        assert answer(*parts) == told


@pytest.mark.parametrize("wire", [b"$x\r\n", b"$-2\r\n", b"+" + b"x" * 70_000], ids=lambda w: w[:8])
def test_what_is_no_reply_ends_the_connection(wire: bytes) -> None:
    with pytest.raises(WireViolation):
        answer(wire)


def test_two_interceptors_are_one_behind_the_other() -> None:
    chain = Chain(ReadOnly(), RefusedWrites(WRITES))
    assert chain.client_sent(b"SET a 1\r\n") == b"READONLY\r\nSET a 1\r\n"
    assert chain.backend_sent(b"+OK\r\n" + REFUSED) == READONLY + b"\r\n"
    assert chain.client_finished() == chain.backend_finished() == b""
