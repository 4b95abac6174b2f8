"""``GET /v1/events:stream``: every change of a resource's state, and every event, as it happens.

Server-sent events. A client that comes back with ``Last-Event-ID`` gets all it missed, in order; if
some of that is no longer kept it is told so (``gap``) and has to read the resources anew.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse

from cachefleet.api.faults import Fault
from cachefleet.api.front_end import FrontEnd
from cachefleet.api.rest.requests import scope_of
from cachefleet.provisioner.state import changes
from cachefleet.provisioner.state.change_tables import Change
from cachefleet.provisioner.state.scope import Scope

STREAMS_MAX = 256
BATCH_MAX = 200
BEAT_S = 15.0  # a comment, so that neither side takes silence for an end
POLL_S = 0.5  # how soon a change is seen that another process made
RETRY_MS = 1000
ID_MAX = 2**62


def router(front_end: FrontEnd) -> APIRouter:
    """Return the route."""
    routes = APIRouter(tags=["Events"])
    streams: set[object] = set()

    @routes.get(
        "/v1/events:stream",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
        operation_id="StreamEvents",
        summary="Changes of resources and events, as they happen.",
    )
    async def stream(
        request: Request,
        last_event_id: Annotated[
            str | None, Header(description="The last id that was seen: what followed it is sent.")
        ] = None,
        LastEventId: Annotated[  # noqa: N803 - the wire's name
            str | None, Query(description="The same, where a header cannot be set.")
        ] = None,
    ) -> StreamingResponse:
        """Send `ready` with the id to go on from, then a message for each change."""
        since = _id(last_event_id if last_event_id is not None else LastEventId)
        if len(streams) >= STREAMS_MAX:
            raise Fault("ServiceUnavailable", f"More than {STREAMS_MAX} streams are open.")
        feed = _Feed(front_end, scope_of(request), since)
        streams.add(feed)

        async def body() -> AsyncIterator[str]:
            try:
                async for message in feed.messages():
                    yield message
            finally:
                streams.discard(feed)

        return StreamingResponse(
            body(),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    return routes


def _id(text: str | None) -> int | None:
    if text is None or text == "":
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) > ID_MAX:
        raise Fault("InvalidParameterValueException", "Last-Event-ID is not one of ours.")
    return int(text)


class _Feed:
    """What one client is sent."""

    def __init__(self, front_end: FrontEnd, scope: Scope, since: int | None) -> None:
        self._store = front_end.services.store
        self._closing = front_end.closing
        self._scope = scope
        self._since = since
        self._changed = asyncio.Event()
        # Elsewhere the API and the nodes may be different processes on one database.
        self._patience_s = BEAT_S if self._store.is_sqlite else POLL_S

    async def messages(self) -> AsyncIterator[str]:
        """Yield messages until the server stops or the client goes."""
        with self._store.listening(self._note):
            yield f"retry: {RETRY_MS}\n\n"
            last_id, first_message = await self._begin()
            yield first_message
            quiet_s = 0.0
            while not self._closing.is_set():
                self._changed.clear()
                async with self._store.read(self._scope) as tx:
                    found = await changes.after(tx.session, self._scope, last_id, limit=BATCH_MAX)
                for change in found:
                    yield message_of(change)
                    last_id = change.id
                if found:
                    quiet_s = 0.0
                    continue
                if quiet_s >= BEAT_S:
                    yield ": still here\n\n"
                    quiet_s = 0.0
                quiet_s += await self._wait()

    async def _begin(self) -> tuple[int, str]:
        """Return the id behind which to go on, and what the client is told first."""
        async with self._store.read(self._scope) as tx:
            newest = await changes.last_id(tx.session, self._scope)
            oldest = await changes.first_id(tx.session)
        if self._since is None:
            return newest, _message("ready", newest, {})
        if self._since > newest or self._since + 1 < oldest:
            return newest, _message("gap", newest, {})
        return self._since, _message("ready", self._since, {})

    async def _wait(self) -> float:
        """Wait for a change, for a while; return how long that may have been."""
        waiting = {
            asyncio.ensure_future(self._changed.wait()),
            asyncio.ensure_future(self._closing.wait()),
        }
        try:
            done, _ = await asyncio.wait(
                waiting, timeout=self._patience_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for one in waiting:
                one.cancel()
        return 0.0 if done else self._patience_s

    def _note(self, scope: Scope) -> None:
        # A change of another scope may carry rows of this one: whoever works for everybody.
        if scope in (self._scope, Scope("", "")):
            self._changed.set()


def message_of(change: Change) -> str:
    """Return a change as a message of the stream."""
    return _message(change.kind, change.id, change.payload)


def _message(kind: str, number: int, payload: dict[str, object]) -> str:
    data = json.dumps(payload, separators=(",", ":"))
    return f"id: {number}\nevent: {kind}\ndata: {data}\n\n"
