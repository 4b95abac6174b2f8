"""Service updates in the record: the life of an update action as a table, and what follows from it.

An action is made when a node is found that a service update would change, and goes through these
states. What is shown of it (deadlines kept, nodes updated) is read from the row here, so that every
reader says the same.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from typing import Any

from sqlalchemy import select

from cachefleet.provisioner.state import ids
from cachefleet.provisioner.state.errors import IllegalTransition
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheNode
from cachefleet.provisioner.state.update_tables import ServiceUpdate, UpdateAction

# Days until an update is due, by its severity: what the service allows.
APPLY_BY_DAYS: Mapping[str, int] = {"critical": 14, "important": 30, "medium": 60, "low": 90}
END_OF_DAY = time(23, 59, 59)
OPEN_AFTER_DUE = timedelta(days=365)  # then it can no longer be applied, and is offered anew
COMPLETE_SHOWN = timedelta(days=7)
ESTIMATE = "1 minute per node"
TYPE = "security-update"  # the only one that the model has

AVAILABLE, CANCELLED, EXPIRED = "available", "cancelled", "expired"
SYSTEM, CUSTOMER = "system", "customer"


class Status(enum.StrEnum):
    """Where an update action is."""

    NOT_APPLIED = "not-applied"
    WAITING_TO_START = "waiting-to-start"
    IN_PROGRESS = "in-progress"
    STOPPING = "stopping"
    STOPPED = "stopped"
    COMPLETE = "complete"
    SCHEDULING = "scheduling"
    SCHEDULED = "scheduled"
    NOT_APPLICABLE = "not-applicable"


class Event(enum.StrEnum):
    """What can happen to an update action."""

    APPLY = "apply"  # a customer, or the maintenance window, wants it now
    START = "start"
    STOP = "stop"
    STOPPED = "stopped"  # no node is being worked on any more
    FINISH = "finish"  # every node is found to be updated, by whatever
    SCHEDULE = "schedule"  # it is due
    SCHEDULED = "scheduled"  # it waits for the window
    SUPERSEDE = "supersede"  # there is something newer, or nothing left to update
    REOPEN = "reopen"  # a node is found that would be changed after all


_S, _E = Status, Event
TABLE: Mapping[tuple[str, Event], Status] = {
    (_S.NOT_APPLIED, _E.APPLY): _S.WAITING_TO_START,
    (_S.NOT_APPLIED, _E.SCHEDULE): _S.SCHEDULING,
    (_S.NOT_APPLIED, _E.FINISH): _S.COMPLETE,
    (_S.NOT_APPLIED, _E.SUPERSEDE): _S.NOT_APPLICABLE,
    (_S.SCHEDULING, _E.SCHEDULED): _S.SCHEDULED,
    (_S.SCHEDULING, _E.APPLY): _S.WAITING_TO_START,
    (_S.SCHEDULING, _E.FINISH): _S.COMPLETE,
    (_S.SCHEDULING, _E.SUPERSEDE): _S.NOT_APPLICABLE,
    (_S.SCHEDULED, _E.APPLY): _S.WAITING_TO_START,
    (_S.SCHEDULED, _E.FINISH): _S.COMPLETE,
    (_S.SCHEDULED, _E.SUPERSEDE): _S.NOT_APPLICABLE,
    (_S.WAITING_TO_START, _E.START): _S.IN_PROGRESS,
    (_S.WAITING_TO_START, _E.STOP): _S.STOPPING,
    (_S.WAITING_TO_START, _E.FINISH): _S.COMPLETE,
    (_S.WAITING_TO_START, _E.SUPERSEDE): _S.NOT_APPLICABLE,
    (_S.IN_PROGRESS, _E.STOP): _S.STOPPING,
    (_S.IN_PROGRESS, _E.FINISH): _S.COMPLETE,
    (_S.IN_PROGRESS, _E.STOPPED): _S.STOPPED,
    (_S.IN_PROGRESS, _E.SUPERSEDE): _S.NOT_APPLICABLE,
    (_S.STOPPING, _E.STOPPED): _S.STOPPED,
    (_S.STOPPING, _E.FINISH): _S.COMPLETE,
    (_S.STOPPING, _E.SUPERSEDE): _S.NOT_APPLICABLE,
    (_S.STOPPED, _E.APPLY): _S.WAITING_TO_START,
    (_S.STOPPED, _E.FINISH): _S.COMPLETE,
    (_S.STOPPED, _E.SUPERSEDE): _S.NOT_APPLICABLE,
    (_S.COMPLETE, _E.REOPEN): _S.NOT_APPLIED,
    (_S.NOT_APPLICABLE, _E.REOPEN): _S.NOT_APPLIED,
}
# While it is in one of these, the operation that was filed for it has the say.
UNDER_WAY = frozenset({_S.WAITING_TO_START, _S.IN_PROGRESS, _S.STOPPING})


def target(status: str, event: Event) -> Status | None:
    """Return the state that *event* leads to from *status*; None where it is illegal."""
    return TABLE.get((status, event))


def fire(action: UpdateAction, event: Event, *, now: datetime, by: str | None = None) -> None:
    """Move *action* along the table; *by* says who wanted it applied.

    Raises:
        IllegalTransition: the table has no such transition; the row is unchanged.
    """
    status = target(action.status, event)
    if status is None:
        raise IllegalTransition("update_action", action.name, action.status, event.value)
    action.status, action.status_at = status.value, now
    if event is Event.APPLY:
        action.initiated_by, action.initiated_at = by, now
    action.completed_at = now if status is Status.COMPLETE else None
    nodes = _copied(action.nodes)
    for node in nodes.values():
        follow = _node_status(node["status"], event)
        if follow is not None:
            node["status"], node["status_at"] = follow, now.isoformat()
        if event is Event.APPLY and node["status"] != Status.COMPLETE:
            node["initiated_by"], node["initiated_at"] = by, now.isoformat()
    action.nodes = nodes


def _node_status(status: str, event: Event) -> str | None:
    """Return the state of a node that an event of its action brings with it."""
    if status == Status.COMPLETE:
        return None
    if event is Event.STOP and status == Status.IN_PROGRESS:
        return None  # what was begun is gone through with
    followed = {
        Event.APPLY: Status.WAITING_TO_START,
        Event.STOP: Status.STOPPING,
        Event.STOPPED: Status.STOPPED,
        Event.REOPEN: Status.NOT_APPLIED,
    }.get(event)
    return None if followed is None else followed.value


# -- nodes -----------------------------------------------------------------------------------------


def note_nodes(
    action: UpdateAction,
    nodes: Sequence[CacheNode],
    *,
    shards: Mapping[str, str],
    behind: frozenset[str],
    unknown: frozenset[str] = frozenset(),
    now: datetime,
) -> None:
    """Write down the cache's nodes as they were found: those *behind*, and the others as updated.

    Nodes that have gone are left out. One that is being worked on is not touched while it is
    behind; what was known of one that is *unknown* now stays.
    *shards* are the ids of node groups by their uid.
    """
    known, fresh = _copied(action.nodes), {}
    for node in nodes:
        entry = known.get(node.uid) or {
            "member": node.member_name,
            "node_id": node.cache_node_id,
            "shard": shards.get(node.node_group_uid or ""),
            "status": Status.NOT_APPLIED.value,
            "status_at": now.isoformat(),
        }
        if node.uid in unknown:
            pass
        elif node.uid not in behind and entry["status"] != Status.COMPLETE:
            entry |= {"status": Status.COMPLETE.value, "status_at": now.isoformat()}
            entry["ended_at"] = now.isoformat()
        elif node.uid in behind and entry["status"] == Status.COMPLETE:
            entry |= {"status": Status.NOT_APPLIED.value, "status_at": now.isoformat()}
            for name in ("started_at", "ended_at", "initiated_by", "initiated_at"):
                entry.pop(name, None)
        fresh[node.uid] = entry
    if fresh != action.nodes:
        action.nodes = fresh


def note_start(action: UpdateAction, node_uid: str, *, now: datetime) -> None:
    """Write down that a node is being worked on; a second time changes nothing."""
    nodes = _copied(action.nodes)
    entry = nodes.get(node_uid)
    if entry is None or entry["status"] == Status.IN_PROGRESS:
        return
    entry |= {"status": Status.IN_PROGRESS.value, "status_at": now.isoformat()}
    entry["started_at"] = now.isoformat()
    entry.pop("ended_at", None)
    action.nodes = nodes


def _copied(nodes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {uid: dict(entry) for uid, entry in nodes.items()}


# -- what readers are told -------------------------------------------------------------------------


def update_status(update: ServiceUpdate, now: datetime) -> str:
    """Return ``ServiceUpdateStatus`` at *now*."""
    if update.status == AVAILABLE and now >= update.ends_at:
        return EXPIRED
    return update.status


def nodes_updated(action: UpdateAction) -> str:
    """Return ``NodesUpdated``, as ``1/3``."""
    done = sum(entry["status"] == Status.COMPLETE for entry in action.nodes.values())
    return f"{done}/{len(action.nodes)}"


def sla_met(action: UpdateAction, now: datetime) -> str:
    """Return ``SlaMet``: whether all was updated by the date, ``n/a`` while that is open.

    A cache that was made after the date is not held to it.
    """
    due = action.update.apply_by_at
    if action.subject_created_at is not None and action.subject_created_at > due:
        return "n/a"
    if action.completed_at is not None and action.completed_at <= due:
        return "yes"
    return "no" if now > due else "n/a"


def is_shown(action: UpdateAction, now: datetime) -> bool:
    """Tell whether an action is listed: completed ones are for a week."""
    return action.completed_at is None or now < action.completed_at + COMPLETE_SHOWN


def apply_by(released_at: datetime, severity: str, days: int | None) -> datetime:
    """Return until when an update is to be applied: the end of a day, or at once for no days."""
    wait = APPLY_BY_DAYS[severity] if days is None else days
    if wait == 0:
        return released_at
    return datetime.combine(
        released_at.date() + timedelta(days=wait), END_OF_DAY, tzinfo=released_at.tzinfo
    )


# -- rows ------------------------------------------------------------------------------------------


async def find_open(
    tx: Transaction, *, kind: str, engine: str, fingerprint: str | None = None
) -> Sequence[ServiceUpdate]:
    """Return the updates of this scope that can be applied, for one engine."""
    query = select(ServiceUpdate).where(
        ServiceUpdate.account == tx.scope.account,
        ServiceUpdate.region == tx.scope.region,
        ServiceUpdate.kind == kind,
        ServiceUpdate.engine == engine,
        ServiceUpdate.status == AVAILABLE,
        ServiceUpdate.ends_at > tx.now,
    )
    if fingerprint is not None:
        query = query.where(ServiceUpdate.fingerprint == fingerprint)
    return (await tx.session.scalars(query.order_by(ServiceUpdate.name))).all()


async def actions_of(tx: Transaction, subject_uid: str) -> Sequence[UpdateAction]:
    """Return every action of one cache, shown or not."""
    query = select(UpdateAction).where(UpdateAction.subject_uid == subject_uid)
    return (await tx.session.scalars(query.order_by(UpdateAction.uid))).all()


async def add_update(
    tx: Transaction,
    *,
    kind: str,
    engine: str,
    brings: str,
    fingerprint: str,
    severity: str,
    description: str,
    days: int | None,
) -> ServiceUpdate:
    """Write a new update, with a name of the day as the service gives them.

    Raises:
        AlreadyExists: another provisioner took the name; the next look finds what it wrote.
    """
    day = f"elc-{tx.now:%Y%m%d}"
    number = await tx.count(ServiceUpdate, ServiceUpdate.name.like(f"{day}-%")) + 1
    due = apply_by(tx.now, severity, days)
    update = ServiceUpdate(
        uid=ids.new_uid(),
        account=tx.scope.account,
        region=tx.scope.region,
        name=f"{day}-{number:03}",
        kind=kind,
        engine=engine,
        brings=brings,
        fingerprint=fingerprint,
        severity=severity,
        description=description,
        status=AVAILABLE,
        released_at=tx.now,
        apply_by_at=due,
        ends_at=due + OPEN_AFTER_DUE,
    )
    await tx.insert(update)
    return update


def new_action(
    tx: Transaction,
    update: ServiceUpdate,
    *,
    subject_uid: str,
    subject_kind: str,
    name: str,
    created_at: datetime | None,
) -> UpdateAction:
    """Write an action that nobody has applied yet; its nodes are noted by the caller."""
    action = UpdateAction(
        uid=ids.new_uid(),
        account=tx.scope.account,
        region=tx.scope.region,
        update_uid=update.uid,
        update=update,
        subject_uid=subject_uid,
        subject_kind=subject_kind,
        name=name,
        status=Status.NOT_APPLIED.value,
        available_at=tx.now,
        status_at=tx.now,
        subject_created_at=created_at,
        nodes={},
    )
    tx.session.add(action)
    return action
