"""What the serverless endpoint believes of commands is what the engines themselves say."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import valkey

from cachefleet.engine.gateway.serverless.commands import (
    MOVABLE,
    POSITIONS,
    READS,
    UNAVAILABLE,
)
from cachefleet.engine.gateway.serverless.handlers import HANDLERS
from cachefleet.engine.types import Engine
from tests.conformance.engines import inventory
from tests.support.waiting import wait_until

pytestmark = pytest.mark.engine

# Seen to where they are handled, or any shard's as they are.
ANYWHERE = frozenset(b"AUTH HELLO ECHO TIME ROLE LOLWUT COMMAND SELECT EXEC DISCARD".split())


@pytest.fixture(scope="module", params=["valkey", "redis"])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Give the rows of COMMAND of an engine."""
    version = {"valkey": "8.2", "redis": "7.1"}[request.param]
    binary = inventory().choose(Engine(request.param), version)
    directory: Path = tmp_path_factory.mktemp("engine")
    path = directory / "socket"
    process = subprocess.Popen(
        [*binary.argv, "--port", "0", "--unixsocket", str(path), "--save", ""],
        cwd=directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    client: Any = valkey.Valkey(unix_socket_path=str(path))
    try:
        wait_until(client.ping, what="it answers", passing=(valkey.ConnectionError,))
        client.response_callbacks.clear()
        yield client.execute_command("COMMAND")
    finally:
        client.close()
        process.kill()
        process.wait()


def test_positions_of_keys_are_the_engines(told: Any) -> None:
    for name, _, flags, first, last, step, *_ in told:
        upper = name.upper()
        if upper in UNAVAILABLE or (upper in HANDLERS and upper not in POSITIONS):
            continue
        if b"movablekeys" in flags or first == 0:
            assert upper in MOVABLE or (first == 0 and upper not in POSITIONS), name
            continue
        assert POSITIONS[upper] == (first, last, step), name


def test_reads_are_what_the_engines_call_so(told: Any) -> None:
    for name, _, flags, *_ in told:
        upper = name.upper()
        if upper not in UNAVAILABLE and upper not in HANDLERS:
            assert (upper in READS) == (b"readonly" in flags), name


def test_every_command_is_known_or_refused(told: Any) -> None:
    known = POSITIONS.keys() | MOVABLE.keys() | UNAVAILABLE | HANDLERS.keys() | ANYWHERE
    unknown = {name for name, *_ in told if name.upper() not in known}
    assert unknown == set()
