"""JSON documents and query strings to parameters, by the model's shapes. Pure.

What a value must be is decided by the very parsers of the Query protocol, so that both doors refuse
with the same words. JSON is stricter in form: a field that the model lacks, a number in quotes and
a key that comes twice are refused, and every refusal points to the field.

``null`` is the same as absent.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qsl

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
from cachefleet.api.protocol.query import (
    ILLEGAL_IN_XML,
    InvalidValue,
    item_count_check,
    missing_value,
    scalar_parser,
)

QUERY_FIELDS_MAX = 1000
ECHO_CHARS_MAX = 64
AMAZON_PREFIX: Final = "X-Amz-"  # of a signature that is in the query string

_NAMES: Final[Mapping[str, str]] = {
    STRING: "a string",
    BOOLEAN: "true or false",
    INTEGER: "an integer",
    DOUBLE: "a number",
    TIMESTAMP: "a string with an ISO 8601 timestamp",
    LIST: "an array",
    STRUCTURE: "an object",
}

Parser = Callable[[Any], Any]


class MalformedDocument(Exception):
    """It is no JSON object, or no query string."""


class InvalidField(Exception):
    """A field does not meet the model; ``pointer`` is the RFC 6901 pointer to it."""

    def __init__(self, refusal: InvalidValue) -> None:
        super().__init__()
        self._refusal = refusal
        self._parts: list[str] = []

    def within(self, name: str, *, index: int | None = None) -> InvalidField:
        """Note the member, or the index of a list, that holds what is wrong; from the inside."""
        self._refusal.within(name)
        self._parts.append(name if index is None else str(index))
        return self

    @property
    def pointer(self) -> str:
        escaped = (part.replace("~", "~0").replace("/", "~1") for part in reversed(self._parts))
        return "".join(f"/{part}" for part in escaped)

    def __str__(self) -> str:
        return str(self._refusal)


def read_document(body: bytes) -> dict[str, Any]:
    """Return the JSON object in *body*; nothing at all is an empty one.

    Raises:
        MalformedDocument: it is no JSON, no object, too deep, or gives a key twice.
    """
    if not body.strip():
        return {}
    try:
        document = json.loads(body, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise MalformedDocument("The body is nested too deeply.") from None
    except ValueError:  # of JSON, of UTF-8, of a number with thousands of digits
        raise MalformedDocument("The body is not valid JSON.") from None
    if not isinstance(document, dict):
        raise MalformedDocument("The body must be a JSON object.")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedDocument("The body gives one key twice.")
    return found


def _refuse_constant(name: str) -> Any:
    raise MalformedDocument(f"{name} is not JSON.")


def read_query(query: bytes) -> dict[str, list[str]]:
    """Return the fields of a query string, each with its values in order; signatures left out.

    Raises:
        MalformedDocument: it is not UTF-8, or has too many fields.
    """
    if not query:
        return {}
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=QUERY_FIELDS_MAX,
        )
    except ValueError:
        raise MalformedDocument(
            f"The query string is not UTF-8, or has more than {QUERY_FIELDS_MAX} fields."
        ) from None
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        if not name.startswith(AMAZON_PREFIX):
            fields.setdefault(name, []).append(value)
    return fields


class FieldParser:
    """Holds one compiled parser for every operation of a model."""

    def __init__(self, model: Model) -> None:
        self._inputs = _inputs(model)

    def parse(self, operation: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return the operation's parameters under the model's member names.

        Raises:
            InvalidField: a field is unknown, missing, of the wrong type or breaks a constraint.
        """
        params: dict[str, Any] = self._inputs[operation](document)
        return params


def from_query(shape: Shape, fields: Mapping[str, list[str]]) -> dict[str, Any]:
    """Return the document that a query string stands for, by the input's shape.

    A list of plain values is the field repeated; a list of structures, or a structure, is JSON.

    Raises:
        InvalidField: a field is given twice that is no list, or its JSON is none.
    """
    document: dict[str, Any] = {}
    for name, texts in fields.items():
        member = shape.members.get(name)
        if member is None:
            raise _unknown(name)
        try:
            document[name] = _from_texts(member.shape, texts)
        except InvalidField as refusal:
            raise refusal.within(name) from None
    return document


def _from_texts(shape: Shape, texts: list[str]) -> Any:
    if shape.kind == LIST and shape.item is not None and shape.item.shape.kind != STRUCTURE:
        return [_plain(shape.item.shape, text) for text in texts if text]
    if len(texts) > 1:
        raise InvalidField(InvalidValue("The parameter {path} is given more than once."))
    if shape.kind in (LIST, STRUCTURE):
        try:
            return json.loads(texts[0], object_pairs_hook=_unique, parse_constant=_refuse_constant)
        except (ValueError, RecursionError, MalformedDocument):
            raise InvalidField(InvalidValue("The parameter {path} must be JSON.")) from None
    return _plain(shape, texts[0])


def _plain(shape: Shape, text: str) -> Any:
    """Return the JSON value of a text; any other text stays one, and is refused."""
    if shape.kind == BOOLEAN:
        return {"true": True, "false": False}.get(text.lower(), text)
    if shape.kind == INTEGER:
        digits = text.removeprefix("-")
        return int(text) if digits.isascii() and digits.isdigit() and len(text) < 20 else text
    if shape.kind == DOUBLE:
        try:
            return float(text)
        except ValueError:
            return text
    return text


def _unknown(name: str) -> InvalidField:
    refusal = InvalidField(InvalidValue("There is no parameter {path}."))
    shown = name[:ECHO_CHARS_MAX].encode("ascii", "backslashreplace").decode()
    return refusal.within(shown.replace("{", "(").replace("}", ")"))


@functools.lru_cache(maxsize=MODELS_KEPT_MAX)
def _inputs(model: Model) -> Mapping[str, Parser]:
    """Return the parser of each operation's document; made once a model."""
    compiler = _Compiler()
    return MappingProxyType(
        {name: compiler.parser(op.input) for name, op in model.operations.items()}
    )


class _Compiler:
    """Makes a closure for each shape, once."""

    def __init__(self) -> None:
        self._done: dict[str, Parser] = {}

    def parser(self, shape: Shape) -> Parser:
        known = self._done.get(shape.name)
        if known is None:
            known = self._done[shape.name] = self._compile(shape)
        return known

    def _compile(self, shape: Shape) -> Parser:
        if shape.kind == STRUCTURE:
            return self._structure(shape)
        if shape.kind == LIST:
            return self._list(shape)
        return _scalar(shape)

    def _structure(self, shape: Shape) -> Parser:
        members = {name: self.parser(member.shape) for name, member in shape.members.items()}
        required = [(name, shape.members[name].shape.kind == LIST) for name in shape.required]

        def parse(value: Any) -> dict[str, Any]:
            if not isinstance(value, Mapping):
                raise _wrong_type(shape)
            params: dict[str, Any] = {}
            for name, item in value.items():
                parse_member = members.get(name)
                if parse_member is None:
                    raise _unknown(name)
                if item is None:
                    continue
                try:
                    params[name] = parse_member(item)
                except InvalidField as refusal:
                    raise refusal.within(name) from None
            for name, is_list in required:
                if params.get(name) in (None, "", []):
                    raise InvalidField(missing_value(is_list)).within(name)
            return params

        return parse

    def _list(self, shape: Shape) -> Parser:
        assert shape.item is not None
        parse_item = self.parser(shape.item.shape)
        check = item_count_check(shape)

        def parse(value: Any) -> list[Any]:
            if not isinstance(value, list):
                raise _wrong_type(shape)
            items = []
            for index, item in enumerate(value):
                try:
                    items.append(parse_item(item))
                except InvalidField as refusal:
                    raise refusal.within(str(index + 1), index=index) from None
            try:
                check(items)
            except InvalidValue as refusal:
                raise InvalidField(refusal) from None
            return items

        return parse


def _scalar(shape: Shape) -> Parser:
    """Return the parser of a plain value: the type by JSON, everything else by the Query parser."""
    parse_text = scalar_parser(shape)
    kind = shape.kind

    def parse(value: Any) -> Any:
        if kind == BOOLEAN:
            if not isinstance(value, bool):
                raise _wrong_type(shape)
            return value
        is_number = kind in (INTEGER, DOUBLE)
        if is_number:
            fits = isinstance(value, int | float if kind == DOUBLE else int)
            if not fits or isinstance(value, bool):
                raise _wrong_type(shape)
            value = _digits(value)
        elif not isinstance(value, str):
            raise _wrong_type(shape)
        elif ILLEGAL_IN_XML.search(value):
            raise InvalidField(
                InvalidValue("The parameter {path} holds characters that are not allowed.")
            )
        try:
            return parse_text(value)
        except InvalidValue as refusal:
            raise InvalidField(refusal) from None

    return parse


def _digits(value: float) -> str:
    return format(value, "d") if isinstance(value, int) else repr(value)


def _wrong_type(shape: Shape) -> InvalidField:
    return InvalidField(InvalidValue(f"The parameter {{path}} must be {_NAMES[shape.kind]}."))
