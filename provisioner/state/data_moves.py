"""What is being copied now: snapshots, copies, exports, restores, and how far they have got."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.snapshot_tables import Restore, Snapshot
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup


@dataclass(frozen=True, kw_only=True, slots=True)
class DataMove:
    """One of them. *kind* is ``snapshot``, ``copy``, ``export`` or ``restore``."""

    kind: str
    name: str
    bytes_done: int
    bytes_total: int | None
    began_at: datetime

    def bytes_per_s(self, now: datetime) -> float:
        """Return the rate since the beginning."""
        return self.bytes_done / max((now - self.began_at).total_seconds(), 1.0)


async def under_way(tx: Transaction, *, scope: Scope | None = None) -> list[DataMove]:
    """Return all data moves of a scope, or of every scope."""
    query = select(Snapshot).where(Snapshot.status.in_((lifecycle.CREATING, lifecycle.EXPORTING)))
    if scope is not None:
        query = query.where(Snapshot.account == scope.account, Snapshot.region == scope.region)
    moves = [
        DataMove(
            kind=_kind(row),
            name=row.name,
            bytes_done=row.bytes_done,
            bytes_total=row.bytes_total,
            began_at=row.work_began_at or row.created_at,
        )
        for row in (await tx.session.scalars(query.order_by(Snapshot.name))).all()
    ]
    for table in (ReplicationGroup, CacheCluster):
        joined = select(Restore, table.name).join(table, table.uid == Restore.subject_uid)
        if scope is not None:
            joined = joined.where(table.account == scope.account, table.region == scope.region)
        moves += [
            DataMove(
                kind="restore",
                name=name,
                bytes_done=row.bytes_done,
                bytes_total=row.bytes_total,
                began_at=row.began_at,
            )
            for row, name in (await tx.session.execute(joined.order_by(table.name))).all()
        ]
    return moves


def _kind(row: Snapshot) -> str:
    if row.status == lifecycle.EXPORTING:
        return "export"
    return "snapshot" if row.copy_of is None else "copy"
