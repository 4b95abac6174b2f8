"""The front door as ASGI: guards every request, and answers the AWS Query API at ``/`` itself.

The API route does not go through FastAPI's routing, dependencies or response classes: they would
cost several times what a request costs here. Everything else is guarded and handed on.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cachefleet.api.auth.sigv4 import SignedRequest
from cachefleet.api.faults import Fault
from cachefleet.api.guard import Guard
from cachefleet.api.pipeline import Pipeline
from cachefleet.api.protocol.xml import CONTENT_TYPE
from cachefleet.api.settings import ApiSettings
from cachefleet.api.stages import Exchange
from cachefleet.provisioner.state.turns import awaited

API_PATH: Final = "/"
CONSOLE_PATH: Final = "/console/"
POLICY_VIOLATION = 1008  # websocket close code

_XML = (b"content-type", CONTENT_TYPE.encode())
_ALLOW = (b"allow", b"GET, POST")
_CLOSE = (b"connection", b"close")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Served:
    """What became of one API request, for counters."""

    operation: str | None
    status: int
    code: str | None
    duration_s: float
    door: str = "query"


Observe = Callable[[Served], None]


class ClientGone(Exception):
    """The connection ended before the request did."""


def new_request_id() -> str:
    return str(uuid.uuid4())


class OtherDoor(Protocol):
    """Answers requests under a prefix of its own; what it hands on is guarded already."""

    def takes(self, path: str) -> bool:
        """Tell whether the path is one of its own."""
        ...

    async def __call__(
        self,
        early: Fault | None,
        headers: dict[bytes, bytes],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer a request; *early* is what its head alone is refused for."""
        ...


class FrontDoor:
    """ASGI middleware around the whole application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        pipeline: Pipeline,
        observe: Observe | None = None,
        request_id_of: Callable[[], str] = new_request_id,
        rest: OtherDoor | None = None,
    ) -> None:
        self._app = app
        self._pipeline = pipeline
        self._observe = observe
        self._request_id_of = request_id_of
        self._rest = rest
        self._settings = pipeline.services.settings
        self._clock = pipeline.services.clock
        self._guard = Guard(self._settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = joined(scope["headers"])
        path = scope["path"]
        refusal = self._guard.refusal(
            method=scope.get("method", "GET"),
            path=path,
            query=scope["query_string"],
            headers=headers,
        )
        if scope["type"] == "websocket":
            await self._websocket(refusal, scope, receive, send)
        elif path == API_PATH:
            with awaited():
                await self._api(refusal, headers, scope, receive, send)
        elif self._rest is not None and self._rest.takes(path):
            early = self._early_fault(refusal, headers, scope)
            with awaited():
                await self._rest(early, headers, scope, receive, send)
        else:
            await self._other(refusal, headers, scope, receive, send)

    async def _websocket(
        self, refusal: str | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": refusal})

    async def _other(
        self,
        refusal: str | None,
        headers: dict[bytes, bytes],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        fault = self._early_fault(refusal, headers, scope)
        if fault is not None:
            content = f"{fault.code}: {fault.message}\n".encode()
            text = (b"content-type", b"text/plain; charset=utf-8")
            await _send(send, fault.status, content, text, _CLOSE)
            return
        limit = _BodyLimit(receive, self._settings.body_bytes_max)
        await self._app(scope, limit.receive, send)

    async def _api(
        self,
        refusal: str | None,
        headers: dict[bytes, bytes],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        method = scope["method"]
        if refusal is None and method == "GET" and not scope["query_string"]:
            await _send(send, 302, b"", (b"location", CONSOLE_PATH.encode()))
            return
        started_s = self._clock.monotonic_s()
        request_id = self._request_id_of()
        operation: str | None = None
        extra: tuple[tuple[bytes, bytes], ...] = ()
        try:
            fault = self._early_fault(refusal, headers, scope)
            if fault is None and method not in ("GET", "POST"):
                fault = Fault("MethodNotAllowed", "The API takes GET and POST.")
                extra = (_ALLOW,)
            if fault is not None:
                raise fault
            body = await read_body(receive, self._settings) if method == "POST" else b""
        except ClientGone:
            return
        except Fault as early:
            answer = self._pipeline.refuse(early, request_id)
            extra = (*extra, _CLOSE)  # what is left of the body is not worth reading
        else:
            exchange = Exchange(
                request=SignedRequest(
                    method=method,
                    path=scope["path"],
                    query=scope["query_string"],
                    headers=headers,
                    body=body,
                ),
                request_id=request_id,
                now=self._clock.now(),
            )
            answer = await self._pipeline.answer(exchange)
            operation = exchange.operation_name
        content = b"" if method == "HEAD" else answer.document
        identifier = (b"x-amzn-requestid", request_id.encode())
        await _send(send, answer.status, content, _XML, identifier, *extra)
        served = Served(
            operation, answer.status, answer.code, self._clock.monotonic_s() - started_s
        )
        record_served(self._settings, self._observe, served, request_id)

    def _early_fault(
        self, refusal: str | None, headers: dict[bytes, bytes], scope: Scope
    ) -> Fault | None:
        """Return what the request's head alone is refused for."""
        if refusal is not None:
            return Fault("AccessDenied", refusal)
        if sum(map(len, headers)) + sum(map(len, headers.values())) > (
            self._settings.header_bytes_max
        ):
            return Fault("RequestHeaderFieldsTooLarge", "The request's headers are too large.")
        if len(scope["query_string"]) > self._settings.query_bytes_max:
            return Fault("RequestURITooLong", "The query string is too long.")
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length[:20]) > self._settings.body_bytes_max:
            return _too_large(self._settings.body_bytes_max)
        return None


def record_served(
    settings: ApiSettings,
    observe: Observe | None,
    served: Served,
    request_id: str,
) -> None:
    """Count and log a request that was answered."""
    if observe is not None:
        observe(served)
    if settings.access_log:
        log.info(
            "request_served",
            operation=served.operation,
            status=served.status,
            code=served.code,
            duration_ms=round(served.duration_s * 1000, 3),
            request_id=request_id,
            door=served.door,
        )


async def read_body(receive: Receive, settings: ApiSettings) -> bytes:
    """Return the whole body.

    Raises:
        Fault: it is too large, or too slow.
        ClientGone: it will not come.
    """
    limit = settings.body_bytes_max
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
    except TimeoutError:
        raise Fault("RequestTimeout", "The request's body did not arrive in time.") from None


class _BodyLimit:
    """Cuts off a body of unknown length where it passes the limit."""

    def __init__(self, receive: Receive, bytes_max: int) -> None:
        self._receive = receive
        self._left = bytes_max

    async def receive(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        return message if self._left >= 0 else {"type": "http.disconnect"}


def _too_large(limit: int) -> Fault:
    return Fault("RequestEntityTooLarge", f"The request's body is larger than {limit} bytes.")


def joined(pairs: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return headers by name; those sent more than once are joined with commas, in order."""
    headers: dict[bytes, bytes] = {}
    for name, value in pairs:
        if name in headers:
            value = headers[name].strip() + b"," + value.strip()
        headers[name] = value
    return headers


async def _send(send: Send, status: int, content: bytes, *headers: tuple[bytes, bytes]) -> None:
    length = (b"content-length", str(len(content)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": content})
