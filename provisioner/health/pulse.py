"""One light connection a node, over its control socket, that asks for a sign of life.

Any answer is life: ``PONG``, a refusal to serve without a password, ``LOADING``, ``BUSY``. Written
on bare protocols because a hundred of these must not be felt.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

from cachefleet.engine.types import Endpoint, Engine

QUESTIONS = {
    Engine.VALKEY: b"PING\r\n",
    Engine.REDIS: b"PING\r\n",
    Engine.MEMCACHED: b"version\r\n",
}


class Pulse(asyncio.Protocol):
    """Asks once, remembers since when an answer is owed."""

    def __init__(self, question: bytes) -> None:
        self._question = question
        self._transport: asyncio.WriteTransport | None = None
        self.owed_since_s: float | None = None

    @classmethod
    async def connect(cls, where: Path | Endpoint, *, question: bytes, timeout_s: float) -> Pulse:
        """Connect to a node's control socket, or to its port where it has none.

        Raises:
            OSError, TimeoutError: nobody listens, or nobody accepts.
        """
        loop = asyncio.get_running_loop()
        pulse = cls(question)
        async with asyncio.timeout(timeout_s):
            if isinstance(where, Path):
                await loop.create_unix_connection(lambda: pulse, str(where))
            else:
                await loop.create_connection(lambda: pulse, where.host, where.port)
        return pulse

    def ask(self, now_s: float) -> None:
        """Send the question, unless the last one is still unanswered."""
        if self._transport is not None and self.owed_since_s is None:
            self.owed_since_s = now_s
            self._transport.write(self._question)

    def forgive(self, now_s: float) -> None:
        """Count the silence from now on."""
        if self.owed_since_s is not None:
            self.owed_since_s = now_s

    @property
    def connected(self) -> bool:
        return self._transport is not None

    def close(self) -> None:
        """Give the connection up."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self.owed_since_s = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
