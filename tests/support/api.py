"""The whole front-end over an empty database, driven by botocore's own serializer and parser.

    async with open_api(tmp_path) as api:
        await api("CreateCacheSubnetGroup", CacheSubnetGroupName="a", ...)

No socket and no process: a call takes a few milliseconds. A refusal is raised as :class:`Refused`.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from fastapi import FastAPI
from sqlalchemy import create_engine

from cachefleet.api.app import create_app, load_registry
from cachefleet.api.protocol.model import load_model
from cachefleet.api.registry import Registry
from cachefleet.api.settings import ApiSettings
from cachefleet.engine.catalog import Catalog
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Store
from cachefleet.provisioner.state.tables import Base
from tests.support.rest import ask_operation
from tests.unit.api.driver import FORM, SteppedClock, quiet_settings, send

PAGES_MAX = 100  # more than any test has; a listing that never ends fails instead of hanging
SCOPE = Scope("000000000000", "us-east-1")  # of requests that carry no credentials


class Refused(Exception):
    """The answer was an error document."""

    def __init__(self, code: str, status: int, message: str) -> None:
        super().__init__(f"{code} ({status}): {message}")
        self.code = code
        self.status = status
        self.message = message


@dataclass
class Api:
    """An application, and what it works with."""

    app: FastAPI
    store: Store
    clock: SteppedClock
    catalog: Catalog

    async def __call__(self, operation: str, /, **params: Any) -> dict[str, Any]:
        """Call an operation with the parameters that boto3 would take; return what it would."""
        model = service_model().operation_model(operation)
        request = _serializer().serialize_to_request(params, model)
        response = await send(
            self.app, headers={"content-type": FORM}, body=urlencode(request["body"]).encode()
        )
        wire = {"status_code": response.status, "headers": {}, "body": response.body}
        parsed: dict[str, Any] = create_parser("query").parse(wire, model.output_shape)
        error = parsed.get("Error")
        if error is not None:
            await self._is_refused_by_rest(operation, params, error["Code"], response.status)
            raise Refused(error["Code"], response.status, error["Message"])
        parsed.pop("ResponseMetadata")
        return parsed

    async def _is_refused_by_rest(
        self, operation: str, params: dict[str, Any], code: str, status: int
    ) -> None:
        """Make sure that ``/v1`` refuses the same with the same code, where a URL can say it."""
        beside = await ask_operation(self.app, operation, params)
        if beside is not None:
            assert (beside.code, beside.status) == (code, status), beside.document

    async def listed(self, operation: str, key: str, /, **params: Any) -> list[dict[str, Any]]:
        """Return all items of a listing, page after page."""
        items: list[dict[str, Any]] = []
        marker: dict[str, str] = {}
        for _ in range(PAGES_MAX):
            page = await self(operation, **params, **marker)
            items += page[key]
            if not page.get("Marker"):
                return items
            marker = {"Marker": page["Marker"]}
        raise AssertionError(f"{operation} had not ended after {PAGES_MAX} pages")


@contextlib.asynccontextmanager
async def open_api(directory: Path) -> AsyncIterator[Api]:
    """Give an application over a new SQLite database in *directory*."""
    path = directory / "records.db"
    path.write_bytes(_empty_database())
    clock, catalog = SteppedClock(), Catalog.load()
    store = Store.open(f"sqlite:///{path}", clock=clock)
    try:
        app = create_app(
            store=store,
            settings=_settings(),
            catalog=catalog,
            clock=clock,
            registry=_registry(),
        )
        yield Api(app, store, clock, catalog)
    finally:
        await store.aclose()


@functools.cache
def _settings() -> ApiSettings:
    """Return the settings of every application here; reading them takes milliseconds."""
    return quiet_settings()


@functools.cache
def _registry() -> Registry:
    """Return every handler; what is imported by then need not be looked for again."""
    return load_registry(load_model())


@functools.cache
def _empty_database() -> bytes:
    """Return a database with all tables; a copy takes a tenth of the time of making them."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "empty.db"
        engine = create_engine(f"sqlite:///{path}")
        Base.metadata.create_all(engine)
        engine.dispose()
        return path.read_bytes()


@functools.cache
def service_model() -> ServiceModel:
    """Return botocore's model of the service."""
    return ServiceModel(Loader().load_service_model("elasticache", "service-2"), "elasticache")


@functools.cache
def _serializer() -> Any:
    return create_serializer("query", include_validation=False)
