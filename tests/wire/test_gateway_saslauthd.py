"""The socket where a stock memcached asks about logins, however its question arrives."""

from __future__ import annotations

import asyncio
import hashlib
import stat
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from cachefleet.engine.gateway import saslauthd
from cachefleet.engine.gateway.routes import LoginSocket, LoginUser
from cachefleet.engine.gateway.saslauthd import NO, YES, SaslSocket


def digest(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


def question(*words: bytes) -> bytes:
    return b"".join(len(word).to_bytes(2, "big") + word for word in words)


@pytest.fixture
async def listening(tmp_path: Path) -> AsyncIterator[SaslSocket]:
    users = (
        LoginUser(user_name="ann", sha256s=(digest("new"), digest("old"))),
        LoginUser(user_name="bob", sha256s=()),
    )
    opened = SaslSocket(LoginSocket(socket_path=str(tmp_path / "s.in"), users=users))
    await opened.open()
    yield opened
    await opened.close()


async def asked(where: SaslSocket, pieces: Iterable[bytes], *, end: bool = False) -> bytes:
    reader, writer = await asyncio.open_unix_connection(where.wanted.socket_path)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if end:
            writer.write_eof()
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("user", "password", "answer"),
    [
        (b"ann", b"new", YES),
        (b"ann", b"old", YES),
        (b"ann", b"wrong", NO),
        (b"ann", b"", NO),
        (b"bob", b"", NO),
        (b"eve", b"new", NO),
        (b"\xff", b"new", NO),
        (b"", b"", NO),
    ],
)
async def test_answers(listening: SaslSocket, user: bytes, password: bytes, answer: bytes) -> None:
    wire = question(user, password, b"memcached", b"host")
    assert await asked(listening, [wire]) == answer
    assert await asked(listening, [wire[at : at + 1] for at in range(len(wire))]) == answer
    assert await asked(listening, [wire + b"more"]) == answer


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"\x00",
        question(b"ann"),
        b"\xff\xff" + b"x" * 2000,
        question(b"a" * 1025, b"b"),
        question(b"ann", b"x" * 1025, b"", b""),
    ],
    ids=["nothing", "half-a-length", "one-word", "endless", "too-long", "too-long-and-whole"],
)
async def test_says_nothing_to_half_a_question(listening: SaslSocket, wire: bytes) -> None:
    assert await asked(listening, [wire], end=True) == b""


async def test_whoever_waits_is_let_go(
    listening: SaslSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saslauthd, "TIMEOUT_S", 0.01)
    assert await asked(listening, [b"\x00\x03an"]) == b""


async def test_is_private_and_goes_with_its_file(listening: SaslSocket, tmp_path: Path) -> None:
    path = tmp_path / "s.in"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    listening.wanted = LoginSocket(socket_path=str(path), users=())
    wire = question(b"ann", b"new", b"", b"")
    assert await asked(listening, [wire]) == NO
    await listening.close()
    assert not path.exists()
