"""The ``/v1`` side of the front door, as ASGI: identity, body and errors for every route.

Routes of the model's operations are answered here, without FastAPI's routing, which would cost
more than they do. Everything else under ``/v1`` is an extra: it gets the request with its sender
already known and its body already read, and cannot be reached by anybody else.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from cachefleet.api.auth.identity import may_call
from cachefleet.api.auth.sigv4 import SignedRequest
from cachefleet.api.endpoint import (
    ClientGone,
    Observe,
    Served,
    new_request_id,
    read_body,
    record_served,
)
from cachefleet.api.faults import Fault
from cachefleet.api.pipeline import to_fault
from cachefleet.api.protocol.query import InvalidValue, MalformedQuery, parse_form
from cachefleet.api.rest.answers import JSON_TYPE
from cachefleet.api.rest.authentication import identify
from cachefleet.api.rest.pipeline import RestAnswer, RestPipeline, refusal
from cachefleet.api.rest.requests import STATE
from cachefleet.api.rest.routes import PREFIX, RouteTable
from cachefleet.api.stages import Exchange, throttle
from cachefleet.provisioner.peering.client import PATH as PEERS_PATH
from cachefleet.provisioner.state.ids import request_token

DOOR: Final = "v1"
# What an extra's methods count as, for keys that may only read.
EXTRA_ACTS: Final = {"GET": "DescribeExtra", "HEAD": "DescribeExtra"}
CHANGE: Final = "ChangeExtra"
_CLOSE: Final = (b"connection", b"close")
_BODY_METHODS: Final = frozenset({"POST", "PUT", "PATCH"})
_NO_STORE: Final = (b"x-content-type-options", b"nosniff")


@dataclass(slots=True)
class _Sent:
    """What an extra has answered, noted as it goes out."""

    status: int = 0


class RestDoor:
    """Answers everything under ``/v1``."""

    def __init__(
        self,
        pipeline: RestPipeline,
        make_extras: Callable[[], FastAPI],
        *,
        observe: Observe | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._make_extras = make_extras
        self._observe = observe
        self._settings = pipeline.services.settings
        self._clock = pipeline.services.clock

    @functools.cached_property
    def extras(self) -> FastAPI:
        """What AWS has no call for. Made when it is first asked for: it takes some 60 ms."""
        return self._make_extras()

    @property
    def routes(self) -> RouteTable:
        """The routes of the model's operations."""
        return self._pipeline.routes

    def takes(self, path: str) -> bool:
        """Tell whether the path is under ``/v1``."""
        return path == PREFIX or path.startswith(PREFIX + "/")

    async def __call__(
        self,
        early: Fault | None,
        headers: dict[bytes, bytes],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer one request; *early* is what its head alone is refused for."""
        started_s = self._clock.monotonic_s()
        request_id = new_request_id()
        path = _raw_path(scope)
        exchange: Exchange | None = None
        extra: tuple[tuple[bytes, bytes], ...] = ()
        try:
            body = await self._body(early, scope["method"], headers, receive)
            exchange = Exchange(
                request=SignedRequest(
                    method=scope["method"],
                    path=path,
                    query=scope["query_string"],
                    headers=headers,
                    body=body,
                ),
                request_id=request_id,
                now=self._clock.now(),
            )
            await self._admit(exchange)
        except ClientGone:
            return
        except Fault as fault:
            answer = refusal(fault, request_id, path)
            if exchange is None:
                extra = (_CLOSE,)  # what is left of the body is not worth reading
        except Exception as error:  # the boundary, as in the pipeline
            assert exchange is not None
            answer = refusal(to_fault(error, exchange), request_id, path)
        else:
            found = self._pipeline.routes.find(path)
            if found is None:
                await self._extra(exchange, scope, receive, send, started_s)
                return
            answer = await self._pipeline.answer(found, exchange)
        await _send(send, answer, request_id, scope["method"] == "HEAD", extra)
        self._record(
            exchange.operation_name if exchange else None,
            answer.status,
            answer.code,
            request_id,
            started_s,
        )

    async def _body(
        self,
        early: Fault | None,
        method: str,
        headers: dict[bytes, bytes],
        receive: Receive,
    ) -> bytes:
        if early is not None:
            raise early
        body = await read_body(receive, self._settings)
        if not body:
            return b""
        if method not in _BODY_METHODS:
            raise Fault("MalformedRequest", f"A {method} request has no body.")
        media, _, parameters = headers.get(b"content-type", b"").lower().partition(b";")
        name, _, charset = parameters.strip().partition(b"=")
        if media.strip() != JSON_TYPE or (
            name == b"charset" and charset.strip(b'" ') not in (b"utf-8", b"utf8")
        ):
            raise Fault("UnsupportedMediaType", "The body must be application/json in UTF-8.")
        return body

    async def _admit(self, exchange: Exchange) -> None:
        services = self._pipeline.services
        request = exchange.request
        try:
            exchange.query_fields = _single_fields(request.query)
        except MalformedQuery as malformed:
            raise Fault("MalformedRequest", str(malformed)) from malformed
        except InvalidValue as invalid:
            raise Fault("InvalidParameterValueException", str(invalid)) from invalid
        if request.path == PEERS_PATH:
            # What comes here says itself who it is from: it is sealed.
            exchange.identity = services.authenticator.peer()
            return
        exchange.identity = await identify(
            services.authenticator,
            services.bearer_tokens,
            request,
            exchange.query_fields,
            now=exchange.now,
        )
        throttle(exchange, services)

    async def _extra(
        self, exchange: Exchange, scope: Scope, receive: Receive, send: Send, started_s: float
    ) -> None:
        assert exchange.identity is not None
        request = exchange.request
        if not may_call(exchange.identity, EXTRA_ACTS.get(request.method, CHANGE)):
            fault = Fault("AccessDenied", "The key that was used is not allowed to do this.")
            answer = refusal(fault, exchange.request_id, request.path)
            await _send(send, answer, exchange.request_id, False, ())
            self._record(None, answer.status, answer.code, exchange.request_id, started_s)
            return
        sent = _Sent()
        body: bytes | None = exchange.request.body

        async def replay() -> Message:
            nonlocal body
            if body is None:
                return await receive()
            message = {"type": "http.request", "body": body, "more_body": False}
            body = None
            return message

        async def note(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent.status = message["status"]
                message = {
                    **message,
                    "headers": [*message.get("headers", ()), *_common(exchange.request_id)],
                }
            await send(message)

        state = {
            "identity": exchange.identity,
            "request_id": exchange.request_id,
            "exchange": exchange,
        }
        told = request_token.set(exchange.request_id)
        try:
            await self.extras({**scope, STATE: state}, replay, note)
        finally:
            request_token.reset(told)
        code = None if sent.status < 400 else str(sent.status)
        self._record(None, sent.status, code, exchange.request_id, started_s)

    def _record(
        self,
        operation: str | None,
        status: int,
        code: str | None,
        request_id: str,
        started_s: float,
    ) -> None:
        duration_s = self._clock.monotonic_s() - started_s
        served = Served(operation, status, code, duration_s, DOOR)
        record_served(self._settings, self._observe, served, request_id)


def _single_fields(query: bytes) -> dict[str, str]:
    """Return the fields of a query string; of one that is repeated, as lists are, the first."""
    fields: dict[str, str] = {}
    for pair in query.split(b"&"):
        for name, value in (parse_form(pair) if pair else {}).items():
            fields.setdefault(name, value)
    return fields


def _raw_path(scope: Scope) -> str:
    """Return the path as it was sent and signed."""
    raw = scope.get("raw_path") or scope["path"].encode()
    return bytes(raw).partition(b"?")[0].decode("latin-1")


def _common(request_id: str) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"x-amzn-requestid", request_id.encode()), _NO_STORE)


async def _send(
    send: Send,
    answer: RestAnswer,
    request_id: str,
    is_head: bool,
    extra: tuple[tuple[bytes, bytes], ...],
) -> None:
    headers = [*answer.headers, *_common(request_id), *extra]
    if answer.body:
        headers.append((b"content-type", JSON_TYPE))
    if answer.status not in (204, 304):
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if is_head else answer.body})
