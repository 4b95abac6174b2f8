"""Removes what is kept for some time only: events, and operations that have ended."""

from __future__ import annotations

from datetime import timedelta

import structlog
from sqlalchemy import delete, select

from cachefleet.provisioner.clock import Clock
from cachefleet.provisioner.state import changes, faults, idempotency, operations
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Store
from cachefleet.provisioner.state.tables import Event

log = structlog.get_logger(__name__)

EVENTS_KEPT = timedelta(days=14)  # as the service keeps them
TIDY_EVERY_S = 3600.0
EVENTS_PER_TRANSACTION_MAX = 5_000  # writers wait for each other: none may take long
EVERYTHING = Scope("", "")


class Retention:
    """Tidies at the first call, and then once an hour."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._due_at_s = clock.monotonic_s()

    async def tidy_when_due(self) -> bool:
        """Remove what is too old, unless that was done within the hour."""
        now_s = self._clock.monotonic_s()
        if now_s < self._due_at_s:
            return False
        removed = 0
        while count := await self._forget_events():
            removed += count
        async with self._store.begin(EVERYTHING) as tx:
            await operations.forget_finished(tx)
            await faults.forget_ended(tx)
            await changes.forget(tx.session, tx.now)
            await idempotency.forget(tx)
        self._due_at_s = now_s + TIDY_EVERY_S
        log.info("records_tidied", events=removed)
        return True

    async def _forget_events(self) -> int:
        """Remove some events that are too old; return how many there were."""
        async with self._store.begin(EVERYTHING) as tx:
            query = (
                select(Event.id)
                .where(Event.occurred_at < tx.now - EVENTS_KEPT)
                .limit(EVENTS_PER_TRANSACTION_MAX)
            )
            ids = (await tx.session.scalars(query)).all()
            if ids:
                await tx.session.execute(delete(Event).where(Event.id.in_(ids)))
            return len(ids)
