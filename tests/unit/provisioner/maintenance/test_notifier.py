"""Events with a topic are published in order, at least once; nothing that SNS does is felt."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from cachefleet.provisioner.maintenance.notifier import (
    BATCH_MAX,
    CLAIM,
    GIVE_UP,
    RETRY_S_MIN,
    Notifier,
    Refused,
    Unreachable,
)
from cachefleet.provisioner.state import events, notifications
from cachefleet.provisioner.state.notification_tables import Notification
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup
from tests.builders import groups as build
from tests.support.api import SCOPE, Api, open_api

TOPIC = "arn:aws:sns:us-east-1:000000000000:told"
WITH_TOPIC: dict[str, Any] = {
    "notification_topic_arn": TOPIC,
    "notification_topic_status": "active",
}


@dataclass
class FakeTopic:
    """Takes messages, unless it is told not to."""

    taken: list[dict[str, str]] = field(default_factory=list)
    error: BaseException | None = None
    asked: int = 0

    async def publish(self, notification: Notification) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error
        self.taken.append(json.loads(notification.message))


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        yield opened


async def tell(api: Api, *names: str, key: str = "cache_cluster_deleted") -> None:
    async with api.store.begin(SCOPE) as tx:
        for name in names:
            events.record(tx, api.catalog, key, name)


async def waiting(api: Api) -> list[str]:
    async with api.store.read(SCOPE) as tx:
        query = select(Notification.message).order_by(Notification.id)
        return list((await tx.session.scalars(query)).all())


async def test_only_events_with_an_active_topic_are_filed(api: Api) -> None:
    async with api.store.begin(SCOPE) as tx:
        await build.cache_cluster(tx, "told", **WITH_TOPIC)
        await build.cache_cluster(
            tx, "quiet", **{**WITH_TOPIC, "notification_topic_status": "inactive"}
        )
        await build.cache_cluster(tx, "none")
    await tell(api, "told", "quiet", "none", "nobody")
    assert await waiting(api) == ['{"ElastiCache:DeleteCacheClusterComplete": "told"}']
    async with api.store.begin(SCOPE) as tx:  # an event that the service sends no message for
        events.record(tx, api.catalog, "node_count_increase_requested", "told")
    assert len(await waiting(api)) == 1


async def test_the_last_event_of_a_row_is_told_too(api: Api) -> None:
    async with api.store.begin(SCOPE) as tx:
        await build.cache_cluster(tx, "told", **WITH_TOPIC)
    async with api.store.begin(SCOPE) as tx:
        row = await tx.get(CacheCluster, "told")
        events.record(tx, api.catalog, "cache_cluster_deleted", "told")
        await tx.session.delete(row)
    assert len(await waiting(api)) == 1


async def test_a_message_may_name_another_than_its_source(api: Api) -> None:
    async with api.store.begin(SCOPE) as tx:
        await build.replication_group(tx, "rg", **WITH_TOPIC)
        events.record(tx, api.catalog, "replica_count_increasing", "rg", about="rg-003", rg="rg")
    [message] = await waiting(api)
    assert json.loads(message) == {
        "ElastiCache:ReplicationGroupIncreaseReplicaCountStarted": "rg-003"
    }


async def test_messages_are_published_in_order_and_once(api: Api) -> None:
    names = [f"c{number}" for number in range(BATCH_MAX + 5)]
    async with api.store.begin(SCOPE) as tx:
        for name in names:
            await build.cache_cluster(tx, name, **WITH_TOPIC)
    await tell(api, *names)
    topic = FakeTopic()
    notifier = Notifier(api.store, api.clock, topic)
    while await notifier.publish_due():
        pass
    assert [list(message.values()) for message in topic.taken] == [[name] for name in names]
    assert await waiting(api) == []


async def test_an_endpoint_that_is_away_is_asked_later_and_later(api: Api) -> None:
    async with api.store.begin(SCOPE) as tx:
        await build.cache_cluster(tx, "told", **WITH_TOPIC)
    await tell(api, "told", "told")
    topic = FakeTopic(error=Unreachable("nobody listens"))
    notifier = Notifier(api.store, api.clock, topic)
    assert await notifier.publish_due() == 0
    assert topic.asked == 1, "one attempt tells it for the whole batch"
    assert await notifier.publish_due() == 0
    assert topic.asked == 1, "not at once again"
    api.clock.advance(RETRY_S_MIN)
    assert await notifier.publish_due() == 0
    assert topic.asked == 2
    topic.error = None
    api.clock.advance(RETRY_S_MIN)
    assert await notifier.publish_due() == 0
    api.clock.advance(RETRY_S_MIN)
    assert await notifier.publish_due() == 2
    assert len(topic.taken) == 2


async def test_what_nobody_took_within_a_day_is_given_up(api: Api) -> None:
    async with api.store.begin(SCOPE) as tx:
        await build.cache_cluster(tx, "told", **WITH_TOPIC)
    await tell(api, "told")
    api.clock.advance(GIVE_UP.total_seconds() + 1)
    await Notifier(api.store, api.clock, FakeTopic(error=Unreachable("away"))).publish_due()
    assert await waiting(api) == []


async def test_a_topic_that_refuses_becomes_inactive(api: Api) -> None:
    async with api.store.begin(SCOPE) as tx:
        await build.cache_cluster(tx, "told", **WITH_TOPIC)
        await build.replication_group(tx, "rg", **WITH_TOPIC)
        await build.cache_cluster(
            tx, "other", **{**WITH_TOPIC, "notification_topic_arn": TOPIC + "2"}
        )
    await tell(api, "told")
    notifier = Notifier(api.store, api.clock, FakeTopic(error=Refused("no such topic")))
    assert await notifier.publish_due() == 1
    async with api.store.read(SCOPE) as tx:
        assert (await tx.get(CacheCluster, "told")).notification_topic_status == "inactive"
        assert (await tx.get(ReplicationGroup, "rg")).notification_topic_status == "inactive"
        assert (await tx.get(CacheCluster, "other")).notification_topic_status == "active"


async def test_who_died_while_publishing_is_made_up_for(api: Api) -> None:
    async with api.store.begin(SCOPE) as tx:
        await build.cache_cluster(tx, "told", **WITH_TOPIC)
    await tell(api, "told")
    dies = FakeTopic(error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        await Notifier(api.store, api.clock, dies).publish_due()
    topic = FakeTopic()
    assert await Notifier(api.store, api.clock, topic).publish_due() == 0, "it is claimed"
    api.clock.advance(CLAIM.total_seconds())
    assert await Notifier(api.store, api.clock, topic).publish_due() == 1


async def test_nothing_is_kept_for_nobody(api: Api) -> None:
    async with api.store.begin(SCOPE) as tx:
        await build.cache_cluster(tx, "told", **WITH_TOPIC)
    await tell(api, "told")
    assert await Notifier(api.store, api.clock, None).publish_due() == 1
    assert await waiting(api) == []


async def test_what_waits_is_bounded(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "WAITING_MAX", 3)
    async with api.store.begin(SCOPE) as tx:
        await build.cache_cluster(tx, "told", **WITH_TOPIC)
    await tell(api, *["told"] * 5)
    assert len(await waiting(api)) == 3
