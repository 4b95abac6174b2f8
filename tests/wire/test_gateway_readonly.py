"""READONLY said for a client, with its login ahead where it begins with one."""

from __future__ import annotations

import pytest

from cachefleet.engine.gateway.interception import Chain, WireViolation
from cachefleet.engine.gateway.opening import Opening, encode
from cachefleet.engine.gateway.readonly import ANSWER_BYTES_MAX, REQUEST, ReadOnly

AUTH = encode([b"AUTH", b"ann", b"secret"])
GET = encode([b"GET", b"k"])


@pytest.mark.parametrize(
    ("wire", "login"),
    [
        pytest.param(GET, b"", id="no-login"),
        pytest.param(b"GET k\r\n", b"", id="inline"),
        pytest.param(AUTH + GET, AUTH, id="auth"),
        pytest.param(encode([b"auth", b"token"]), encode([b"auth", b"token"]), id="token"),
        pytest.param(encode([b"HELLO", b"3", b"AUTH", b"ann", b"secret"]) + GET, AUTH, id="hello"),
        pytest.param(
            encode([b"HELLO", b"3", b"SETNAME", b"x", b"auth", b"ann", b"secret"]),
            AUTH,
            id="hello-with-a-name",
        ),
        pytest.param(encode([b"HELLO", b"3"]), b"", id="hello-alone"),
        pytest.param(encode([b"HELLO", b"3", b"AUTH", b"ann"]), b"", id="half-a-login"),
        pytest.param(b"*x\r\nwhat\r\n", b"", id="garbage"),
        pytest.param(GET + AUTH, b"", id="login-too-late"),
    ],
)
def test_our_requests_come_first_however_the_bytes_arrive(wire: bytes, login: bytes) -> None:
    whole, dripped = ReadOnly(), ReadOnly()
    wanted = login + REQUEST + wire
    assert whole.client_sent(wire) == wanted
    sent = b"".join(dripped.client_sent(wire[at : at + 1]) for at in range(len(wire)))
    assert sent + dripped.client_finished() == wanted
    ours = b"+OK\r\n" * (2 if login else 1)
    answers = ours + b"$1\r\nv\r\n"
    assert whole.backend_sent(answers) == b"$1\r\nv\r\n"
    parts = [dripped.backend_sent(answers[at : at + 1]) for at in range(len(answers))]
    assert b"".join(parts) == b"$1\r\nv\r\n"
    assert whole.client_sent(GET) == GET
    assert whole.backend_sent(b"+OK\r\n") == b"+OK\r\n"


def test_a_wrong_login_is_refused_once() -> None:
    some = ReadOnly()
    some.client_sent(AUTH)
    refusal = b"-WRONGPASS invalid\r\n"
    assert some.backend_sent(refusal + b"-NOAUTH Authentication required.\r\n" + refusal) == refusal


def test_holds_no_more_than_a_login_can_be() -> None:
    some = ReadOnly()
    endless = b"*3\r\n$4\r\nAUTH\r\n$16000\r\n"
    assert some.client_sent(endless) == b""
    assert some.client_sent(b"x" * 15_000) == b""
    sent = some.client_sent(b"x" * 1_000 + b"\r\n$9000\r\n" + b"x" * 2_000)
    assert sent.startswith(REQUEST + endless)
    with pytest.raises(WireViolation):
        some.backend_sent(b"x" * (ANSWER_BYTES_MAX + 1))


def test_a_login_that_another_rewrites_is_ours_as_rewritten() -> None:
    def rewrite(words: list[bytes]) -> list[bytes]:
        return [words[0], b"default", words[-1]] if words[0] == b"AUTH" else words

    chain = Chain(Opening(rewrite), ReadOnly())
    rewritten = encode([b"AUTH", b"default", b"token"])
    sent = chain.client_sent(encode([b"AUTH", b"token"])[:9])
    sent += chain.client_sent(encode([b"AUTH", b"token"])[9:] + GET)
    assert sent == rewritten + REQUEST + rewritten + GET
    assert chain.backend_sent(b"+OK\r\n+OK\r\n+OK\r\n$1\r\nv\r\n") == b"+OK\r\n$1\r\nv\r\n"
    assert (chain.client_finished(), chain.backend_finished()) == (b"", b"")
