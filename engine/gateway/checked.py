"""Checks of single values of the routes file: each returns the value, or says where it is wrong.

*where* is the path in the file. All raise :class:`IllegalRoutes`. Pure.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable
from typing import Any, Final, TypeVar

from cachefleet.engine.gateway.routes import Address, IllegalRoutes

PATH_CHARS_MAX: Final = 4096
USER_NAME_CHARS_MAX: Final = 255
_NODE_ID = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

_T = TypeVar("_T")


def network(value: object, where: str) -> str:
    """Return a network, as it is written canonically."""
    try:
        if isinstance(value, str):
            return str(ipaddress.ip_network(value))
    except ValueError:
        pass
    raise IllegalRoutes(f"{where}: {value!r} is not a network")


def word(value: object, where: str) -> str:
    """Return a text that is not told in the refusal: it may be a secret."""
    if not isinstance(value, str) or not 1 <= len(value) <= USER_NAME_CHARS_MAX:
        raise IllegalRoutes(f"{where}: not a text of 1 to {USER_NAME_CHARS_MAX} characters")
    return value


def sha256(value: object, where: str) -> str:
    """Return a digest."""
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise IllegalRoutes(f"{where}: not a SHA-256 in lower-case hex")
    return value


def path(value: object, where: str) -> str:
    """Return an absolute path."""
    if (
        not isinstance(value, str)
        or not value.startswith("/")
        or "\0" in value
        or len(value) > PATH_CHARS_MAX
    ):
        raise IllegalRoutes(f"{where}: {value!r} is not an absolute path")
    return value


def node_id(value: object, where: str) -> str:
    """Return the id of a node of a cluster."""
    if not isinstance(value, str) or not _NODE_ID.fullmatch(value):
        raise IllegalRoutes(f"{where}: not 40 hex digits")
    return value


def pair(value: object, where: str) -> Address:
    """Return an address written as ``[host, port]``."""
    if not isinstance(value, list) or len(value) != 2:
        raise IllegalRoutes(f"{where}: not a [host, port] pair")
    return Address(host(value[0], where), port(value[1], where))


def host_and_port(value: object, where: str) -> Address:
    """Return an address written as an object."""
    members = members_of(value, where, required={"host", "port"})
    return Address(host(members["host"], f"{where}.host"), port(members["port"], f"{where}.port"))


def host(value: object, where: str) -> str:
    """Return an IP address; names are not resolved here."""
    if isinstance(value, str):
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                socket.inet_pton(family, value)
            except (OSError, ValueError):  # ValueError: a NUL inside
                continue
            return value
    raise IllegalRoutes(f"{where}: {value!r} is not an IP address")


def port(value: object, where: str) -> int:
    """Return a port."""
    return whole(value, where, low=1, high=65535)


def whole(value: object, where: str, *, low: int, high: int) -> int:
    """Return a whole number from *low* to *high*."""
    if type(value) is not int or not low <= value <= high:
        raise IllegalRoutes(f"{where}: {value!r} is not a whole number from {low} to {high}")
    return value


def members_of(
    value: object,
    where: str,
    *,
    required: frozenset[str] | set[str] = frozenset(),
    optional: frozenset[str] | set[str] = frozenset(),
) -> dict[str, Any]:
    """Return an object that has all that is *required* and nothing unknown."""
    if not isinstance(value, dict):
        raise IllegalRoutes(f"{where}: not an object")
    if missing := required - value.keys():
        raise IllegalRoutes(f"{where}: {', '.join(sorted(missing))} missing")
    if unknown := value.keys() - required - optional:
        raise IllegalRoutes(f"{where}: {', '.join(sorted(unknown))} not known here")
    return value


def list_of(
    value: object,
    where: str,
    *,
    count_max: int,
    item: Callable[[object, str], _T],
    count_min: int = 0,
) -> tuple[_T, ...]:
    """Return a list, each of its entries as *item* returns it."""
    if not isinstance(value, list) or not count_min <= len(value) <= count_max:
        raise IllegalRoutes(f"{where}: not a list of {count_min} to {count_max} items")
    return tuple(item(entry, f"{where}[{number}]") for number, entry in enumerate(value))
