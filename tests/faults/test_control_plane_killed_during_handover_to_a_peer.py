"""The cachefleet that hands its lead over ends at each step of that; no write is lost, and no two
regions take any at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from cachefleet.provisioner.reconciler.milestones import Milestone
from tests.faults.caches import connected, write_again
from tests.faults.crashes import CrashingServer
from tests.support.length import at_length
from tests.support.peers import HERE, THERE, Peered, ShardedPeered, two_fleets
from tests.support.regions import Counter, refuses_writes, writes_on
from tests.support.server import Server
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.engine, pytest.mark.slow, at_length]

STEPS = [Milestone.REGION_HELD, Milestone.REGION_FENCED, Milestone.REGION_LEADS]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    folder = tmp_path_factory.mktemp("crashes")
    with two_fleets(folder, server_type=CrashingServer) as servers:
        yield servers


@pytest.fixture(scope="module")
def pair(two: tuple[Server, Server]) -> Peered:
    made = Peered(*two, "crash")
    made.join()
    return made


@pytest.fixture(scope="module")
def sharded(two: tuple[Server, Server]) -> ShardedPeered:
    made = ShardedPeered(*two, "shards")
    made.join()
    return made


@pytest.mark.parametrize("step", STEPS)
def test_a_handover_that_was_cut_short_is_carried_on(pair: Peered, step: Milestone) -> None:
    leads = next(region for region, role in pair.roles(HERE).items() if role == "PRIMARY")
    other = THERE if leads == HERE else HERE
    addresses = {region: pair.address(region) for region in (HERE, THERE)}
    with connected(addresses[leads]) as link:
        for number in range(200):
            link.set(f"{step.name}:{number}", number)
    server = pair.servers[leads]
    assert isinstance(server, CrashingServer)
    server.crash_at(step)
    pair.fail_over(other, asked_in=other)
    server.wait_dead()
    if step is not Milestone.REGION_LEADS:  # it was not handed over: nobody has taken it
        assert pair.role(addresses[other]) == "slave"
    server.start()
    pair.led_from(other)
    write_again(addresses[other])
    with connected(addresses[other]) as link:
        assert link.get(f"{step.name}:199") == "199"
    with connected(addresses[leads]) as link, pytest.raises(redis.ReadOnlyError):
        link.set("refused", "1")


@pytest.mark.parametrize("step", STEPS)
def test_so_is_one_in_cluster_mode(sharded: ShardedPeered, step: Milestone) -> None:
    leads = next(region for region, role in sharded.roles(HERE).items() if role == "PRIMARY")
    other = THERE if leads == HERE else HERE
    counter = Counter(sharded, prefix=step.name)
    counter.start()
    wait_until(lambda: len(counter.taken) > 50, what="it writes")
    server = sharded.servers[leads]
    assert isinstance(server, CrashingServer)
    server.crash_at(step)
    sharded.fail_over(other, asked_in=other)
    server.wait_dead()
    if step is not Milestone.REGION_LEADS:  # it was not handed over: nobody has taken it
        refuses_writes(sharded, other)
    server.start()
    sharded.led_from(other)
    writes_on(counter)
    taken = counter.stop()
    assert sharded.values(other, [*taken]) == taken
    sharded.arrives(leads, {**taken, **sharded.values(other, [f"{step.name}:sum"])})
    refuses_writes(sharded, leads)


def test_a_control_plane_that_was_lost_alone_finds_its_region_deposed(pair: Peered) -> None:
    leads = next(region for region, role in pair.roles(HERE).items() if role == "PRIMARY")
    other = THERE if leads == HERE else HERE
    addresses = {region: pair.address(region) for region in (HERE, THERE)}
    pair.servers[leads].kill()  # its nodes go on, and take writes
    pair.fail_over(other, asked_in=other)
    pair.led_from(other, told_in=(other,))
    write_again(addresses[other])
    pair.servers[leads].start()
    pair.led_from(other)
    wait_until(
        lambda: pair.role(addresses[leads]),
        lambda role: role == "slave",
        what="the old one follows",
    )
    assert "region_deposed" in pair.servers[leads].log
