"""Publishes what was filed for SNS topics, through boto3, beside all other work.

Notifications are claimed for a while, published, and then removed: if we die in between, they are
published again. An endpoint that cannot be reached is asked again, later and later, for a day. A
topic that refuses is made ``inactive`` on whatever uses it, as the service does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import structlog
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from sqlalchemy import delete, select, update
from sqlalchemy.exc import DBAPIError

from cachefleet.provisioner.clock import Clock
from cachefleet.provisioner.state.notification_tables import Notification
from cachefleet.provisioner.state.notifications import INACTIVE
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Store
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup

log = structlog.get_logger(__name__)

SUBJECT = "ElastiCache Notification Message"
BATCH_MAX = 20
CLAIM = timedelta(minutes=5)  # longer than a batch takes, whatever the endpoint does
GIVE_UP = timedelta(days=1)
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 2.0, 5.0
RETRY_S_MIN, RETRY_S_MAX = 2.0, 300.0
POLL_S = 1.0
CLIENTS_MAX = 64  # an account and region each
EVERYTHING = Scope("", "")


class Unreachable(Exception):
    """The endpoint gave no answer that tells anything: it is asked again."""


class Refused(Exception):
    """The topic does not take the message, and will not."""


class Publisher(Protocol):
    """Where messages go."""

    async def publish(self, notification: Notification) -> None:
        """Raises :class:`Unreachable` or :class:`Refused`."""
        ...


class SnsPublisher:
    """SNS at *endpoint_url*, with the machine's AWS credentials, else with the account's id."""

    def __init__(self, endpoint_url: str) -> None:
        self._endpoint_url = endpoint_url
        self._clients: dict[Scope, Any] = {}

    async def publish(self, notification: Notification) -> None:
        """Send one message; a thread waits for the answer."""
        await asyncio.to_thread(self._publish, notification)

    def _publish(self, notification: Notification) -> None:
        try:
            self._client(notification.scope).publish(
                TopicArn=notification.topic_arn, Subject=SUBJECT, Message=notification.message
            )
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
            code = error.response.get("Error", {}).get("Code", "")
            if status >= 500 or "Throttl" in code:
                raise Unreachable(str(error)) from error
            raise Refused(str(error)) from error
        except BotoCoreError as error:
            raise Unreachable(str(error)) from error

    def _client(self, scope: Scope) -> Any:
        if scope not in self._clients:
            if len(self._clients) >= CLIENTS_MAX:
                self._clients.pop(next(iter(self._clients))).close()
            import boto3  # a tenth of a second, which only those pay who have a topic

            session = boto3.Session(region_name=scope.region)
            own = {}
            if session.get_credentials() is None:
                own = {"aws_access_key_id": scope.account, "aws_secret_access_key": "cachefleet"}
            self._clients[scope] = session.client(
                "sns",
                endpoint_url=self._endpoint_url,
                config=Config(
                    connect_timeout=CONNECT_TIMEOUT_S,
                    read_timeout=READ_TIMEOUT_S,
                    retries={"total_max_attempts": 1},
                ),
                **own,
            )
        return self._clients[scope]


def publisher_of(endpoint_url: str | None) -> Publisher | None:
    """Return who publishes to *endpoint_url*; None where no endpoint is set."""
    return None if endpoint_url is None else SnsPublisher(endpoint_url)


@dataclass(slots=True)
class _Outcome:
    """What became of one claimed notification; a retry comes after *again_s*."""

    notification: Notification
    again_s: float | None = None
    refused: bool = False


class Notifier:
    """Runs until cancelled. Without a publisher nothing is kept: there is nobody to tell."""

    def __init__(self, store: Store, clock: Clock, publisher: Publisher | None) -> None:
        self._store = store
        self._clock = clock
        self._publisher = publisher

    async def run(self) -> None:
        """Publish what is due, again and again."""
        while True:
            try:
                while await self.publish_due():
                    pass
            except DBAPIError as error:
                log.warning("notifications_postponed", reason=str(error.orig))
            await asyncio.sleep(POLL_S)

    async def publish_due(self) -> int:
        """Publish one batch; return how many notifications are dealt with for good."""
        batch = await self._claim()
        outcomes: list[_Outcome] = []
        away = False
        for notification in batch:
            if away:  # nobody is asked again who has just not answered
                outcomes.append(_Outcome(notification, again_s=_backoff_s(notification.attempt)))
                continue
            outcome = await self._publish(notification)
            away = outcome.again_s is not None
            outcomes.append(outcome)
        await self._conclude(outcomes)
        return sum(outcome.again_s is None for outcome in outcomes)

    async def _claim(self) -> Sequence[Notification]:
        async with self._store.read(EVERYTHING) as tx:
            due = select(Notification.id).where(Notification.due_at <= tx.now)
            if (await tx.session.scalars(due.limit(1))).first() is None:
                return []
        async with self._store.begin(EVERYTHING) as tx:
            query = (
                select(Notification)
                .where(Notification.due_at <= tx.now)
                .order_by(Notification.id)
                .limit(BATCH_MAX)
                .with_for_update(skip_locked=True)
            )
            batch = (await tx.session.scalars(query)).all()
            for notification in batch:
                notification.due_at = tx.now + CLAIM
                notification.attempt += 1
        return batch

    async def _publish(self, notification: Notification) -> _Outcome:
        if self._publisher is None:
            return _Outcome(notification)
        try:
            await self._publisher.publish(notification)
        except Unreachable as error:
            log.warning("notification_postponed", id=notification.id, reason=str(error))
            return _Outcome(notification, again_s=_backoff_s(notification.attempt))
        except Refused as error:
            log.warning("topic_refused", topic=notification.topic_arn, reason=str(error))
            return _Outcome(notification, refused=True)
        return _Outcome(notification)

    async def _conclude(self, outcomes: Sequence[_Outcome]) -> None:
        for outcome in outcomes:
            row = outcome.notification
            old = self._clock.now() - row.created_at > GIVE_UP
            async with self._store.begin(row.scope if outcome.refused else EVERYTHING) as tx:
                if outcome.again_s is not None and not old:
                    due_at = tx.now + timedelta(seconds=outcome.again_s)
                    await tx.session.execute(
                        update(Notification).where(Notification.id == row.id).values(due_at=due_at)
                    )
                    continue
                await tx.session.execute(delete(Notification).where(Notification.id == row.id))
                if not outcome.refused:
                    continue
                for table in (ReplicationGroup, CacheCluster):
                    await tx.session.execute(
                        update(table)
                        .where(
                            table.account == row.account,
                            table.region == row.region,
                            table.notification_topic_arn == row.topic_arn,
                        )
                        .values(notification_topic_status=INACTIVE)
                    )


def _backoff_s(attempt: int) -> float:
    return float(min(RETRY_S_MIN * 2 ** min(attempt - 1, 20), RETRY_S_MAX))
