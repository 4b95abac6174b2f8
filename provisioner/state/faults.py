"""Faults that people inject on purpose: filed here, carried out by the provisioner.

A fault is a row and not an operation, because operations of a subject wait for each other, and a
fault has to hit in the middle of them. It names the nodes it hits when it is filed; each of them
goes ``requested``, ``beginning``, ``active``, ``ended``, or ``failed``. Every fault has an end: a
limit in time that holds though nobody undoes it.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, or_, select, update

from cachefleet.provisioner.state import lifecycle, prepared
from cachefleet.provisioner.state.errors import NotFound
from cachefleet.provisioner.state.fault_tables import FaultHit, InjectedFault
from cachefleet.provisioner.state.ids import new_uid
from cachefleet.provisioner.state.prepared import Prepared
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster, CacheNode, ReplicationGroup

DURATION_S_DEFAULT = 30.0
DURATION_S_MAX = 3600.0
# A fault that no provisioner was there to begin is dropped after this, not carried out late.
BEGIN_WITHIN_S = 60.0
OPEN_FAULTS_MAX = 100
RUN_SHARE_DEFAULT = 0.1
RUN_SHARE_MIN, RUN_SHARE_MAX = 0.01, 0.95
KEPT = timedelta(days=14)


class FaultKind(enum.StrEnum):
    """What can be done to a node."""

    KILL = "kill"  # end its process, and keep it down while the fault lasts
    STOP = "stop"  # its process does nothing more (SIGSTOP) until it is continued
    SLOW = "slow"  # its process runs for a part of the time only
    PARTITION = "partition"  # what comes to it over the network is dropped


class Cut(enum.StrEnum):
    """From whom a partition cuts a node off."""

    ALL = "all"  # clients, other nodes and the control plane
    NODES = "nodes"  # the other nodes of its group only


class HitState(enum.StrEnum):
    """How it stands with one node of a fault."""

    REQUESTED = "requested"
    BEGINNING = "beginning"  # it is written down which process is hit; that is about to happen
    ACTIVE = "active"
    ENDED = "ended"
    FAILED = "failed"


OPEN_HITS = (HitState.REQUESTED, HitState.BEGINNING, HitState.ACTIVE)
_ANY_OPEN_HIT = Prepared(
    select(FaultHit.fault_uid)
    .where(or_(*(FaultHit.state == state for state in OPEN_HITS)))
    .limit(1)
)


class TooManyFaults(Exception):
    """As many faults are open as there may be."""


class NothingToHit(Exception):
    """The target has no node that could be hit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultTarget:
    """A node, a cluster, or a zone (of one group, or of all). What is None is not asked for."""

    cache_cluster_id: str | None = None
    cache_node_id: str | None = None
    availability_zone: str | None = None
    replication_group_id: str | None = None


async def inject(
    tx: Transaction,
    *,
    kind: FaultKind,
    target: FaultTarget,
    duration_s: float,
    cut: Cut = Cut.ALL,
    run_share: float = RUN_SHARE_DEFAULT,
) -> InjectedFault:
    """File a fault on all nodes of *target*; ``duration_s`` 0 is a kill that keeps nothing down.

    Raises:
        NotFound: the cluster or group that the target names is not there.
        NothingToHit: it has no node that serves.
        TooManyFaults: as many are open as may be.
    """
    assert 0 <= duration_s <= DURATION_S_MAX, duration_s
    assert duration_s > 0 or kind is FaultKind.KILL, "only a kill is over at once"
    nodes = await nodes_of(tx, target)
    if await _count_open(tx) >= OPEN_FAULTS_MAX:
        raise TooManyFaults(f"{OPEN_FAULTS_MAX} faults are open")
    fault = InjectedFault(
        uid=new_uid(),
        account=tx.scope.account,
        region=tx.scope.region,
        kind=kind.value,
        target={
            name: value
            for name in FaultTarget.__slots__
            if (value := getattr(target, name)) is not None
        },
        cut=cut.value if kind is FaultKind.PARTITION else "",
        run_share=run_share if kind is FaultKind.SLOW else 1.0,
        duration_s=duration_s,
        created_at=tx.now,
        ends_at=tx.now + timedelta(seconds=duration_s or BEGIN_WITHIN_S),
        hits=[
            FaultHit(
                node_uid=node.uid,
                subject_uid=node.subject_uid,
                member_name=node.member_name,
                cache_node_id=node.cache_node_id,
                state=HitState.REQUESTED.value,
                undone=False,
                pid=None,
                started_at_s=None,
                began_at=None,
                ended_at=None,
                note="",
            )
            for node in nodes
        ],
    )
    tx.session.add(fault)
    tx.wakes_provisioner = True
    await tx.session.flush()
    return fault


async def nodes_of(tx: Transaction, target: FaultTarget) -> Sequence[CacheNode]:
    """Return the nodes of this scope that *target* names.

    Raises:
        NotFound, NothingToHit: see :func:`inject`.
    """
    query = (
        select(CacheNode)
        .join(CacheCluster, CacheCluster.uid == CacheNode.cache_cluster_uid)
        .where(
            CacheCluster.account == tx.scope.account,
            CacheCluster.region == tx.scope.region,
            CacheNode.status.in_((lifecycle.NODE_AVAILABLE, lifecycle.NODE_CREATING)),
        )
        .order_by(CacheNode.member_name, CacheNode.cache_node_id)
    )
    if target.cache_cluster_id is not None:
        cluster = await tx.get(CacheCluster, target.cache_cluster_id)
        query = query.where(CacheNode.cache_cluster_uid == cluster.uid)
    if target.cache_node_id is not None:
        query = query.where(CacheNode.cache_node_id == target.cache_node_id)
    if target.replication_group_id is not None:
        group = await tx.get(ReplicationGroup, target.replication_group_id)
        query = query.where(CacheNode.subject_uid == group.uid)
    if target.availability_zone is not None:
        query = query.where(CacheNode.availability_zone == target.availability_zone)
    nodes = (await tx.session.scalars(query)).all()
    if not nodes:
        raise NothingToHit("the target has no cache node that serves")
    return nodes


async def faults_of(tx: Transaction, *, limit: int) -> Sequence[InjectedFault]:
    """Return the newest faults of this scope, newest first."""
    query = (
        select(InjectedFault)
        .where(InjectedFault.account == tx.scope.account, InjectedFault.region == tx.scope.region)
        .order_by(InjectedFault.created_at.desc(), InjectedFault.uid)
        .limit(limit)
    )
    return (await tx.session.scalars(query)).unique().all()


async def find_fault(tx: Transaction, uid: str) -> InjectedFault:
    """Return a fault of this scope.

    Raises:
        NotFound: there is none.
    """
    fault = await tx.session.get(InjectedFault, uid)
    if fault is None or fault.scope != tx.scope:
        raise NotFound("fault", uid)
    return fault


async def undo(tx: Transaction, fault: InjectedFault) -> None:
    """Have a fault end now; nothing happens to what has ended."""
    for hit in fault.hits:
        if hit.state in OPEN_HITS:
            hit.undone = True
    tx.wakes_provisioner = True


async def resume(tx: Transaction, target: FaultTarget) -> Sequence[InjectedFault]:
    """Have the processes of *target* run on that a fault stopped or slowed; return those faults."""
    uids = [node.uid for node in await nodes_of(tx, target)]
    query = (
        select(FaultHit)
        .join(InjectedFault, InjectedFault.uid == FaultHit.fault_uid)
        .where(
            FaultHit.node_uid.in_(uids),
            FaultHit.state.in_(OPEN_HITS),
            InjectedFault.kind.in_((FaultKind.STOP, FaultKind.SLOW)),
        )
    )
    hits = (await tx.session.scalars(query)).unique().all()
    for hit in hits:
        hit.undone = True
    tx.wakes_provisioner = True
    await tx.session.flush()
    ended = select(InjectedFault).where(InjectedFault.uid.in_({hit.fault_uid for hit in hits}))
    found = await tx.session.scalars(ended.execution_options(populate_existing=True))
    return found.unique().all()


async def open_hits(tx: Transaction) -> Sequence[FaultHit]:
    """Return every hit that is not over, with its fault, over all scopes.

    Asked for ever, and almost always of none: so that question comes first, prepared.
    """
    if not await prepared.rows(tx.connection, _ANY_OPEN_HIT, {}):
        return []
    query = select(FaultHit).where(FaultHit.state.in_(OPEN_HITS))
    return (await tx.session.scalars(query)).unique().all()


async def begin_hit(
    tx: Transaction, hit: FaultHit, *, pid: int | None, started_at_s: float | None
) -> None:
    """Write down which process is hit, before it is."""
    await _write(tx, hit, state=HitState.BEGINNING, pid=pid, started_at_s=started_at_s, began=True)


async def confirm_hit(tx: Transaction, hit: FaultHit) -> None:
    """Write down that a hit has taken effect."""
    await _write(tx, hit, state=HitState.ACTIVE, pid=hit.pid, started_at_s=hit.started_at_s)


async def end_hit(tx: Transaction, hit: FaultHit, state: HitState, note: str = "") -> None:
    """Close a hit for good."""
    await _write(tx, hit, state=state, note=note, pid=hit.pid, started_at_s=hit.started_at_s)


async def forget_ended(tx: Transaction) -> None:
    """Remove faults that were over longer ago than is kept."""
    old = select(InjectedFault.uid).where(InjectedFault.ends_at < tx.now - KEPT)
    await tx.session.execute(delete(FaultHit).where(FaultHit.fault_uid.in_(old)))
    await tx.session.execute(delete(InjectedFault).where(InjectedFault.ends_at < tx.now - KEPT))


async def _write(
    tx: Transaction,
    hit: FaultHit,
    *,
    state: HitState,
    pid: int | None,
    started_at_s: float | None,
    note: str = "",
    began: bool = False,
) -> None:
    await tx.session.execute(
        update(FaultHit)
        .where(FaultHit.fault_uid == hit.fault_uid, FaultHit.node_uid == hit.node_uid)
        .values(
            state=state.value,
            pid=pid,
            started_at_s=started_at_s,
            note=note or hit.note,
            began_at=tx.now if began else hit.began_at,
            ended_at=None if state in OPEN_HITS else tx.now,
        )
    )


async def _count_open(tx: Transaction) -> int:
    query = select(func.count(FaultHit.fault_uid.distinct())).where(FaultHit.state.in_(OPEN_HITS))
    return int(await tx.session.scalar(query) or 0)
