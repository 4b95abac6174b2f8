"""The same request through ``/v1`` as through the Query API, and what came back."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import FastAPI

from cachefleet.api.protocol.model import load_model
from cachefleet.api.rest.routes import Route, RouteTable, make_routes
from tests.unit.api.driver import send

JSON = "application/json"


@dataclass(frozen=True)
class RestResponse:
    """What ``/v1`` answered; ``document`` is None where there is no body."""

    status: int
    headers: dict[str, str]
    document: Any

    @property
    def code(self) -> str | None:
        return self.document["code"] if self.status >= 400 else None


@functools.cache
def routes() -> RouteTable:
    """Return the routes of the installed model."""
    return make_routes(load_model())


async def ask(
    app: FastAPI,
    method: str,
    path: str,
    document: Any = None,
    *,
    query: str = "",
    headers: dict[str, str] | None = None,
) -> RestResponse:
    """Send one request with a JSON body, or with the bytes that are given."""
    sent = dict(headers or {})
    body = b""
    if document is not None:
        sent.setdefault("content-type", JSON)
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
    response = await send(app, method=method, path=path, query=query, headers=sent, body=body)
    parsed = json.loads(response.body) if response.body else None
    return RestResponse(response.status, response.headers, parsed)


async def ask_operation(
    app: FastAPI, operation: str, params: dict[str, Any]
) -> RestResponse | None:
    """Send what boto3 would take as *params*; None where no URL says it (an empty name, list)."""
    route = next(
        (
            one
            for one in routes().routes
            if one.operation.name == operation
            and not one.is_item
            and (one.member is None or isinstance(params.get(one.member), str))
        ),
        None,
    )
    if route is None or (route.member is not None and not params[route.member]):
        return None
    rest = {name: value for name, value in params.items() if name != route.member}
    if route.takes_body:
        document = json.loads(json.dumps(rest, default=_text))
        return await ask(app, route.method, _path(route, params), document)
    if any(value in ("", [], {}) for value in rest.values()):
        return None
    return await ask(app, route.method, _path(route, params), query=_query(rest))


def _path(route: Route, params: dict[str, Any]) -> str:
    if route.member is None:
        return route.path
    return route.path.replace(f"{{{route.member}}}", quote(params[route.member], safe=""))


def _query(params: dict[str, Any]) -> str:
    pairs: list[tuple[str, str]] = []
    for name, value in params.items():
        if isinstance(value, list) and not any(isinstance(item, dict) for item in value):
            pairs += [(name, _text(item)) for item in value]
        elif isinstance(value, list | dict):
            pairs.append((name, json.dumps(value, default=_text)))
        else:
            pairs.append((name, _text(value)))
    return urlencode(pairs)


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value).lower() if isinstance(value, bool) else str(value)
