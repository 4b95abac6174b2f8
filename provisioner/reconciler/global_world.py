"""A global datastore as a pass finds it, and how its regions' groups are changed.

A region's group is changed as a customer would change it: its record, in its own scope, and an
operation that makes it so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.state import global_groups, leases
from cachefleet.provisioner.state.global_tables import GlobalGroup, GlobalMember
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import ReplicationGroup

PATIENCE_S = 10.0  # with a region that is to lead and has not caught up


@dataclass(frozen=True, slots=True)
class World:
    """A global datastore as it is recorded now, with the groups of its members by uid."""

    lease: Lease
    row: GlobalGroup
    groups: Mapping[str, ReplicationGroup]
    asked_at: datetime

    def is_due(self, fleet: Fleet) -> bool:
        """Tell whether what was asked for has waited long enough for others to catch up."""
        return (fleet.clock.now() - self.asked_at).total_seconds() > PATIENCE_S

    @property
    def primary(self) -> ReplicationGroup | None:
        return self.groups.get(global_groups.primary_of(self.row).group_uid)

    @property
    def members(self) -> list[GlobalMember]:
        return self.row.members


async def load_world(lease: Lease, fleet: Fleet, asked_at: datetime) -> World | None:
    """Return the global datastore of *lease* as it is recorded now; None where it is gone."""
    async with fleet.store.read(lease.scope) as tx:
        row = await tx.session.get(GlobalGroup, lease.subject_uid)
        if row is None:
            return None
        return World(lease, row, await global_groups.groups_of(tx, row), asked_at)


async def row_of(tx: Transaction, lease: Lease, fleet: Fleet) -> GlobalGroup:
    """Return its row in *tx*, under a lease that is still ours.

    Raises:
        Stale: it is not.
    """
    await leases.require(tx, lease, holder=fleet.holder)
    row = await tx.session.get(GlobalGroup, lease.subject_uid)
    assert row is not None, "the lease is held, so the global datastore is there"
    return row


async def note(world: World, fleet: Fleet, progress: Mapping[str, Any]) -> None:
    """Remember how far what is pending has got."""
    async with fleet.store.begin(world.lease.scope) as tx:
        row = await row_of(tx, world.lease, fleet)
        row.pending = {**row.pending, **progress}


async def change(
    group: ReplicationGroup,
    fleet: Fleet,
    edit: Callable[[ReplicationGroup], None],
    kind: OperationKind = OperationKind.SETTLE,
    *,
    settles: bool = True,
) -> None:
    """Change a group's record in its own scope, and file what makes it so."""
    async with fleet.store.begin(group.scope) as tx:
        fresh = await tx.session.get(ReplicationGroup, group.uid, with_for_update=True)
        if fresh is None:
            return
        edit(fresh)
        if settles:
            global_groups.mark_modifying(fresh)
            tx.enqueue(kind, subject_uid=fresh.uid)
