"""Drives the application as an ASGI server would, without a socket."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode
from xml.etree import ElementTree

from fastapi import FastAPI
from starlette.types import ASGIApp

from cachefleet.api.app import create_app
from cachefleet.api.auth.identity import CredentialStore
from cachefleet.api.endpoint import Observe
from cachefleet.api.protocol.model import load_model
from cachefleet.api.registry import Handler, Registry
from cachefleet.api.settings import ApiSettings
from cachefleet.provisioner.state.revisions import EVERYTHING, Revisions
from cachefleet.provisioner.state.scope import Scope

if TYPE_CHECKING:
    from cachefleet.provisioner.state.store import Store

VERSION = "2015-02-02"
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FORM = "application/x-www-form-urlencoded; charset=utf-8"


class NoStore:
    """For handlers that keep no records: every question is a new one."""

    def __init__(self) -> None:
        self._revisions = itertools.count()

    async def revisions(self, scope: Scope) -> Revisions:
        newest = next(self._revisions)
        return Revisions(newest, {EVERYTHING: newest})


@dataclass
class SteppedClock:
    """A clock that stands still until it is told to move on."""

    instant: datetime = START
    passed_s: float = 0.0

    def now(self) -> datetime:
        return self.instant + timedelta(seconds=self.passed_s)

    def monotonic_s(self) -> float:
        return self.passed_s

    def advance(self, seconds: float) -> None:
        self.passed_s += seconds


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def xml(self) -> ElementTree.Element:
        return ElementTree.fromstring(self.body)

    def text(self, tag: str) -> str | None:
        """The text of the first element of this name, in any namespace."""
        found = self.xml.find(f".//{{*}}{tag}")
        return None if found is None else found.text

    @property
    def code(self) -> str | None:
        return self.text("Code")

    @property
    def message(self) -> str:
        return self.text("Message") or ""


def make_app(
    *handlers: Handler,
    settings: ApiSettings | None = None,
    clock: SteppedClock | None = None,
    credentials: CredentialStore | None = None,
    observe: Observe | None = None,
    **options: Any,
) -> FastAPI:
    return create_app(
        store=cast("Store", NoStore()),
        settings=settings or quiet_settings(),
        catalog=None,
        clock=clock or SteppedClock(),
        credentials=credentials,
        observe=observe,
        registry=Registry(load_model(), handlers),
        **options,
    )


def quiet_settings(**changes: Any) -> ApiSettings:
    return ApiSettings(**{"access_log": False, **changes})


async def send(
    app: ASGIApp,
    *,
    method: str = "POST",
    path: str = "/",
    query: str = "",
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    body: bytes | Iterable[bytes] = b"",
    ends: bool = True,
    stays: bool = False,
) -> Response:
    """Send one request; without *ends* the client hangs up instead of finishing the body.

    With *stays* it waits for the answer, as files that are sent piece by piece want.
    """
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    if not any(name.lower() == "host" for name, _ in pairs):
        pairs.append(("host", "localhost:8379"))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8379),
    }
    wire = _Wire([body] if isinstance(body, bytes) else list(body), ends=ends, stays=stays)
    await app(scope, wire.receive, wire.send)
    return wire.response()


@dataclass
class _Wire:
    chunks: list[bytes]
    ends: bool
    stays: bool = False
    sent: list[Mapping[str, Any]] = field(default_factory=list)

    async def receive(self) -> dict[str, Any]:
        if not self.chunks:
            if self.stays:
                await asyncio.Event().wait()
            return {"type": "http.disconnect"}
        chunk = self.chunks.pop(0)
        await asyncio.sleep(0)  # let a deadline be noticed between two chunks
        return {
            "type": "http.request",
            "body": chunk,
            "more_body": bool(self.chunks) or not self.ends,
        }

    async def send(self, message: Mapping[str, Any]) -> None:
        self.sent.append(message)

    def response(self) -> Response:
        if not self.sent:
            return Response(0, {}, b"")
        start, *rest = self.sent
        return Response(
            status=start["status"],
            headers={name.decode(): value.decode() for name, value in start["headers"]},
            body=b"".join(message.get("body", b"") for message in rest),
        )


async def post(
    app: FastAPI,
    action: str | None,
    fields: Mapping[str, str] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    version: str | None = VERSION,
) -> Response:
    """Post a form as an SDK does."""
    form = dict(fields or {})
    if action is not None:
        form["Action"] = action
    if version is not None:
        form["Version"] = version
    return await send(
        app,
        headers={"content-type": FORM, **(headers or {})},
        body=urlencode(form).encode(),
    )
