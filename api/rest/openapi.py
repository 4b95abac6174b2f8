"""The OpenAPI 3.1 description of everything that is served, made from what serves it.

Operations come from the route table and the model's shapes, extras from their own types, so that
nothing is described that is not there and nothing is there that is not described.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from cachefleet import __version__
from cachefleet.api.faults import COMMON_FAULTS
from cachefleet.api.protocol.model import (
    BOOLEAN,
    DOUBLE,
    INTEGER,
    LIST,
    STRING,
    STRUCTURE,
    TIMESTAMP,
    Model,
    Shape,
)
from cachefleet.api.registry import Registry
from cachefleet.api.rest.answers import wrapped_member
from cachefleet.api.rest.routes import Route, RouteTable

VERSION: Final = "3.1.0"
ERROR: Final = "Error"
SECURITY: Final[tuple[dict[str, list[str]], ...]] = ({"signature": []}, {"token": []}, {})

_TYPES: Final[Mapping[str, Mapping[str, Any]]] = {
    STRING: {"type": "string"},
    BOOLEAN: {"type": "boolean"},
    INTEGER: {"type": "integer"},
    DOUBLE: {"type": "number"},
    TIMESTAMP: {"type": "string", "format": "date-time"},
}
_ERRORS: Final = {
    "default": {"$ref": f"#/components/responses/{ERROR}"},
}
_SCOPE: Final = (
    {
        "name": "account",
        "in": "query",
        "description": "The account that is meant, where credentials do not say it.",
        "schema": {"type": "string", "pattern": "^[0-9]{12}$"},
    },
    {
        "name": "region",
        "in": "query",
        "description": "The region that is meant, where credentials do not say it.",
        "schema": {"type": "string", "pattern": "^[a-z0-9-]{1,32}$"},
    },
)


def describe(
    model: Model, registry: Registry, routes: RouteTable, extras: FastAPI
) -> dict[str, Any]:
    """Return the whole document."""
    schemas = _Schemas()
    names = _operation_ids(routes.routes)
    paths: dict[str, Any] = {}
    for route in routes.routes:
        operation = _operation(route, names[route.method, route.path], registry, schemas)
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    others = get_openapi(title="extras", version=__version__, routes=extras.routes)
    for path, methods in others["paths"].items():
        for method, operation in methods.items():
            paths.setdefault(path, {})[method] = _extra(operation)
    paths.update(_server_paths(model))
    components = {
        **schemas.components,
        **{
            name: schema
            for name, schema in others.get("components", {}).get("schemas", {}).items()
            if name not in ("HTTPValidationError", "ValidationError")
        },
        ERROR: _error_schema(),
    }
    return {
        "openapi": VERSION,
        "info": {
            "title": "cachefleet",
            "version": __version__,
            "description": "A managed-cache control plane with the Amazon ElastiCache API. "
            "`/v1` is the same as resources and JSON; `/` is the AWS Query protocol.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:8379"}],
        "security": list(SECURITY),
        "tags": [{"name": name} for name in sorted(_tags(paths))],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(components.items())),
            "responses": {
                ERROR: {
                    "description": "Refused, or failed. The status is that of the Query API.",
                    "content": _json({"$ref": f"#/components/schemas/{ERROR}"}),
                }
            },
            "securitySchemes": _security_schemes(),
        },
    }


def render(document: Mapping[str, Any]) -> str:
    """Return the document as it is committed."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _operation_ids(routes: Sequence[Route]) -> dict[tuple[str, str], str]:
    """Return a name for each route: the operation's, or one of its own where it has several."""
    plain = Counter(route.operation.name for route in routes if not route.is_item)
    names = {}
    for route in routes:
        name = route.operation.name
        if route.is_item:
            listing = route.listing
            assert listing is not None
            name = f"Get{name.removeprefix('Describe').removesuffix('s')}"
        elif plain[name] > 1:
            assert route.member is not None
            name = f"{name}For{route.member.removesuffix('Id').removesuffix('Name')}"
        names[route.method, route.path] = name
    assert len(set(names.values())) == len(names), "two routes have one name"
    return names


def _operation(route: Route, name: str, registry: Registry, schemas: _Schemas) -> dict[str, Any]:
    handler = registry.handlers.get(route.operation.name)
    summary = (
        (handler.__doc__ or "").partition("\n")[0].replace("``", "`")
        if handler is not None
        else "Not implemented: answers 501."
    )
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "description": f"The operation `{route.operation.name}` of the Query API.",
        "tags": [_tag(route.path)],
        "parameters": _parameters(route, schemas),
        "responses": _responses(route, schemas),
    }
    if route.takes_body:
        body = schemas.body(route)
        operation["requestBody"] = {"required": "required" in body, "content": _json(body)}
    return operation


def _parameters(route: Route, schemas: _Schemas) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    members = route.operation.input.members
    if route.member is not None:
        shape = members[route.member].shape
        schema = {"minLength": 1, **schemas.input(shape)}
        found.append({"name": route.member, "in": "path", "required": True, "schema": schema})
    if not route.takes_body:
        for name, member in members.items():
            if name == route.member:
                continue
            parameter: dict[str, Any] = {"name": name, "in": "query"}
            if name in route.operation.input.required:
                parameter["required"] = True
            schema = schemas.input(member.shape)
            if _is_json(member.shape):
                parameter["content"] = _json(schema)
            else:
                parameter["schema"] = schema
            found.append(parameter)
    found.extend(_SCOPE)
    if route.reads:
        found.append(
            {
                "name": "If-None-Match",
                "in": "header",
                "description": "An entity tag: 304 as long as nothing has changed.",
                "schema": {"type": "string"},
            }
        )
    else:
        found.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "The same key with the same request is done once.",
                "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
            }
        )
    return found


def _responses(route: Route, schemas: _Schemas) -> dict[str, Any]:
    output = route.operation.output
    if output is None:
        return {"204": {"description": "Done."}, **_ERRORS}
    answer: dict[str, Any] = {
        "description": "Created." if route.creates else "Done." if not route.reads else "Found.",
        "content": _json(schemas.answer(route)),
    }
    if route.reads:
        answer["headers"] = {
            "ETag": {"schema": {"type": "string"}, "description": "Of what was answered."}
        }
        unchanged = {"304": {"description": "It is still what the entity tag stands for."}}
        return {"200": answer, **unchanged, **_ERRORS}
    return {"201" if route.creates else "200": answer, **_ERRORS}


def _extra(operation: dict[str, Any]) -> dict[str, Any]:
    responses = {
        status: answer for status, answer in operation["responses"].items() if status != "422"
    }
    parameters = [*operation.get("parameters", ()), *_SCOPE]
    return {**operation, "parameters": parameters, "responses": {**responses, **_ERRORS}}


class _Schemas:
    """Collects the schemas that are referred to, by name."""

    def __init__(self) -> None:
        self.components: dict[str, Any] = {}

    def body(self, route: Route) -> dict[str, Any]:
        """Return the schema of a route's body: the input without what the path says."""
        shape = route.operation.input
        document = self._structure(shape, is_input=True, without=route.member)
        name = shape.name if route.member is None else f"{route.operation.name}Body"
        if route.member is not None and not route.path.endswith(f"{{{route.member}}}"):
            name = f"{route.operation.name}{route.member}Body"
        self.components[name] = document
        reference: dict[str, Any] = {"$ref": f"#/components/schemas/{name}"}
        if "required" in document:
            reference["required"] = document["required"]
        return reference

    def answer(self, route: Route) -> dict[str, Any]:
        """Return the schema of what a route answers."""
        output = route.operation.output
        assert output is not None
        listing = route.listing
        if listing is not None:
            item = output.members[listing].shape.item
            assert item is not None
            return self.output(item.shape)
        wrapping = wrapped_member(route)
        return self.output(output.members[wrapping].shape if wrapping else output)

    def input(self, shape: Shape) -> dict[str, Any]:
        """Return the schema of a value that is sent."""
        return self._schema(shape, is_input=True)

    def output(self, shape: Shape) -> dict[str, Any]:
        """Return the schema of a value that is answered: what it is, not what it has to be."""
        return self._schema(shape, is_input=False)

    def _schema(self, shape: Shape, *, is_input: bool) -> dict[str, Any]:
        if shape.kind == STRUCTURE:
            name = f"{shape.name}Input" if is_input else shape.name
            if name not in self.components:
                self.components[name] = {}
                self.components[name] = self._structure(shape, is_input=is_input)
            return {"$ref": f"#/components/schemas/{name}"}
        if shape.kind == LIST:
            assert shape.item is not None
            items = self._schema(shape.item.shape, is_input=is_input)
            return {
                "type": "array",
                "items": items,
                **(_bounds(shape, "minItems", "maxItems") if is_input else {}),
            }
        schema = dict(_TYPES[shape.kind])
        if shape.kind == INTEGER:
            schema["format"] = "int64" if shape.is_long else "int32"
        return {**schema, **_constraints(shape)} if is_input else schema

    def _structure(
        self, shape: Shape, *, is_input: bool, without: str | None = None
    ) -> dict[str, Any]:
        document: dict[str, Any] = {
            "type": "object",
            "properties": {
                name: self._schema(member.shape, is_input=is_input)
                for name, member in shape.members.items()
                if name != without
            },
        }
        required = [name for name in shape.required if name != without] if is_input else []
        if required:
            document["required"] = required
        if is_input:
            document["additionalProperties"] = False
        return document


def _constraints(shape: Shape) -> dict[str, Any]:
    limits = shape.constraints
    found: dict[str, Any] = {}
    if shape.kind == STRING:
        found.update(_bounds(shape, "minLength", "maxLength"))
        if limits.pattern is not None:
            found["pattern"] = f"^(?:{limits.pattern})$"
        if limits.enum:
            found["enum"] = list(limits.enum)
    elif shape.kind in (INTEGER, DOUBLE):
        found.update(_bounds(shape, "minimum", "maximum"))
    return found


def _bounds(shape: Shape, low: str, high: str) -> dict[str, Any]:
    limits = shape.constraints
    pairs = ((low, limits.minimum), (high, limits.maximum))
    return {name: bound for name, bound in pairs if bound is not None}


def _is_json(shape: Shape) -> bool:
    """Tell whether a field of a query string is JSON: a structure, or a list of them."""
    if shape.kind == LIST and shape.item is not None:
        return shape.item.shape.kind == STRUCTURE
    return shape.kind == STRUCTURE


def _json(schema: Mapping[str, Any]) -> dict[str, Any]:
    only = {"$ref": schema["$ref"]} if "$ref" in schema else dict(schema)
    return {"application/json": {"schema": only}}


def _tag(path: str) -> str:
    return path.split("/")[2].replace("-", " ").capitalize()


def _tags(paths: Mapping[str, Any]) -> Iterable[str]:
    return {
        tag
        for methods in paths.values()
        for operation in methods.values()
        for tag in operation.get("tags", ())
    }


def _error_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["code", "message", "request_id", "resource"],
        "properties": {
            "code": {
                "type": "string",
                "description": "The code that the Query API has for it, or one of "
                f"{', '.join(sorted(COMMON_FAULTS))}.",
            },
            "message": {"type": "string"},
            "request_id": {"type": "string", "format": "uuid"},
            "resource": {"type": "string", "description": "The path of the request."},
            "pointer": {
                "type": "string",
                "description": "The field that is to blame, by RFC 6901.",
            },
        },
    }


def _security_schemes() -> dict[str, Any]:
    return {
        "signature": {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "AWS Signature Version 4 of the service `elasticache`.",
        },
        "token": {"type": "http", "scheme": "bearer"},
    }


def _server_paths(model: Model) -> dict[str, Any]:
    """Return the Query API, and what tells of the server itself."""
    xml = {"text/xml": {"schema": {"type": "string"}}}
    named: dict[str, Any] = {
        "Action": {"type": "string", "enum": sorted(model.operations)},
        "Version": {"type": "string", "const": model.api_version},
    }
    form = {
        "type": "object",
        "required": ["Action", "Version"],
        "properties": named,
        "additionalProperties": {"type": "string"},
    }
    query: dict[str, Any] = {
        "tags": ["Query API"],
        "description": "Nested fields are dotted (`CacheUsageLimits.DataStorage.Unit`), list "
        "entries numbered from 1 (`Tags.Tag.1.Key`).",
        "responses": {
            "200": {"description": "The operation's result.", "content": xml},
            "default": {"description": "An `ErrorResponse`.", "content": xml},
        },
    }
    fields = [
        {"name": name, "in": "query", "required": True, "schema": schema}
        for name, schema in named.items()
    ]
    rest = {
        "name": "parameters",
        "in": "query",
        "style": "form",
        "explode": True,
        "schema": {"type": "object", "additionalProperties": {"type": "string"}},
    }
    return {
        "/": {
            "post": {
                "operationId": "Query",
                "summary": "Any operation, by the AWS Query protocol.",
                **query,
                "requestBody": {
                    "required": True,
                    "content": {"application/x-www-form-urlencoded": {"schema": form}},
                },
            },
            "get": {
                "operationId": "QueryByUrl",
                "summary": "The same, in a URL; so are presigned requests.",
                **query,
                "parameters": [*fields, rest],
            },
        },
        "/healthz": {"get": _plain("Healthz", "Answers as long as the process does.")},
        "/readyz": {
            "get": {
                **_plain("Readyz", "Whether requests can be served."),
                "responses": {
                    "200": {"description": "Ready.", "content": _json({"type": "object"})},
                    "503": {"description": "Not yet.", "content": _json({"type": "object"})},
                },
            }
        },
        "/metrics": {
            "get": {
                **_plain("PrometheusMetrics", "What Prometheus scrapes."),
                "responses": {
                    "200": {
                        "description": "The text format of Prometheus.",
                        "content": {"text/plain": {"schema": {"type": "string"}}},
                    }
                },
            }
        },
    }


def _plain(name: str, summary: str) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "tags": ["Server"],
        "security": [{}],
        "responses": {"200": {"description": "Done.", "content": _json({"type": "object"})}},
    }
