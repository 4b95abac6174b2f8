"""Finds service updates in what is there, offers them, and files those whose time has come.

What is looked at: the engines on this machine (one may have been upgraded in its place), the
processes of the nodes, the certificates. A look costs a few calls of the system; records are read
once something has been done to a cache, and caches are judged anew only where one of these has
changed since, or an action waits for a date or a window.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import structlog
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from cachefleet.engine.discovery import discover, traces
from cachefleet.provisioner.maintenance.windows import parse_window
from cachefleet.provisioner.planning.updates import AUTHORITY, ENGINE, Offer, next_event
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.records import SubjectRecord, load_subject
from cachefleet.provisioner.reconciler.updates import find_offer
from cachefleet.provisioner.state import events, leases, lifecycle, updates
from cachefleet.provisioner.state.errors import AlreadyExists, Stale
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.maintenance import Row, file_scheduled
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster, CacheNode, ReplicationGroup
from cachefleet.provisioner.state.update_tables import ServiceUpdate, UpdateAction
from cachefleet.provisioner.state.updates import Event, Status

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 2.0  # at what has changed outside
JUDGE_EVERY_S = 30.0  # dates and windows; these have 60 minutes at least
KINDS = (ENGINE, AUTHORITY)
ENDED = (
    lifecycle.CREATE_FAILED,
    lifecycle.INCOMPATIBLE_NETWORK,
    lifecycle.RESTORE_FAILED,
    lifecycle.DELETING,
)
EVERYTHING = Scope("", "")

Held = Callable[[], Mapping[str, Lease]]
Seen = tuple[object, ...]


class UpdateWatch:
    """Runs until cancelled. *held* tells which subjects are ours at the moment."""

    def __init__(self, fleet: Fleet, *, held: Held, days: int | None = None) -> None:
        self._fleet = fleet
        self._held = held
        self._days = days
        self._seen: dict[str, Seen] = {}
        self._traces = traces(fleet.settings.engines)
        self._candidate = self._traces
        self._hastens = False  # the next look has to be a whole one
        self._stirred: Seen = ()  # what was when records were last read
        self._work = 0
        self._pending = False  # some cache could not be judged yet

    async def run(self) -> None:
        """Look again and again. A database that is away is asked at the next look."""
        judged_at_s = -JUDGE_EVERY_S
        while True:
            now_s = self._fleet.clock.monotonic_s()
            whole = self._hastens or now_s >= judged_at_s + JUDGE_EVERY_S
            if whole:
                judged_at_s, self._hastens = now_s, False
            try:
                await self.look(whole=whole)
            except DBAPIError as error:
                log.warning("updates_postponed", reason=str(error.orig))
            await asyncio.sleep(LOOK_EVERY_S)

    def note_work(self) -> None:
        """Take note that something was done to a cache, by which it may have other processes."""
        self._work += 1

    async def look(self, *, whole: bool = True) -> None:
        """Look once; with *whole*, also at what depends on the time."""
        await self.refresh_inventory()
        stirred = (self._work, self._traces, self._fleet.certificates.trust_stamp())
        if not whole and stirred == self._stirred and not self._pending:
            return
        self._stirred = stirred
        await self._look(whole=whole)

    async def _look(self, *, whole: bool) -> None:
        held = dict(self._held())
        async with self._fleet.store.read(EVERYTHING) as tx:
            rows = (await tx.session.execute(select(CacheNode.subject_uid, CacheNode.uid))).all()
            open_ = set(await _waiting(tx)) if whole else set()
        nodes: dict[str, list[str]] = {}
        for subject, node in rows:
            nodes.setdefault(subject, []).append(node)
        self._pending = False
        for uid in [uid for uid in self._seen if uid not in held]:
            del self._seen[uid]
        for uid, lease in held.items():
            seen = await self._evidence(sorted(nodes.get(uid, ())))
            if uid not in open_ and self._seen.get(uid) == seen:
                continue
            if await self._judge(lease):
                self._seen[uid] = seen
            else:
                self._pending = True

    async def refresh_inventory(self) -> None:
        """Find out anew what can be run here, once files have changed and then stood still.

        An upgrade takes a moment, in which half of it is there.
        """
        now = await asyncio.to_thread(traces, self._fleet.settings.engines)
        if now == self._traces:
            return
        if now != self._candidate:
            self._candidate = now
            return
        self._fleet.inventory = await asyncio.to_thread(discover, self._fleet.settings.engines)
        self._traces = now
        self._seen.clear()
        log.info("engines_found_anew", binaries=len(self._fleet.inventory.binaries))

    async def _evidence(self, nodes: Sequence[str]) -> Seen:
        """Return what a judgement depends on, but for the time."""
        driver = self._fleet.driver
        handles = [(uid, await driver.find(uid)) for uid in nodes]
        stamp = self._fleet.certificates.trust_stamp()
        return (self._traces, stamp, tuple(handles))

    async def _judge(self, lease: Lease) -> bool:
        """Bring one subject's actions up to date; tell whether that is done with."""
        async with self._fleet.store.read(lease.scope) as tx:
            record = await load_subject(tx, lease)
        if record is None or record.settings.status in ENDED:
            return True
        if record.settings.status != lifecycle.AVAILABLE:
            return False
        offers = {kind: await find_offer(kind, record, self._fleet) for kind in KINDS}
        try:
            async with self._fleet.store.begin(lease.scope) as tx:
                await leases.require(tx, lease, holder=self._fleet.holder)
                for kind, offer in offers.items():
                    await self._record(tx, kind, offer, record)
        except (Stale, AlreadyExists):
            return False
        return not any(offer is not None and offer.unknown for offer in offers.values())

    async def _record(
        self, tx: Transaction, kind: str, offer: Offer | None, record: SubjectRecord
    ) -> None:
        update = await self._offered(tx, kind, offer, record)
        actions = [
            one
            for one in await updates.actions_of(tx, record.lease.subject_uid)
            if one.update.kind == kind
        ]
        action = next((one for one in actions if update and one.update_uid == update.uid), None)
        if update is not None and action is None and offer is not None and offer.behind:
            action = self._new_action(tx, update, offer, record)
            actions.append(action)
        for one in actions:
            await self._advance(tx, one, offer if one is action else None, record)

    async def _offered(
        self, tx: Transaction, kind: str, offer: Offer | None, record: SubjectRecord
    ) -> ServiceUpdate | None:
        """Return the update that is offered now; those that were before it are cancelled."""
        known = await updates.find_open(tx, kind=kind, engine=record.engine.value)
        if offer is None:
            return None
        update = next((one for one in known if one.fingerprint == offer.fingerprint), None)
        if update is None and offer.behind:
            update = await updates.add_update(
                tx,
                kind=kind,
                engine=offer.engine,
                brings=offer.brings,
                fingerprint=offer.fingerprint,
                severity=offer.severity,
                description=offer.description,
                days=self._days,
            )
            log.info("update_found", name=update.name, what=offer.description)
        if update is not None or not offer.unknown:
            await self._cancel_others(tx, [one for one in known if one is not update], record)
        return update

    async def _cancel_others(
        self, tx: Transaction, others: Sequence[ServiceUpdate], record: SubjectRecord
    ) -> None:
        """Cancel what no other cache is offered either: versions may be chosen cache by cache."""
        for update in others:
            query = select(UpdateAction.uid).where(
                UpdateAction.update_uid == update.uid,
                UpdateAction.subject_uid != record.lease.subject_uid,
                UpdateAction.status.not_in((Status.COMPLETE, Status.NOT_APPLICABLE)),
            )
            if (await tx.session.scalars(query.limit(1))).first() is None:
                update.status = updates.CANCELLED

    def _new_action(
        self, tx: Transaction, update: ServiceUpdate, offer: Offer, record: SubjectRecord
    ) -> UpdateAction:
        action = updates.new_action(
            tx,
            update,
            subject_uid=record.lease.subject_uid,
            subject_kind=record.lease.kind,
            name=record.settings.name,
            created_at=record.settings.created_at,
        )
        catalog = self._fleet.catalog
        for node in record.live_nodes:
            if node.uid in offer.behind:
                events.record(
                    tx,
                    catalog,
                    "service_update_available",
                    node.member_name,
                    node=node.cache_node_id,
                )
        return action

    async def _advance(
        self, tx: Transaction, action: UpdateAction, offer: Offer | None, record: SubjectRecord
    ) -> None:
        update = action.update
        if action.status not in updates.UNDER_WAY and offer is not None:
            updates.note_nodes(
                action,
                record.live_nodes,
                shards=record.shard_ids,
                behind=offer.behind,
                unknown=offer.unknown,
                now=tx.now,
            )
        event = next_event(
            action.status,
            is_current=offer is not None and updates.update_status(update, tx.now) == "available",
            behind=offer is not None and bool(offer.behind),
            unknown=offer is not None and bool(offer.unknown),
            due=tx.now >= update.apply_by_at and _may_be_applied(record, update),
        )
        if event is not None:
            updates.fire(action, event, now=tx.now)
        self._hastens |= event is Event.SCHEDULE
        if action.status == Status.SCHEDULED and _window_is_open(record, tx.now):
            row = await _row(tx, record)
            if row is not None and row.status == lifecycle.AVAILABLE:
                await file_scheduled(tx, row, token=f"update-{action.uid}")


async def _waiting(tx: Transaction) -> Sequence[str]:
    """Return the subjects with actions that the time may change."""
    query = select(UpdateAction.subject_uid).where(
        UpdateAction.status.in_((Status.NOT_APPLIED, Status.SCHEDULING, Status.SCHEDULED))
    )
    return (await tx.session.scalars(query.distinct())).all()


async def _row(tx: Transaction, record: SubjectRecord) -> Row | None:
    table = ReplicationGroup if record.group is not None else CacheCluster
    uid = record.lease.subject_uid
    row: Row | None = await tx.session.get(table, uid, with_for_update=True)
    return row


def _may_be_applied(record: SubjectRecord, update: ServiceUpdate) -> bool:
    """Tell whether an update may be applied unasked: engines only where versions are to follow."""
    return update.kind == AUTHORITY or record.settings.auto_minor_version_upgrade


def _window_is_open(record: SubjectRecord, now: datetime) -> bool:
    return parse_window(record.settings.maintenance_window).is_open(now)
