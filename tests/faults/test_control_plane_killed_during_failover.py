"""The control plane ends at each step of a failover; the next one finds how far it got."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cachefleet.provisioner.reconciler.milestones import Milestone
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
from tests.faults.crashes import CrashingServer
from tests.support.audit import events, require_agreement
from tests.support.length import at_length
from tests.support.server import Server

pytestmark = [pytest.mark.engine, pytest.mark.slow]

WRITES = 50
STEPS = [step for step in Milestone if step.startswith("failover.")]
# Of the others, what comes before is the same as at the step behind it.
TELLING = (Milestone.PROMOTED, Milestone.ROLES_WRITTEN)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrashingServer]:
    with CrashingServer(tmp_path_factory.mktemp("crashes") / "data") as running:
        create_group(running.client(), "g")
        yield running


@pytest.mark.parametrize(
    "step",
    [pytest.param(it, id=it.value, marks=() if it in TELLING else at_length) for it in STEPS],
)
def test_a_failover_that_was_cut_short_is_concluded(server: CrashingServer, step: str) -> None:
    client = server.client()
    address, before = primary_address(client, "g"), primary_of(client, "g")
    said = len(events(server, "g"))
    write_numbers(address, 0, WRITES, replicas=1)
    server.crash_at(step)
    kill_node(server, before)
    server.wait_dead()
    server.start()
    write_again(address)
    require_agreement(server)
    client = server.client()
    after = primary_of(client, "g")
    assert after != before
    assert missing_numbers(address, WRITES) == []
    assert sorted(roles(client, "g").values()) == ["primary", "replica"]
    assert primary_address(client, "g") == address
    assert events(server, "g")[said:] == [
        f"Failover from primary node {before} to replica node {after} completed"
    ]


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
