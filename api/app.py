"""The FastAPI application of the front-end, made from what the composition root passes in.

The AWS Query API is answered at ``/`` by the front door and the JSON API at ``/v1`` by its side
door; health checks are here; everything else (``/metrics``, the console) is included by others, who
find what they need in ``app.state.front_end``.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import structlog
from fastapi import FastAPI
from starlette.responses import HTMLResponse, JSONResponse, Response

from cachefleet import __version__
from cachefleet.api import actions
from cachefleet.api.auth.identity import (
    Authenticator,
    BearerTokens,
    CredentialStore,
    StaticCredentials,
)
from cachefleet.api.console import CONSOLE_DIR, add_console
from cachefleet.api.endpoint import FrontDoor, Observe
from cachefleet.api.endpoint_names import EndpointNamer
from cachefleet.api.front_end import FrontEnd, Ports
from cachefleet.api.pipeline import Pipeline
from cachefleet.api.prometheus import ServedCounts, add_metrics, both
from cachefleet.api.protocol.model import Model, load_model
from cachefleet.api.protocol.query import RequestParser
from cachefleet.api.protocol.xml import ResponseSerializer
from cachefleet.api.registry import Registry
from cachefleet.api.rest.app import make_door
from cachefleet.api.rest.openapi import describe, render
from cachefleet.api.settings import ApiSettings
from cachefleet.api.stages import Services
from cachefleet.api.throttle import Throttle
from cachefleet.provisioner.clock import Clock
from cachefleet.provisioner.peering.client import Peers

if TYPE_CHECKING:
    from cachefleet.provisioner.state.store import Store

READY_TIMEOUT_S = 5.0
DOCS_PAGE = resources.files("cachefleet.api.rest") / "docs.html"
DOCS_HEADERS = {
    "content-security-policy": "default-src 'none'; connect-src 'self'; img-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'"
}
# Returns why the server is not ready, or None where it is.
ReadinessCheck = Callable[[], Awaitable[str | None]]
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

log = structlog.get_logger(__name__)


def create_app(
    *,
    store: Store,
    settings: ApiSettings,
    catalog: Any,
    clock: Clock,
    credentials: CredentialStore | None = None,
    bearer_tokens: BearerTokens | None = None,
    ports: Ports | None = None,
    peers: Peers | None = None,
    readiness: ReadinessCheck | None = None,
    observe: Observe | None = None,
    lifespan: Lifespan | None = None,
    registry: Registry | None = None,
    console_dir: Path = CONSOLE_DIR,
) -> FastAPI:
    """Return the application. Imports every module of ``cachefleet.api.actions``."""
    model = load_model()
    services = make_services(
        model=model,
        registry=registry if registry is not None else load_registry(model),
        store=store,
        settings=settings,
        catalog=catalog,
        clock=clock,
        credentials=credentials,
        bearer_tokens=bearer_tokens,
        peers=peers,
    )
    pipeline = Pipeline(services)
    app = FastAPI(
        title="cachefleet",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    front_end = FrontEnd(services=services, pipeline=pipeline, ports=ports or Ports())
    app.state.front_end = front_end
    counts = ServedCounts(front_end.ports.collectors)
    add_metrics(app, counts)
    note = counts.note if observe is None else both(counts.note, observe)
    rest = make_door(front_end, observe=note)
    app.add_middleware(FrontDoor, pipeline=pipeline, observe=note, rest=rest)
    _add_description(app, lambda: describe(model, services.registry, rest.routes, rest.extras))
    _add_health(app, readiness)
    add_console(app, settings, clock, console_dir)
    return app


def load_registry(model: Model, package: ModuleType = actions) -> Registry:
    """Import the action modules and return their handlers."""
    return Registry.of_package(model, package)


def make_services(
    *,
    model: Model,
    registry: Registry,
    store: Store,
    settings: ApiSettings,
    catalog: Any,
    clock: Clock,
    credentials: CredentialStore | None = None,
    bearer_tokens: BearerTokens | None = None,
    peers: Peers | None = None,
) -> Services:
    """Compile the model's parsers and serializers and put the stages' services together."""
    authenticator = Authenticator(
        enforce=settings.auth == "enforce",
        credentials=credentials if credentials is not None else StaticCredentials(),
        account_id=settings.account_id,
        default_region=settings.default_region,
    )
    if bearer_tokens is None and authenticator.enforces:
        bearer_tokens = authenticator  # a key and its secret are a token, too
    return Services(
        model=model,
        registry=registry,
        parser=RequestParser(model),
        serializer=ResponseSerializer(model),
        authenticator=authenticator,
        throttle=None
        if settings.request_rate_max is None
        else Throttle(
            rate_max=settings.request_rate_max, burst_max=settings.request_burst_max, clock=clock
        ),
        store=store,
        catalog=catalog,
        clock=clock,
        settings=settings,
        bearer_tokens=bearer_tokens,
        namer=None
        if settings.endpoint_names == "addresses"
        else EndpointNamer(settings.endpoint_domain),
        peers=peers or Peers(),
    )


def _add_description(app: FastAPI, make: Callable[[], Mapping[str, Any]]) -> None:
    text = functools.cache(lambda: render(make()))  # some 50 ms, which no start should wait for
    app.state.description = make

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        """Answer the description of everything that is served."""
        return Response(text(), media_type="application/json")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        """Answer a page that shows the description; it loads nothing from elsewhere."""
        return HTMLResponse(DOCS_PAGE.read_text("utf-8"), headers=DOCS_HEADERS)


def _add_health(app: FastAPI, readiness: ReadinessCheck | None) -> None:
    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> JSONResponse:
        """Answer as long as the process does."""
        return JSONResponse({"status": "ok"})

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> JSONResponse:
        """Answer 200 once requests can be served, 503 with the reason until then."""
        reason = await _reason_not_ready(readiness)
        if reason is None:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready", "reason": reason}, status_code=503)


async def _reason_not_ready(readiness: ReadinessCheck | None) -> str | None:
    if readiness is None:
        return None
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            return await readiness()
    except TimeoutError:
        return f"the readiness check took longer than {READY_TIMEOUT_S:g} s"
    except Exception as error:  # a check that fails is an answer: not ready
        log.warning("readiness_check_failed", exc_info=error)
        return "the readiness check failed"
