"""Answers a stock memcached that asks whether a SASL login is good.

Cyrus SASL, which memcached is built with, asks over a Unix socket: name, password, service and
realm, each behind its length in two bytes; the answer is ``OK`` or ``NO``. It asks at every login,
so that passwords change without a restart, and several can be good. Refuses whatever is
longer or slower than a login can be.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import os
import stat
from pathlib import Path
from typing import Final

from cachefleet.engine.gateway.routes import LoginSocket

WORDS: Final = 4  # name, password, service, realm
WORD_BYTES_MAX: Final = 1024
TIMEOUT_S: Final = 2.0  # whoever asks waits for the answer with one of memcached's threads
YES, NO = b"\x00\x02OK", b"\x00\x02NO"


class SaslSocket:
    """Listens where *wanted* says, and knows what it says; that may be exchanged at any time."""

    def __init__(self, wanted: LoginSocket) -> None:
        self.wanted = wanted
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Raises OSError."""
        path = Path(self.wanted.socket_path)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        # Nobody may slip in between bind and chmod.
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(
                self._serve, str(path), limit=WORDS * WORD_BYTES_MAX
            )
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
        with contextlib.suppress(FileNotFoundError):
            Path(self.wanted.socket_path).unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                words = [await _word(reader) for _ in range(WORDS)]
                writer.write(YES if is_good(words[0], words[1], self.wanted) else NO)
                await writer.drain()
        except (OSError, EOFError, TimeoutError):
            pass  # whoever asked is told nothing, and takes that for a refusal
        finally:
            writer.close()


def is_good(user: bytes, password: bytes, wanted: LoginSocket) -> bool:
    """Tell whether *password* is one of *user*; how long that takes tells nothing."""
    told = hashlib.sha256(password).hexdigest()
    known = next((one.sha256s for one in wanted.users if one.user_name.encode() == user), ())
    same = [hmac.compare_digest(told, sha256) for sha256 in known or ("",)]
    return any(same)


async def _word(reader: asyncio.StreamReader) -> bytes:
    length = int.from_bytes(await reader.readexactly(2), "big")
    if length > WORD_BYTES_MAX:
        raise EOFError("longer than a login can be")
    return await reader.readexactly(length)
