"""Who works on which subject: a lease with a holder, an epoch and an end.

The epoch grows with every change of holder. A holder trusts its lease for less than its time to
live (:data:`TRUSTED_S`), so that it has stopped acting before anybody else can begin.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update

from cachefleet.provisioner.state.errors import Stale
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import Subject

TTL_S = 15.0
RENEW_EVERY_S = 4.0
TRUSTED_S = 11.0  # from the last renewal; the rest of the TTL is room for slow clocks and commits
ACQUIRED_PER_CALL_MAX = 500


@dataclass(frozen=True, slots=True)
class Lease:
    """A subject that is ours under *epoch*."""

    subject_uid: str
    kind: str
    scope: Scope
    epoch: int


async def acquire_free(tx: Transaction, *, holder: str) -> Sequence[Lease]:
    """Take the lease of every subject that nobody holds, or whose lease has run out."""
    query = (
        select(Subject)
        .where(or_(Subject.lease_expires_at.is_(None), Subject.lease_expires_at < tx.now))
        .limit(ACQUIRED_PER_CALL_MAX)
        .with_for_update(skip_locked=True)
    )
    taken = []
    for subject in (await tx.session.scalars(query)).all():
        subject.lease_holder = holder
        subject.lease_epoch += 1
        subject.lease_expires_at = tx.now + timedelta(seconds=TTL_S)
        taken.append(Lease(subject.uid, subject.kind, subject.scope, subject.lease_epoch))
    return taken


async def renew_all(tx: Transaction, *, holder: str) -> set[str]:
    """Lengthen every lease of *holder* and return the subjects that are still its own."""
    await tx.session.execute(
        update(Subject)
        .where(Subject.lease_holder == holder, Subject.lease_expires_at >= tx.now)
        .values(lease_expires_at=tx.now + timedelta(seconds=TTL_S))
    )
    query = select(Subject.uid).where(
        Subject.lease_holder == holder, Subject.lease_expires_at >= tx.now
    )
    return set((await tx.session.scalars(query)).all())


async def gone(tx: Transaction, subject_uids: Collection[str]) -> set[str]:
    """Return which of these subjects are no more."""
    query = select(Subject.uid).where(Subject.uid.in_(subject_uids))
    return set(subject_uids) - set((await tx.session.scalars(query)).all())


async def release_all(tx: Transaction, *, holder: str) -> None:
    """Give every lease of *holder* back, for an orderly stop."""
    await tx.session.execute(
        update(Subject)
        .where(Subject.lease_holder == holder)
        .values(lease_holder=None, lease_expires_at=None)
    )


async def release(tx: Transaction, *, holder: str, subject_uids: Collection[str]) -> None:
    """Give back the leases of *holder* on these subjects."""
    await tx.session.execute(
        update(Subject)
        .where(Subject.lease_holder == holder, Subject.uid.in_(subject_uids))
        .values(lease_holder=None, lease_expires_at=None)
    )


async def release_everything(tx: Transaction) -> None:
    """Give every lease back, whoever holds it: for a start that knows to be alone."""
    await tx.session.execute(update(Subject).values(lease_holder=None, lease_expires_at=None))


async def require(tx: Transaction, lease: Lease, *, holder: str) -> None:
    """Hold the subject's row and make sure that the lease is still ours.

    Raises:
        Stale: somebody else holds it, or the subject is gone.
    """
    query = select(Subject).where(Subject.uid == lease.subject_uid).with_for_update()
    subject = (await tx.session.scalars(query)).one_or_none()
    ours = (
        subject is not None
        and subject.lease_holder == holder
        and subject.lease_epoch == lease.epoch
        and _runs(subject.lease_expires_at, tx.now)
    )
    if not ours:
        raise Stale(f"the lease of subject {lease.subject_uid} has passed on")


async def require_unless_gone(tx: Transaction, lease: Lease, *, holder: str) -> None:
    """The same for a subject that may have been removed: nobody else can work on that.

    Raises:
        Stale: somebody else holds the lease.
    """
    if await tx.session.get(Subject, lease.subject_uid) is not None:
        await require(tx, lease, holder=holder)


def _runs(expires_at: datetime | None, now: datetime) -> bool:
    return expires_at is not None and expires_at >= now
