"""Puts ``/v1`` together: the routes of the model's operations, and every extra of the package.

An extra's errors get the one error shape here, whether it raised a fault, its input did not fit its
types, or it broke.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from http import HTTPStatus
from types import ModuleType
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cachefleet import __version__
from cachefleet.api.endpoint import Observe
from cachefleet.api.faults import Fault
from cachefleet.api.front_end import FrontEnd
from cachefleet.api.pipeline import to_fault
from cachefleet.api.rest import extras
from cachefleet.api.rest.door import RestDoor
from cachefleet.api.rest.pipeline import RestAnswer, RestPipeline, refusal
from cachefleet.api.rest.requests import STATE
from cachefleet.provisioner.state.errors import StateError


def make_door(
    front_end: FrontEnd, *, observe: Observe | None = None, package: ModuleType = extras
) -> RestDoor:
    """Return what answers ``/v1``; every module of *package* is imported when one is asked for."""
    return RestDoor(
        RestPipeline(front_end.services),
        functools.partial(make_extras, front_end, package),
        observe=observe,
    )


def make_extras(front_end: FrontEnd, package: ModuleType = extras) -> FastAPI:
    """Return the application of the extras; its OpenAPI description is merged with the model's."""
    app = FastAPI(
        title="cachefleet", version=__version__, openapi_url=None, docs_url=None, redoc_url=None
    )
    for info in pkgutil.iter_modules(package.__path__, prefix=f"{package.__name__}."):
        module = importlib.import_module(info.name)
        app.include_router(module.router(front_end))
    app.add_exception_handler(Fault, _fault)
    app.add_exception_handler(StateError, _unexpected)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(_Boundary)
    return app


class _Boundary:
    """Answers what an extra did not expect; without it the error would go to the server's log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def note(message: Any) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, note)
        except Exception as error:
            request = Request(scope)
            response = await _unexpected(request, error)
            if begun:  # half an answer is out: it can only be cut off
                raise
            await response(scope, receive, send)


async def _fault(request: Request, error: Exception) -> Response:
    assert isinstance(error, Fault)
    return _response(request, error)


async def _unexpected(request: Request, error: Exception) -> Response:
    return _response(request, to_fault(error, request.scope[STATE]["exchange"]))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where, *path = first["loc"]
    if first["type"] == "json_invalid":
        return _response(request, Fault("MalformedRequest", "The body is not valid JSON."))
    pointer = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)
    named = ".".join(map(str, path)) or where
    message = f"The parameter {named} is not valid: {first['msg']}."
    return _response(request, Fault("InvalidParameterValueException", message), pointer=pointer)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.NOT_FOUND:
        fault = Fault("NotFound", "There is nothing at this path.")
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        fault = Fault("MethodNotAllowed", "The method is not for this resource.")
    else:
        fault = Fault("MalformedRequest", str(error.detail))
    response = _response(request, fault)
    for header, value in (error.headers or {}).items():
        response.headers[header] = value
    return response


def _response(request: Request, fault: Fault, *, pointer: str | None = None) -> Response:
    state = request.scope[STATE]
    answer: RestAnswer = refusal(
        fault, state["request_id"], state["exchange"].request.path, pointer=pointer
    )
    return Response(answer.body, answer.status, media_type="application/json")
