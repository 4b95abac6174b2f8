"""Files pending changes when the maintenance window of their subject is open.

Whoever holds a subject's lease looks after its window. A window is used once: the operation that
was filed for it carries its start as token. One that passed while nothing ran is gone, and what
waits for it waits for the next.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from cachefleet.provisioner.clock import Clock
from cachefleet.provisioner.maintenance.retention import Retention
from cachefleet.provisioner.maintenance.snapshots import SnapshotCalendar
from cachefleet.provisioner.maintenance.windows import parse_window
from cachefleet.provisioner.state import leases, lifecycle
from cachefleet.provisioner.state.errors import Stale
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.maintenance import Row, can_change, file_pending
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Store, Transaction
from cachefleet.provisioner.state.tables import CacheCluster, Operation, ReplicationGroup

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 20.0  # windows have 60 minutes at least
EVERYTHING = Scope("", "")

Held = Callable[[], Mapping[str, Lease]]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A subject with pending changes, and its window as it is written."""

    uid: str
    status: str
    window: str


class Maintenance:
    """Runs until cancelled. *held* tells which subjects are ours at the moment."""

    def __init__(self, store: Store, clock: Clock, *, holder: str, held: Held) -> None:
        self._store = store
        self._clock = clock
        self._holder = holder
        self._held = held
        self._retention = Retention(store, clock)
        self._snapshots = SnapshotCalendar(store, clock, holder=holder, held=held)
        self._sooner = asyncio.Event()

    async def run(self) -> None:
        """Look again and again. A database that is away is asked at the next look."""
        while True:
            try:
                await self.file_due()
                await self._snapshots.look()
                await self._retention.tidy_when_due()
            except DBAPIError as error:
                log.warning("maintenance_postponed", reason=str(error.orig))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._sooner.wait()
            self._sooner.clear()

    def look(self) -> None:
        """Look soon: something was done to a subject, which may have got another window by it."""
        self._sooner.set()

    async def file_due(self) -> list[str]:
        """File what is due now; return the subjects."""
        held = self._held()
        if not held:
            return []
        async with self._store.read(EVERYTHING) as tx:
            waiting = await _waiting(tx)
        now = self._clock.now()
        filed = []
        for entry in waiting:
            lease = held.get(entry.uid)
            if lease is not None and is_due(entry, now) and await self._file(lease):
                filed.append(entry.uid)
        return filed

    async def _file(self, lease: Lease) -> bool:
        """File one subject's changes, unless that was done in this window or it has moved on."""
        try:
            async with self._store.begin(lease.scope) as tx:
                await leases.require(tx, lease, holder=self._holder)
                row = await _row(tx, lease)
                if row is None or not row.pending:
                    return False
                opened_at = parse_window(row.maintenance_window).opened_at(tx.now)
                if opened_at is None or not can_change(row):
                    return False
                token = f"maintenance-{opened_at:%Y%m%dT%H%M}"
                if await _is_filed(tx, lease.subject_uid, token):
                    return False
                file_pending(tx, row, token=token)
        except Stale:
            return False
        log.info("maintenance_filed", subject=lease.subject_uid, window=row.maintenance_window)
        return True


def is_due(waiting: Waiting, now: datetime) -> bool:
    """Tell whether the window is open and nothing else is being done to the subject. Pure."""
    return waiting.status == lifecycle.AVAILABLE and parse_window(waiting.window).is_open(now)


async def _waiting(tx: Transaction) -> Sequence[Waiting]:
    """Return every subject with pending changes, over all scopes."""
    found = []
    for table in (ReplicationGroup, CacheCluster):
        query = select(table.uid, table.status, table.maintenance_window, table.pending)
        if table is CacheCluster:
            query = query.where(CacheCluster.replication_group_uid.is_(None))
        for uid, status, window, pending in (await tx.session.execute(query)).all():
            if pending:
                found.append(Waiting(uid, status, window))
    return found


async def _row(tx: Transaction, lease: Lease) -> Row | None:
    if lease.kind == ReplicationGroup.resource:
        return await tx.session.get(ReplicationGroup, lease.subject_uid, with_for_update=True)
    return await tx.session.get(CacheCluster, lease.subject_uid, with_for_update=True)


async def _is_filed(tx: Transaction, subject_uid: str, token: str) -> bool:
    query = select(Operation.id).where(
        Operation.subject_uid == subject_uid, Operation.token == token
    )
    return (await tx.session.scalars(query.limit(1))).first() is not None
