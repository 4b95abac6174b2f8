"""The log of changes, and the stream that tells of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from cachefleet.api.rest.extras.events import _Feed, message_of
from cachefleet.provisioner.state import changes
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.tables import CacheNode, ReplicationGroup
from tests.builders import groups
from tests.support.api import SCOPE, Api, open_api

pytestmark = pytest.mark.anyio
TIMEOUT_S = 20.0
NEW = {
    "ReplicationGroupId": "demo",
    "ReplicationGroupDescription": "d",
    "CacheNodeType": "cache.t3.micro",
}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        yield opened


async def _log(api: Api, scope: Scope = SCOPE, after: int = 0) -> list[dict[str, Any]]:
    async with api.store.read(scope) as tx:
        found = await changes.after(tx.session, scope, after, limit=100)
        return [{"kind": one.kind, **one.payload} for one in found]


async def _group(api: Api, name: str = "demo") -> None:
    async with api.store.begin(SCOPE) as tx:
        await groups.replication_group(tx, name)


async def test_notes_what_is_made_changed_and_removed(api: Api) -> None:
    await _group(api)
    before = len(await _log(api))
    async with api.store.begin(SCOPE) as tx:
        row = await tx.get(ReplicationGroup, "demo")
        row.status = "modifying"
        await tx.session.flush()
        row.status = "snapshotting"
        tx.emit("replication-group", "demo", "Something happened")
    async with api.store.begin(SCOPE) as tx:
        await tx.session.delete(await tx.get(ReplicationGroup, "demo"))
    *_, changed, event, removed = [
        one for one in await _log(api) if one.get("ResourceType") in ("replication-group", None)
    ]
    assert before > 0
    assert changed["Change"] == "changed"
    assert (changed["PreviousStatus"], changed["Status"]) == ("available", "snapshotting")
    assert (event["kind"], event["Message"]) == ("event", "Something happened")
    assert (removed["Change"], removed["PreviousStatus"]) == ("deleted", "snapshotting")
    assert "Status" not in removed


async def test_notes_roles_of_nodes(api: Api) -> None:
    await api("CreateReplicationGroup", **NEW)
    async with api.store.begin(SCOPE) as tx:
        (node,) = (await tx.session.scalars(select(CacheNode))).all()
        node.role = "replica"
    *_, last = await _log(api)
    assert (last["ResourceType"], last["ResourceName"]) == ("cache-node", "demo-001/0001")
    assert (last["Role"], last["PreviousRole"]) == ("replica", "primary")


async def test_what_is_taken_back_was_never_there(api: Api) -> None:
    async def change_nothing() -> None:
        async with api.store.begin(SCOPE) as tx:
            groups.subnet_group(tx, "one")
            await groups.replication_group(tx, "demo")
            await tx.session.flush()
            raise RuntimeError("never mind")

    with pytest.raises(RuntimeError, match="never mind"):
        await change_nothing()
    assert await _log(api) == []


async def test_untouched_values_are_no_change(api: Api) -> None:
    await _group(api)
    before = await _log(api)
    async with api.store.begin(SCOPE) as tx:
        (await tx.get(ReplicationGroup, "demo")).description = "another"
    assert await _log(api) == before


class Reader:
    """Reads messages of a feed as they come."""

    def __init__(self, api: Api, *, since: int | None, scope: Scope = SCOPE) -> None:
        self._feed = _Feed(api.app.state.front_end, scope, since)
        self._messages = self._feed.messages()

    async def next(self) -> tuple[str, int, Any]:
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                text = await anext(self._messages)
                fields = dict(
                    line.split(": ", 1) for line in text.splitlines() if line and line[0] != ":"
                )
                if "event" in fields:
                    return fields["event"], int(fields["id"]), json.loads(fields["data"])

    async def close(self) -> None:
        await self._messages.aclose()  # type: ignore[attr-defined]


async def test_stream_tells_what_happens_from_now_on(api: Api) -> None:
    await _group(api, "earlier")
    reader = Reader(api, since=None)
    kind, ready_id, _ = await reader.next()
    assert kind == "ready"
    waiting = asyncio.create_task(reader.next())
    await _group(api)
    kind, number, data = await waiting
    assert (kind, data["ResourceName"]) == ("resource", "demo")
    assert number > ready_id
    await reader.close()


async def test_stream_goes_on_behind_the_last_id(api: Api) -> None:
    await _group(api)
    everything = Reader(api, since=0)
    assert (await everything.next())[0] == "ready"
    first = await everything.next()
    second = await everything.next()
    await everything.close()
    later = Reader(api, since=first[1])
    assert (await later.next())[:2] == ("ready", first[1])
    assert await later.next() == second
    await later.close()


async def test_stream_says_what_it_cannot_say(api: Api) -> None:
    await _group(api)
    ahead = Reader(api, since=10_000)
    assert (await ahead.next())[0] == "gap"
    await ahead.close()
    async with api.store.begin(SCOPE) as tx:
        api.clock.advance(changes.KEPT.total_seconds() + 1)
        await changes.forget(tx.session, api.clock.now())
    await _group(api, "later")
    behind = Reader(api, since=1)
    assert (await behind.next())[0] == "gap"
    await behind.close()


async def test_stream_is_of_one_scope(api: Api) -> None:
    reader = Reader(api, since=0, scope=Scope("123456789012", "us-east-1"))
    assert (await reader.next())[0] == "ready"
    waiting = asyncio.create_task(reader.next())
    await _group(api)
    async with api.store.begin(Scope("123456789012", "us-east-1")) as tx:
        tx.emit("cache-cluster", "mine", "Cache cluster created")
    kind, _, data = await waiting
    assert (kind, data["SourceIdentifier"]) == ("event", "mine")
    await reader.close()


async def test_stream_ends_with_the_server(api: Api) -> None:
    reader = Reader(api, since=None)
    await reader.next()
    api.app.state.front_end.closing.set()
    with pytest.raises(StopAsyncIteration):
        await reader.next()


async def test_ids_are_never_given_twice(api: Api) -> None:
    await _group(api)
    async with api.store.read(SCOPE) as tx:
        newest = await changes.last_id(tx.session, SCOPE)
    async with api.store.begin(SCOPE) as tx:
        api.clock.advance(changes.KEPT.total_seconds() + 1)
        await changes.forget(tx.session, api.clock.now())
    await _group(api, "later")
    async with api.store.read(SCOPE) as tx:
        (first, *_) = await changes.after(tx.session, SCOPE, 0, limit=10)
    assert first.id > newest
    assert message_of(first).startswith(f"id: {first.id}\nevent: resource\ndata: {{")
