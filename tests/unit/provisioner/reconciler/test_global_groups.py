"""What is asked of a global datastore at the moment at which something else ends is not lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from cachefleet.provisioner.reconciler import global_groups as settling
from cachefleet.provisioner.reconciler.outcomes import Requeue
from cachefleet.provisioner.state import global_groups, leases
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Store, Transaction
from cachefleet.provisioner.state.tables import Operation, ReplicationGroup
from tests.builders import groups as build
from tests.support.wired import Side, two_sides

pytestmark = pytest.mark.anyio

NAME = "ldgnf-shared"
ASKED = {"action": "delete", "retain": True}


class Interfering:
    """A store in which something is asked for just before the *nth* transaction that writes."""

    def __init__(self, store: Store, nth: int) -> None:
        self._store = store
        self._left = nth

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @asynccontextmanager
    async def begin(self, scope: Scope) -> AsyncIterator[Transaction]:
        self._left -= 1
        if self._left == 0:
            await ask(self._store, ASKED)
        async with self._store.begin(scope) as tx:
            yield tx


async def ask(store: Store, pending: Mapping[str, Any]) -> None:
    async with store.begin(global_groups.scope_of("000000000000")) as tx:
        row = await global_groups.get(tx, NAME)
        row.status, row.pending = "modifying", dict(pending)


@pytest.fixture
async def side(tmp_path: Path) -> AsyncIterator[Side]:
    async with two_sides(tmp_path) as (near, _):
        async with near.api.store.begin(near.scope) as tx:
            await build.replication_group(tx, "near", node_type="cache.r7g.large")
        await near.api(
            "CreateGlobalReplicationGroup",
            GlobalReplicationGroupIdSuffix="shared",
            PrimaryReplicationGroupId="near",
        )
        async with near.api.store.begin(near.scope) as tx:
            (await tx.get(ReplicationGroup, "near")).status = "available"
        await ask(near.api.store, {})
        yield near


async def lease_of(side: Side) -> Lease:
    async with side.api.store.begin(Scope("", "")) as tx:
        found = await leases.acquire_free(tx, holder=side.fleet.holder)
    return next(one for one in found if one.kind == "global_replication_group")


async def pending(side: Side) -> Mapping[str, Any]:
    async with side.api.store.read(Scope("000000000000", "")) as tx:
        return (await global_groups.get(tx, NAME)).pending


async def test_what_is_asked_while_the_status_is_written_stays(side: Side) -> None:
    lease = await lease_of(side)
    store = cast(Store, Interfering(side.api.store, 1))
    operation = Operation(created_at=side.api.clock.now())
    outcome = await settling.settle_global(operation, lease, replace_store(side, store))
    assert isinstance(outcome, Requeue)
    assert await pending(side) == ASKED


async def test_what_is_asked_before_it_is_looked_at_again_stays(side: Side) -> None:
    lease = await lease_of(side)
    await ask(side.api.store, ASKED)
    outcome = await settling._conclude(lease, side.fleet, side.api.clock.now(), "")
    assert isinstance(outcome, Requeue)
    assert await pending(side) == ASKED


async def test_with_nothing_new_it_is_at_rest(side: Side) -> None:
    lease = await lease_of(side)
    operation = Operation(created_at=side.api.clock.now())
    outcome = await settling.settle_global(operation, lease, side.fleet)
    assert not isinstance(outcome, Requeue)
    async with side.api.store.read(Scope("000000000000", "")) as tx:
        assert (await global_groups.get(tx, NAME)).status == "primary-only"


def replace_store(side: Side, store: Store) -> Any:
    return replace(side.fleet, store=store)
