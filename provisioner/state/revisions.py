"""How often a scope has changed, and what of it: table by table, so that a change of a replication
group leaves what is known of users alone.

With SQLite the counts are kept in the process, which has the database for itself. With PostgreSQL
they are a row of the scope, raised in the transaction that changes something; a process of an
earlier release raises it without saying what it changed, and then everything has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.tables import ScopeRevision

EVERYTHING: Final = "*"  # beside the names of tables: when anything may have changed


@dataclass(slots=True)
class Revisions:
    """``newest`` grows with every change of a scope; ``of_table`` is when each table last did."""

    newest: int = 0
    of_table: Mapping[str, int] = field(default_factory=dict)

    def stand_since(self, revision: int, tables: Iterable[str]) -> bool:
        """Say whether none of *tables* has changed since *revision*."""
        if revision == self.newest:
            return True
        of_table = self.of_table
        return of_table.get(EVERYTHING, 0) <= revision and all(
            of_table.get(table, 0) <= revision for table in tables
        )


def raised(known: Mapping[str, int], revision: int, written: Iterable[str]) -> dict[str, int]:
    """Return *known* after *revision*, which has *written* those tables."""
    after = complete(known, revision - 1)
    after.update(dict.fromkeys(written, revision))
    return after


def complete(known: Mapping[str, int], revision: int) -> dict[str, int]:
    """Return *known* as of *revision*, where whoever raised it last may have said nothing."""
    after = dict(known)
    if max(after.values(), default=0) < revision:
        after[EVERYTHING] = revision
    return after


class Counted:
    """Revisions that are counted in this process."""

    def __init__(self) -> None:
        self._scopes: dict[Scope, Revisions] = {}

    def get(self, scope: Scope) -> Revisions:
        """Return the counts of a scope; they go on counting."""
        return self._scopes.get(scope) or Revisions()

    def note(self, scope: Scope, written: Iterable[str]) -> None:
        """Count a change that has been committed."""
        counts = self._scopes.setdefault(scope, Revisions(of_table={}))
        counts.newest += 1
        counts.of_table = {**counts.of_table, **dict.fromkeys(written, counts.newest)}

    def note_everything(self) -> None:
        """Count a change of everything in every scope."""
        for scope in self._scopes:
            self.note(scope, (EVERYTHING,))


_columns = ScopeRevision.__table__.c
_of_scope = (
    _columns.account == bindparam("of_account"),
    _columns.region == bindparam("of_region"),
)
_READ = select(_columns.revision, _columns.tables).where(*_of_scope)
_RAISE = (
    insert(ScopeRevision)
    .values(account=bindparam("of_account"), region=bindparam("of_region"), revision=1, tables={})
    .on_conflict_do_update(
        index_elements=["account", "region"], set_={"revision": _columns.revision + 1}
    )
    .returning(_columns.revision, _columns.tables)
)
_TELL = update(ScopeRevision).where(*_of_scope).values(tables=bindparam("told"))


async def read(connection: AsyncConnection, scope: Scope) -> Revisions:
    """Return what the database says of a scope."""
    row = (await connection.execute(_READ, _words(scope))).one_or_none()
    return Revisions() if row is None else Revisions(row[0], complete(row[1], row[0]))


async def write(connection: AsyncConnection, scope: Scope, written: Iterable[str]) -> None:
    """Raise a scope's revision; who else would has to wait from here on, until we commit."""
    revision, known = (await connection.execute(_RAISE, _words(scope))).one()
    await connection.execute(_TELL, {**_words(scope), "told": raised(known, revision, written)})


def _words(scope: Scope) -> dict[str, Any]:
    return {"of_account": scope.account, "of_region": scope.region}
