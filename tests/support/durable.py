"""A client that writes all the time and knows which of its writes must outlive one lost node.

Replication is asynchronous: what a primary alone has goes with it. A write that at least one
replica has confirmed (``WAIT``) must not, because the replica with the highest offset is promoted.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis
import redis.exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.waiting import wait_until

Address = tuple[str, int]

TIMEOUT_S = 0.5
CONFIRM_MS = 60
PAUSE_S = 0.004
JOIN_TIMEOUT_S = 30.0
KEY_COUNT = 12
READ_TIMEOUT_S = 30.0


class DurableValues:
    """Numbered values behind a primary endpoint, or behind the configuration endpoint of a cluster.

    A client is led by MOVED, and asks the endpoint again when a node is lost.
    """

    def __init__(self, endpoint: Address) -> None:
        self._endpoint = endpoint
        self._keys = [f"durable:{number}" for number in range(KEY_COUNT)]
        self._stopping = threading.Event()
        self.tried = dict.fromkeys(self._keys, 0)
        self.durable = dict.fromkeys(self._keys, 0)
        self.acknowledged = 0

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

    def confirmed_by(self, replicas: int, *, timeout_ms: int) -> bool:
        """Tell whether a write of each key reaches so many replicas; a way to wait for them."""
        reader = _Links(self._endpoint)
        try:
            return all(
                reader.write(key, None, replicas, timeout_ms) >= replicas for key in self._keys
            )
        except (redis.RedisError, OSError):
            return False
        finally:
            reader.close()

    def audit(self) -> list[str]:
        """Return what is wrong with any key; nobody may be writing."""
        reader = _Links(self._endpoint)
        try:
            return [
                f"{key}: {number}, confirmed {self.durable[key]}, tried {self.tried[key]}"
                for key in self._keys
                for number in [reader.read(key)]
                if not self.durable[key] <= number <= self.tried[key]
            ]
        finally:
            reader.close()

    def _run(self) -> None:
        links = _Links(self._endpoint)
        turn = 0
        while not self._stopping.wait(PAUSE_S):
            key = self._keys[turn % len(self._keys)]
            turn += 1
            self.tried[key] += 1
            try:
                if links.write(key, self.tried[key], 1, CONFIRM_MS) >= 1:
                    self.durable[key] = self.tried[key]
                self.acknowledged += 1
            except (redis.RedisError, OSError):
                links.close()
        links.close()


class _Links:
    """One connection a node, and which node each key was last found at."""

    def __init__(self, endpoint: Address) -> None:
        self._endpoint = endpoint
        self._links: dict[Address, Any] = {}
        self._owners: dict[str, Address] = {}

    def write(self, key: str, number: int | None, replicas: int, timeout_ms: int) -> int:
        """Write a key (a key of the same slot where *number* is None); return who confirmed it."""
        words = ("SET", key, number) if number is not None else ("SET", f"{{{key}}}:probe", "x")
        link = self._command(key, words)[0]
        # On the same connection: it asks about what that has written last.
        return int(str(link.execute_command("WAIT", replicas, timeout_ms)))

    def read(self, key: str) -> int:
        """Return the number that a key has now, once it can be read; 0 where there is none."""

        def ask() -> int:
            try:
                return int(str(self._command(key, ("GET", key))[1] or 0))
            except (redis.RedisError, OSError):
                self.close()
                raise

        return wait_until(
            ask,
            lambda _: True,
            what=f"{key} can be read",
            timeout_s=READ_TIMEOUT_S,
            passing=(redis.RedisError, OSError),
        )

    def close(self) -> None:
        """Forget everything that was learned."""
        for link in self._links.values():
            link.close()
        self._links.clear()
        self._owners.clear()

    def _command(self, key: str, words: Sequence[object]) -> tuple[Any, object]:
        for _ in range(3):
            address = self._owners.get(key, self._endpoint)
            link = self._links.get(address)
            if link is None:
                link = self._links[address] = redis.Redis(
                    host=address[0],
                    port=address[1],
                    socket_timeout=TIMEOUT_S,
                    socket_connect_timeout=TIMEOUT_S,
                    single_connection_client=True,
                    decode_responses=True,
                    retry=Retry(NoBackoff(), 0),
                )
            try:
                answer: object = link.execute_command(*words)
            except redis.exceptions.AskError as error:  # MOVED too
                self._owners[key] = error.host, error.port
            else:
                return link, answer
        raise redis.ConnectionError("led in circles")
