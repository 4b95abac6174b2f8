"""What changed, noticed where it is written: no code has to remember to tell.

A :class:`Recorder` knows what one writing transaction does: it listens to the flushes of the
session, and is told of rows that go past it. Every row with a ``status``, ``role`` or ``slots``
that is made, changed or removed, and every event, becomes one entry of the log: what it was before
the transaction, what it is after. Entries are written last, under the lock of their scope's
revision, which is what puts their ids in the order of commits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, event, func, inspect, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session

from cachefleet.provisioner.state.change_tables import Change
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.tables import CacheNode, Named, NodeGroup, ReplicationGroup

KEPT: Final = timedelta(days=14)  # as long as events
RESOURCE: Final = "resource"
EVENT: Final = "event"
WATCHED: Final = ("status", "role", "slots")
RECORDER: Final = "recorder"  # in the ``info`` of a session: who notes its flushes
_FIELDS: Final = {"status": "Status", "role": "Role", "slots": "Slots"}

Values = dict[str, Any]


@dataclass(slots=True)
class _Seen:
    row: Any
    before: Values
    made: bool = False
    removed: bool = False
    flushed: bool = True  # by the session; what went past it is written already


class WatchedSession(Session):
    """A session whose flushes are noted by the :class:`Recorder` in its ``info``."""


@dataclass(slots=True)
class Recorder:
    """Notes what one transaction changes."""

    _seen: dict[int, _Seen] = field(default_factory=dict)

    def note_made(self, row: Named) -> None:
        """Note a row that was written past the session."""
        if _is_watched(row):
            self._seen[id(row)] = _Seen(row, {}, made=True, flushed=False)

    def note_removed(self, row: Named) -> None:
        """Note a row that was removed past the session; it says what it was."""
        if _is_watched(row):
            self._seen[id(row)] = _Seen(row, _now(row), removed=True, flushed=False)

    def note_flush(self, session: Session) -> None:
        """Note what a session is about to write."""
        for row in session.new:
            if _is_watched(row):
                self._seen.setdefault(id(row), _Seen(row, {}, made=True))
        for row in session.dirty:
            if _is_watched(row):
                before = _before(row)
                if before and id(row) not in self._seen:
                    self._seen[id(row)] = _Seen(row, before)
                elif before:
                    seen = self._seen[id(row)]
                    seen.before = {**before, **seen.before}
        for row in session.deleted:
            if _is_watched(row):
                seen = self._seen.setdefault(id(row), _Seen(row, _now(row)))
                seen.removed = True

    async def entries(
        self,
        connection: AsyncConnection,
        events: Iterable[Values],
        scope: Scope,
        now: datetime,
    ) -> list[Values]:
        """Return the log's entries for what was written so far, and for *events*."""
        found = []
        for seen in self._seen.values():
            if seen.flushed and not (inspect(seen.row).persistent or seen.removed):
                continue  # an insert that was taken back
            named = await _named(connection, seen.row)
            after = {} if seen.removed else _now(seen.row)
            before = {} if seen.made else {**_now(seen.row), **seen.before}
            if named is None or before == after:
                continue
            found.append(
                {
                    "account": getattr(seen.row, "account", scope.account),
                    "region": getattr(seen.row, "region", scope.region),
                    "kind": RESOURCE,
                    "payload": _payload(*named, before, after, now),
                    "occurred_at": now,
                }
            )
        found.extend(
            {
                "account": one["account"],
                "region": one["region"],
                "kind": EVENT,
                "payload": {
                    "SourceIdentifier": one["source_identifier"],
                    "SourceType": one["source_type"],
                    "Message": one["message"],
                    "Date": _instant(one["occurred_at"]),
                },
                "occurred_at": one["occurred_at"],
            }
            for one in events
        )
        return found


@event.listens_for(WatchedSession, "before_flush")
def _note(session: Session, *_: object) -> None:
    session.info[RECORDER].note_flush(session)


def _is_watched(row: object) -> bool:
    return (hasattr(row, "resource") or isinstance(row, CacheNode | NodeGroup)) and hasattr(
        row, "status"
    )


def _before(row: Any) -> dict[str, Any]:
    """Return the values that a changed row had, of those that are watched."""
    state = inspect(row)
    before = {}
    for name in WATCHED:
        if name in state.attrs:
            history = state.attrs[name].history
            if history.deleted:
                before[name] = history.deleted[0]
    return before


def _now(row: Any) -> dict[str, Any]:
    unloaded = inspect(row).unloaded
    return {
        name: getattr(row, name)
        for name in WATCHED
        if hasattr(type(row), name) and name not in unloaded
    }


async def _named(connection: AsyncConnection, row: Any) -> tuple[str, str] | None:
    """Return the kind and the name of what the row records."""
    if isinstance(row, CacheNode):
        return "cache-node", f"{row.member_name}/{row.cache_node_id}"
    if isinstance(row, NodeGroup):
        query = select(ReplicationGroup.name).where(
            ReplicationGroup.uid == row.replication_group_uid
        )
        group = await connection.scalar(query)
        return None if group is None else ("node-group", f"{group}/{row.node_group_id}")
    return row.resource.replace("_", "-"), row.name


def _payload(
    kind: str, name: str, before: dict[str, Any], after: dict[str, Any], now: datetime
) -> dict[str, Any]:
    what = "created" if not before else "deleted" if not after else "changed"
    payload = {"Change": what, "ResourceType": kind, "ResourceName": name, "Date": _instant(now)}
    for attribute, field_name in _FIELDS.items():
        if after.get(attribute) is not None:
            payload[field_name] = after[attribute]
        if before.get(attribute) is not None and before[attribute] != after.get(attribute):
            payload[f"Previous{field_name}"] = before[attribute]
    return payload


def _instant(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


# -- for readers ----------------------------------------------------------------------------------


async def last_id(session: AsyncSession, scope: Scope) -> int:
    """Return the id of the newest entry of a scope; 0 where there is none."""
    query = select(func.max(Change.id)).where(
        Change.account == scope.account, Change.region == scope.region
    )
    return int(await session.scalar(query) or 0)


async def first_id(session: AsyncSession) -> int:
    """Return the id of the oldest entry that is kept of anybody; 0 where there is none."""
    return int(await session.scalar(select(func.min(Change.id))) or 0)


async def after(
    session: AsyncSession, scope: Scope, last_seen_id: int, *, limit: int
) -> Sequence[Change]:
    """Return up to *limit* entries of a scope behind *last_seen_id*, in order."""
    query = (
        select(Change)
        .where(
            Change.account == scope.account,
            Change.region == scope.region,
            Change.id > last_seen_id,
        )
        .order_by(Change.id)
        .limit(limit)
    )
    return (await session.scalars(query)).all()


async def forget(session: AsyncSession, now: datetime) -> None:
    """Remove what is older than is kept."""
    await session.execute(delete(Change).where(Change.occurred_at < now - KEPT))
