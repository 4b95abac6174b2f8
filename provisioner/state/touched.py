"""Which tables a transaction writes and which ones an answer was read from.

Noticed at the one place that every statement passes, so that no code has to say it: a statement
names its tables in its text, whoever made it. A name that is there for another reason counts too,
which makes an answer too old before its time, and never too late.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from cachefleet.provisioner.state.tables import Base, ScopeRevision

TOUCHED: Final = "cachefleet_touched"  # in a connection's info: the Touched of who has it now
STATEMENTS_KEPT: Final = 2048
# It counts the changes of the others.
UNTRACKED: Final = frozenset({ScopeRevision.__tablename__})
_WORD: Final = re.compile(r"\w+")
_READS: Final = "SELECT"

_reading: ContextVar[set[str] | None] = ContextVar("reading", default=None)


@dataclass(slots=True)
class Touched:
    """The tables that one transaction has written so far."""

    written: set[str] = field(default_factory=set)


@contextlib.contextmanager
def reading() -> Iterator[set[str]]:
    """Give a set into which the tables come that this task reads from now on."""
    tables: set[str] = set()
    token = _reading.set(tables)
    try:
        yield tables
    finally:
        _reading.reset(token)


def note_read(tables: frozenset[str] | set[str]) -> None:
    """Note tables whose records were read earlier and are used now."""
    into = _reading.get()
    if into is not None:
        into |= tables


def watch(engine: AsyncEngine) -> None:
    """Begin to notice what the engine's statements touch."""
    event.listen(engine.sync_engine, "before_cursor_execute", _note)


def _note(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
    note(connection, *tables_of(statement))


def note(connection: Any, tables: frozenset[str], writes: bool) -> None:
    """Note what a statement touches that is carried out on a connection."""
    if not tables:
        return
    if not writes:
        note_read(tables)
        return
    touched: Touched | None = connection.info.get(TOUCHED)
    if touched is not None:
        touched.written |= tables


@functools.lru_cache(STATEMENTS_KEPT)
def tables_of(statement: str) -> tuple[frozenset[str], bool]:
    """Return the tables that a statement has to do with, and whether it writes.

    Where rows are deleted, tables whose rows go or change with them are among them.
    """
    words = _WORD.findall(statement)
    tables = _known().intersection(words) - UNTRACKED
    if not words or words[0].upper() == _READS:
        return tables, False
    if words[0].upper() == "DELETE":
        tables = tables.union(*(_following()[table] for table in tables))
    return tables, True


@functools.cache
def _known() -> frozenset[str]:
    return frozenset(Base.metadata.tables)


@functools.cache
def _following() -> dict[str, frozenset[str]]:
    """Return for each table those that the database changes when its rows are deleted."""
    direct: dict[str, set[str]] = {name: set() for name in Base.metadata.tables}
    for name, table in Base.metadata.tables.items():
        for key in table.foreign_keys:
            if key.ondelete:
                direct[key.column.table.name].add(name)
    following = {}
    for name in direct:
        reached, left = set[str](), [name]
        while left:
            found = direct[left.pop()] - reached
            reached |= found
            left.extend(found)
        following[name] = frozenset(reached)
    return following
