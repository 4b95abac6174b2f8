"""Answers that were given to requests with a key, so that a repeated request gets the same one."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select

from cachefleet.provisioner.state.change_tables import IdempotencyKey
from cachefleet.provisioner.state.store import Transaction

KEPT = timedelta(hours=24)


async def find(tx: Transaction, key: str) -> IdempotencyKey | None:
    """Return what was answered to *key* in this scope, or None."""
    query = select(IdempotencyKey).where(
        IdempotencyKey.account == tx.scope.account,
        IdempotencyKey.region == tx.scope.region,
        IdempotencyKey.key == key,
    )
    return (await tx.session.scalars(query)).one_or_none()


def keep(tx: Transaction, key: str, *, request_digest: str, status: int, body: str) -> None:
    """Write what is answered to *key*, together with what the transaction changes."""
    tx.session.add(
        IdempotencyKey(
            account=tx.scope.account,
            region=tx.scope.region,
            key=key,
            request_digest=request_digest,
            status=status,
            body=body,
            created_at=tx.now,
        )
    )


async def forget(tx: Transaction) -> None:
    """Remove what is older than is kept."""
    await tx.session.execute(
        delete(IdempotencyKey).where(IdempotencyKey.created_at < tx.now - KEPT)
    )
