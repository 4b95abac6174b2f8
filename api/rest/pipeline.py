"""Answers the routes of the table: the stages of the Query API, with JSON at both ends.

Authentication, throttling, handlers and faults are the very same. The one place of ``/v1`` that
catches ``Fault`` and what nobody expected.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cachefleet.api.auth.sigv4 import SignedRequest
from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault
from cachefleet.api.pipeline import to_fault
from cachefleet.api.protocol.model import STRUCTURE, Shape
from cachefleet.api.rest import idempotency
from cachefleet.api.rest.answers import ResultWriter, encode, error_body, etag, matches
from cachefleet.api.rest.authentication import SCOPE_FIELDS
from cachefleet.api.rest.fields import (
    FieldParser,
    InvalidField,
    MalformedDocument,
    from_query,
    read_document,
    read_query,
)
from cachefleet.api.rest.routes import Found, Route, RouteTable, make_routes
from cachefleet.api.stages import Exchange, Services, call_handler, make_context

BODIES_KEPT_MAX = 64  # a page of 100 groups is some 150 kB
CREATED, OK, NO_CONTENT, NOT_MODIFIED = 201, 200, 204, 304
IDEMPOTENCY_KEY: Final = b"idempotency-key"
IF_NONE_MATCH: Final = b"if-none-match"
_NOTHING: Final = Shape(name="Nothing", kind=STRUCTURE)  # a query string that may say nothing

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class RestAnswer:
    """An answer of a route; ``code`` is None on success."""

    status: int
    body: bytes
    headers: Headers = ()
    code: str | None = None


class RestPipeline:
    """Answers requests to the routes of the model's operations. Never raises."""

    def __init__(self, services: Services, routes: RouteTable | None = None) -> None:
        self.services = services
        self.routes = routes or make_routes(services.model)
        self._parser = FieldParser(services.model)
        self._writer = ResultWriter(services.model)
        self._bodies: OrderedDict[Any, tuple[Any, bytes, bytes]] = OrderedDict()

    async def answer(self, found: Found, exchange: Exchange) -> RestAnswer:
        """Answer a request whose sender is known already (``exchange.identity``)."""
        resource = exchange.request.path
        try:
            return await self._answer(found, exchange)
        except Fault as fault:
            return refusal(fault, exchange.request_id, resource)
        except InvalidField as invalid:
            named = Fault("InvalidParameterValueException", str(invalid))
            return refusal(named, exchange.request_id, resource, pointer=invalid.pointer)
        except MalformedDocument as malformed:
            unread = Fault("MalformedRequest", str(malformed))
            return refusal(unread, exchange.request_id, resource)
        except Exception as error:  # the boundary: everything else is ours to explain
            return refusal(to_fault(error, exchange), exchange.request_id, resource)

    async def _answer(self, found: Found, exchange: Exchange) -> RestAnswer:
        request = exchange.request
        route = found.methods.get("GET" if request.method == "HEAD" else request.method)
        if route is None:
            allowed = ", ".join(sorted(found.methods)).encode()
            fault = Fault("MethodNotAllowed", f"{request.method} is not for this resource.")
            answer = refusal(fault, exchange.request_id, request.path)
            return RestAnswer(answer.status, answer.body, ((b"allow", allowed),), answer.code)
        exchange.operation = route.operation
        params = self._params(route, found.name, request)
        exchange.params = params
        assert exchange.identity is not None
        context = make_context(
            self.services,
            operation=route.operation,
            identity=exchange.identity,
            request_id=exchange.request_id,
            now=exchange.now,
        )
        if route.reads:
            return await self._read(route, context, params, request)
        if IDEMPOTENCY_KEY not in request.headers:
            status, body = await self._act(route, context, params)
            return RestAnswer(status, body)
        key = idempotency.key_of(request.headers[IDEMPOTENCY_KEY])
        kept = await idempotency.once(
            context,
            key,
            f"{route.method} {route.path}",
            params,
            lambda within: self._act(route, within, params),
        )
        replayed = ((b"idempotency-replayed", b"true"),) if kept.is_replay else ()
        return RestAnswer(kept.status, kept.body, replayed)

    def _params(self, route: Route, name: str | None, request: SignedRequest) -> dict[str, Any]:
        query = read_query(request.query)
        fields = {key: texts for key, texts in query.items() if key not in SCOPE_FIELDS}
        if route.takes_body:
            document = read_document(request.body) if request.body else {}
            if fields:
                from_query(_NOTHING, fields)
        else:
            document = from_query(route.operation.input, fields)
        if route.member is not None:
            if document.get(route.member, name) != name:
                raise MalformedDocument(f"{route.member} is not the one in the path.")
            document[route.member] = name
        return self._parser.parse(route.operation.name, document)

    async def _act(
        self, route: Route, context: RequestContext, params: Mapping[str, Any]
    ) -> tuple[int, bytes]:
        result = await call_handler(self.services, context, params)
        document = self._writer.document(route, result)
        if document is None:
            return NO_CONTENT, b""
        return CREATED if route.creates else OK, encode(document)

    async def _read(
        self,
        route: Route,
        context: RequestContext,
        params: Mapping[str, Any],
        request: SignedRequest,
    ) -> RestAnswer:
        result = await call_handler(self.services, context, params)
        body, tag = self._body(route, context, params, result)
        headers = ((b"etag", tag), (b"cache-control", b"no-cache"))
        if IF_NONE_MATCH in request.headers and matches(request.headers[IF_NONE_MATCH], tag):
            return RestAnswer(NOT_MODIFIED, b"", headers)
        return RestAnswer(OK, body, headers)

    def _body(
        self, route: Route, context: RequestContext, params: Mapping[str, Any], result: Any
    ) -> tuple[bytes, bytes]:
        """Return the document and its tag; a result that was kept has them kept as well."""
        key = self.services.answers.key(route.operation.name, context.scope, params)
        place = None if key is None else (route.is_item, key)
        known = self._bodies.get(place)
        if known is not None and known[0] is result:
            self._bodies.move_to_end(place)
            return known[1], known[2]
        body = encode(self._writer.document(route, result))
        tag = etag(body)
        if place is not None:
            self._bodies[place] = (result, body, tag)
            while len(self._bodies) > BODIES_KEPT_MAX:
                self._bodies.popitem(last=False)
        return body, tag


def refusal(
    fault: Fault, request_id: str, resource: str, *, pointer: str | None = None
) -> RestAnswer:
    """Return the answer to a request that is refused."""
    body = error_body(
        code=fault.code,
        message=fault.message,
        request_id=request_id,
        resource=resource,
        pointer=pointer,
    )
    return RestAnswer(fault.status, body, (), fault.code)
