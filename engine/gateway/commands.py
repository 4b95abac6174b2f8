"""The control socket's language: one request a line, words or a JSON object. Pure.

``reload``, ``status``, ``ping``, ``stop``, ``cut <route> [<host>:<port>]``; as JSON
``{"command": "cut", "route": "...", "backend": "..."}``. Answers are one JSON object a line,
with ``ok`` true, or false and ``error``.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from typing import Any, Final

from cachefleet.engine.gateway.routes import NAME_CHARS_MAX, Address

LINE_BYTES_MAX: Final = 4096
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024  # status of 4,096 routes with many backends

assert LINE_BYTES_MAX > 2 * NAME_CHARS_MAX


class Verb(enum.Enum):
    PING = "ping"
    RELOAD = "reload"
    STATUS = "status"
    CUT = "cut"
    STOP = "stop"


class IllegalCommand(ValueError):
    """The line asks for nothing this gateway does; ``args[0]`` says why."""


@dataclass(frozen=True, kw_only=True)
class Command:
    verb: Verb
    route: str | None = None
    backend: Address | None = None


def parse_command(line: bytes) -> Command:
    """Read one line without its end; raises :class:`IllegalCommand`."""
    try:
        text = line.decode().strip()
        members = json.loads(text) if text.startswith("{") else _members_of(text.split())
    except (ValueError, RecursionError) as error:
        raise IllegalCommand(f"unreadable: {error}") from error
    if unknown := members.keys() - {"command", "route", "backend"}:
        raise IllegalCommand(f"not known: {', '.join(sorted(unknown))}")
    try:
        verb = Verb(members.get("command"))
    except ValueError as error:
        raise IllegalCommand(f"no such command: {members.get('command')!r}") from error
    route, backend = members.get("route"), members.get("backend")
    if not isinstance(route, str | None) or not isinstance(backend, str | None):
        raise IllegalCommand("route and backend are strings")
    if (verb is Verb.CUT) != (route is not None) or (backend is not None and route is None):
        raise IllegalCommand("cut, and only cut, takes a route and perhaps a backend")
    return Command(verb=verb, route=route, backend=None if backend is None else _address(backend))


def render_command(command: Command) -> bytes:
    """The line for *command*, its end included."""
    members = {"command": command.verb.value}
    if command.route is not None:
        members["route"] = command.route
    if command.backend is not None:
        members["backend"] = str(command.backend)
    return json.dumps(members).encode() + b"\n"


def _members_of(words: list[str]) -> dict[str, Any]:
    if len(words) > 3:
        raise IllegalCommand("too many words")
    return dict(zip(("command", "route", "backend"), words, strict=False))


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or len(port) > 5:
        raise IllegalCommand(f"{text!r} is not host:port")
    return Address(host.removeprefix("[").removesuffix("]"), int(port))
