"""``/metrics`` by itself: for a provisioner that runs apart from the API.

The same guard as the front door's: strange hosts and foreign web pages are refused. There is
nothing here that changes anything, so GET and HEAD are all it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from cachefleet.api.endpoint import joined
from cachefleet.api.guard import Guard
from cachefleet.api.prometheus import new_registry
from cachefleet.api.settings import ApiSettings

METHODS: Final = ("GET", "HEAD")


class MetricsApp:
    """An ASGI application with two pages: ``/metrics`` and ``/healthz``."""

    def __init__(self, settings: ApiSettings, collectors: Sequence[Collector]) -> None:
        self._guard = Guard(settings)
        self._registry = new_registry(collectors)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; anything but HTTP is not for us."""
        assert scope["type"] == "http", "neither websockets nor a lifespan are served"
        response = self._answer(scope)
        response.headers["x-content-type-options"] = "nosniff"
        await response(scope, receive, send)

    def _answer(self, scope: Scope) -> Response:
        refusal = self._guard.refusal(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"],
            headers=joined(scope["headers"]),
        )
        if refusal is not None:
            return PlainTextResponse(f"{refusal}\n", 403, {"connection": "close"})
        if scope["path"] not in ("/metrics", "/healthz"):
            return PlainTextResponse("Not found: there is /metrics, and /healthz.\n", 404)
        if scope["method"] not in METHODS:
            allow = {"allow": ", ".join(METHODS), "connection": "close"}
            return PlainTextResponse("Only GET and HEAD.\n", 405, allow)
        if scope["path"] == "/healthz":
            return PlainTextResponse("ok\n")
        text = generate_latest(self._registry)
        return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})
