"""The statements by which named resources are read, written and removed, made once a table.

To build a statement costs several times what SQLite needs to carry it out, and to load a row into
a session more than that. So what only has to be known is read as a value: an object of the
table's class that no session watches. Whoever changes it changes nothing that is recorded.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sqlalchemy import (
    Delete,
    Executable,
    Insert,
    RowMapping,
    Select,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
)
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from cachefleet.provisioner.state.change_tables import Change
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.tables import Event, Named

N = TypeVar("N", bound=Named)
_INSERTS = {"sqlite": sqlite_insert, "postgresql": postgresql_insert}


@dataclass(frozen=True, slots=True)
class Statements:
    """What is asked of one table, of one scope; parameters as :func:`words` names them."""

    find: Select[Any]
    hold: Select[Any]  # and nobody else changes it until the transaction ends
    page: Select[Any]
    count: Select[Any]
    remove: Delete


def _make_statements(table: Any) -> Statements:
    rows = columns_of(table)
    in_scope = (rows.account == bindparam("of_account"), rows.region == bindparam("of_region"))
    find = select(*rows).where(*in_scope, rows.name == bindparam("of_name"))
    return Statements(
        find=find,
        hold=find.with_for_update(),
        page=select(*rows)
        .where(*in_scope, rows.name > bindparam("behind"))
        .order_by(rows.name)
        .limit(bindparam("at_most")),
        count=select(func.count()).select_from(table_of(table)).where(*in_scope),
        remove=delete(table_of(table)).where(rows.uid == bindparam("of_uid")),
    )


def _make_insertion(table: Any, dialect: str) -> Insert:
    statement: Any = _INSERTS[dialect](table_of(table))
    written: Insert = statement.on_conflict_do_nothing(index_elements=["account", "region", "name"])
    return written.execution_options(preserve_rowcount=True)


# The statements of a class's table, and the one that writes a row where its name is free, and no
# row where not (by class and dialect).
statements: Callable[[Any], Statements] = functools.cache(_make_statements)
insertion: Callable[[Any, str], Insert] = functools.cache(_make_insertion)


def table_of(mapped: Any) -> Table:
    """Return the table that a class is mapped to."""
    table = mapped.__table__
    assert isinstance(table, Table)
    return table


def columns_of(mapped: Any) -> Any:
    """Return the columns of a class's table by name."""
    return table_of(mapped).c


WRITE_EVENTS: Final = insert(table_of(Event))
WRITE_CHANGES: Final = insert(table_of(Change))


def words(scope: Scope, **more: object) -> dict[str, object]:
    """Return the parameters of a statement about a scope."""
    return {"of_account": scope.account, "of_region": scope.region, **more}


async def write(connection: AsyncConnection, row: Named) -> bool:
    """Write a new row; return False where its name is taken, with nothing written.

    What the table fills in is filled in on *row*.
    """
    table = type(row)
    names = columns_of(table)
    given = {name: value for name, value in row.__dict__.items() if name in names}
    result = await connection.execute(insertion(table, connection.dialect.name), given)
    if not result.rowcount:
        return False
    filled_in: Any = result.last_inserted_params()
    for name, value in filled_in.items():
        if name not in given:
            setattr(row, name, value)
    return True


async def values(
    connection: AsyncConnection, table: type[N], query: Executable, parameters: Mapping[str, Any]
) -> list[N]:
    """Return what a query of whole rows finds, as values."""
    found = await connection.execute(query, parameters)
    return [as_value(table, row) for row in found.mappings()]


def as_value(table: type[N], row: RowMapping) -> N:
    """Return a whole row as an object of its class that no session watches."""
    value = table()
    value.__dict__.update(row)
    return value
