"""Results to JSON, by the model's shapes; faults to the one error shape. Pure.

A result that is one resource is answered as that resource: what the Query API wraps in one element
(``ReplicationGroup`` of a creation, the one entry of a listing that was asked for by name) comes
without the wrapping, so that every route of a resource answers the same document. Absent members
are left out. Instants are ISO 8601 in UTC, to the millisecond.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from cachefleet.api.faults import Fault
from cachefleet.api.protocol.model import (
    BOOLEAN,
    DOUBLE,
    INTEGER,
    LIST,
    MODELS_KEPT_MAX,
    STRING,
    STRUCTURE,
    TIMESTAMP,
    Model,
    Shape,
)
from cachefleet.api.protocol.xml import BadResult
from cachefleet.api.rest.routes import Route

ETAG_BYTES = 12
JSON_TYPE: Final = b"application/json"

Writer = Callable[[Any], Any]

_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    STRING: str,
    BOOLEAN: bool,
    INTEGER: int,
    DOUBLE: (int, float),
}


class ResultWriter:
    """Holds one compiled writer for every operation of a model."""

    def __init__(self, model: Model) -> None:
        self._outputs = _outputs(model)

    def document(self, route: Route, result: Mapping[str, Any] | None) -> Any:
        """Return what the route answers; None where the operation has no result.

        Raises:
            BadResult: *result* does not fit the output shape.
            Fault: a listing that was asked for one resource has none.
        """
        write = self._outputs.get(route.operation.name)
        if write is None:
            if result:
                raise BadResult(f"{route.operation.name} has no result in the model")
            return None
        document = write(result or {})
        listing = route.listing
        if listing is not None:
            if not document.get(listing):
                raise Fault("NotFound", "There is no such resource.")
            return document[listing][0]
        wrapping = wrapped_member(route)
        return document.get(wrapping, {}) if wrapping is not None else document


def wrapped_member(route: Route) -> str | None:
    """Return the output's one member, where that is a structure and so the resource itself."""
    output = route.operation.output
    if output is None or len(output.members) != 1:
        return None
    ((name, member),) = output.members.items()
    return name if member.shape.kind == STRUCTURE else None


def encode(document: Any) -> bytes:
    """Return a document as bytes."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "replace"
    )


def etag(body: bytes) -> bytes:
    """Return the entity tag of a document: the same as long as it says the same."""
    return b'"' + hashlib.blake2b(body, digest_size=ETAG_BYTES).hexdigest().encode() + b'"'


def matches(if_none_match: bytes, tag: bytes) -> bool:
    """Tell whether an ``If-None-Match`` header names *tag*."""
    named = {one.strip().removeprefix(b"W/") for one in if_none_match.split(b",")}
    return b"*" in named or tag in named


def error_body(
    *, code: str, message: str, request_id: str, resource: str, pointer: str | None = None
) -> bytes:
    """Return the one error shape; ``pointer`` only where one field is to blame."""
    shape = {"code": code, "message": message, "request_id": request_id, "resource": resource}
    if pointer is not None:
        shape["pointer"] = pointer
    return encode(shape)


@functools.lru_cache(maxsize=MODELS_KEPT_MAX)
def _outputs(model: Model) -> Mapping[str, Writer]:
    """Return the writer of each operation's result; made once a model."""
    compiler = _Compiler()
    return MappingProxyType(
        {
            name: compiler.writer(op.output)
            for name, op in model.operations.items()
            if op.output is not None
        }
    )


class _Compiler:
    def __init__(self) -> None:
        self._done: dict[str, Writer] = {}

    def writer(self, shape: Shape) -> Writer:
        known = self._done.get(shape.name)
        if known is None:
            known = self._done[shape.name] = self._compile(shape)
        return known

    def _compile(self, shape: Shape) -> Writer:
        if shape.kind == STRUCTURE:
            return self._structure(shape)
        if shape.kind == LIST:
            return self._list(shape)
        if shape.kind == TIMESTAMP:
            return _instant
        return _plain(shape)

    def _structure(self, shape: Shape) -> Writer:
        members = {name: self.writer(member.shape) for name, member in shape.members.items()}
        shape_name = shape.name

        def write(value: Any) -> dict[str, Any]:
            if not isinstance(value, Mapping):
                raise BadResult(f"{shape_name} cannot be a {type(value).__name__}")
            document = {}
            for name, item in value.items():
                if item is not None:
                    write_member = members.get(name)
                    if write_member is None:
                        raise BadResult(f"{shape_name} has no member {name}")
                    document[name] = write_member(item)
            return document

        return write

    def _list(self, shape: Shape) -> Writer:
        assert shape.item is not None
        write_item = self.writer(shape.item.shape)
        shape_name = shape.name

        def write(value: Any) -> list[Any]:
            if not isinstance(value, list | tuple):
                raise BadResult(f"{shape_name} cannot be a {type(value).__name__}")
            return [write_item(item) for item in value]

        return write


def _plain(shape: Shape) -> Writer:
    fits = _TYPES[shape.kind]
    is_boolean = shape.kind == BOOLEAN
    shape_name = shape.name

    def write(value: Any) -> Any:
        if not isinstance(value, fits) or (isinstance(value, bool) and not is_boolean):
            raise BadResult(f"{shape_name} cannot be a {type(value).__name__}")
        return value

    return write


def _instant(value: Any) -> str:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise BadResult(f"an instant cannot be a {type(value).__name__}")
    return instant(value)


def instant(value: datetime) -> str:
    """Return an aware instant as it is written everywhere in ``/v1``."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
