"""Results and faults to the XML of the AWS Query protocol, by shape. Pure.

A result is a mapping of the output shape's member names. None and absence leave a member out; an
empty list, dict or string makes an empty element, as the service does. A member that the model
lacks, or a value of the wrong type, is our mistake and raises :class:`BadResult`: an answer is
never quietly short of something.

Documents are ASCII with character references, so that no reader can mistake their encoding.
Characters that XML 1.0 cannot carry become U+FFFD.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from cachefleet.api.protocol.model import (
    BOOLEAN,
    DOUBLE,
    INTEGER,
    MODELS_KEPT_MAX,
    STRING,
    TIMESTAMP,
    Model,
    Operation,
    Shape,
)
from cachefleet.api.protocol.query import ILLEGAL_IN_XML

CONTENT_TYPE: Final = "text/xml"

# The service prints this member to the second and every other timestamp to the millisecond.
SECOND_PRECISION: Final = frozenset({("NodeSnapshot", "SnapshotCreateTime")})

_SPECIAL: Final = re.compile("[&<>\r\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

Append = Callable[[str], object]
Writer = Callable[[Append, Any], None]


class BadResult(Exception):
    """A handler answered with something that the output shape does not have."""


def escape(text: str) -> str:
    """Return *text* for use between tags. A carriage return is kept by reference."""
    if not _SPECIAL.search(text):
        return text
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return ILLEGAL_IN_XML.sub("\ufffd", text.replace("\r", "&#13;"))


class ResponseSerializer:
    """Holds one compiled writer for every operation of a model."""

    def __init__(self, model: Model) -> None:
        self._namespace = model.xml_namespace
        self._outputs = _outputs(model)

    def response(
        self, operation: Operation, result: Mapping[str, Any] | None, request_id: str
    ) -> bytes:
        """Return the success document of an operation.

        Raises:
            BadResult: *result* does not fit the output shape.
        """
        return self.opening(operation, result) + self.closing(operation, request_id)

    def opening(self, operation: Operation, result: Mapping[str, Any] | None) -> bytes:
        """Return the part of a success document that depends on the result.

        Raises:
            BadResult: *result* does not fit the output shape.
        """
        name = operation.name
        out = [f'<{name}Response xmlns="{self._namespace}">']
        write = self._outputs.get(name)
        if write is not None:
            write(out.append, result or {})
        elif result:
            raise BadResult(f"{name} has no result in the model, yet was given one")
        return "".join(out).encode("ascii", "xmlcharrefreplace")

    def closing(self, operation: Operation, request_id: str) -> bytes:
        """Return the rest of it."""
        return (
            f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
            f"</{operation.name}Response>"
        ).encode("ascii")

    def error(self, *, code: str, message: str, status: int, request_id: str) -> bytes:
        """Return the error document; below status 500 the sender is at fault."""
        document = (
            f'<ErrorResponse xmlns="{self._namespace}">'
            f"<Error><Type>{'Sender' if status < 500 else 'Receiver'}</Type>"
            f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>"
        )
        return document.encode("ascii", "xmlcharrefreplace")


@functools.lru_cache(maxsize=MODELS_KEPT_MAX)
def _outputs(model: Model) -> Mapping[str, Writer]:
    """Return the writer of each operation's result; made once a model."""
    compiler = _Compiler()
    return MappingProxyType(
        {
            name: compiler.writer(op.output, op.result_element)
            for name, op in model.operations.items()
            if op.output is not None and op.result_element is not None
        }
    )


class _Compiler:
    """Makes a closure for each use of a shape under a tag, once."""

    def __init__(self) -> None:
        self._done: dict[tuple[str, str, bool], Writer] = {}

    def writer(self, shape: Shape, tag: str, *, to_the_second: bool = False) -> Writer:
        key = (shape.name, tag, to_the_second)
        known = self._done.get(key)
        if known is None:
            known = self._done[key] = self._compile(shape, tag, to_the_second)
        return known

    def _compile(self, shape: Shape, tag: str, to_the_second: bool) -> Writer:
        match shape.kind:
            case "structure":
                return self._structure(shape, tag)
            case "list":
                return self._list(shape, tag)
            case "timestamp":
                return _timestamp_writer(tag, "seconds" if to_the_second else "milliseconds")
        make = {
            STRING: _string_writer,
            BOOLEAN: _boolean_writer,
            INTEGER: _integer_writer,
            DOUBLE: _double_writer,
        }[shape.kind]
        return make(tag)

    def _structure(self, shape: Shape, tag: str) -> Writer:
        members = {
            name: self.writer(
                member.shape,
                member.wire_name,
                to_the_second=member.shape.kind == TIMESTAMP
                and (shape.name, name) in SECOND_PRECISION,
            )
            for name, member in shape.members.items()
        }
        start, end, empty = f"<{tag}>", f"</{tag}>", f"<{tag}/>"
        shape_name = shape.name

        def write(append: Append, value: Any) -> None:
            if not value:
                _require(isinstance(value, Mapping), tag, value)
                append(empty)
                return
            append(start)
            try:
                entries = value.items()
            except AttributeError:
                raise _mismatch(tag, value) from None
            for name, item in entries:
                if item is not None:
                    write_member = members.get(name)
                    if write_member is None:
                        raise BadResult(f"{shape_name} has no member {name}")
                    write_member(append, item)
            append(end)

        return write

    def _list(self, shape: Shape, tag: str) -> Writer:
        assert shape.item is not None
        write_item = self.writer(shape.item.shape, shape.item.wire_name)
        start, end, empty = f"<{tag}>", f"</{tag}>", f"<{tag}/>"

        def write(append: Append, value: Any) -> None:
            _require(isinstance(value, list | tuple), tag, value)
            if not value:
                append(empty)
                return
            append(start)
            for item in value:
                write_item(append, item)
            append(end)

        return write


def _mismatch(tag: str, value: Any) -> BadResult:
    return BadResult(f"{tag} cannot be a {type(value).__name__}")


def _require(fits: bool, tag: str, value: Any) -> None:
    if not fits:
        raise _mismatch(tag, value)


def _string_writer(tag: str) -> Writer:
    start, end, empty = f"<{tag}>", f"</{tag}>", f"<{tag}/>"
    special = _SPECIAL.search

    def write(append: Append, value: Any) -> None:
        if type(value) is not str:
            _require(isinstance(value, str), tag, value)
            value = str.__str__(value)  # a member of a string enumeration is its value
        if special(value):
            value = escape(value)
        append(f"{start}{value}{end}" if value else empty)

    return write


def _boolean_writer(tag: str) -> Writer:
    texts = {True: f"<{tag}>true</{tag}>", False: f"<{tag}>false</{tag}>"}

    def write(append: Append, value: Any) -> None:
        if type(value) is not bool:
            raise _mismatch(tag, value)
        append(texts[value])

    return write


def _integer_writer(tag: str) -> Writer:
    def write(append: Append, value: Any) -> None:
        if type(value) is not int:
            raise _mismatch(tag, value)
        append(f"<{tag}>{value}</{tag}>")

    return write


def _double_writer(tag: str) -> Writer:
    def write(append: Append, value: Any) -> None:
        if type(value) is not float and type(value) is not int:
            raise _mismatch(tag, value)
        append(f"<{tag}>{float(value)!r}</{tag}>")

    return write


def _timestamp_writer(tag: str, precision: str) -> Writer:
    def write(append: Append, value: Any) -> None:
        if not isinstance(value, datetime) or value.tzinfo is None:
            raise _mismatch(tag, value)
        if value.tzinfo is not UTC:
            value = value.astimezone(UTC)
        # isoformat ends in "+00:00" here; the service writes Z.
        append(f"<{tag}>{value.isoformat(timespec=precision)[:-6]}Z</{tag}>")

    return write
