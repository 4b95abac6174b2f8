"""Removes every resource at once: the records in one transaction, then the processes.

Nothing is done in order here, and nothing is saved: it is for tests that begin anew. What a crash
leaves behind are processes without a row, which the next start ends.
"""

from __future__ import annotations

import asyncio
import contextlib

import structlog
from sqlalchemy import Table, delete, or_, select, update

from cachefleet.provisioner.reconciler.endpoints import Endpoints
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.loop import SYSTEM_SCOPE, Provisioner
from cachefleet.provisioner.reconciler.places import forget_sealed
from cachefleet.provisioner.reconciler.settle_snapshot import withdraw_export
from cachefleet.provisioner.snapshots.s3 import S3Refused
from cachefleet.provisioner.snapshots.store import StoreUnavailable
from cachefleet.provisioner.state.change_tables import Change
from cachefleet.provisioner.state.snapshot_tables import Snapshot
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import Base, CacheNode, ScopeRevision, Subject

# Tables that hold no resources. Others say it of themselves: ``info={"survives_reset": True}``.
KEPT_TABLES = frozenset({"fleet", "scope_revisions", "changes"})
SURVIVES = "survives_reset"

log = structlog.get_logger(__name__)


class FleetReset:
    """Empties one fleet."""

    def __init__(self, fleet: Fleet, provisioner: Provisioner, endpoints: Endpoints) -> None:
        self._fleet = fleet
        self._provisioner = provisioner
        self._endpoints = endpoints

    async def reset(self, account: str | None) -> int:
        """Remove everything of *account*, or of everybody; return how many nodes were ended."""
        async with self._fleet.store.begin(SYSTEM_SCOPE) as tx:
            subjects, nodes = await _found(tx, account)
            snapshots = await _snapshots(tx, account)
            await _delete_rows(tx, account, subjects)
            await _tell(tx, account)
        for uid in nodes:
            self._fleet.watched.pop(uid, None)
        # From here on no pass can begin on them; those that run see rows that are gone.
        await self._provisioner.let_go(subjects)
        await asyncio.gather(*(self._remove(uid) for uid in nodes))
        for snapshot in snapshots:
            with contextlib.suppress(StoreUnavailable, S3Refused, OSError):  # nobody refers to it
                if snapshot.export:
                    await asyncio.to_thread(withdraw_export, snapshot, self._fleet)
                await asyncio.to_thread(self._fleet.snapshots.remove, snapshot.uid)
        self._fleet.store.forget_answers()
        await self._endpoints.sync()
        await self._fleet.feeds.sync()
        log.info("fleet_reset", account=account, nodes=len(nodes))
        return len(nodes)

    async def _remove(self, uid: str) -> None:
        with self._fleet.ending_node(uid):
            await self._fleet.forget(uid)
            await self._fleet.driver.remove(uid)
            forget_sealed(uid, self._fleet)


async def _found(tx: Transaction, account: str | None) -> tuple[list[str], list[str]]:
    subjects = select(Subject.uid)
    nodes = select(CacheNode.uid)
    if account is not None:
        subjects = subjects.where(Subject.account == account)
        nodes = nodes.where(CacheNode.subject_uid.in_(subjects))
    return (
        list((await tx.session.scalars(subjects)).all()),
        list((await tx.session.scalars(nodes)).all()),
    )


async def _snapshots(tx: Transaction, account: str | None) -> list[Snapshot]:
    query = select(Snapshot)
    if account is not None:
        query = query.where(Snapshot.account == account)
    return list((await tx.session.scalars(query)).all())


async def _delete_rows(tx: Transaction, account: str | None, subjects: list[str]) -> None:
    """Delete rows table by table, children first; what has no account goes with its parent."""
    for table in reversed(Base.metadata.sorted_tables):
        if table.name in KEPT_TABLES or table.info.get(SURVIVES):
            continue
        if account is None:
            await tx.session.execute(delete(table))
        else:
            await _delete_of(tx, table, account, subjects)


async def _tell(tx: Transaction, account: str | None) -> None:
    """Have followers of the changes read everything anew, and answers that were kept dropped."""
    scopes = select(Change.account, Change.region).distinct()
    revisions = update(ScopeRevision).values(revision=ScopeRevision.revision + 1)
    if account is not None:
        scopes = scopes.where(Change.account == account)
        revisions = revisions.where(ScopeRevision.account == account)
    for owner, region in (await tx.session.execute(scopes)).all():
        tx.session.add(
            Change(account=owner, region=region, kind="reset", payload={}, occurred_at=tx.now)
        )
    await tx.session.execute(revisions)


async def _delete_of(tx: Transaction, table: Table, account: str, subjects: list[str]) -> None:
    of_account = []
    if "account" in table.c:
        of_account.append(table.c.account == account)
    if "subject_uid" in table.c:
        of_account.append(table.c.subject_uid.in_(subjects))
    if of_account:
        await tx.session.execute(delete(table).where(or_(*of_account)))
