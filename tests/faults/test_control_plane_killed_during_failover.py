"""The control plane ends while it fails over: the next one finds how far it got, and concludes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.faults.caches import (
    create_group,
    kill_node,
    missing_numbers,
    primary_address,
    primary_of,
    roles,
    write_again,
    write_numbers,
)
from tests.support.audit import require_agreement
from tests.support.server import Server

pytestmark = [pytest.mark.engine, pytest.mark.slow]

WRITES = 50
# From before it has heard of the loss to after it has written everything down.
DELAYS_S = (0.0, 0.004, 0.008, 0.012, 0.02, 0.04)


def test_a_failover_that_was_cut_short_is_concluded(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        create_group(server.client(), "g")
        address = primary_address(server.client(), "g")
        for number, delay_s in enumerate(DELAYS_S):
            before = primary_of(server.client(), "g")
            write_numbers(address, number * WRITES, WRITES, replicas=1)
            kill_node(server, before)
            threading.Event().wait(delay_s)  # the instant of the fault
            server.kill()
            server.start()
            write_again(address)
            require_agreement(server)
            client = server.client()
            assert missing_numbers(address, (number + 1) * WRITES) == []
            assert primary_of(client, "g") != before
            assert sorted(roles(client, "g").values()) == ["primary", "replica"]
            assert primary_address(client, "g") == address


def test_a_loss_that_nobody_saw_is_found_at_the_next_start(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        create_group(server.client(), "g")
        address, before = primary_address(server.client(), "g"), primary_of(server.client(), "g")
        write_numbers(address, 0, WRITES, replicas=1)
        server.kill()
        kill_node(server, before)
        server.start()
        write_again(address)
        require_agreement(server)
        assert missing_numbers(address, WRITES) == []
        assert primary_of(server.client(), "g") != before
