"""The provisioner's loop: hold leases, claim operations, run them, hear of ended processes.

One task a subject runs that subject's work in order; subjects run side by side up to a limit.
Nothing here decides what to do with a subject: it decides who is next.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from sqlalchemy.exc import DBAPIError

from cachefleet.provisioner.reconciler.apply_access import apply_access
from cachefleet.provisioner.reconciler.apply_parameters import apply_parameters
from cachefleet.provisioner.reconciler.apply_update import apply_update
from cachefleet.provisioner.reconciler.change_primary import change_primary, end_primary
from cachefleet.provisioner.reconciler.cluster_mode import change_cluster_mode
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.global_groups import settle_global
from cachefleet.provisioner.reconciler.log_delivery import apply_log_delivery
from cachefleet.provisioner.reconciler.migration import (
    complete_migration,
    start_migration,
    test_migration,
)
from cachefleet.provisioner.reconciler.modify import modify
from cachefleet.provisioner.reconciler.outcomes import Done, GiveUp, Outcome, Requeue
from cachefleet.provisioner.reconciler.reshard import reshard
from cachefleet.provisioner.reconciler.serverless import settle_serverless
from cachefleet.provisioner.reconciler.serverless_migration import (
    cut_over,
    prepare_migration,
    stop_migration,
    sync_migration,
)
from cachefleet.provisioner.reconciler.settle import settle
from cachefleet.provisioner.reconciler.settle_snapshot import settle_snapshot
from cachefleet.provisioner.reconciler.take_snapshot import take_snapshot
from cachefleet.provisioner.state import events, leases, operations
from cachefleet.provisioner.state.errors import Stale
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.operations import OperationKind, OperationState
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.serverless_tables import ServerlessCache
from cachefleet.provisioner.state.snapshot_tables import Snapshot
from cachefleet.provisioner.state.tables import Operation

log = structlog.get_logger(__name__)

SYSTEM_SCOPE = Scope("", "")  # of transactions that touch no customer's record
POLL_S = 0.25  # how soon work is found that another process filed
BROKEN_RETRY_S = 5.0
DATABASE_RETRY_S = 1.0

Handler = Callable[[Operation, Lease, Fleet], Awaitable[Outcome]]
AfterWork = Callable[[], Awaitable[None]]


async def _settle(operation: Operation, lease: Lease, fleet: Fleet) -> Outcome:
    if lease.kind == Snapshot.resource:
        return await settle_snapshot(operation, lease, fleet)
    if lease.kind == ServerlessCache.resource:
        return await settle_serverless(lease, fleet)
    return await settle(lease, fleet, operation_id=operation.id)


HANDLERS: Mapping[str, Handler] = {
    OperationKind.SETTLE: _settle,
    OperationKind.APPLY_PARAMETERS: apply_parameters,
    OperationKind.MODIFY: modify,
    OperationKind.CHANGE_CLUSTER_MODE: change_cluster_mode,
    OperationKind.CHANGE_PRIMARY: change_primary,
    OperationKind.TEST_FAILOVER: end_primary,
    OperationKind.RESHARD: reshard,
    OperationKind.APPLY_ACCESS: apply_access,
    OperationKind.LOG_DELIVERY: apply_log_delivery,
    OperationKind.SETTLE_GLOBAL: settle_global,
    OperationKind.SNAPSHOT: take_snapshot,
    OperationKind.TEST_MIGRATION: test_migration,
    OperationKind.START_MIGRATION: start_migration,
    OperationKind.COMPLETE_MIGRATION: complete_migration,
    OperationKind.PREPARE_MIGRATION: prepare_migration,
    OperationKind.SYNC_MIGRATION: sync_migration,
    OperationKind.STOP_MIGRATION: stop_migration,
    OperationKind.CUT_OVER: cut_over,
    OperationKind.APPLY_UPDATE: apply_update,
}


# They have the gateway told themselves where that is due, and are many and quick where it is not.
SEES_TO_ENDPOINTS = frozenset({OperationKind.APPLY_ACCESS})


@dataclass(slots=True)
class _Held:
    lease: Lease
    task: asyncio.Task[None] | None = None
    unwinding: set[asyncio.Task[None]] = field(default_factory=set)


class Provisioner:
    """Runs until cancelled. ``after_work`` is called whenever endpoints may have changed."""

    def __init__(self, fleet: Fleet, *, after_work: AfterWork) -> None:
        self._fleet = fleet
        self._after_work = after_work
        self._held: dict[str, _Held] = {}
        self._slots = asyncio.Semaphore(fleet.settings.operations_at_once_max)
        self.idle = asyncio.Event()  # set whenever there is nothing to do that is due
        # Set once every subject that was there at the start has been looked at: what the record
        # calls available serves from then on.
        self.adopted = asyncio.Event()
        self._to_adopt: set[str] | None = None
        self._renew_at_s = 0.0
        # For those who count: passes by kind and outcome, and the time that they took by kind.
        self.passes: Counter[tuple[str, str]] = Counter()
        self.pass_seconds: dict[str, float] = {}
        # Subjects whose work broke off unrecorded: it is filed anew as soon as it can be.
        self._unrecorded: set[str] = set()
        self._ending: set[asyncio.Task[None]] = set()  # the last work on subjects that are gone

    @property
    def leases(self) -> Mapping[str, Lease]:
        """Return the subjects that this provisioner holds now."""
        return {uid: held.lease for uid, held in self._held.items()}

    async def run(self) -> None:
        """Claim and run work until cancelled."""
        try:
            while True:
                self._fleet.store.work_filed.clear()
                now_s = self._fleet.clock.monotonic_s()
                try:
                    await self._round(now_s)
                except DBAPIError as error:
                    # The database is away: engines serve on, and we act only while leases hold.
                    log.warning("database_unavailable", reason=str(error.orig))
                    await self._drop_distrusted(now_s)
                    await asyncio.sleep(DATABASE_RETRY_S)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._fleet.store.work_filed.wait()
        finally:
            await self._stop()

    async def _round(self, now_s: float) -> None:
        # First of all: we may have been frozen, and others have taken over long ago.
        await self._drop_distrusted(now_s)
        if now_s >= self._renew_at_s:
            await self._renew(now_s)
            self._renew_at_s = now_s + leases.RENEW_EVERY_S
        for uid in list(self._unrecorded):
            held = self._held.get(uid)
            if held is not None:
                try:
                    await self._file_settle(held.lease)
                except Stale:
                    await self._drop(uid)
            self._unrecorded.discard(uid)
        await self._claim(now_s)

    async def _drop_distrusted(self, now_s: float) -> None:
        for uid in [u for u in self._held if now_s >= self._fleet.trusted_until_s.get(u, 0.0)]:
            log.warning("lease_distrusted", subject=uid)
            await self._drop(uid)

    async def let_go(self, subject_uids: Collection[str]) -> None:
        """Stop working on subjects whose records are gone, and return when nothing is done."""
        for uid in [uid for uid in subject_uids if uid in self._held]:
            unwinding = self._held[uid].unwinding
            await self._drop(uid)
            await asyncio.gather(*unwinding, return_exceptions=True)
            self._unrecorded.discard(uid)

    def preempt(self, subject_uid: str) -> None:
        """Settle a subject now, ahead of whatever is being done to it; that is taken up again.

        Called when one of its processes has ended: the pass under way saw a world that is no more.
        """
        held = self._held.get(subject_uid)
        if held is None:
            return
        if held.task is not None:
            held.task.cancel()
            # Kept until it has unwound: a second loss may cancel the repair before that began.
            held.unwinding.add(held.task)
            held.task.add_done_callback(held.unwinding.discard)
        held.task = asyncio.create_task(self._repair(held))

    async def _repair(self, held: _Held) -> None:
        await asyncio.gather(*held.unwinding, return_exceptions=True)
        fleet = self._fleet
        try:
            outcome = await settle(held.lease, fleet)
            log.info("repair_ended", subject=held.lease.subject_uid, outcome=repr(outcome))
            async with fleet.store.begin(held.lease.scope) as tx:
                await leases.require_unless_gone(tx, held.lease, holder=fleet.holder)
                await operations.requeue_running(tx, subject_uids=[held.lease.subject_uid])
                if not isinstance(outcome, Done):
                    await operations.ensure_settle(tx, held.lease)
            await self._after_work()
        except Stale:
            self._held.pop(held.lease.subject_uid, None)
        except Exception:
            log.exception("repair_broke", subject=held.lease.subject_uid)
            self._unrecorded.add(held.lease.subject_uid)
        finally:
            if held.task is asyncio.current_task():
                held.task = None
            fleet.store.work_filed.set()

    async def _renew(self, now_s: float) -> None:
        async with self._fleet.store.begin(SYSTEM_SCOPE) as tx:
            ours = await leases.renew_all(tx, holder=self._fleet.holder)
            # Given up after a clash with another transaction, and still in our name: nobody works
            # on these until they are free again.
            given_up = ours - self._held.keys()
            if given_up:
                await leases.release(tx, holder=self._fleet.holder, subject_uids=given_up)
            lost = self._held.keys() - ours
            gone = await leases.gone(tx, lost) if lost else set()
        for uid in lost & self._held.keys():
            if uid in gone:
                self._let_end(uid)
            else:
                await self._drop(uid)
        for uid in self._held:
            self._fleet.trusted_until_s[uid] = self._trusted_until_s(now_s)

    def _trusted_until_s(self, renewed_at_s: float) -> float:
        """Return until when leases that were renewed then may be acted under.

        SQLite's file is ours alone, by the directory's lock: nobody else can take a lease, also
        while a full disk keeps us from renewing it.
        """
        alone = self._fleet.store.is_sqlite
        return math.inf if alone else renewed_at_s + leases.TRUSTED_S

    async def _claim(self, now_s: float) -> None:
        fleet = self._fleet
        async with fleet.store.read(SYSTEM_SCOPE) as tx:
            work = await operations.is_anything_to_claim(tx)
        if not work:
            self._note_adopted(())
            self._note_idle()
            return
        async with fleet.store.begin(SYSTEM_SCOPE) as tx:
            taken = await leases.acquire_free(tx, holder=fleet.holder)
            uids = [lease.subject_uid for lease in taken]
            await operations.requeue_running(tx, subject_uids=uids)
            for lease in taken:
                await operations.ensure_settle(tx, lease)
            ready = [uid for uid, held in self._held.items() if held.task is None]
            claimed = await operations.claim(tx, subject_uids=[*ready, *uids])
        for lease in taken:
            self._held[lease.subject_uid] = _Held(lease)
            fleet.trusted_until_s[lease.subject_uid] = self._trusted_until_s(now_s)
        self._note_adopted(uids)
        for operation in claimed:
            held = self._held[operation.subject_uid]
            self.idle.clear()
            held.task = asyncio.create_task(self._work(operation, held))

    def _note_adopted(self, taken: Sequence[str], *, looked_at: str | None = None) -> None:
        if self._to_adopt is None:
            self._to_adopt = set(taken)
        if looked_at is not None:
            self._to_adopt.discard(looked_at)
        if not self._to_adopt:
            self.adopted.set()

    def _note_idle(self) -> None:
        if all(held.task is None for held in self._held.values()):
            self.idle.set()

    async def _work(self, operation: Operation, held: _Held) -> None:
        try:
            async with self._slots:
                outcome = await self._outcome(operation, held)
                await self._record(operation, held.lease, outcome)
            if operation.kind not in SEES_TO_ENDPOINTS:
                await self._after_work()
        except Stale:
            self._held.pop(operation.subject_uid, None)
            log.warning("lease_lost", subject=operation.subject_uid)
        except Exception:
            # What came of it is not written down, or endpoints are not as they should be.
            log.exception("work_broke", operation=operation.id, kind=operation.kind)
            self._unrecorded.add(operation.subject_uid)
        finally:
            self._note_adopted((), looked_at=operation.subject_uid)
            if held.task is asyncio.current_task():
                held.task = None
            self._fleet.store.work_filed.set()

    async def _outcome(self, operation: Operation, held: _Held) -> Outcome:
        began_s = self._fleet.clock.monotonic_s()
        with structlog.contextvars.bound_contextvars(request_id=operation.token):
            outcome = await self._handled(operation, held)
        self.passes[operation.kind, type(outcome).__name__.lower()] += 1
        took_s = self._fleet.clock.monotonic_s() - began_s
        self.pass_seconds[operation.kind] = self.pass_seconds.get(operation.kind, 0.0) + took_s
        return outcome

    async def _handled(self, operation: Operation, held: _Held) -> Outcome:
        handler = HANDLERS[operation.kind]
        try:
            return await handler(operation, held.lease, self._fleet)
        except Stale:
            raise
        except Exception as error:
            # A mistake of ours on one subject must not stop the others; it is logged whole.
            log.exception("operation_broke", operation=operation.id, kind=operation.kind)
            return Requeue(after_s=BROKEN_RETRY_S, reason=f"{type(error).__name__}: {error}")

    async def _record(self, operation: Operation, lease: Lease, outcome: Outcome) -> None:
        """Write down how a pass ended, unless the work is somebody else's by now.

        Raises:
            Stale: it is; the new holder has put the operation back into the queue.
        """
        log.info(
            "operation_pass_ended",
            operation=operation.id,
            kind=operation.kind,
            attempt=operation.attempt,
            outcome=type(outcome).__name__,
            token=operation.token,
        )
        announcements = operation.payload.get("announce", ())
        told = announcements and isinstance(outcome, Done)
        async with self._fleet.store.begin(operation.scope if told else SYSTEM_SCOPE) as tx:
            await leases.require_unless_gone(tx, lease, holder=self._fleet.holder)
            if told:
                events.record_announcements(tx, self._fleet.catalog, announcements)
            match outcome:
                case Done(summary=text):
                    await operations.finish(tx, operation.id, OperationState.DONE, text)
                case GiveUp(reason=text):
                    await operations.finish(tx, operation.id, OperationState.FAILED, text)
                case Requeue(after_s=after_s, reason=text):
                    due_at = tx.now + timedelta(seconds=after_s)
                    await operations.snooze(tx, operation.id, due_at=due_at, progress=text)

    async def _file_settle(self, lease: Lease) -> None:
        async with self._fleet.store.begin(lease.scope) as tx:
            await leases.require_unless_gone(tx, lease, holder=self._fleet.holder)
            await operations.requeue_running(tx, subject_uids=[lease.subject_uid])
            await operations.ensure_settle(tx, lease)

    async def _drop(self, uid: str) -> None:
        held = self._held.pop(uid)
        self._fleet.trusted_until_s.pop(uid, None)
        if held.task is not None:
            held.task.cancel()
            await asyncio.gather(held.task, return_exceptions=True)

    def _let_end(self, uid: str) -> None:
        """Let go of a subject that is no more, but not of the work that ended it.

        What came of that is yet to be recorded, and endpoints are yet to follow.
        """
        held = self._held.pop(uid)
        self._fleet.trusted_until_s.pop(uid, None)
        if held.task is not None:
            self._ending.add(held.task)
            held.task.add_done_callback(self._ending.discard)

    async def _stop(self) -> None:
        """Stop working and give the leases back; what was running is taken up at the next start."""
        for uid in list(self._held):
            await self._drop(uid)
        for task in self._ending:
            task.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)
        try:
            async with self._fleet.store.begin(SYSTEM_SCOPE) as tx:
                await leases.release_all(tx, holder=self._fleet.holder)
        except DBAPIError as error:
            log.warning("leases_not_released", reason=str(error.orig))  # they run out by themselves
