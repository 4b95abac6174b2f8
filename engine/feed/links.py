"""The links file: which shard's stream goes into which shard's primary. Pure.

``parse_links`` takes the file's text and gives the links, or raises :class:`IllegalLinks` with the
place of the first thing that is wrong; no half table is ever used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

SCHEMA: Final = 1
FILE_BYTES_MAX: Final = 8 * 1024 * 1024
LINKS_MAX: Final = 1024
TEXT_CHARS_MAX: Final = 4096
CA_CHARS_MAX: Final = 65_536
OFFSET_MAX: Final = 2**63 - 1
TCP: Final = "tcp:"
_SHOWN: Final = re.compile(r"[^\s\0]{1,255}:[0-9]{1,5}")
_OUTSIDE: Final = re.compile(r"tcp:[^\s\0]{1,255}:[0-9]{1,5}")


class IllegalLinks(ValueError):
    """The links file is not one that can be carried out; ``args[0]`` says where and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """A node by its unix socket, and how it is logged in to.

    One outside the fleet is ``tcp:HOST:PORT``: it may take us without a name, or by TLS, where *ca*
    has who vouches for it.
    """

    socket: str
    username: str = ""
    password: str = field(default="", repr=False)
    ca: str = field(default="", repr=False)

    @property
    def outside(self) -> tuple[str, int] | None:
        """Where a node is that is none of the fleet's; None where it is one."""
        if not self.socket.startswith(TCP):
            return None
        host, _, port = self.socket.removeprefix(TCP).rpartition(":")
        return host, int(port)


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """A place in a primary's stream: which history, and how many bytes of it."""

    replication_id: str
    offset: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """One shard that follows another.

    ``token`` names the relation: a new one begins anew, whatever was known of an older one.
    ``start`` is a place of the source's stream whose data the target has; None where it has not.
    ``name`` is for people. ``shown_as`` is the HOST:PORT as which the source tells of us, where
    somebody looks for us there.
    """

    token: str
    name: str
    source: Side
    target: Side
    scratch: str  # a directory in which data may lie while it is copied
    start: Position | None = None
    shown_as: str = ""


def render_links(links: Sequence[Link]) -> str:
    """Return the file's text; what :func:`parse_links` reads back as equal links."""
    rows = [asdict(link) for link in links]
    for row in rows:
        if not row["shown_as"]:
            del row["shown_as"]
        for side in (row["source"], row["target"]):
            if not side["ca"]:
                del side["ca"]
    text = json.dumps({"schema": SCHEMA, "links": rows}, indent=1)
    parse_links(text)
    return text + "\n"


def parse_links(text: str) -> tuple[Link, ...]:
    """Read the file's text.

    Raises:
        IllegalLinks: it is not such a file.
    """
    if len(text) > FILE_BYTES_MAX:
        raise IllegalLinks(f"the file is larger than {FILE_BYTES_MAX} bytes")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise IllegalLinks(f"not JSON: {error}") from error
    top = _members(document, "the file", {"schema", "links"})
    if top["schema"] != SCHEMA:
        raise IllegalLinks(f"schema: {top['schema']!r} is not {SCHEMA}")
    rows = top["links"]
    if not isinstance(rows, list) or len(rows) > LINKS_MAX:
        raise IllegalLinks(f"links: not a list of at most {LINKS_MAX}")
    links = tuple(_link(row, f"links[{number}]") for number, row in enumerate(rows))
    if len({link.token for link in links}) < len(links):
        raise IllegalLinks("links: a token is used twice")
    return links


def _link(value: object, where: str) -> Link:
    names = {"token", "name", "source", "target", "scratch", "start"}
    if isinstance(value, dict) and "shown_as" in value:
        names.add("shown_as")
    row = _members(value, where, names)
    shown_as = row.get("shown_as", "")
    if shown_as != "" and not (isinstance(shown_as, str) and _SHOWN.fullmatch(shown_as)):
        raise IllegalLinks(f"{where}.shown_as: not HOST:PORT")
    return Link(
        token=_text(row["token"], f"{where}.token"),
        name=_text(row["name"], f"{where}.name"),
        source=_side(row["source"], f"{where}.source"),
        target=_side(row["target"], f"{where}.target"),
        scratch=_path(row["scratch"], f"{where}.scratch"),
        start=None if row["start"] is None else position_of(row["start"], f"{where}.start"),
        shown_as=shown_as,
    )


def _side(value: object, where: str) -> Side:
    names = {"socket", "username", "password"}
    if isinstance(value, dict) and "ca" in value:
        names.add("ca")
    row = _members(value, where, names)
    if isinstance(row["socket"], str) and _OUTSIDE.fullmatch(row["socket"]):
        told = {name: row.get(name, "") for name in ("username", "password", "ca")}
        for name, text in told.items():
            if text:
                _text(text, f"{where}.{name}", chars_max=CA_CHARS_MAX)
            elif text != "":
                raise IllegalLinks(f"{where}.{name}: not a text")
        if told["username"] and not told["password"]:
            raise IllegalLinks(f"{where}: a user without a password")
        return Side(socket=row["socket"], **told)
    if "ca" in row:
        raise IllegalLinks(f"{where}.ca: only a node outside is reached by TLS")
    return Side(
        socket=_path(row["socket"], f"{where}.socket"),
        username=_text(row["username"], f"{where}.username"),
        password=_text(row["password"], f"{where}.password"),
    )


def position_of(value: object, where: str) -> Position:
    """Return a position as it is written down.

    Raises:
        IllegalLinks: it is none.
    """
    row = _members(value, where, {"replication_id", "offset"})
    offset = row["offset"]
    if type(offset) is not int or not 0 <= offset <= OFFSET_MAX:
        raise IllegalLinks(f"{where}.offset: not a whole number from 0")
    return Position(
        replication_id=_text(row["replication_id"], f"{where}.replication_id"), offset=offset
    )


def _members(value: object, where: str, names: set[str]) -> Mapping[str, Any]:
    if not isinstance(value, dict) or value.keys() != names:
        raise IllegalLinks(f"{where}: not an object of {', '.join(sorted(names))}")
    return value


def _text(value: object, where: str, *, chars_max: int = TEXT_CHARS_MAX) -> str:
    # The value is not told: it may be a secret.
    if not isinstance(value, str) or not 1 <= len(value) <= chars_max:
        raise IllegalLinks(f"{where}: not a text of 1 to {chars_max} characters")
    return value


def _path(value: object, where: str) -> str:
    text = _text(value, where)
    if not text.startswith("/") or "\0" in text:
        raise IllegalLinks(f"{where}: not an absolute path")
    return text
