"""The statements by which named resources are read, written and removed, made once a table.

To build a statement costs several times what a database needs to carry it out, and to load a row
into a session more than that. So what only has to be known is read as a value: an object of the
table's class that no session watches. Whoever changes it changes nothing that is recorded.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sqlalchemy import Column, Integer, Table, bindparam, delete, func, insert, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from cachefleet.provisioner.state import prepared
from cachefleet.provisioner.state.change_tables import Change
from cachefleet.provisioner.state.errors import AlreadyExists, QuotaExceeded
from cachefleet.provisioner.state.prepared import Prepared, Row
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.tables import Event, Named

N = TypeVar("N", bound=Named)
NO_QUOTA: Final = 2**31 - 1
_INSERTS: Final = {"sqlite": sqlite_insert, "postgresql": postgresql_insert}


@dataclass(frozen=True, slots=True)
class Statements:
    """What is asked of one table, of one scope; values as :func:`words` names them."""

    find: Prepared
    hold: Prepared  # and nobody else changes it until the transaction ends
    page: Prepared
    everything: Prepared
    count: Prepared
    remove: Prepared
    insert: Mapping[str, Prepared]  # by dialect


def _make_statements(table: Any) -> Statements:
    columns = columns_of(table)
    in_scope = (
        columns.account == bindparam("of_account"),
        columns.region == bindparam("of_region"),
    )
    rows = select(*columns).where(*in_scope)
    find = rows.where(columns.name == bindparam("of_name"))
    page = rows.where(columns.name > bindparam("behind")).order_by(columns.name)
    return Statements(
        find=Prepared(find),
        hold=Prepared(find.with_for_update()),
        page=Prepared(page.limit(bindparam("at_most", type_=Integer()))),
        everything=Prepared(rows.order_by(columns.name)),
        count=Prepared(select(func.count()).select_from(table_of(table)).where(*in_scope)),
        remove=Prepared(delete(table_of(table)).where(columns.uid == bindparam("of_uid"))),
        insert={dialect: _insertion(table, dialect) for dialect in _INSERTS},
    )


statements: Callable[[Any], Statements] = functools.cache(_make_statements)


def _insertion(table: Any, dialect: str) -> Prepared:
    """Return the statement that writes a row where its name is free and the scope has fewer than
    ``at_most`` of its kind, and no row where not."""
    mapped, columns = table_of(table), columns_of(table)
    present = (
        select(func.count())
        .select_from(mapped)
        .where(
            columns.account == bindparam("new_account"), columns.region == bindparam("new_region")
        )
    )
    row = select(*(bindparam(f"new_{one.name}", type_=one.type) for one in columns)).where(
        present.scalar_subquery() < bindparam("at_most", type_=Integer())
    )
    statement: Any = _INSERTS[dialect](mapped).from_select(
        [one.name for one in columns], row, include_defaults=False
    )
    return Prepared(statement.on_conflict_do_nothing(index_elements=["account", "region", "name"]))


def table_of(mapped: Any) -> Table:
    """Return the table that a class is mapped to."""
    table = mapped.__table__
    assert isinstance(table, Table)
    return table


def columns_of(mapped: Any) -> Any:
    """Return the columns of a class's table by name."""
    return table_of(mapped).c


def _written(mapped: Any) -> Prepared:
    names = [one.name for one in columns_of(mapped) if one.name != "id"]
    return Prepared(insert(table_of(mapped)), columns=names)


WRITE_EVENT: Final = _written(Event)
WRITE_CHANGE: Final = _written(Change)


def words(scope: Scope, **more: object) -> dict[str, object]:
    """Return the values of a statement about a scope."""
    return {"of_account": scope.account, "of_region": scope.region, **more}


async def write(connection: AsyncConnection, row: Named, *, at_most: int) -> None:
    """Write a new row. What the table fills in is filled in on *row*.

    Raises:
        AlreadyExists: its name is taken; nothing was written.
        QuotaExceeded: its scope has *at_most* of them already; nothing was written.
    """
    table = type(row)
    values = {f"new_{one.name}": _value(row, one) for one in table_of(table).columns}
    values["at_most"] = at_most
    statement = statements(table).insert[connection.dialect.name]
    if await prepared.run(connection, statement, values):
        return
    taken = words(row.scope, of_name=row.name)
    if await prepared.rows(connection, statements(table).find, taken):
        raise AlreadyExists(row.resource, row.name)
    raise QuotaExceeded(row.resource, row.name, at_most)


def _value(row: Named, column: Column[Any]) -> Any:
    """Return what a row has in a column, or gets there by default."""
    if column.name not in row.__dict__ and column.default is not None:
        default: Any = column.default.arg  # type: ignore[attr-defined]
        # SQLAlchemy has functions without a parameter take its context.
        setattr(row, column.name, default(None) if callable(default) else default)
    return getattr(row, column.name)


def as_values(table: type[N], found: Iterable[Row]) -> list[N]:
    """Return whole rows as objects of their class that no session watches."""
    names = _names(table_of(table))
    values = []
    for row in found:
        value = table()
        value.__dict__.update(zip(names, row, strict=True))
        values.append(value)
    return values


@functools.cache
def _names(table: Table) -> tuple[str, ...]:
    return tuple(table.columns.keys())
