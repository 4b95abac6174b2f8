"""A Redis or Valkey server that is none of the fleet's, as a customer's own would be."""

from __future__ import annotations

import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import redis

from cachefleet.engine.discovery import discover
from cachefleet.engine.types import Engine
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache.type_defs import CustomerNodeEndpointTypeDef

STOP_TIMEOUT_S = 10.0
PORT_MAX = 55_000


class OutsideServer:
    """One server on 127.0.0.1, with *options* as on its command line (``port`` is chosen)."""

    def __init__(self, engine: Engine = Engine.VALKEY, **options: str) -> None:
        binaries = discover().binaries
        self._argv = next(binary.argv for binary in binaries if binary.kind is engine)
        self._options = {"save": "", "repl-diskless-sync-delay": "0", **options}
        self._directory = tempfile.TemporaryDirectory(prefix="cachefleet-outside-")
        self._process: subprocess.Popen[bytes] | None = None
        self.host, self.port = "127.0.0.1", free_port()
        self.password = options.get("requirepass")  # none by default

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.kill()
        self._directory.cleanup()

    def start(self) -> None:
        """Start it, and return once it answers."""
        words = [
            word
            for name, value in self._options.items()
            for word in (f"--{name}", *(value.split() or [""]))
        ]
        with (Path(self._directory.name) / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._argv, "--port", str(self.port), "--dir", self._directory.name, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        with self.client() as client:
            wait_until(client.ping, what="it answers", passing=(redis.RedisError,))

    def kill(self) -> None:
        """End it without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)

    def client(self) -> redis.Redis:
        """Return a client of it."""
        return redis.Redis(
            host=self.host, port=self.port, password=self.password, decode_responses=True
        )

    @property
    def endpoints(self) -> list[CustomerNodeEndpointTypeDef]:
        """What a request names it by."""
        return [{"Address": self.host, "Port": self.port}]


def free_port() -> int:
    """Return a port that nobody listens on, with room for a cluster's bus 10000 above."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port <= PORT_MAX:
            return port
