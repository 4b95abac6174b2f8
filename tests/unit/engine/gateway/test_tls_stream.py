"""TLS on a transport that only remembers, with OpenSSL's client in memory on the other side."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from cachefleet.engine import pki
from cachefleet.engine.gateway.routes import TlsMode, TlsOptions
from cachefleet.engine.gateway.tls import server_context
from cachefleet.engine.gateway.tls_stream import ANSWERS_BYTES_MAX, PIECE_BYTES, TlsConnection
from tests.unit.engine.gateway.test_pump import FakeTransport

HOST = "127.0.0.1"
MUCH = bytes(range(256)) * 1024  # 256 KiB: many records, some pieces
VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


class App(asyncio.Protocol):
    """Remembers what it was told."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses = refuses
        self.got = b""
        self.told: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.told.append("made")
        if self.refuses:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self.got += data

    def eof_received(self) -> None:
        self.told.append("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append("lost")


class Below(FakeTransport):
    """Remembers how much was written at once, too."""

    largest = 0

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.largest = max(self.largest, len(data))
        super().write(data)


class Wire:
    """A connection, the application above it, and a client that speaks to it in memory."""

    def __init__(
        self, contexts: tuple[ssl.SSLContext, ssl.SSLContext], *, refuses: bool = False
    ) -> None:
        served, trusting = contexts
        self.app = App(refuses=refuses)
        self.below = Below()
        self.tls = TlsConnection(served, lambda: self.app, loop=asyncio.get_running_loop())
        self.tls.connection_made(self.below)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = trusting.wrap_bio(self._in, self._out, server_hostname=HOST)

    def carry(self, *, split: Callable[[bytes], Iterator[bytes]] | None = None) -> None:
        """Bring what both have said to the other."""
        said = self._out.read()
        for part in split(said) if split else [said] if said else []:
            self.tls.data_received(part)
        answer, self.below.sent = self.below.sent, b""
        self._in.write(answer)

    def shake_hands(self, *, split: Callable[[bytes], Iterator[bytes]] | None = None) -> None:
        for _ in range(3):
            with contextlib.suppress(ssl.SSLWantReadError):
                self.client.do_handshake()
            self.carry(split=split)

    def read(self) -> bytes:
        """Return what the client can read by now."""
        parts = []
        with contextlib.suppress(ssl.SSLWantReadError):
            while part := self.client.read(1 << 20):
                parts.append(part)
        return b"".join(parts)


def one_by_one(data: bytes) -> Iterator[bytes]:
    for byte in data:
        yield bytes((byte,))


Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    """The server's context, and the authority that a client has to trust."""
    folder, now = tmp_path_factory.mktemp("tls"), datetime.now(UTC)
    authority = pki.new_authority(fleet="test", now=now)
    who = pki.Identity(common_name="test", addresses=(HOST,), names=())
    pair = pki.issue(authority, who, now=now)
    paths: list[Path] = []
    for name, content in (("crt", pair.certificate), ("key", pair.key)):
        paths.append(folder / name)
        paths[-1].write_bytes(content)
    options = TlsOptions(
        mode=TlsMode.REQUIRED, certificate_path=str(paths[0]), key_path=str(paths[1])
    )
    return server_context(options), authority.certificate.decode()


@pytest.fixture
def contexts(served: tuple[ssl.SSLContext, str]) -> Contexts:
    return served[0], ssl.create_default_context(cadata=served[1])


def of_version(contexts: Contexts, version: ssl.TLSVersion) -> Contexts:
    contexts[1].maximum_version = version
    return contexts


@VERSIONS
@pytest.mark.parametrize("split", [None, one_by_one], ids=["whole", "dripped"])
async def test_the_same_is_read_however_it_arrives(
    contexts: Contexts,
    version: ssl.TLSVersion,
    split: Callable[[bytes], Iterator[bytes]] | None,
) -> None:
    wire = Wire(of_version(contexts, version))
    wire.shake_hands(split=split)
    await wire.tls.handshake()
    wire.client.write(b"PING\r\n")
    wire.client.write(b"PING again\r\n")
    wire.carry(split=split)
    assert wire.app.got == b"PING\r\nPING again\r\n"
    wire.app.transport.write(b"+PONG\r\n")
    wire.carry()
    assert wire.read() == b"+PONG\r\n"
    assert (
        wire.client.version()
        == {
            ssl.TLSVersion.TLSv1_2: "TLSv1.2",
            ssl.TLSVersion.TLSv1_3: "TLSv1.3",
        }[version]
    )


async def test_what_trails_the_handshake_is_not_lost(contexts: Contexts) -> None:
    wire = Wire(contexts)
    with contextlib.suppress(ssl.SSLWantReadError):
        wire.client.do_handshake()
    wire.carry()
    wire.client.do_handshake()
    wire.client.write(b"PING\r\n")
    wire.carry()  # the end of the handshake and the first request are one packet
    assert wire.app.told == ["made"]
    assert wire.app.got == b"PING\r\n"


@VERSIONS
async def test_much_arrives_whole_both_ways(contexts: Contexts, version: ssl.TLSVersion) -> None:
    wire = Wire(of_version(contexts, version))
    wire.shake_hands()
    left = memoryview(MUCH)
    while left:
        left = left[wire.client.write(left) :]
    wire.carry()
    assert len(MUCH) > PIECE_BYTES
    assert wire.app.got == MUCH
    wire.app.transport.write(MUCH)
    wire.app.transport.write(b"")
    assert wire.below.largest < PIECE_BYTES * 1.1, "OpenSSL keeps what it once needed"
    wire.carry()
    assert wire.read() == MUCH


async def test_a_client_that_says_the_end_is_told_the_end(contexts: Contexts) -> None:
    wire = Wire(contexts)
    wire.shake_hands()
    wire.client.write(b"QUIT\r\n")
    with pytest.raises(ssl.SSLWantReadError):
        wire.client.unwrap()
    wire.carry()
    assert wire.app.got == b"QUIT\r\n"
    assert wire.app.told == ["made", "eof"]
    assert wire.below.closed
    assert not wire.below.aborted
    wire.client.unwrap()  # raises where there was no close_notify for it
    wire.tls.connection_lost(None)
    assert wire.app.told == ["made", "eof", "lost"]


async def test_a_close_sends_what_was_written_and_the_end_behind_it(contexts: Contexts) -> None:
    wire = Wire(contexts)
    wire.shake_hands()
    wire.app.transport.write(b"+OK\r\n")
    wire.app.transport.close()
    wire.app.transport.close()
    wire.app.transport.write(b"nobody's")
    wire.client.write(b"PING\r\n")
    assert wire.app.transport.is_closing()
    assert wire.below.closed
    assert not wire.below.aborted
    wire.carry()
    assert wire.app.got == b""
    assert wire.client.read(100) == b"+OK\r\n"
    assert wire.client.read(100) == b""  # the end; a lack of it would raise


async def test_a_client_that_is_gone_without_a_word_ends_it_too(contexts: Contexts) -> None:
    wire = Wire(contexts)
    wire.shake_hands()
    assert not wire.tls.eof_received()
    assert wire.app.told == ["made", "eof"]
    assert wire.below.closed


async def test_who_leaves_in_the_handshake_is_no_client(contexts: Contexts) -> None:
    wire = Wire(contexts)
    wire.tls.eof_received()
    wire.tls.connection_lost(None)
    with pytest.raises(ConnectionResetError):
        await wire.tls.handshake()
    assert wire.app.told == []


@pytest.mark.parametrize(
    ("said", "alert"),
    [(b"\x16\x03\x01\x00\x05hello", b"\x15"), (b"\x16" + b"\xff" * 100, b"")],
    ids=["no-hello", "no-version"],
)
async def test_garbage_in_the_handshake_is_told_so_and_closed(
    contexts: Contexts, said: bytes, alert: bytes
) -> None:
    wire = Wire(contexts)
    wire.tls.data_received(said)
    assert wire.below.sent[:1] == alert
    assert wire.below.closed
    with pytest.raises(ssl.SSLError):
        await wire.tls.handshake()
    assert wire.app.told == []


@pytest.mark.parametrize("unsent", [0, 1], ids=["listens", "listens-not"])
async def test_garbage_later_ends_the_connection(contexts: Contexts, unsent: int) -> None:
    wire = Wire(contexts)
    wire.shake_hands()
    wire.below.unsent = unsent
    wire.tls.data_received(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    assert wire.below.closed
    assert wire.below.aborted == bool(unsent)
    wire.tls.connection_lost(None)
    assert wire.app.told == ["made", "lost"]
    assert wire.app.got == b""


async def test_who_is_refused_is_not_read(contexts: Contexts) -> None:
    wire = Wire(contexts, refuses=True)
    with contextlib.suppress(ssl.SSLWantReadError):
        wire.client.do_handshake()
    wire.carry()
    wire.client.do_handshake()
    wire.client.write(b"PING\r\n")
    wire.carry()
    assert wire.below.aborted
    assert wire.app.told == ["made"]
    assert wire.app.got == b""


async def test_tells_of_itself_what_a_transport_tells(contexts: Contexts) -> None:
    wire = Wire(contexts)
    wire.shake_hands()
    transport = wire.app.transport
    assert isinstance(transport.get_extra_info("ssl_object"), ssl.SSLObject)
    assert transport.get_extra_info("peername", "nobody") == "nobody"
    transport.pause_reading()
    assert not wire.below.reading
    transport.resume_reading()
    assert wire.below.reading
    wire.below.unsent = 7
    assert transport.get_write_buffer_size() == 7
    transport.set_write_buffer_limits(high=9)
    assert wire.below.high == 9
    assert not transport.can_write_eof()


class Talkative:
    """An OpenSSL that has something to say to every byte, as to a client that asks and asks."""

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, **_: Any) -> Talkative:
        self._incoming, self._outgoing = incoming, outgoing
        self.largest = 0
        return self

    def do_handshake(self) -> None: ...

    def pending(self) -> int:
        return 0

    def read(self, _: int) -> bytes:
        self.largest = max(self.largest, self._incoming.pending)
        self._outgoing.write(b"a" * len(self._incoming.read()))
        raise ssl.SSLWantReadError


@pytest.mark.parametrize("unsent", [0, 1], ids=["reads", "reads-not"])
async def test_a_client_that_makes_it_talk_and_reads_nothing_is_cut(unsent: int) -> None:
    openssl = Talkative()
    tls = TlsConnection(cast("ssl.SSLContext", openssl), App, loop=asyncio.get_running_loop())
    below = FakeTransport()
    below.unsent = unsent
    tls.connection_made(below)
    for _ in range(3):
        tls.data_received(b"?" * (ANSWERS_BYTES_MAX // 2 + 1))
    assert 0 < openssl.largest <= PIECE_BYTES
    assert below.aborted == bool(unsent)
