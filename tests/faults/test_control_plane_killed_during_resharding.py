"""The control plane ends at each step of a resharding, under load; the next one carries it on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from cachefleet.engine.types import Engine
from cachefleet.engine.valkey.cluster import check_partition, parse_slots
from cachefleet.provisioner.reconciler.milestones import Milestone
from tests.conformance.engines import find_binary
from tests.faults.crashes import CrashingServer
from tests.support.audit import require_agreement
from tests.support.length import at_length
from tests.support.numbered import NumberedValues
from tests.support.server import available_group

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = [pytest.mark.engine, pytest.mark.slow]

KEY_COUNT = 2_000
BOTH = (Milestone.SHARDS_OPENED, Milestone.PROGRESS_WRITTEN, Milestone.LAYOUT_WRITTEN)
STEPS = {
    "atomically": (*BOTH, Milestone.MIGRATION_BEGUN, Milestone.MIGRATION_ENDED),
    "key-by-key": (
        *BOTH,
        Milestone.TARGET_MARKED,
        Milestone.SOURCE_MARKED,
        Milestone.KEYS_SENT,
        Milestone.TARGET_OWNS,
        Milestone.SOURCE_GAVE_UP,
    ),
}
ENGINES = {"atomically": ("valkey", "8.0"), "key-by-key": ("redis", "7.0")}
TELLING = {
    ("atomically", Milestone.MIGRATION_BEGUN),
    ("key-by-key", Milestone.TARGET_OWNS),
}
HAS_REDIS = find_binary(Engine.REDIS, "7.0") is not None


def test_every_step_of_a_resharding_is_here() -> None:
    listed = set(itertools.chain.from_iterable(STEPS.values()))
    assert listed == {step for step in Milestone if step.startswith("resharding.")}


class Demo:
    """One group that grows to three shards and back to two, again and again."""

    def __init__(self, server: CrashingServer, way: str) -> None:
        self.server, self.name = server, way.replace("-", "")
        engine, version = ENGINES[way]
        server.client().create_replication_group(
            ReplicationGroupId=self.name,
            ReplicationGroupDescription="d",
            Engine=engine,
            EngineVersion=version,
            CacheNodeType="cache.t3.small",
            NumNodeGroups=2,
            ReplicasPerNodeGroup=0,
            AutomaticFailoverEnabled=True,
        )
        endpoint = available_group(server.client(), self.name)["ConfigurationEndpoint"]
        self.values = NumberedValues(endpoint["Address"], endpoint["Port"], key_count=KEY_COUNT)
        self.values.fill()

    def change(self, client: ElastiCacheClient) -> int:
        """Ask for three shards where there are two, else for two; return how many."""
        shards = available_group(client, self.name)["NodeGroups"]
        count = 3 if len(shards) == 2 else 2
        gone = {} if count == 3 else {"NodeGroupsToRemove": [shards[-1]["NodeGroupId"]]}
        client.modify_replication_group_shard_configuration(
            ReplicationGroupId=self.name,
            NodeGroupCount=count,
            ApplyImmediately=True,
            **gone,
        )
        return count


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Demo]]:
    with CrashingServer(tmp_path_factory.mktemp("crashes") / "data") as server:
        ways = [way for way in STEPS if way == "atomically" or HAS_REDIS]
        yield {way: Demo(server, way) for way in ways}


@pytest.mark.parametrize(
    ("way", "step"),
    [
        pytest.param(
            way,
            step,
            id=f"{way}-{step.value}",
            marks=[
                *(() if (way, step) in TELLING else (at_length,)),
                pytest.mark.skipif(way != "atomically" and not HAS_REDIS, reason="no Redis OSS"),
            ],
        )
        for way, steps in STEPS.items()
        for step in steps
    ],
)
def test_a_resharding_that_was_cut_short_is_carried_on(
    demos: dict[str, Demo], way: str, step: Milestone
) -> None:
    demo, server = demos[way], demos[way].server
    if step is Milestone.SHARDS_OPENED and len(shards_of(demo)) == 3:
        demo.change(server.client())  # shards are opened when some are added
        available_group(server.client(), demo.name)
    with demo.values.under_load():
        server.crash_at(step)
        count = demo.change(server.client())
        server.wait_dead()
        server.start()
        group = available_group(server.client(), demo.name)
    assert demo.values.failures == [], "clients notice nothing"
    assert demo.values.stale == []
    assert demo.values.audit() == []
    assert len(group["NodeGroups"]) == count
    slots = [parse_slots(shard["Slots"]) for shard in group["NodeGroups"]]
    check_partition(slots)
    require_agreement(server)


def shards_of(demo: Demo) -> list[dict[str, object]]:
    """Return the group's shards."""
    shards: list[dict[str, object]] = available_group(demo.server.client(), demo.name)["NodeGroups"]
    return shards
