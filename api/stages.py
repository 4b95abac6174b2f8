"""The stages of a request, one function each, in the order of ``STAGES``.

A stage reads and fills an :class:`Exchange` and raises what the pipeline turns into an error
document. Sending answers and catching errors is not done here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from cachefleet.api.answers import AnswerCache
from cachefleet.api.auth.identity import Authenticator, BearerTokens, Identity, may_call
from cachefleet.api.auth.sigv4 import SignatureRefused, SignedRequest
from cachefleet.api.context import RequestContext
from cachefleet.api.endpoint_names import EndpointNamer
from cachefleet.api.faults import Fault, fault_of_peer
from cachefleet.api.protocol.model import Model, Operation
from cachefleet.api.protocol.query import InvalidValue, MalformedQuery, RequestParser, parse_form
from cachefleet.api.protocol.xml import ResponseSerializer
from cachefleet.api.registry import Handler, Registry, Result
from cachefleet.api.settings import ApiSettings
from cachefleet.api.throttle import Throttle
from cachefleet.provisioner.clock import Clock
from cachefleet.provisioner.peering.client import PeerAway, PeerRefused, Peers, PeerStrange
from cachefleet.provisioner.state import touched
from cachefleet.provisioner.state.errors import Stale
from cachefleet.provisioner.state.ids import request_token
from cachefleet.provisioner.state.scope import Scope

if TYPE_CHECKING:
    from cachefleet.provisioner.state.store import Store

RACES_LOST_MAX = 2  # in a row, before a client is told to try again
ECHO_CHARS_MAX = 64  # how much of an unknown action's name is repeated in a message
FORM_CONTENT_TYPE: Final = b"application/x-www-form-urlencoded"
CHARSETS: Final = frozenset({b"", b"utf-8", b"utf8", b"us-ascii"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What the stages work with; made once by the composition root."""

    model: Model
    registry: Registry
    parser: RequestParser
    serializer: ResponseSerializer
    authenticator: Authenticator
    throttle: Throttle | None
    store: Store
    catalog: Any
    clock: Clock
    settings: ApiSettings
    bearer_tokens: BearerTokens | None = None  # of /v1
    namer: EndpointNamer | None = None
    answers: AnswerCache = field(default_factory=AnswerCache)
    peers: Peers = field(default_factory=Peers)  # who have other regions


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request on its way; each stage fills in what the next ones need."""

    request: SignedRequest
    request_id: str
    now: datetime
    fields: dict[str, str] = field(default_factory=dict)
    query_fields: dict[str, str] = field(default_factory=dict)
    identity: Identity | None = None
    operation: Operation | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    result: Result = None
    document: bytes = b""

    @property
    def operation_name(self) -> str | None:
        return self.operation.name if self.operation is not None else None


Stage = Callable[[Exchange, Services], Awaitable[None] | None]


def read_form(exchange: Exchange, services: Services) -> None:
    """Decode the fields of the query string and of the body."""
    request = exchange.request
    if request.body:
        _require_form(request.headers.get(b"content-type", FORM_CONTENT_TYPE))
    try:
        exchange.query_fields = parse_form(request.query) if request.query else {}
        exchange.fields = parse_form(request.query, request.body)
    except MalformedQuery as refusal:
        raise Fault("MalformedQueryString", str(refusal)) from refusal
    except InvalidValue as refusal:
        raise Fault("InvalidParameterValueException", str(refusal)) from refusal


def _require_form(content_type: bytes) -> None:
    media, _, parameters = content_type.lower().partition(b";")
    name, _, charset = parameters.strip().partition(b"=")
    is_form = media.strip() == FORM_CONTENT_TYPE
    if not is_form or (name == b"charset" and charset.strip(b'" ') not in CHARSETS):
        raise Fault(
            "UnsupportedMediaType",
            f"The body must be {FORM_CONTENT_TYPE.decode()} in UTF-8.",
        )


async def authenticate(exchange: Exchange, services: Services) -> None:
    """Find out who is asking."""
    try:
        exchange.identity = await services.authenticator.identify(
            exchange.request, exchange.query_fields, now=exchange.now
        )
    except SignatureRefused as refusal:
        raise Fault(refusal.code, refusal.message) from refusal


def look_up_operation(exchange: Exchange, services: Services) -> None:
    """Find the operation in the model by ``Action`` and ``Version``."""
    action = exchange.fields.get("Action", "")
    if not action:
        raise Fault("MissingAction", "The request is missing an action.")
    version = exchange.fields.get("Version", "NO_VERSION_SPECIFIED")
    model = services.model
    if version == model.api_version:
        exchange.operation = model.operations.get(action)
        if exchange.operation is not None:
            return
        if action in model.unsupported:
            raise _not_implemented(action)
    raise Fault(
        "InvalidAction",
        f"Could not find operation {action[:ECHO_CHARS_MAX]} "
        f"for version {version[:ECHO_CHARS_MAX]}",
    )


def throttle(exchange: Exchange, services: Services) -> None:
    """Refuse an account that sends more than it may."""
    assert exchange.identity is not None
    if services.throttle is not None and not services.throttle.admit(exchange.identity.account):
        raise Fault("Throttling", "Rate exceeded")


def parse_params(exchange: Exchange, services: Services) -> None:
    """Turn the fields into parameters by the operation's input shape."""
    assert exchange.operation is not None
    try:
        exchange.params = services.parser.parse(exchange.operation.name, exchange.fields)
    except MalformedQuery as refusal:
        raise Fault("MalformedQueryString", str(refusal)) from refusal
    except InvalidValue as refusal:
        raise Fault("InvalidParameterValueException", str(refusal)) from refusal


async def handle(exchange: Exchange, services: Services) -> None:
    """Run the operation's handler."""
    assert exchange.operation is not None
    assert exchange.identity is not None
    context = make_context(
        services,
        operation=exchange.operation,
        identity=exchange.identity,
        request_id=exchange.request_id,
        now=exchange.now,
    )
    exchange.result = await call_handler(services, context, exchange.params)


def make_context(
    services: Services,
    *,
    operation: Operation,
    identity: Identity,
    request_id: str,
    now: datetime,
    is_forwarded: bool = False,
) -> RequestContext:
    """Return what a handler is given; other front-ends over the same handlers use it too."""
    return RequestContext(
        request_id=request_id,
        scope=Scope(account=identity.account, region=identity.region),
        identity=identity,
        operation=operation,
        store=services.store,
        clock=services.clock,
        catalog=services.catalog,
        settings=services.settings,
        now=now,
        peers=services.peers,
        is_forwarded=is_forwarded,
    )


async def call_handler(
    services: Services, context: RequestContext, params: Mapping[str, Any]
) -> Result:
    """Run the handler of ``context.operation``.

    Raises:
        Fault: the handler refused, or there is none (``NotImplemented``), or the caller's key may
            not be used for it (``AccessDenied``).
        StateError: the records refused.
    """
    name = context.operation.name
    if not may_call(context.identity, name):
        raise Fault(
            "AccessDenied",
            f"User: {context.identity.principal_arn} is not authorized to perform: "
            f"elasticache:{name}",
        )
    handler = services.registry.handlers.get(name)
    if handler is None:
        raise _not_implemented(name)
    if context.region in services.peers.regions:
        return await _handled_by_peer(context, params)
    key = services.answers.key(name, context.scope, params)
    if key is None:
        told = request_token.set(context.request_id)
        try:
            result = await _change(handler, context, params)
        finally:
            request_token.reset(told)
        return await _named(services, context, result)
    revisions = await services.store.revisions(context.scope)
    known, result = services.answers.find(key, revisions)
    if not known:
        # Before the records are read: a change in between makes the result too old at once.
        revision = revisions.newest
        with touched.reading() as tables:
            result = await _named(services, context, await handler(context, params))
        services.answers.keep(key, revision, tables, result)
    return result


async def _handled_by_peer(context: RequestContext, params: Mapping[str, Any]) -> Result:
    """Have a request for a region of another cachefleet handled there."""
    region = context.region
    if context.is_forwarded:
        raise Fault(
            "InvalidParameterValueException",
            f"Two cachefleets say of each other that they have the region {region}.",
        )
    body = {
        "account": context.account,
        "region": region,
        "operation": context.operation.name,
        "params": params,
        "request_id": context.request_id,
    }
    try:
        result: Result = await context.peers.ask(region, "call", body)
    except PeerRefused as refusal:
        raise fault_of_peer(refusal.name, str(refusal)) from refusal
    except (PeerAway, PeerStrange) as error:
        raise Fault(
            "ServiceUnavailable", f"The region {region} is another cachefleet's: {error}."
        ) from error
    return result


async def _named(services: Services, context: RequestContext, result: Result) -> Result:
    if services.namer is None:
        return result
    return await services.namer.rename(context.store, context.scope, result)


async def _change(handler: Handler, context: RequestContext, params: Mapping[str, Any]) -> Result:
    """Run a handler again where another transaction was there first: it changed nothing, and now
    sees what the other one wrote, so that whoever comes second is told the service's own code.
    """
    for _ in range(RACES_LOST_MAX):
        with contextlib.suppress(Stale):
            return await handler(context, params)
    return await handler(context, params)


def _not_implemented(action: str) -> Fault:
    return Fault("NotImplemented", f"The operation {action} is not implemented.")


def serialize(exchange: Exchange, services: Services) -> None:
    """Write the success document."""
    operation, result = exchange.operation, exchange.result
    assert operation is not None
    serializer = services.serializer
    text = services.answers.text_of(
        operation.name, result, lambda: serializer.opening(operation, result)
    )
    exchange.document = text + serializer.closing(operation, exchange.request_id)


STAGES: tuple[Stage, ...] = (
    read_form,
    authenticate,
    look_up_operation,
    throttle,
    parse_params,
    handle,
    serialize,
)
