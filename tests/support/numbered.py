"""Clients that write numbered values without a pause, and the audit of what became of them.

Every key holds the number of its last write. A number that a replica has confirmed may be followed
by ones that none has, never be gone: an audit finds any key that is missing or older than promised.
What a primary alone has goes with it, as replication is asynchronous.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from typing import Any

from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException, RedisError

KEYS_PER_PIPELINE = 500
SOCKET_TIMEOUT_S = 10.0
CONFIRM_MS = 100
PADDING = "x" * 100
JOIN_TIMEOUT_S = 60.0


class NumberedValues:
    """*key_count* keys in the cluster behind a configuration endpoint."""

    def __init__(self, host: str, port: int, *, key_count: int) -> None:
        self._host, self._port = host, port
        self._keys = [f"key-{number}" for number in range(key_count)]
        self._confirmed = dict.fromkeys(self._keys, 0)
        self._tried = dict.fromkeys(self._keys, 0)
        self._stopping = threading.Event()
        self.calls = 0
        self.failures: list[str] = []  # what clients saw; a failover may cost some
        self.stale: list[str] = []  # answers that were older than what was confirmed before

    def connect(self) -> Any:
        """Return a cluster client that begins at the configuration endpoint."""
        return RedisCluster(
            host=self._host,
            port=self._port,
            socket_timeout=SOCKET_TIMEOUT_S,
            decode_responses=True,
        )

    def fill(self) -> None:
        """Write every key once."""
        with contextlib.closing(self.connect()) as client:
            for keys in self._portions():
                pipeline = client.pipeline()
                for key in keys:
                    pipeline.set(key, f"1 {PADDING}")
                pipeline.execute()
        self._confirmed = dict.fromkeys(self._keys, 1)
        self._tried = dict.fromkeys(self._keys, 1)

    @contextlib.contextmanager
    def under_load(self) -> Iterator[None]:
        """Read and write keys at random all the time."""
        self._stopping.clear()
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            thread.join(JOIN_TIMEOUT_S)
            assert not thread.is_alive(), "a client call has not come back"

    def audit(self) -> list[str]:
        """Return what is wrong with any key."""
        wrong = []
        with contextlib.closing(self.connect()) as client:
            for keys in self._portions():
                pipeline = client.pipeline()
                for key in keys:
                    pipeline.get(key)
                for key, value in zip(keys, pipeline.execute(), strict=True):
                    number = _number(value)
                    if not self._confirmed[key] <= number <= self._tried[key]:
                        wrong.append(f"{key}: {number}, confirmed {self._confirmed[key]}")
        return wrong

    def _run(self) -> None:
        dice = random.Random(0)
        with contextlib.closing(self.connect()) as client:
            while not self._stopping.is_set():
                key = dice.choice(self._keys)
                try:
                    self._call(client, key, writes=dice.random() < 0.5)
                except (RedisError, RedisClusterException, OSError) as error:
                    self.failures.append(f"{type(error).__name__}: {error}")
                    self._stopping.wait(0.05)
                except AttributeError:
                    # This client library trips over ASK to a node that owned nothing when it last
                    # asked who owns what; others connect there.
                    client.nodes_manager.initialize()
                self.calls += 1

    def _call(self, client: Any, key: str, *, writes: bool) -> None:
        if writes:
            self._tried[key] += 1
            client.set(key, f"{self._tried[key]} {PADDING}")
            # On the same connection, the one that was given back last: it asks about this write.
            if client.wait(1, CONFIRM_MS, target_nodes=client.get_node_from_key(key)):
                self._confirmed[key] = self._tried[key]
            return
        promised = self._confirmed[key]
        number = _number(client.get(key))
        if number < promised:
            self.stale.append(f"{key}: {number}, confirmed {promised}")

    def _portions(self) -> Iterator[list[str]]:
        for first in range(0, len(self._keys), KEYS_PER_PIPELINE):
            yield self._keys[first : first + KEYS_PER_PIPELINE]


def _number(value: str | None) -> int:
    return -1 if value is None else int(value.split(" ", 1)[0])
