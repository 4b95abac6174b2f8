"""The control plane ends at each step of a regional failover, under load; no write is lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cachefleet.provisioner.reconciler.milestones import Milestone
from tests.faults.crashes import CrashingServer
from tests.support.length import at_length
from tests.support.regions import HERE, THERE, Counter, ShardedPair, refuses_writes, writes_on
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.engine, pytest.mark.slow]

STEPS = [step for step in Milestone if step.startswith("regions.")]
TELLING = {Milestone.REGION_FENCED}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShardedPair]:
    with CrashingServer(tmp_path_factory.mktemp("crashes") / "data") as server:
        made = ShardedPair(server, "crash")
        made.join()
        yield made


@pytest.mark.parametrize(
    "step",
    [pytest.param(it, id=it.value, marks=() if it in TELLING else at_length) for it in STEPS],
)
def test_a_regional_failover_that_was_cut_short_is_carried_on(
    pair: ShardedPair, step: Milestone
) -> None:
    server = pair.server
    assert isinstance(server, CrashingServer)
    leads = next(region for region, role in pair.roles().items() if role == "PRIMARY")
    other = THERE if leads == HERE else HERE
    counter = Counter(pair, prefix=step.name)
    counter.start()
    wait_until(lambda: len(counter.taken) > 50, what="it writes")
    server.crash_at(step)
    pair.fail_over(other)
    server.wait_dead()
    server.start()
    pair.becomes("available")
    writes_on(counter)
    taken = counter.stop()
    assert pair.roles()[other] == "PRIMARY"
    assert pair.values(other, [*taken]) == taken
    pair.arrives(leads, taken)
    refuses_writes(pair, leads)
