"""The control plane ends at each step of a service update; the next one carries it on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from cachefleet.engine.types import Engine
from cachefleet.provisioner.reconciler.milestones import Milestone
from tests.faults.caches import connected, create_group, primary_address
from tests.faults.crashes import CrashingServer
from tests.support.acknowledged import AcknowledgedWrites
from tests.support.audit import require_agreement
from tests.support.length import at_length
from tests.support.server import available_group, group_of
from tests.support.upgrades import UpgradableBinary
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = [pytest.mark.engine, pytest.mark.slow]

NAME = "demo"
STEPS = [step for step in Milestone if step.startswith("update.")]
TELLING = Milestone.UPDATE_PRIMARY_MOVED


@dataclass
class Demo:
    """One group of two nodes, which is updated again and again."""

    server: CrashingServer
    binary: UpgradableBinary

    def versions(self) -> set[str]:
        found = set()
        for member in group_of(self.server.client(), NAME)["MemberClusters"]:
            node = self.server.node(member)
            with connected((str(node.host), int(node.port or 0))) as own:
                found.add(str(own.info("server")["valkey_version"]))
        return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("crashes")
    binary = UpgradableBinary(Engine.VALKEY, folder)
    with CrashingServer(folder / "data", valkey_server=str(binary.path)) as server:
        create_group(server.client(), NAME)
        yield Demo(server, binary)


def offered(client: ElastiCacheClient) -> str:
    """Wait until there is something to apply, and return its name."""
    open_ = wait_until(
        lambda: client.describe_update_actions(UpdateActionStatus=["not-applied"])["UpdateActions"],
        what="an update is offered",
    )
    return str(open_[0]["ServiceUpdateName"])


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(step, id=step.value, marks=() if step is TELLING else (at_length,))
        for step in STEPS
    ],
)
def test_an_update_that_was_cut_short_is_carried_on(demo: Demo, step: Milestone) -> None:
    server, client = demo.server, demo.server.client()
    version = demo.binary.upgrade()
    update = offered(client)
    writes = AcknowledgedWrites(primary_address(client, NAME))
    with writes.under_load():
        server.crash_at(step)
        client.batch_apply_update_action(ServiceUpdateName=update, ReplicationGroupIds=[NAME])
        server.wait_dead()
        server.start()
        available_group(server.client(), NAME)
        done = len(writes.acknowledged)
        wait_until(lambda: len(writes.acknowledged) > done + 20, what="writes go on")
    require_agreement(server)
    (action,) = server.client().describe_update_actions(ServiceUpdateName=update)["UpdateActions"]
    assert (action["UpdateActionStatus"], action["NodesUpdated"]) == ("complete", "2/2")
    assert writes.lost() == []
    assert demo.versions() == {version}
