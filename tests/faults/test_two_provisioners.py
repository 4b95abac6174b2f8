"""Two provisioners on one PostgreSQL database: never both at work on one group.

One holds the lease. When it goes in order the other has it at once; when it freezes or dies the
other has it once the lease has run out, and the one that wakes up does nothing more.
"""

from __future__ import annotations

import contextlib
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.faults.caches import create_group, kill_node, primary_address, primary_of, roles
from tests.support.audit import node_processes
from tests.support.durable import DurableValues
from tests.support.length import at_length
from tests.support.postgres import NoPostgres, PostgresCluster, run_postgres
from tests.support.server import Server
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.engine, pytest.mark.slow]

LEASE_TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresCluster]:
    try:
        with run_postgres() as cluster:
            yield cluster
    except NoPostgres as reason:
        pytest.skip(str(reason))


class Halves:
    """An API and two provisioners over one database and one directory of nodes."""

    def __init__(self, folder: Path, url: str, stack: contextlib.ExitStack) -> None:
        self.url = url
        data_dir = folder / "data"
        data_dir.mkdir()
        self.api = Server(data_dir, database_url=url)
        self.api.command = "api"
        stack.enter_context(self.api)
        self.provisioners = []
        for _ in range(2):
            one = Server(
                data_dir, database_url=url, endpoint_network=self.api.network, metrics_port="0"
            )
            one.command = "provisioner"
            stack.enter_context(one)
            self.provisioners.append(one)

    def holder(self) -> Server:
        """Return the provisioner that holds the lease of the only group."""

        def ask() -> Server | None:
            with psycopg.connect(self.url) as connection:
                row = connection.execute("SELECT lease_holder FROM subjects").fetchone()
            pid = (row[0] or "").rsplit("-", 2)[-2:-1] if row else []
            return next((p for p in self.provisioners if pid == [str(p.pid)]), None)

        holder = wait_until(ask, what="one of them holds the lease", timeout_s=LEASE_TIMEOUT_S)
        assert holder is not None
        return holder

    def other(self, one: Server) -> Server:
        return next(p for p in self.provisioners if p is not one)

    def metrics(self, one: Server) -> dict[str, float]:
        """Return what one of the processes counts, by name; 0 where there is no sample yet."""
        with urllib.request.urlopen(f"{one.url}/metrics", timeout=LEASE_TIMEOUT_S) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
        found = dict.fromkeys((family.name for family in families), 0.0)
        for sample in (sample for family in families for sample in family.samples):
            found[sample.name] = found.get(sample.name, 0) + sample.value
        return found

    def failovers(self) -> list[str]:
        answer = self.api.client().describe_events(
            SourceType="replication-group", SourceIdentifier="g"
        )
        return [e["Message"] for e in answer["Events"] if "Failover from" in e["Message"]]

    def whole(self, values: DurableValues) -> None:
        """Wait until the group has a primary and a replica in sync, each of which runs once."""
        wait_until(
            lambda: values.confirmed_by(1, timeout_ms=300),
            what="the replica is in sync",
            timeout_s=LEASE_TIMEOUT_S,
        )
        wait_until(
            lambda: sorted(roles(self.api.client(), "g").values()),
            lambda found: found == ["primary", "replica"],
            what="the roles are known",
        )
        running = node_processes(self.api.data_dir)
        assert [len(pids) for pids in running.values()] == [1, 1], running


@pytest.fixture
def halves(tmp_path: Path, postgres: PostgresCluster) -> Iterator[Halves]:
    with contextlib.ExitStack() as stack:
        halves = Halves(tmp_path, postgres.url(postgres.create_database()), stack)
        create_group(halves.api.client(), "g")
        yield halves


def test_the_other_goes_on_when_one_leaves_in_order(halves: Halves) -> None:
    client = halves.api.client()
    values = DurableValues(primary_address(client, "g"))
    with values.under_load():
        first = halves.holder()
        told, others = halves.metrics(first), halves.metrics(halves.other(first))
        assert told["cachefleet_provisioner_leases"] == 1
        assert told["cachefleet_provisioner_nodes_watched"] == 2
        assert others["cachefleet_provisioner_leases"] == 0
        assert {"cachefleet_gateway_up", "cachefleet_node_up"} <= told.keys()
        of_the_api = halves.metrics(halves.api)
        assert "cachefleet_http_requests_total" in of_the_api.keys() - told.keys()
        nodes = node_processes(halves.api.data_dir)
        assert first.stop() == 0
        assert halves.holder() is halves.other(first)
        assert node_processes(halves.api.data_dir) == nodes, "the fleet is the other's as well"
        kill_node(halves.api, primary_of(client, "g"))
        halves.whole(values)
    assert values.audit() == []
    assert len(halves.failovers()) == 1
    assert halves.other(first).stop() == 0
    assert node_processes(halves.api.data_dir) == {}, "it was the last"


@at_length
def test_one_that_was_frozen_does_nothing_when_it_wakes(halves: Halves) -> None:
    client = halves.api.client()
    values = DurableValues(primary_address(client, "g"))
    first = halves.holder()
    with values.under_load():
        os.kill(first.pid, signal.SIGSTOP)
        before = primary_of(client, "g")
        kill_node(halves.api, before)
        halves.whole(values)  # the other has the lease by now, and has failed over
        assert halves.holder() is halves.other(first)
        after, pids = primary_of(client, "g"), node_processes(halves.api.data_dir)
        os.kill(first.pid, signal.SIGCONT)
        # It is awake once it shares the work again: a new group may be its own.
        wait_until(lambda: "lease_distrusted" in first.log, what="the first one is awake")
        halves.whole(values)
    assert values.audit() == []
    assert after != before
    assert primary_of(client, "g") == after
    assert node_processes(halves.api.data_dir) == pids
    assert len(halves.failovers()) == 1
