"""The ElastiCache service model of the installed botocore, loaded once and made small.

Operations, shapes, constraints, faults and paginators all come from here; none is typed by hand.
Shapes that the Query protocol of this service does not use today (maps, blobs, flattened lists,
recursion) are refused: an operation that needs one is listed in ``Model.unsupported``, and the
others keep working.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from botocore.loaders import Loader
from botocore.model import ServiceModel

SERVICE: Final = "elasticache"
LIST_ITEM_DEFAULT: Final = "member"
MODELS_KEPT_MAX: Final = 2  # whose compiled parsers and writers are kept; a process serves one

STRUCTURE: Final = "structure"
LIST: Final = "list"
STRING: Final = "string"
BOOLEAN: Final = "boolean"
INTEGER: Final = "integer"
DOUBLE: Final = "double"
TIMESTAMP: Final = "timestamp"

_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "structure": STRUCTURE,
        "list": LIST,
        "string": STRING,
        "boolean": BOOLEAN,
        "integer": INTEGER,
        "long": INTEGER,
        "double": DOUBLE,
        "float": DOUBLE,
        "timestamp": TIMESTAMP,
    }
)


class UnsupportedShape(Exception):
    """The model has grown a kind of shape that this protocol code does not know."""


@dataclass(frozen=True, slots=True)
class Constraints:
    """What the model says a value must be; lengths for strings and lists, ranges for numbers."""

    minimum: float | None = None
    maximum: float | None = None
    pattern: str | None = None
    enum: tuple[str, ...] = ()


# Where the service takes more than its model says: its own examples name a shard together with its
# group (``redis00-0003``). Handlers that want digits alone say so themselves.
WIDER: Mapping[str, Constraints] = MappingProxyType(
    {
        "AllowedNodeGroupId": Constraints(
            minimum=1, maximum=45, pattern=r"\d{1,4}|[A-Za-z][A-Za-z0-9-]*-\d{1,4}"
        )
    }
)


@dataclass(frozen=True, slots=True)
class Member:
    """A shape where it is used, under the name it has on the wire there."""

    wire_name: str
    shape: Shape


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """A type of the model. ``members`` is for structures, ``item`` for lists."""

    name: str
    kind: str
    is_long: bool = False
    members: Mapping[str, Member] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    item: Member | None = None
    constraints: Constraints = field(default_factory=Constraints)


@dataclass(frozen=True, slots=True)
class FaultShape:
    """An error of the model: its shape name, the code on the wire, the HTTP status."""

    name: str
    code: str
    status: int


@dataclass(frozen=True, slots=True)
class Paging:
    """How an operation is paged: the parameter names and the path of the token in the result."""

    token_in: str
    token_out: str
    size_param: str


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One operation. ``result_element`` is None where the service answers without a result."""

    name: str
    input: Shape
    output: Shape | None
    result_element: str | None
    faults: frozenset[str]
    paging: Paging | None


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """The service: everything the front-end knows about what it serves."""

    api_version: str
    xml_namespace: str
    operations: Mapping[str, Operation]
    unsupported: frozenset[str]
    faults: Mapping[str, FaultShape]


@functools.cache
def load_model() -> Model:
    """Return the model of the installed botocore; the user's own model folders are not read."""
    loader = Loader(
        extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False
    )
    description = loader.load_service_model(SERVICE, "service-2")
    paginators = loader.load_service_model(SERVICE, "paginators-1")["pagination"]
    return build_model(description, paginators)


def build_model(description: Mapping[str, Any], paginators: Mapping[str, Any]) -> Model:
    """Make a model from the parsed JSON of ``service-2`` and ``paginators-1``."""
    service = ServiceModel(description, SERVICE)
    shapes = _Shapes()
    operations: dict[str, Operation] = {}
    unsupported: set[str] = set()
    for name in service.operation_names:
        try:
            operations[name] = _operation(
                service.operation_model(name), shapes, paginators.get(name)
            )
        except UnsupportedShape:
            unsupported.add(name)
    return Model(
        api_version=service.metadata["apiVersion"],
        xml_namespace=service.metadata["xmlNamespace"],
        operations=MappingProxyType(operations),
        unsupported=frozenset(unsupported),
        faults=MappingProxyType(_faults(service)),
    )


def _operation(source: Any, shapes: _Shapes, paginator: Mapping[str, Any] | None) -> Operation:
    output = source.output_shape
    return Operation(
        name=source.name,
        input=shapes.convert(source.input_shape)
        if source.input_shape is not None
        else Shape(name=f"{source.name}Input", kind=STRUCTURE),
        output=shapes.convert(output) if output is not None else None,
        result_element=output.serialization.get("resultWrapper") if output is not None else None,
        faults=frozenset(shape.name for shape in source.error_shapes),
        paging=None
        if paginator is None
        else Paging(
            token_in=paginator["input_token"],
            token_out=paginator["output_token"],
            size_param=paginator["limit_key"],
        ),
    )


def _faults(service: Any) -> dict[str, FaultShape]:
    found: dict[str, FaultShape] = {}
    for name in service.shape_names:
        metadata = service.shape_for(name).metadata
        if not metadata.get("exception"):
            continue
        error = metadata.get("error", {})
        found[name] = FaultShape(
            name=name, code=error.get("code", name), status=error.get("httpStatusCode", 400)
        )
    return found


class _Shapes:
    """Converts botocore's shapes, each once by name; wire names stay with the place of use."""

    def __init__(self) -> None:
        self._done: dict[str, Shape] = {}
        self._open: set[str] = set()

    def convert(self, source: Any) -> Shape:
        known = self._done.get(source.name)
        if known is not None:
            return known
        if source.name in self._open:
            raise UnsupportedShape(f"{source.name} contains itself")
        self._open.add(source.name)
        try:
            shape = self._build(source)
        finally:
            self._open.discard(source.name)
        self._done[source.name] = shape
        return shape

    def _build(self, source: Any) -> Shape:
        kind = _KINDS.get(source.type_name)
        if kind is None or source.serialization.get("flattened"):
            raise UnsupportedShape(f"{source.name} is a {source.type_name}")
        metadata = source.metadata
        constraints = WIDER.get(source.name) or Constraints(
            minimum=metadata.get("min"),
            maximum=metadata.get("max"),
            pattern=metadata.get("pattern"),
            enum=tuple(metadata.get("enum", ())),
        )
        if kind == STRUCTURE:
            members = {
                name: Member(member.serialization.get("name", name), self.convert(member))
                for name, member in source.members.items()
            }
            return Shape(
                name=source.name,
                kind=kind,
                members=MappingProxyType(members),
                required=tuple(source.required_members),
            )
        if kind == LIST:
            item = source.member
            return Shape(
                name=source.name,
                kind=kind,
                item=Member(item.serialization.get("name", LIST_ITEM_DEFAULT), self.convert(item)),
                constraints=constraints,
            )
        return Shape(
            name=source.name,
            kind=kind,
            is_long=source.type_name == "long",
            constraints=constraints,
        )
