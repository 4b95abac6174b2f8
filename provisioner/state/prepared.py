"""Statements that are compiled once and asked often.

SQLAlchemy says what a statement is in the words of the database, and how its values are written
and read. With SQLite that is kept, and the driver is called with it: what SQLAlchemy does for each
execution costs several times what SQLite needs for one (docs/adr/0043). With PostgreSQL, whose
answer comes over a socket, SQLAlchemy executes as ever.

Statements with lists of changing length (``IN``) cannot be prepared.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.selectable import SelectBase
from sqlalchemy.types import TypeEngine

from cachefleet.provisioner.state import touched

Row = Sequence[Any]
Values = Mapping[str, Any]
Converter = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A statement as SQLite's driver takes it."""

    text: str
    # What each place holds: the name of a value, what it is where none is given, how it is written.
    places: tuple[tuple[str, Any, Converter | None], ...]
    readers: tuple[tuple[int, Converter], ...]  # of the columns that are not taken as they come
    tables: frozenset[str]
    writes: bool

    def values(self, given: Values) -> list[Any]:
        found = []
        for name, default, convert in self.places:
            value = given.get(name, default)
            found.append(value if convert is None else convert(value))
        return found

    def row(self, raw: tuple[Any, ...]) -> Row:
        if not self.readers:
            return raw
        row = list(raw)
        for place, convert in self.readers:
            row[place] = convert(row[place])
        return row


class Prepared:
    """A statement; *columns* are those that an insertion is given."""

    def __init__(self, statement: Executable, *, columns: Sequence[str] | None = None) -> None:
        self.statement = statement
        self._columns = None if columns is None else list(columns)
        self._compiled: _Compiled | None = None

    def for_sqlite(self, dialect: Dialect) -> _Compiled:
        """Return it as SQLite takes it."""
        if self._compiled is None:
            self._compiled = _compile(self.statement, self._columns, dialect)
        return self._compiled


async def rows(connection: AsyncConnection, prepared: Prepared, values: Values) -> Sequence[Row]:
    """Return what a question is answered."""
    driver = _driver(connection)
    if driver is None:
        return (await connection.execute(prepared.statement, dict(values))).all()
    compiled = prepared.for_sqlite(connection.dialect)
    found = _execute(connection, driver, compiled, compiled.values(values)).fetchall()
    return [compiled.row(row) for row in found] if compiled.readers else found


async def run(connection: AsyncConnection, prepared: Prepared, values: Values) -> int:
    """Carry out a change; return how many rows it concerned."""
    driver = _driver(connection)
    if driver is None:
        counted = {"preserve_rowcount": True}  # of an insertion it is not kept unless asked for
        result = await connection.execute(
            prepared.statement, dict(values), execution_options=counted
        )
        return result.rowcount
    compiled = prepared.for_sqlite(connection.dialect)
    return _execute(connection, driver, compiled, compiled.values(values)).rowcount


async def run_all(
    connection: AsyncConnection, prepared: Prepared, values: Sequence[Values]
) -> None:
    """Carry out a change for each of *values*."""
    driver = _driver(connection)
    if driver is None:
        await connection.execute(prepared.statement, [dict(one) for one in values])
        return
    compiled = prepared.for_sqlite(connection.dialect)
    for one in values:
        _execute(connection, driver, compiled, compiled.values(one))


def _driver(connection: AsyncConnection) -> sqlite3.Connection | None:
    """Return the driver's connection, in a transaction, where that is SQLite's."""
    sync = connection.sync_connection
    assert sync is not None
    if connection.dialect.name != "sqlite":
        return None
    if not sync.in_transaction():
        sync.begin()
    driver = sync.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def _execute(
    connection: AsyncConnection,
    driver: sqlite3.Connection,
    compiled: _Compiled,
    values: Sequence[Any],
) -> sqlite3.Cursor:
    touched.note(connection.sync_connection, compiled.tables, compiled.writes)
    try:
        return driver.execute(compiled.text, values)
    except sqlite3.Error as error:
        raise DBAPIError.instance(compiled.text, None, error, sqlite3.Error) from error


def _compile(statement: Any, columns: list[str] | None, dialect: Dialect) -> _Compiled:
    compiled = statement.compile(dialect=dialect, column_keys=columns)
    places = tuple(
        (name, compiled.binds[name].value, _writer(compiled.binds[name].type, dialect))
        for name in compiled.positiontup or ()
    )
    readers = []
    if isinstance(statement, SelectBase):
        for place, column in enumerate(statement.selected_columns):
            reader = column.type.dialect_impl(dialect).result_processor(dialect, None)
            if reader is not None:
                readers.append((place, reader))
    tables, writes = touched.tables_of(compiled.string)
    return _Compiled(compiled.string, places, tuple(readers), tables, writes)


def _writer(kind: TypeEngine[Any], dialect: Dialect) -> Converter | None:
    return kind.dialect_impl(dialect).bind_processor(dialect)
