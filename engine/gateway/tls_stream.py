"""The server's side of one TLS connection, between a plain transport and the protocol it serves.

To the transport below it is a protocol, to the protocol above it is a transport. The loop's own
TLS asks OpenSSL for more until it fails, with fresh memory of a quarter of a megabyte each time:
three system calls and an exception for every batch of requests. Here OpenSSL is asked as often as
there is something to give, a record at a time.

The end is as engines end: what was written is sent, ``close_notify`` behind it, and the connection
is closed without waiting for the client's. There is no half-close over TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any, Final, cast

RECORD_BYTES_MAX: Final = 16 * 1024  # of clear text: what one read of OpenSSL gives at most
# OpenSSL's buffers never shrink: so much is put into them at a time, whatever was read or written.
PIECE_BYTES: Final = 32 * 1024
# What OpenSSL itself says to a client that reads nothing: it is not counted by who writes.
ANSWERS_BYTES_MAX: Final = 64 * 1024


class TlsConnection(asyncio.Transport, asyncio.Protocol):
    """One connection; *protocol_factory* is called when the handshake is done."""

    __slots__ = (
        "_answered", "_app", "_closing", "_finished", "_handshaken", "_incoming", "_make_app",
        "_outgoing", "_raw", "_tls",
    )  # fmt: skip

    def __init__(
        self,
        context: ssl.SSLContext,
        protocol_factory: Callable[[], asyncio.Protocol],
        *,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._make_app = protocol_factory
        self._app: asyncio.Protocol | None = None
        self._handshaken: asyncio.Future[None] = loop.create_future()
        self._raw: asyncio.Transport | None = None
        self._answered = 0  # bytes that OpenSSL said since the client last took all
        self._finished = False  # the client said that it sends no more
        self._closing = False

    async def handshake(self) -> None:
        """Return when the handshake is done and the protocol has its transport.

        Raises:
            OSError: the client said something else (``ssl.SSLError``), or left.
        """
        await self._handshaken

    def forsake(self) -> None:
        """Give the connection up; the loop may not say that it is lost."""
        if self._raw is not None and not self._closing:
            self.abort()

    # To the transport below: a protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if len(data) <= PIECE_BYTES:
            self._received(data)
            return
        whole = memoryview(data)
        for at in range(0, len(whole), PIECE_BYTES):
            self._received(whole[at : at + PIECE_BYTES])

    def eof_received(self) -> bool:
        self._end()
        return False

    def pause_writing(self) -> None:
        if self._app is not None:
            self._app.pause_writing()

    def resume_writing(self) -> None:
        if self._app is not None:
            self._app.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._give_up_handshake(exc or ConnectionResetError("it left in the handshake"))
        app, self._app = self._app, None
        if app is not None:
            app.connection_lost(exc)

    # To the protocol above: a transport.

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._closing or not data:
            return
        if len(data) <= RECORD_BYTES_MAX:
            self._tls.write(data)
            self._below.write(self._outgoing.read())
            return
        rest = memoryview(data)
        while rest:
            rest = rest[self._tls.write(rest[:PIECE_BYTES]) :]
            self._below.write(self._outgoing.read())

    def close(self) -> None:
        if self._closing:
            return
        if self._app is not None:
            with contextlib.suppress(ssl.SSLError):  # it would wait for the client's
                self._tls.unwrap()
            self._answer()
        self._closing = True
        self._below.close()

    def abort(self) -> None:
        self._closing = True
        self._below.abort()

    def is_closing(self) -> bool:
        return self._closing or self._below.is_closing()

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self._below.pause_reading()

    def resume_reading(self) -> None:
        self._below.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._below.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._below.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._tls if name == "ssl_object" else self._below.get_extra_info(name, default)

    # Between the two.

    @property
    def _below(self) -> asyncio.Transport:
        assert self._raw is not None
        return self._raw

    def _received(self, data: bytes | memoryview[Any]) -> None:
        if self._closing:
            return
        self._incoming.write(data)
        try:
            if self._app is None and not self._shake_hands():
                return
            clear = self._clear_text()
        except ssl.SSLError as error:
            self._fail(error)
            return
        if self._outgoing.pending:
            self._answer()
        if clear and self._app is not None:
            self._app.data_received(clear)
        if self._finished:
            self._end()

    def _clear_text(self) -> bytes:
        """Return all that can be read by now; raises ``ssl.SSLError``."""
        tls, incoming = self._tls, self._incoming
        parts: list[bytes] = []
        while incoming.pending:  # OpenSSL takes no more of it than the record that it reads
            try:
                part = tls.read(RECORD_BYTES_MAX)
            except ssl.SSLWantReadError:
                break  # half of a record
            if not part:
                self._finished = True  # what may come behind it is nobody's
                break
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _shake_hands(self) -> bool:
        """Go on with the handshake; tell whether data may be read. Raises ``ssl.SSLError``."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._answer()
            return False
        self._answer()
        self._app = self._make_app()
        self._app.connection_made(self)
        if not self._handshaken.done():
            self._handshaken.set_result(None)
        return not self._closing

    def _answer(self) -> None:
        """Send what OpenSSL itself has to say."""
        answer = self._outgoing.read()
        if self._below.get_write_buffer_size() == 0:
            self._answered = 0
        self._answered += len(answer)
        if self._answered > ANSWERS_BYTES_MAX:
            self.abort()
        elif answer:
            self._below.write(answer)

    def _end(self) -> None:
        """The client sends no more. Nothing is sent to it either: TLS closes both directions."""
        if self._app is not None and not self._closing:
            self._app.eof_received()
            self.close()

    def _fail(self, error: ssl.SSLError) -> None:
        """Tell the client what was wrong, where it listens, and close."""
        self._give_up_handshake(error)
        if self._below.get_write_buffer_size():
            self.abort()
            return
        self._answer()
        self._closing = True
        self._below.close()

    def _give_up_handshake(self, error: Exception) -> None:
        if not self._handshaken.done():
            self._handshaken.set_exception(error)
            self._handshaken.exception()  # looked at: whoever waited for it may be gone
