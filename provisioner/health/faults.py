"""Carries out injected faults on the processes of the subjects that this provisioner holds.

Level-triggered: what is open is read again and again, and brought about where it is not yet so. The
record of which process is hit comes before the hit, so one that is cut off is taken up by the next
provisioner on the very same process; a process that took its place is left alone. A fault outlives
the control plane's death. An orderly stop ends all faults, because nodes have to save their data.

A node that a partition cuts off from everybody is silent to the control plane too. Where another
can take its place as primary, it is fenced like any silent primary; the partition keeps it down.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from cachefleet.engine.types import NodeRole
from cachefleet.provisioner.drivers.base import DriverError, ProcessHandle
from cachefleet.provisioner.drivers.sockets import CannotCut, SocketFilter
from cachefleet.provisioner.planning.faults import (
    CutNode,
    Move,
    PacketRule,
    keeps_down,
    next_move,
    plan_rules,
)
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.loop import SYSTEM_SCOPE
from cachefleet.provisioner.state import faults, leases, lifecycle, operations
from cachefleet.provisioner.state.errors import Stale
from cachefleet.provisioner.state.fault_tables import FaultHit
from cachefleet.provisioner.state.faults import Cut, FaultKind, HitState
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.tables import CacheNode, ReplicationGroup

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.1  # while there is a fault
LOOK_WHERE_NONE_EVERY_S = 0.5
LOOK_WHERE_REFUSED_EVERY_S = 2.0
# Of a slowed process: short against any deadline, long against the time a signal takes.
SLOW_PERIOD_S = 0.1
REFUSAL = "the provisioner runs without --allow-faults"

Key = tuple[str, str]  # fault and node
Held = Callable[[], Mapping[str, Lease]]


class FaultKeeper:
    """Runs until cancelled; call :meth:`adopt` before any node is looked after.

    *held* tells which subjects are ours at the moment.
    """

    def __init__(self, fleet: Fleet, *, held: Held) -> None:
        self._fleet = fleet
        self._held = held
        self._slowing: dict[Key, asyncio.Task[None]] = {}
        self._filters: dict[str, SocketFilter] = {}  # by node
        self._any_open = False

    async def adopt(self) -> None:
        """Learn which nodes are to be kept down, before anything could start them."""
        async with self._fleet.store.read(SYSTEM_SCOPE) as tx:
            self._note(await faults.open_hits(tx))

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        allowed = self._fleet.settings.allow_faults
        while True:
            try:
                await self.look()
            except (DBAPIError, DriverError) as error:
                log.warning("faults_not_kept", reason=str(error))
            if not allowed:
                await asyncio.sleep(LOOK_WHERE_REFUSED_EVERY_S)
            else:
                await asyncio.sleep(LOOK_EVERY_S if self._any_open else LOOK_WHERE_NONE_EVERY_S)

    async def look(self) -> None:
        """Bring about once what is open, and take back what is over."""
        async with self._fleet.store.read(SYSTEM_SCOPE) as tx:
            hits = await faults.open_hits(tx)
        self._note(hits)
        self._any_open = bool(hits)
        held = self._held()
        mine = [hit for hit in hits if hit.subject_uid in held]
        for key in self._slowing.keys() - {_key(hit) for hit in mine}:
            self._slowing.pop(key).cancel()
        outcomes = await asyncio.gather(
            *(self._advance(hit, held[hit.subject_uid]) for hit in mine), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, Stale):
                raise outcome
        over = [hit for hit, lifted in zip(mine, outcomes, strict=True) if lifted is True]
        lasting = [hit for hit in mine if _is_active(hit, FaultKind.PARTITION) and hit not in over]
        await self._partition(lasting)
        # What is written down is true by now: it has taken effect, or it is taken back.
        for hit in mine:
            with contextlib.suppress(Stale):
                if hit in over:
                    await self._end(hit, held[hit.subject_uid], HitState.ENDED)
                elif hit.state == HitState.BEGINNING:
                    await self._confirm(hit, held[hit.subject_uid])

    async def let_go(self) -> None:
        """Do nothing more; what is open is for whoever holds the subjects next."""
        for task in self._slowing.values():
            task.cancel()
        await asyncio.gather(*self._slowing.values(), return_exceptions=True)

    async def lift_all(self) -> None:
        """End every fault, for an orderly stop of the fleet."""
        async with self._fleet.store.read(SYSTEM_SCOPE) as tx:
            hits = await faults.open_hits(tx)
        for hit in hits:
            if hit.fault.kind in (FaultKind.STOP, FaultKind.SLOW):
                await self._signal(hit, signal.SIGCONT)
        for uid in list(self._filters):
            await self._open_up(uid)
        async with self._fleet.store.begin(SYSTEM_SCOPE) as tx:
            for hit in hits:
                await faults.end_hit(tx, hit, HitState.ENDED, "cachefleet was stopped")
        self._note(())

    def _note(self, hits: Iterable[FaultHit]) -> None:
        down, away = set(), set()
        now = self._fleet.clock.now()
        for hit in hits:
            move = next_move(
                HitState(hit.state), undone=hit.undone, ends_at=hit.fault.ends_at, now=now
            )
            if move not in (Move.BEGIN, Move.KEEP):
                continue
            kind = FaultKind(hit.fault.kind)
            if keeps_down(kind, cut=hit.fault.cut, duration_s=hit.fault.duration_s):
                down.add(hit.node_uid)
            if kind is FaultKind.PARTITION and hit.fault.cut == Cut.ALL:
                away.add(hit.node_uid)
        self._fleet.held_down, self._fleet.unreachable = down, away

    # -- one hit -----------------------------------------------------------------------------

    async def _advance(self, hit: FaultHit, lease: Lease) -> bool:
        """Do what a hit needs; return whether it is over, and is to be written down so."""
        move = next_move(
            HitState(hit.state),
            undone=hit.undone,
            ends_at=hit.fault.ends_at,
            now=self._fleet.clock.now(),
        )
        if move is Move.DROP:
            await self._end(hit, lease, HitState.ENDED, "it was over before it began")
        elif move is Move.LIFT:
            await self._lift(hit)
            return True
        elif not self._fleet.settings.allow_faults:
            await self._end(hit, lease, HitState.FAILED, REFUSAL)
        else:
            if move is Move.BEGIN and not await self._begin(hit, lease):
                return False
            return await self._keep(hit)
        return False

    async def _begin(self, hit: FaultHit, lease: Lease) -> bool:
        """Write down which process is hit; return whether there is anything to hit."""
        handle = await self._fleet.driver.find(hit.node_uid)
        kind = FaultKind(hit.fault.kind)
        if handle is None and kind in (FaultKind.STOP, FaultKind.SLOW):
            await self._end(hit, lease, HitState.FAILED, "its process does not run")
            return False
        if kind is FaultKind.PARTITION and not self._fleet.settings.endpoints_are_bound:
            reason = "a partition needs addresses of the nodes' own: --endpoint-mode loopback"
            await self._end(hit, lease, HitState.FAILED, reason)
            return False
        pid, started_at_s = (None, None) if handle is None else (handle.pid, handle.started_at_s)
        async with self._fleet.store.begin(lease.scope) as tx:
            await leases.require(tx, lease, holder=self._fleet.holder)
            await faults.begin_hit(tx, hit, pid=pid, started_at_s=started_at_s)
            hit.began_at = tx.now
        hit.state, hit.pid, hit.started_at_s = HitState.BEGINNING.value, pid, started_at_s
        log.warning("fault_began", kind=kind.value, node=hit.member_name, fault=hit.fault_uid)
        return True

    async def _keep(self, hit: FaultHit) -> bool:
        """Bring it about; return whether that was all."""
        match FaultKind(hit.fault.kind):
            case FaultKind.KILL:
                if await self._hit_process(hit) is not None:
                    await self._fleet.driver.kill(hit.node_uid)
                return bool(hit.fault.duration_s == 0)
            case FaultKind.STOP:
                await self._signal(hit, signal.SIGSTOP)
            case FaultKind.SLOW:
                if _key(hit) not in self._slowing:
                    self._slowing[_key(hit)] = asyncio.create_task(self._slow(hit))
            case FaultKind.PARTITION:
                await self._fence_where_due(hit)
        return False

    async def _lift(self, hit: FaultHit) -> None:
        kind = FaultKind(hit.fault.kind)
        slowing = self._slowing.pop(_key(hit), None)
        if slowing is not None:
            slowing.cancel()
            await asyncio.gather(slowing, return_exceptions=True)
        if kind in (FaultKind.STOP, FaultKind.SLOW):
            await self._signal(hit, signal.SIGCONT)
        if kind is FaultKind.PARTITION:
            # What an earlier control plane has cut, nobody here remembers.
            for node in await self._group_of([hit.subject_uid]):
                handle = await self._fleet.driver.find(node.uid)
                if handle is not None and node.uid not in self._filters:
                    self._filters[node.uid] = SocketFilter(handle.pid, frozenset(), None)

    async def _confirm(self, hit: FaultHit, lease: Lease) -> None:
        async with self._fleet.store.begin(lease.scope) as tx:
            await leases.require(tx, lease, holder=self._fleet.holder)
            await faults.confirm_hit(tx, hit)

    async def _end(self, hit: FaultHit, lease: Lease, state: HitState, note: str = "") -> None:
        async with self._fleet.store.begin(lease.scope) as tx:
            await leases.require(tx, lease, holder=self._fleet.holder)
            await faults.end_hit(tx, hit, state, note)
            # What was kept down may start now; and whatever else happened is looked at.
            await operations.ensure_settle(tx, lease)
        hit.state = state.value
        self._fleet.held_down.discard(hit.node_uid)
        self._fleet.unreachable.discard(hit.node_uid)
        log.warning("fault_ended", node=hit.member_name, fault=hit.fault_uid, note=note)

    async def _hit_process(self, hit: FaultHit) -> ProcessHandle | None:
        """Return the process that was hit, or None where it is gone."""
        handle = await self._fleet.driver.find(hit.node_uid)
        noted = (hit.pid, hit.started_at_s)
        return None if handle is None or noted != (handle.pid, handle.started_at_s) else handle

    async def _signal(self, hit: FaultHit, number: int) -> None:
        if await self._hit_process(hit) is not None:
            await self._fleet.driver.signal(hit.node_uid, number)

    async def _slow(self, hit: FaultHit) -> None:
        """Stop the process for a part of each period."""
        share = hit.fault.run_share
        try:
            while await self._hit_process(hit) is not None:
                await self._signal(hit, signal.SIGSTOP)
                await asyncio.sleep((1 - share) * SLOW_PERIOD_S)
                await self._signal(hit, signal.SIGCONT)
                await asyncio.sleep(share * SLOW_PERIOD_S)
        finally:
            await self._signal(hit, signal.SIGCONT)

    # -- partitions --------------------------------------------------------------------------

    async def _fence_where_due(self, hit: FaultHit) -> None:
        """End a primary that nobody can reach, once it would be taken for hung."""
        if hit.fault.cut != Cut.ALL or hit.began_at is None:
            return
        silent_s = (self._fleet.clock.now() - hit.began_at).total_seconds()
        if silent_s < self._fleet.settings.failover_timeout_s:
            return
        if await self._hit_process(hit) is None or not await self._has_successor(hit):
            return
        log.warning("node_fenced", node=hit.node_uid, silent_s=silent_s)
        await self._fleet.driver.kill(hit.node_uid)

    async def _has_successor(self, hit: FaultHit) -> bool:
        nodes = await self._group_of([hit.subject_uid])
        node = next((node for node in nodes if node.uid == hit.node_uid), None)
        if node is None or node.role != NodeRole.PRIMARY or node.node_group_uid is None:
            return False
        async with self._fleet.store.read(SYSTEM_SCOPE) as tx:
            group = await tx.session.get(ReplicationGroup, hit.subject_uid)
            automatic = group is not None and group.automatic_failover == "enabled"
        return automatic and any(
            other.node_group_uid == node.node_group_uid
            and other.role == NodeRole.REPLICA
            and other.status == lifecycle.NODE_AVAILABLE
            and other.uid not in self._fleet.unreachable
            and not other.recovering
            for other in nodes
        )

    async def _partition(self, hits: Sequence[FaultHit]) -> None:
        """Have every process drop what *hits* want dropped, and nothing else."""
        if not hits and not self._filters:
            return
        nodes = await self._group_of({hit.subject_uid for hit in hits})
        rules = plan_rules(_cut_nodes(hits, nodes))
        for uid in self._filters.keys() - rules.keys():
            await self._open_up(uid)
        try:
            for uid, rule in rules.items():
                await self._cut_off(uid, rule)
        except CannotCut as refusal:
            await self._refuse(hits, str(refusal))

    async def _cut_off(self, uid: str, rule: PacketRule) -> None:
        handle = await self._fleet.driver.find(uid)
        if handle is None:
            self._filters.pop(uid, None)
            return
        known = self._filters.get(uid)
        wanted = SocketFilter(handle.pid, rule.dropped, rule.allowed)
        if known is None or (known.pid, known.dropped, known.allowed) != (
            wanted.pid,
            wanted.dropped,
            wanted.allowed,
        ):
            known = self._filters[uid] = wanted
        await asyncio.to_thread(known.apply)

    async def _open_up(self, uid: str) -> None:
        """Take the filter off a process; one that cannot be had back is ended, and starts anew."""
        known = self._filters.pop(uid)
        handle = await self._fleet.driver.find(uid)
        if handle is None or handle.pid != known.pid:
            return
        try:
            await asyncio.to_thread(known.lift)
        except CannotCut as refusal:
            log.warning("partition_ended_by_restart", node=uid, reason=str(refusal))
            await self._fleet.driver.kill(uid)

    async def _refuse(self, hits: Sequence[FaultHit], reason: str) -> None:
        for hit in hits:
            lease = self._held().get(hit.subject_uid)
            if lease is not None:
                with contextlib.suppress(Stale):
                    await self._end(hit, lease, HitState.FAILED, reason)
        for uid in list(self._filters):
            await self._open_up(uid)

    async def _group_of(self, subject_uids: Iterable[str]) -> Sequence[CacheNode]:
        async with self._fleet.store.read(SYSTEM_SCOPE) as tx:
            query = select(CacheNode).where(CacheNode.subject_uid.in_(list(subject_uids)))
            return (await tx.session.scalars(query)).all()


def _cut_nodes(hits: Sequence[FaultHit], nodes: Sequence[CacheNode]) -> list[CutNode]:
    by_uid: Mapping[str, CacheNode] = {node.uid: node for node in nodes if node.host is not None}
    cut = [
        CutNode(
            uid=hit.node_uid,
            host=by_uid[hit.node_uid].host or "",
            subject=hit.subject_uid,
            fault=hit.fault_uid,
            cut=Cut(hit.fault.cut),
        )
        for hit in hits
        if hit.node_uid in by_uid
    ]
    others = by_uid.keys() - {node.uid for node in cut}
    return cut + [
        CutNode(uid=uid, host=by_uid[uid].host or "", subject=by_uid[uid].subject_uid)
        for uid in sorted(others)
    ]


def _is_active(hit: FaultHit, kind: FaultKind) -> bool:
    begun = hit.state in (HitState.BEGINNING, HitState.ACTIVE)
    return begun and hit.fault.kind == kind


def _key(hit: FaultHit) -> Key:
    return hit.fault_uid, hit.node_uid
