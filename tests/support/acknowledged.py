"""A client that writes a new key all the time, and knows which of its writes were acknowledged."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

Address = tuple[str, int]

TIMEOUT_S = 10.0
PAUSE_S = 0.002
JOIN_TIMEOUT_S = 60.0


class AcknowledgedWrites:
    """Keys behind a primary endpoint. An error costs a connection, never a promise."""

    def __init__(self, endpoint: Address) -> None:
        self._endpoint = endpoint
        self._stopping = threading.Event()
        self._next = 0
        self.acknowledged: list[int] = []
        self.failures: list[str] = []

    @contextmanager
    def under_load(self) -> Iterator[None]:
        """Write all the time."""
        self._stopping.clear()
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            thread.join(JOIN_TIMEOUT_S)
            assert not thread.is_alive(), "a client call has not come back"

    def lost(self) -> list[int]:
        """Return which acknowledged writes cannot be read."""
        with self._connected() as client:
            values = client.mget([f"w:{number}" for number in self.acknowledged])
        return [n for n, value in zip(self.acknowledged, values, strict=True) if value != str(n)]

    def _run(self) -> None:
        client = self._connected()
        while not self._stopping.wait(PAUSE_S):
            number, self._next = self._next, self._next + 1
            try:
                client.set(f"w:{number}", number)
            except (redis.RedisError, OSError) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                client.close()
            else:
                self.acknowledged.append(number)
        client.close()

    def _connected(self) -> redis.Redis:
        return redis.Redis(
            host=self._endpoint[0],
            port=self._endpoint[1],
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            single_connection_client=True,
            decode_responses=True,
        )
