"""Real engine nodes for tests: started from a rendered configuration, ended with the test."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import pytest

from cachefleet.engine.catalog import Catalog
from cachefleet.engine.discovery import Inventory, discover
from cachefleet.engine.errors import CommandRefused, NodeUnreachable, NoEngineBinary
from cachefleet.engine.types import Endpoint, Engine, EngineBinary
from cachefleet.engine.valkey.acl import password_sha256
from cachefleet.engine.valkey.adapter import ValkeyAdapter
from cachefleet.engine.valkey.config import (
    CLUSTER_CONFIG_FILE,
    ValkeyConfig,
    hidden_renames,
    renames_of,
    render_config,
)

DEADLINE_S = 30.0
POLL_S = 0.005
ADMIN, PASSWORD, PREFIX = "fleet-admin", "a secret with blanks", "hidden1"
NODE_TYPE = "cache.t3.micro"
# One network a test process, so that two runs on one machine do not meet.
NETWORK = f"127.{60 + os.getpid() % 60}.{os.getpid() // 60 % 250}"

T = TypeVar("T")

ENGINES = [
    pytest.param((Engine.VALKEY, "9.1", "valkey9"), id="valkey"),
    pytest.param((Engine.REDIS, "7.1", "redis7"), id="redis"),
]


def inventory() -> Inventory:
    """What this machine has; asked once a process, since the probes are kept."""
    return discover()


def find_binary(engine: Engine, version: str) -> EngineBinary | None:
    """A binary of exactly that kind, or None."""
    try:
        binary = inventory().choose(engine, version)
    except NoEngineBinary:
        return None
    return binary if binary.kind is engine else None


def need(engine: Engine, version: str) -> EngineBinary:
    binary = find_binary(engine, version)
    if binary is None:
        pytest.skip(f"no {engine} here")
    return binary


async def eventually(check: Callable[[], Awaitable[T]], *, within_s: float = DEADLINE_S) -> T:
    """The first true answer of *check*; AssertionError at the deadline."""
    answer: Any = None
    try:
        async with asyncio.timeout(within_s):
            while True:
                try:
                    answer = await check()
                except (NodeUnreachable, CommandRefused) as error:
                    answer = None
                    last: object = error
                else:
                    last = answer
                if answer:
                    return answer  # type: ignore[no-any-return]
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"not within {within_s} s; last seen: {last!r}") from None


class Node:
    """One Valkey or Redis process with its adapter; ``async with`` starts and ends it."""

    def __init__(
        self,
        binary: EngineBinary,
        number: int,
        *,
        family: str,
        parameters: Mapping[str, str] | None = None,
        nodes_conf: str | None = None,
        more_lines: str = "",
        **fields: Any,
    ) -> None:
        catalog = Catalog.load()
        node_type = catalog.node_type(NODE_TYPE)
        assert node_type is not None
        cluster = bool(fields.get("cluster_enabled"))
        self.directory = Path(tempfile.mkdtemp(prefix="cachefleet-test-"))
        self.endpoint = endpoint(number)
        self.config = ValkeyConfig(
            directory=str(self.directory),
            binds=(self.endpoint.host,),
            port=self.endpoint.port,
            unix_socket=str(self.directory / "s"),
            announce_host=self.endpoint.host,
            admin_user=ADMIN,
            admin_password_sha256=password_sha256(PASSWORD),
            primary_credentials=(ADMIN, PASSWORD),
            maxmemory_bytes=node_type.maxmemory_bytes,
            parameters=catalog.resolve_parameters(
                family, parameters or {}, node_type, cluster_enabled=cluster
            ),
            binary=binary,
            logfile=str(self.directory / "log"),
            renamed_commands=hidden_renames(PREFIX),
            secret_prefix=PREFIX,
            **fields,
        )
        (self.directory / "valkey.conf").write_text(render_config(self.config) + more_lines)
        if nodes_conf is not None:
            (self.directory / CLUSTER_CONFIG_FILE).write_text(nodes_conf)
        self.adapter = ValkeyAdapter(
            unix_socket=self.config.unix_socket,
            username=ADMIN,
            password=PASSWORD,
            renamed_commands=renames_of(self.config),
            timeout_s=DEADLINE_S,
        )
        self.process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        out = (self.directory / "out").open("wb")
        with out:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - a fork, no waiting
                [*self.config.binary.argv, str(self.directory / "valkey.conf")],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        try:
            await eventually(self._ready)
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.adapter.aclose()
        self._end()

    async def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.said()
        await self.adapter.ping()
        return True

    def _end(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.directory)

    def said(self) -> str:
        """What the process wrote, for the message of a failed test."""
        files = [self.directory / name for name in ("out", "log")]
        return "".join(path.read_text() for path in files if path.exists())


def endpoint(number: int) -> Endpoint:
    """The address of the node with that number."""
    return Endpoint(f"{NETWORK}.{number}", 6379)


async def linked(nodes: Iterable[Node]) -> None:
    """Wait until every one of the replicas is in sync."""

    for node in nodes:
        await eventually(partial(_is_linked, node))


async def _is_linked(node: Node) -> bool:
    return (await node.adapter.replication()).link_up
