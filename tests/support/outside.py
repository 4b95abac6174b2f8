"""A Redis or Valkey server that is none of the fleet's, as a customer's own would be."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import redis
from redis.cluster import RedisCluster

from cachefleet.engine.discovery import discover
from cachefleet.engine.types import Engine
from cachefleet.engine.valkey.cluster import SLOT_COUNT
from tests.support.ports import own_port
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache.type_defs import CustomerNodeEndpointTypeDef

STOP_TIMEOUT_S = 30.0


class OutsideServer:
    """One server on 127.0.0.1, with *options* as on its command line (``port`` is chosen)."""

    def __init__(self, engine: Engine = Engine.VALKEY, **options: str) -> None:
        binaries = discover().binaries
        self._argv = next(binary.argv for binary in binaries if binary.kind is engine)
        self._options = {"save": "", "repl-diskless-sync-delay": "0", **options}
        self._directory = tempfile.TemporaryDirectory(prefix="cachefleet-outside-")
        self._process: subprocess.Popen[bytes] | None = None
        self.host, self.port = "127.0.0.1", own_port()
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


class OutsideCluster:
    """A cluster of *shards* primaries that is none of the fleet's; slots are shared out evenly."""

    def __init__(self, shards: int, engine: Engine = Engine.VALKEY, **options: str) -> None:
        told = {"cluster-enabled": "yes", "cluster-node-timeout": "5000", **options}
        self.nodes = [OutsideServer(engine, **told) for _ in range(shards)]

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for node in self.nodes:
                stack.enter_context(node)
            share = SLOT_COUNT // len(self.nodes)
            for number, node in enumerate(self.nodes):
                last = SLOT_COUNT - 1 if node is self.nodes[-1] else (number + 1) * share - 1
                with node.client() as client:
                    client.execute_command("CLUSTER", "ADDSLOTSRANGE", number * share, last)
                    client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                    if number:
                        first = self.nodes[0]
                        client.execute_command("CLUSTER", "MEET", first.host, first.port)
            for node in self.nodes:
                with node.client() as client:
                    wait_until(
                        lambda client=client: client.execute_command("CLUSTER", "INFO"),  # type: ignore[misc]
                        lambda told: (
                            "cluster_state:ok" in str(told)
                            and f"cluster_known_nodes:{len(self.nodes)}" in str(told)
                        ),
                        what="the cluster outside is whole",
                    )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *told: object) -> None:
        self._stack.close()

    @property
    def endpoints(self) -> list[CustomerNodeEndpointTypeDef]:
        """What a request names it by: one of its nodes is enough."""
        return self.nodes[0].endpoints

    def client(self) -> RedisCluster:
        """Return a client of it."""
        first = self.nodes[0]
        return RedisCluster(host=first.host, port=first.port, decode_responses=True)
