"""Forms of the AWS Query protocol to typed parameters, by shape. Pure.

``parse_form`` turns bytes into fields, ``RequestParser`` turns the fields of one operation into
parameters. Two refusals leave this module: :class:`MalformedQuery` (it is not a form, or its keys
do not fit the shapes) and :class:`InvalidValue` (the form is fine, a value is not).

Where the service's documentation is silent:

* Parameters and members that the model lacks are ignored.
* A key that comes twice with two values is refused; which of them counts would be a guess.
* A list takes any one element name between its own name and the index (``Tags.Tag.1``,
  ``Tags.member.1``) or none (``Tags.1``), but not two. Gaps in the numbering close.
* ``Param=`` is an empty list for a list, an empty string for a string, and the same as absent
  for numbers, booleans and timestamps. A required parameter may not be empty.
* Characters that XML 1.0 cannot carry are refused in every value, used or not.
* Values are never repeated in a message: they may be passwords.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, Union
from urllib.parse import unquote_to_bytes

from cachefleet.api.protocol.model import (
    BOOLEAN,
    DOUBLE,
    LIST,
    MODELS_KEPT_MAX,
    STRING,
    STRUCTURE,
    TIMESTAMP,
    Model,
    Shape,
)

FIELD_COUNT_MAX = 10_000  # 500 shards with nine fields each is the largest sensible request
KEY_CHARS_MAX = 512
KEY_DEPTH_MAX = 16  # the deepest key of the model has eight parts
LIST_INDEX_MAX = 10_000
INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1

# What XML 1.0 cannot say, even escaped. Lone surrogates cannot come out of strict UTF-8.
ILLEGAL_IN_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_INDEX = re.compile(r"[1-9][0-9]{0,5}", re.ASCII)
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_DOUBLE = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?", re.ASCII)
_EPOCH = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,9})?", re.ASCII)
_TIMESTAMP = re.compile(r"[0-9TZWtzw:+., -]{1,64}", re.ASCII)
_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)

Node = Union[str, "dict[str, Node]"]
Parser = Callable[[Any], Any]


class MalformedQuery(Exception):
    """The request is not a form, or its keys do not fit the operation's shapes."""


class InvalidValue(Exception):
    """A value does not meet the model. The message names the parameter, never the value."""

    def __init__(self, template: str) -> None:
        super().__init__(template)
        self._template = template
        self._path: list[str] = []

    def within(self, name: str) -> InvalidValue:
        """Note the member or index that holds what is wrong; called from the inside out."""
        self._path.append(name)
        return self

    def __str__(self) -> str:
        return self._template.format(path=".".join(reversed(self._path)))


def parse_form(*parts: bytes) -> dict[str, str]:
    """Return the fields of the query string and the body together, percent-decoded.

    Raises:
        MalformedQuery: broken encoding, too many fields, or one key with two values.
        InvalidValue: a value holds a character that XML cannot carry.
    """
    fields: dict[str, str] = {}
    for part in parts:
        if part:
            _add_fields(part, fields)
    return fields


def _add_fields(part: bytes, fields: dict[str, str]) -> None:
    if b"%" in part and _BAD_PERCENT.search(part):
        raise MalformedQuery("The request holds a percent sign without two hexadecimal digits.")
    pairs = part.split(b"&", FIELD_COUNT_MAX + 1)
    if len(pairs) + len(fields) > FIELD_COUNT_MAX:
        raise MalformedQuery(f"The request has more than {FIELD_COUNT_MAX} fields.")
    for pair in pairs:
        if not pair:
            continue
        raw_key, _, raw_value = pair.partition(b"=")
        key, value = _decode(raw_key), _decode(raw_value)
        if not key or len(key) > KEY_CHARS_MAX:
            raise MalformedQuery("The request has a field without a name, or with a huge one.")
        if ILLEGAL_IN_XML.search(value):
            raise InvalidValue("The request holds characters that are not allowed in a value.")
        if fields.setdefault(key, value) != value:
            raise MalformedQuery("The request gives one parameter two values.")


def _decode(raw: bytes) -> str:
    if b"+" in raw:
        raw = raw.replace(b"+", b" ")
    if b"%" in raw:
        raw = unquote_to_bytes(raw)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise MalformedQuery("The request is not UTF-8.") from None


class RequestParser:
    """Holds one compiled parser for every operation of a model."""

    def __init__(self, model: Model) -> None:
        self._inputs = _inputs(model)
        self._heads: Mapping[str, frozenset[str]] = MappingProxyType(
            {
                name: frozenset(member.wire_name for member in op.input.members.values())
                for name, op in model.operations.items()
            }
        )

    def parse(self, operation: str, fields: Mapping[str, str]) -> dict[str, Any]:
        """Return the operation's parameters under the model's member names.

        Raises:
            MalformedQuery: a key does not fit its shape.
            InvalidValue: a required parameter is missing, or a value breaks a constraint.
        """
        heads = self._heads[operation]
        tree: dict[str, Node] = {}
        for key, value in fields.items():
            head, dot, rest = key.partition(".")
            if head not in heads:
                continue
            if dot:
                _graft(tree, head, rest, value)
            elif tree.setdefault(head, value) is not value:
                raise _both(head)
        params: dict[str, Any] = self._inputs[operation](tree)
        return params


def _graft(tree: dict[str, Node], head: str, rest: str, value: str) -> None:
    """Put *value* into the tree under a dotted key."""
    *branches, leaf = rest.split(".")
    if not leaf or not all(branches) or len(branches) > KEY_DEPTH_MAX:
        raise MalformedQuery(f"A key under {head} has an empty part, or too many.")
    node = tree.setdefault(head, {})
    for part in branches:
        if type(node) is not dict:
            raise _both(head)
        node = node.setdefault(part, {})
    if type(node) is not dict or node.setdefault(leaf, value) is not value:
        raise _both(head)


def _both(head: str) -> MalformedQuery:
    return MalformedQuery(f"{head} is given both as a value and as a structure.")


@functools.lru_cache(maxsize=MODELS_KEPT_MAX)
def _inputs(model: Model) -> Mapping[str, Parser]:
    """Return the parser of each operation's input; made once a model."""
    compiler = _Compiler()
    return MappingProxyType(
        {name: compiler.parser(op.input) for name, op in model.operations.items()}
    )


class _Compiler:
    """Makes a closure for each shape, once: the request path looks nothing up in the model."""

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
        return scalar_parser(shape)

    def _structure(self, shape: Shape) -> Parser:
        members = {
            member.wire_name: (
                name,
                self.parser(member.shape),
                member.shape.kind not in (STRING, LIST, STRUCTURE),
            )
            for name, member in shape.members.items()
        }
        required = [(name, shape.members[name].shape.kind == LIST) for name in shape.required]

        def parse(node: Node) -> dict[str, Any]:
            if type(node) is not dict:
                if node:
                    raise MalformedQuery("A structure is given as a plain value.")
                node = {}
            params: dict[str, Any] = {}
            for key, child in node.items():
                found = members.get(key)
                if found is None:
                    continue
                name, parse_member, empty_is_absent = found
                if empty_is_absent and child == "":
                    continue
                try:
                    params[name] = parse_member(child)
                except InvalidValue as refusal:
                    raise refusal.within(name) from None
            for name, is_list in required:
                value = params.get(name)
                if value is None or value == "" or value == []:
                    raise missing_value(is_list).within(name)
            return params

        return parse

    def _list(self, shape: Shape) -> Parser:
        assert shape.item is not None
        parse_item = self.parser(shape.item.shape)
        check = item_count_check(shape)

        def parse(node: Node) -> list[Any]:
            if type(node) is not dict:
                if node:
                    raise MalformedQuery("A list is given as a plain value.")
                check([])
                return []
            items = []
            for index, child in _numbered(node):
                try:
                    items.append(parse_item(child))
                except InvalidValue as refusal:
                    raise refusal.within(str(index)) from None
            check(items)
            return items

        return parse


def missing_value(is_list: bool) -> InvalidValue:
    """Return the refusal of a required parameter that is not there, or is empty."""
    if is_list:
        return InvalidValue("The parameter {path} must be provided.")
    return InvalidValue("The parameter {path} must be provided and must not be null.")


def _numbered(node: dict[str, Node]) -> list[tuple[int, Node]]:
    """Return a list's children in the order of their numbers."""
    if len(node) == 1:
        ((name, child),) = node.items()
        if type(child) is dict and not _INDEX.fullmatch(name):
            node = child
    numbered = []
    for key, child in node.items():
        if not _INDEX.fullmatch(key) or int(key) > LIST_INDEX_MAX:
            raise MalformedQuery(
                f"A list is numbered from 1 to {LIST_INDEX_MAX}, under one element name."
            )
        numbered.append((int(key), child))
    numbered.sort(key=_first)
    return numbered


def _first(pair: tuple[int, Node]) -> int:
    return pair[0]


def _scalar(node: Node) -> str:
    if type(node) is not str:
        raise MalformedQuery("A plain value is given as a structure.")
    return node


def _range_check(
    shape: Shape, text: str, unit: str, measure: Callable[[Any], float]
) -> Callable[[Any], None]:
    """Return the check of a length or a number against the model's bounds."""
    low, high = shape.constraints.minimum, shape.constraints.maximum
    if low is None and high is None:
        return _no_check
    bounds = " and ".join(
        f"{word} {bound:g}"
        for word, bound in (("at least", low), ("at most", high))
        if bound is not None
    )
    message = f"The parameter {text} {bounds} {unit}".rstrip() + "."

    def check(value: Any) -> None:
        size = measure(value)
        if (low is not None and size < low) or (high is not None and size > high):
            raise InvalidValue(message)

    return check


def item_count_check(shape: Shape) -> Callable[[Any], None]:
    """Return the check of how many items a list may have; it raises :class:`InvalidValue`."""
    return _range_check(shape, "{path} must have", "items", len)


def scalar_parser(shape: Shape) -> Parser:
    """Return the parser of a plain value's text; it raises :class:`InvalidValue`."""
    match shape.kind:
        case "string":
            return _string_parser(shape)
        case "integer":
            return _integer_parser(shape)
    return {BOOLEAN: _parse_boolean, DOUBLE: _double_parser(shape), TIMESTAMP: _timestamp}[
        shape.kind
    ]


def _no_check(_: Any) -> None:
    """Accept: the model sets no bounds."""


def _string_parser(shape: Shape) -> Parser:
    limits = shape.constraints
    if limits.enum:
        allowed = frozenset(limits.enum)
        message = _literal(f"must be one of: {', '.join(limits.enum)}.")

        def parse_enum(node: Node) -> str:
            value = _scalar(node)
            if value not in allowed:
                raise InvalidValue(message)
            return value

        return parse_enum
    if limits.pattern is None and limits.minimum is None and limits.maximum is None:
        return _scalar
    pattern = re.compile(limits.pattern, re.ASCII) if limits.pattern is not None else None
    mismatch = _literal(f"does not match the pattern {limits.pattern}")
    check = _range_check(shape, "{path} must have", "characters", len)

    def parse_string(node: Node) -> str:
        value = _scalar(node)
        check(value)
        if pattern is not None and not pattern.fullmatch(value):
            raise InvalidValue(mismatch)
        return value

    return parse_string


def _literal(text: str) -> str:
    """Return a message template in which the braces of *text* (a pattern's) are only text."""
    return "The parameter {path} " + text.replace("{", "{{").replace("}", "}}")


def _integer_parser(shape: Shape) -> Parser:
    largest = INT64_MAX if shape.is_long else INT32_MAX
    check = _range_check(shape, "{path} must be", "", float)

    def parse(node: Node) -> int:
        text = _scalar(node)
        if not _INTEGER.fullmatch(text):
            raise InvalidValue("The parameter {path} must be an integer.")
        value = int(text)
        if not -largest - 1 <= value <= largest:
            raise InvalidValue("The parameter {path} is out of the range of an integer.")
        check(value)
        return value

    return parse


def _double_parser(shape: Shape) -> Parser:
    check = _range_check(shape, "{path} must be", "", float)

    def parse(node: Node) -> float:
        text = _scalar(node)
        value = float(text) if _DOUBLE.fullmatch(text) else math.inf
        if not math.isfinite(value):
            raise InvalidValue("The parameter {path} must be a number.")
        check(value)
        return value

    return parse


def _parse_boolean(node: Node) -> bool:
    text = _scalar(node).lower()
    if text not in ("true", "false"):
        raise InvalidValue("The parameter {path} must be true or false.")
    return text == "true"


_NO_TIMESTAMP = "The parameter {path} must be an ISO 8601 timestamp."


def _timestamp(node: Node) -> datetime:
    """Read ISO 8601 with any fraction and offset, or seconds since 1970; without offset: UTC."""
    text = _scalar(node)
    try:
        if not _TIMESTAMP.fullmatch(text):
            raise InvalidValue(_NO_TIMESTAMP)
        if _EPOCH.fullmatch(text):
            return _EPOCH_START + timedelta(seconds=float(text))
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidValue(_NO_TIMESTAMP) from None
