"""A primary stops answering: it is ended before anybody else becomes primary, and stays so."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import psutil
import pytest

from tests.faults.caches import (
    create_group,
    missing_numbers,
    pid_of,
    primary_address,
    primary_of,
    write_again,
    write_numbers,
)
from tests.support.audit import events, require_agreement
from tests.support.server import Server
from tests.support.waiting import wait_until

pytestmark = pytest.mark.engine

WRITES = 100
TIMEOUT_S = 1.0
HICCUP_S = 0.3
GONE_TIMEOUT_S = 30.0


def require_ended(process: psutil.Process) -> None:
    """Wait for a process to end; what only waits for its parent to notice has ended."""

    def ended() -> bool:
        try:
            return bool(process.status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True

    wait_until(ended, what="the hung process is ended", timeout_s=GONE_TIMEOUT_S)


def test_a_hung_primary_is_fenced_and_does_not_come_back_when_it_wakes(tmp_path: Path) -> None:
    with Server(tmp_path / "data", failover_timeout_s=str(TIMEOUT_S)) as server:
        client = server.client()
        create_group(client, "g")
        address, before = primary_address(client, "g"), primary_of(client, "g")
        write_numbers(address, 0, WRITES, replicas=1)
        hung = psutil.Process(pid_of(server, before))
        hung.suspend()
        write_again(address)
        require_ended(hung)
        require_agreement(server)
        assert primary_of(client, "g") != before
        assert missing_numbers(address, WRITES) == []
        assert sum("Failover" in message for message in events(server, "g")) == 1


def test_a_hiccup_is_no_failure(tmp_path: Path) -> None:
    with Server(tmp_path / "data", failover_timeout_s=str(4 * TIMEOUT_S)) as server:
        client = server.client()
        create_group(client, "g")
        address, before = primary_address(client, "g"), primary_of(client, "g")
        pid = pid_of(server, before)
        os.kill(pid, signal.SIGSTOP)
        threading.Event().wait(HICCUP_S)  # the fault itself: nothing is to be waited for
        os.kill(pid, signal.SIGCONT)
        write_again(address)
        require_agreement(server)
        assert (primary_of(client, "g"), pid_of(server, before)) == (before, pid)
        assert not any("Failover" in message for message in events(server, "g"))


def test_a_primary_that_hung_while_nobody_watched_is_found(tmp_path: Path) -> None:
    with Server(tmp_path / "data", failover_timeout_s=str(TIMEOUT_S)) as server:
        client = server.client()
        create_group(client, "g")
        address, before = primary_address(client, "g"), primary_of(client, "g")
        write_numbers(address, 0, WRITES, replicas=1)
        hung = psutil.Process(pid_of(server, before))
        server.kill()
        hung.suspend()
        server.start()
        write_again(address)
        require_agreement(server)
        require_ended(hung)
        assert primary_of(server.client(), "g") != before
        assert missing_numbers(address, WRITES) == []


def test_a_hung_replica_is_replaced(tmp_path: Path) -> None:
    with Server(tmp_path / "data", failover_timeout_s=str(TIMEOUT_S)) as server:
        client = server.client()
        create_group(client, "g")
        address, primary = primary_address(client, "g"), primary_of(client, "g")
        [replica] = {f"g-{number:03}" for number in (1, 2)} - {primary}
        hung = psutil.Process(pid_of(server, replica))
        hung.suspend()
        require_ended(hung)
        require_agreement(server)
        write_numbers(address, 0, WRITES, replicas=1)
        assert primary_of(client, "g") == primary
