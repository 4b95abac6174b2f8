"""The gateway ends or hangs: its endpoints come back by themselves, and hold no stale routes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.faults.caches import (
    AWAY,
    SOON_S,
    connected,
    create_group,
    primary_address,
    reader_address,
    write_numbers,
)
from tests.support.audit import gateway_pid, require_agreement
from tests.support.server import Server
from tests.support.waiting import wait_until

pytestmark = pytest.mark.engine


def readable(address: tuple[str, int]) -> bool:
    with connected(address, timeout_s=SOON_S) as client:
        return bool(client.get("{n}:0") == "0")


def test_the_reader_endpoint_comes_back(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        client = server.client()
        create_group(client, "g")
        primary, reader = primary_address(client, "g"), reader_address(client, "g")
        write_numbers(primary, 0, 1, replicas=1)
        before = gateway_pid(server)
        for _ in range(2):
            os.kill(gateway_pid(server), signal.SIGKILL)
            wait_until(lambda: readable(reader), what="the reader endpoint", passing=AWAY)
        assert gateway_pid(server) != before
        assert reader_address(client, "g") == reader

        server.kill()  # and once more with nobody there to notice
        os.kill(gateway_pid(server), signal.SIGKILL)
        server.start()
        wait_until(lambda: readable(reader), what="the reader endpoint", passing=AWAY)
        require_agreement(server)


def test_a_gateway_that_hangs_is_replaced(tmp_path: Path) -> None:
    with Server(tmp_path / "data", failover_timeout_s="1") as server:
        client = server.client()
        create_group(client, "g")
        primary, reader = primary_address(client, "g"), reader_address(client, "g")
        write_numbers(primary, 0, 1, replicas=1)
        hung = gateway_pid(server)
        os.kill(hung, signal.SIGSTOP)
        wait_until(lambda: readable(reader), what="the reader endpoint", passing=AWAY)
        assert gateway_pid(server) != hung
        require_agreement(server)
