"""Which node of a shard is copied: a replica has to have what was written before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from cachefleet.engine.types import Engine, NodeRole, ReplicationView
from cachefleet.provisioner.reconciler.copying import is_copyable, written_so_far
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.state.tables import CacheNode

NODE = CacheNode(uid="n", status="available")


def view(offset: int, *, role: NodeRole = NodeRole.REPLICA, link_up: bool = True) -> Any:
    return ReplicationView(
        role=role,
        offset=offset,
        replid="r",
        primary=None,
        link_up=link_up,
        sync_in_progress=False,
        loading=False,
        replicas=(),
        failover_state="no-failover",
    )


def fleet_of(*views: Any) -> Fleet:
    """Return a fleet whose node says these things in turn, the last one for ever."""
    left = list(views)

    async def find(uid: str) -> str:
        return uid

    async def replication() -> Any:
        return left.pop(0) if len(left) > 1 else left[0]

    adapter = SimpleNamespace(replication=replication)
    driver = SimpleNamespace(find=find)
    return cast("Fleet", SimpleNamespace(driver=driver, valkey=lambda node: adapter))


@pytest.mark.parametrize(
    ("views", "expected"),
    [
        pytest.param([view(100)], True, id="a-replica-that-has-all"),
        pytest.param([view(40), view(70), view(100)], True, id="one-that-gets-there"),
        pytest.param([view(40), view(40, link_up=False)], False, id="one-that-is-cut-off"),
        pytest.param([view(99)], False, id="one-that-stays-behind"),
        pytest.param([view(40, role=NodeRole.PRIMARY)], True, id="a-primary"),
    ],
)
async def test_waits_for_what_was_written(views: list[Any], expected: bool) -> None:
    fleet = fleet_of(*views)
    copyable = await is_copyable(NODE, Engine.VALKEY, fleet, written=100, catch_up_s=0.05)
    assert copyable is expected


async def test_asks_the_primary_how_far_it_is() -> None:
    primary = fleet_of(view(100, role=NodeRole.PRIMARY))
    assert await written_so_far([NODE], Engine.VALKEY, primary) == 100
    assert await written_so_far([], Engine.VALKEY, primary) == 0
