"""Automatic snapshots: one a day for each subject that keeps them, and none longer than it is kept.

A window counts from its start, whether cachefleet runs then or not: one that passed while nothing
ran is made up for at the next look. Which windows have been seen to is read from the snapshots
themselves and from the operations that were filed, so nothing is taken twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import or_, select

from cachefleet.engine.types import Engine, NodeRole
from cachefleet.provisioner.clock import Clock
from cachefleet.provisioner.maintenance.windows import NotAWindow
from cachefleet.provisioner.state import leases, lifecycle, snapshots
from cachefleet.provisioner.state.errors import AlreadyExists, IllegalTransition, Stale
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.snapshot_tables import Snapshot
from cachefleet.provisioner.state.snapshots import AUTOMATED, Source
from cachefleet.provisioner.state.store import Store, Transaction
from cachefleet.provisioner.state.tables import CacheCluster, Operation, ReplicationGroup

log = structlog.get_logger(__name__)

EVERYTHING = Scope("", "")
DAY = timedelta(days=1)
EXPIRED_PER_LOOK_MAX = 100

_CLOCK = r"([01][0-9]|2[0-3]):([0-5][0-9])"
_WINDOW = re.compile(rf"{_CLOCK}-{_CLOCK}", re.ASCII)

Held = Callable[[], Mapping[str, Lease]]
Row = ReplicationGroup | CacheCluster


@dataclass(frozen=True, kw_only=True, slots=True)
class Keeping:
    """A subject that keeps automatic snapshots, and since when."""

    uid: str
    status: str
    window: str
    since: datetime | None


def last_start(window: str, now: datetime) -> datetime:
    """Return when the daily window *window* (``05:00-06:00``, UTC) last opened. Pure.

    Raises:
        NotAWindow: it is no daily window.
    """
    match = _WINDOW.fullmatch(window)
    if match is None:
        raise NotAWindow(window)
    utc = now.astimezone(UTC)
    start = utc.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
    return start if start <= utc else start - DAY


def due_start(keeping: Keeping, now: datetime) -> datetime | None:
    """Return the start of the window that a snapshot is still to be taken for, if any. Pure."""
    if keeping.status != lifecycle.AVAILABLE or keeping.since is None:
        return None
    start = last_start(keeping.window, now)
    return start if keeping.since <= start else None


def name_of(row: Row, now: datetime) -> str:
    """Return the name of an automatic snapshot, which no user can give. Pure."""
    return f"automatic.{row.name}-{now.astimezone(UTC):%Y-%m-%d-%H-%M}"


class SnapshotCalendar:
    """Files automatic snapshots, and removes those that have been kept long enough."""

    def __init__(self, store: Store, clock: Clock, *, holder: str, held: Held) -> None:
        self._store = store
        self._clock = clock
        self._holder = holder
        self._held = held

    async def look(self) -> None:
        """File what is due, and retire what has expired."""
        await self.file_due()
        await self.retire_expired()

    async def file_due(self) -> list[str]:
        """File a snapshot of each subject of ours that is due one; return the subjects."""
        held = self._held()
        if not held:
            return []
        async with self._store.read(EVERYTHING) as tx:
            found = await _keeping(tx)
        now = self._clock.now()
        filed = []
        for keeping in found:
            lease, start = held.get(keeping.uid), due_start(keeping, now)
            if lease is not None and start is not None and await self._file(lease, start):
                filed.append(keeping.uid)
        return filed

    async def retire_expired(self) -> list[str]:
        """Have automatic snapshots removed whose time is over; return their names."""
        async with self._store.read(EVERYTHING) as tx:
            query = (
                select(Snapshot.uid, Snapshot.account, Snapshot.region)
                .where(
                    Snapshot.source == AUTOMATED,
                    Snapshot.expires_at <= tx.now,
                    Snapshot.status.in_((lifecycle.AVAILABLE, lifecycle.FAILED)),
                )
                .limit(EXPIRED_PER_LOOK_MAX)
            )
            rows = (await tx.session.execute(query)).all()
        retired = []
        for uid, account, region in rows:
            async with self._store.begin(Scope(account, region)) as tx:
                snapshot = await tx.session.get(Snapshot, uid, with_for_update=True)
                event = lifecycle.Event.DELETE
                if snapshot is None or not lifecycle.target("snapshot", snapshot.status, event):
                    continue
                await snapshots.retire(tx, snapshot)
                retired.append(snapshot.name)
        if retired:
            log.info("snapshots_expired", names=retired)
        return retired

    async def _file(self, lease: Lease, start: datetime) -> bool:
        try:
            async with self._store.begin(lease.scope) as tx:
                await leases.require(tx, lease, holder=self._holder)
                token = f"automatic-{start:%Y%m%dT%H%M}"
                if await _is_filed(tx, lease.subject_uid, token):
                    return False
                source = await _source(tx, lease)
                if source is None:
                    return False
                row = source.group or source.named
                days = row.snapshot_retention_limit
                snapshot = await snapshots.begin(
                    tx,
                    source,
                    name=name_of(source.named, tx.now),
                    kind=AUTOMATED,
                    expires_at=tx.now + timedelta(days=days),
                    token=token,
                )
                name = snapshot.name
        except (Stale, IllegalTransition, AlreadyExists) as reason:
            log.info("snapshot_not_filed", subject=lease.subject_uid, reason=str(reason))
            return False
        log.info("snapshot_filed", subject=lease.subject_uid, snapshot=name)
        return True


async def _keeping(tx: Transaction) -> list[Keeping]:
    """Return every subject that keeps automatic snapshots, over all scopes."""
    found = []
    for table in (ReplicationGroup, CacheCluster):
        query = select(table.uid, table.status, table.snapshot_window, table.snapshots_since).where(
            table.snapshot_retention_limit > 0
        )
        if table is CacheCluster:
            query = query.where(
                CacheCluster.replication_group_uid.is_(None),
                # Only those of serverless caches have any.
                or_(
                    CacheCluster.engine != Engine.MEMCACHED,
                    CacheCluster.serverless_uid.is_not(None),
                ),
            )
        for uid, status, window, since in (await tx.session.execute(query)).all():
            if window:
                found.append(Keeping(uid=uid, status=status, window=window, since=since))
    return found


async def _source(tx: Transaction, lease: Lease) -> Source | None:
    """Return what is copied: the group in cluster mode, else the chosen member or its successor."""
    if lease.kind != ReplicationGroup.resource:
        cluster = await tx.session.get(CacheCluster, lease.subject_uid, with_for_update=True)
        return None if cluster is None else Source(group=None, member=cluster)
    group = await tx.session.get(ReplicationGroup, lease.subject_uid, with_for_update=True)
    if group is None:
        return None
    if group.cluster_enabled:
        return Source(group=group, member=None)
    replicas = [member for member in group.members if not _is_primary(member)]
    member = next((m for m in replicas if m.name == group.snapshotting_cluster_id), None)
    if member is None:
        # Deleted or promoted: another one is taken, and from now on.
        member = (replicas or list(group.members))[0]
        group.snapshotting_cluster_id = member.name
    return Source(group=group, member=member)


def _is_primary(member: CacheCluster) -> bool:
    return any(node.role == NodeRole.PRIMARY for node in member.nodes)


async def _is_filed(tx: Transaction, subject_uid: str, token: str) -> bool:
    query = select(Operation.id).where(
        Operation.subject_uid == subject_uid, Operation.token == token
    )
    return (await tx.session.scalars(query.limit(1))).first() is not None
