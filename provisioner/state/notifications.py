"""Files notifications beside the events that they tell of, in the same transaction.

A cache has one topic. What is filed is published later, by whoever runs the provisioner: no topic
can delay, or fail, what a customer asked for. Their number is bounded; what exceeds it is lost, as
notifications may be.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from cachefleet.provisioner.state.notification_tables import Notification
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup

log = structlog.get_logger(__name__)

WAITING_MAX = 10_000  # over all topics: some hours of a busy fleet, a few megabytes
ACTIVE = "active"
INACTIVE = "inactive"

TABLES: dict[str, type[CacheCluster | ReplicationGroup]] = {
    "cache-cluster": CacheCluster,
    "replication-group": ReplicationGroup,
}


@dataclass(frozen=True, slots=True)
class Notice:
    """An event that goes to the topic of its source. *about* is what the message names.

    *topic* is None where the source's row was not at hand when the event was written.
    """

    source_type: str
    source: str
    sns_event: str
    about: str
    topic: str | None


def topic_at_hand(
    session: AsyncSession, scope: Scope, source_type: str, source: str
) -> tuple[bool, str | None]:
    """Return whether the source's row is loaded, and its topic where that is active."""
    table = TABLES.get(source_type)
    if table is None:
        return True, None
    rows = [*session.identity_map.values(), *session.new]
    for row in rows:
        if isinstance(row, table) and (row.name, row.scope) == (source, scope):
            return True, active_topic(row)
    return False, None


def active_topic(row: CacheCluster | ReplicationGroup) -> str | None:
    """Return the topic that a cache's events go to now."""
    return row.notification_topic_arn if row.notification_topic_status == ACTIVE else None


async def file_notices(
    session: AsyncSession, notices: list[Notice], *, scope: Scope, now: datetime
) -> None:
    """Write the notifications of a transaction's events, in their order."""
    for notice in notices:
        topic = notice.topic or await _find_topic(session, scope, notice)
        if topic is None:
            continue
        waiting = int(await session.scalar(select(func.count()).select_from(Notification)) or 0)
        if waiting >= WAITING_MAX:
            log.warning("notification_lost", topic=topic, notification=notice.sns_event)
            continue
        session.add(
            Notification(
                account=scope.account,
                region=scope.region,
                topic_arn=topic,
                message=json.dumps({notice.sns_event: notice.about}),
                created_at=now,
                due_at=now,
            )
        )
        await session.flush()


async def _find_topic(session: AsyncSession, scope: Scope, notice: Notice) -> str | None:
    table = TABLES[notice.source_type]
    query = select(table.notification_topic_arn, table.notification_topic_status).where(
        table.account == scope.account, table.region == scope.region, table.name == notice.source
    )
    found = (await session.execute(query)).one_or_none()
    return found[0] if found is not None and found[1] == ACTIVE else None
