"""Pages of a listing: ``Marker`` in and out, and the bounds of ``MaxRecords``.

A marker holds the key of the last item that was shown, not a position: a page goes on behind that
key, whatever was added or removed since. It is bound to the operation and its other parameters, so
a marker of one listing is refused by another. It is opaque but no secret: whoever forges one can
only choose where in their own listing to go on.
"""

from __future__ import annotations

import base64
import binascii
import bisect
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeVar

from cachefleet.api.faults import Fault
from cachefleet.api.protocol.model import Operation
from cachefleet.api.protocol.query import ILLEGAL_IN_XML

T = TypeVar("T")

# What a listing is sorted by: a name, a number, or several of them.
Key = str | int | tuple[str | int, ...]

MARKER_CHARS_MAX = 2048
MARKER_VERSION: Final = 1
KEY_INT_MAX = 2**63 - 1

Bounds = tuple[int, int, int]  # fewest, most, default

CLASSIC_BOUNDS: Bounds = (20, 100, 100)
_NOT_DOCUMENTED: Bounds = (1, 100, 100)
_SERVERLESS: Bounds = (1, 50, 50)

BOUNDS: Mapping[str, Bounds] = MappingProxyType(
    {
        "DescribeSnapshots": (20, 50, 50),
        "DescribeUsers": _NOT_DOCUMENTED,
        "DescribeUserGroups": _NOT_DOCUMENTED,
        "DescribeGlobalReplicationGroups": _NOT_DOCUMENTED,
        "DescribeServiceUpdates": _NOT_DOCUMENTED,
        "DescribeUpdateActions": _NOT_DOCUMENTED,
        "DescribeServerlessCaches": _SERVERLESS,
        "DescribeServerlessCacheSnapshots": _SERVERLESS,
    }
)


@dataclass(frozen=True, slots=True)
class Family:
    """How one operation is paged."""

    operation: str
    token: str
    size_param: str
    count_min: int
    count_max: int
    count_default: int


def family_of(operation: Operation) -> Family:
    """Return how *operation* is paged.

    Raises:
        LookupError: the model does not page it.
    """
    if operation.paging is None:
        raise LookupError(f"{operation.name} is not paged")
    count_min, count_max, count_default = BOUNDS.get(operation.name, CLASSIC_BOUNDS)
    return Family(
        operation=operation.name,
        token=operation.paging.token_in,
        size_param=operation.paging.size_param,
        count_min=count_min,
        count_max=count_max,
        count_default=count_default,
    )


@dataclass(frozen=True, slots=True)
class Window:
    """The page that a request asks for: up to ``limit`` items with keys greater than ``after``."""

    after: Any  # a Key of the shape of ``like``, or None on the first page
    limit: int
    binding: str

    @property
    def fetch(self) -> int:
        """How many rows to read: one more than the page tells whether there is another."""
        return self.limit + 1

    def close(self, rows: Sequence[T], key: Callable[[T], Key]) -> tuple[list[T], str | None]:
        """Return the page of *rows* (up to ``fetch`` of them) and the marker of the next one."""
        shown = list(rows[: self.limit])
        if len(rows) <= self.limit:
            return shown, None
        return shown, encode_marker(key(shown[-1]), self.binding)


def window(params: Mapping[str, Any], family: Family, *, like: Key = "") -> Window:
    """Return the page that *params* ask for. ``like`` shows the shape of the keys.

    Raises:
        Fault: ``InvalidParameterValue`` for a size out of bounds or a marker that is not ours.
    """
    limit = params.get(family.size_param)
    if limit is None:
        limit = family.count_default
    if not family.count_min <= limit <= family.count_max:
        raise Fault(
            "InvalidParameterValueException",
            f"Invalid value {limit} for {family.size_param}. "
            f"Must be between {family.count_min} and {family.count_max}",
        )
    binding = _binding(params, family)
    marker = params.get(family.token)
    after = decode_marker(marker, binding, like=like, token=family.token) if marker else None
    return Window(after=after, limit=limit, binding=binding)


def page(
    items: Sequence[T], key: Callable[[T], Key], params: Mapping[str, Any], family: Family
) -> tuple[list[T], str | None]:
    """Return the page of *items*, sorted by *key*, that *params* ask for, and the next marker.

    Raises:
        Fault: as :func:`window`.
    """
    asked = window(params, family, like=key(items[0]) if items else "")
    start = bisect.bisect_right(items, asked.after, key=key) if asked.after is not None else 0
    return asked.close(items[start : start + asked.fetch], key)


def encode_marker(key: Key, binding: str) -> str:
    """Return the marker of a page that ends in *key*."""
    text = json.dumps([MARKER_VERSION, binding, key], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_marker(marker: str, binding: str, *, like: Key, token: str = "Marker") -> Key:
    """Return the key in *marker*.

    Raises:
        Fault: it is not one of ours, or of another listing, or its key is not shaped as *like*.
    """
    refusal = Fault("InvalidParameterValueException", f"The {token} is not valid for this request.")
    if len(marker) > MARKER_CHARS_MAX:
        raise refusal
    try:
        padded = marker + "=" * (-len(marker) % 4)
        decoded = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        raise refusal from None
    if not isinstance(decoded, list) or decoded[:2] != [MARKER_VERSION, binding]:
        raise refusal
    if len(decoded) != 3 or not _is_like(decoded[2], like):
        raise refusal
    key: Key = tuple(decoded[2]) if isinstance(decoded[2], list) else decoded[2]
    return key


def _is_like(value: object, like: Key) -> bool:
    """Say whether a decoded key can be compared with one such as *like*, in any database."""
    if isinstance(like, tuple):
        return (
            isinstance(value, list)
            and len(value) == len(like)
            and all(_is_like(part, pattern) for part, pattern in zip(value, like, strict=True))
        )
    if isinstance(like, str):
        return isinstance(value, str) and not ILLEGAL_IN_XML.search(value)
    return type(value) is int and abs(value) <= KEY_INT_MAX


def _binding(params: Mapping[str, Any], family: Family) -> str:
    """Return a digest of what the listing is: operation and filters, not place or size."""
    filters = {
        name: value
        for name, value in params.items()
        if name not in (family.token, family.size_param)
    }
    text = json.dumps([family.operation, filters], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
