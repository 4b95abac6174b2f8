"""The only module that makes database sessions.

``Store.begin`` gives a transaction that may write, ``Store.read`` one that may not. A write
transaction that changed anything raises its scope's revision, so that whoever keeps answers knows
when to drop them, and wakes those who wait for work.

Records of kinds that are ``by_value`` go by plain statements, and so do events; a session, which
costs more than all of them, is made when somebody asks for it.

SQLite has one writer: a lock in this process queues writers in turn, and ``BEGIN IMMEDIATE`` takes
the write lock up front, so that no transaction fails half-way for having begun as a reader.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import func, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    create_async_engine,
)
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from cachefleet.provisioner.clock import Clock
from cachefleet.provisioner.state import (
    all_tables,  # noqa: F401  so that the schema is whole
    prepared,
    records,
    revisions,
    sqlite,
    touched,
)
from cachefleet.provisioner.state.changes import RECORDER, Recorder, WatchedSession
from cachefleet.provisioner.state.errors import AlreadyExists, NotFound, QuotaExceeded, Stale
from cachefleet.provisioner.state.ids import new_uid, request_token
from cachefleet.provisioner.state.notifications import (
    TABLES,
    Notice,
    file_notices,
    topic_at_hand,
)
from cachefleet.provisioner.state.prepared import Prepared, Row
from cachefleet.provisioner.state.revisions import Revisions
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.tables import Named, Operation, Subject
from cachefleet.provisioner.state.touched import Touched
from cachefleet.provisioner.state.turns import Turns

POOL_CONNECTIONS_MAX = 8

N = TypeVar("N", bound=Named)


@dataclass(slots=True)
class _Unit:
    """What is done in one database transaction, by one :class:`Transaction` or several."""

    connection: AsyncConnection
    writes: bool
    touched: Touched = field(default_factory=Touched)
    recorder: Recorder = field(default_factory=Recorder)
    events: list[dict[str, Any]] = field(default_factory=list)
    quotas: dict[type[Named], int] = field(default_factory=dict)
    _session: AsyncSession | None = None

    @property
    def session(self) -> AsyncSession:
        if self._session is None:
            self._session = AsyncSession(
                bind=self.connection,
                sync_session_class=WatchedSession if self.writes else Session,
                expire_on_commit=False,
                autoflush=self.writes,
                info={RECORDER: self.recorder},
            )
        return self._session

    @property
    def has_session(self) -> bool:
        return self._session is not None

    async def flush(self) -> None:
        """Write what the session holds, if there is one."""
        if self._session is not None:
            await self._session.flush()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class Transaction:
    """One database transaction in one scope.

    ``session`` is there for queries of the families, ``connection`` for statements that need none.
    """

    def __init__(self, unit: _Unit, *, scope: Scope, now: datetime) -> None:
        self._unit = unit
        self.connection = unit.connection
        self.scope = scope
        self.now = now
        self.wakes_provisioner = False
        self.notices: list[Notice] = []

    @property
    def session(self) -> AsyncSession:
        return self._unit.session

    async def flush(self) -> None:
        """Write what the session holds, so that plain statements see it."""
        await self._unit.flush()

    def within(self, scope: Scope) -> Transaction:
        """Return this transaction as one of another scope of the same account.

        Work that is filed through it is found when the provisioner next looks; file some through
        the one that is committed, or have it looked at the next poll.
        """
        return Transaction(self._unit, scope=scope, now=self.now)

    async def find(self, table: type[N], name: str, *, lock: bool = False) -> N | None:
        """Return the named resource of this scope, or None. Names are case-insensitive.

        Changes of the row are written, where this is a transaction that may write.
        """
        if table.by_value and not self._unit.writes:
            return await self._value(table, records.statements(table).find, name)
        query = select(table).where(
            table.account == self.scope.account,
            table.region == self.scope.region,
            table.name == name.lower(),
        )
        if lock:
            query = query.with_for_update()
        return (await self.session.scalars(query)).one_or_none()

    async def get(self, table: type[N], name: str, *, lock: bool = False) -> N:
        """Return the named resource of this scope.

        Raises:
            NotFound: there is none.
        """
        row = await self.find(table, name, lock=lock)
        if row is None:
            raise NotFound(table.resource, name)
        return row

    async def hold(self, table: type[N], name: str) -> N | None:
        """Return the named resource as a value, kept from others until the transaction ends.

        For what is looked at and removed: changes of the value are not written.
        """
        assert table.by_value, table
        return await self._value(table, records.statements(table).hold, name)

    async def _value(self, table: type[N], query: Prepared, name: str) -> N | None:
        found = await self.values(table, query, of_name=name.lower())
        return found[0] if found else None

    async def values(
        self, table: type[N], query: Prepared, *, scope: Scope | None = None, **more: object
    ) -> list[N]:
        """Return what a query of whole rows finds in this scope, as values."""
        return records.as_values(table, await self.rows(query, scope=scope, **more))

    async def rows(
        self, query: Prepared, *, scope: Scope | None = None, **more: object
    ) -> Sequence[Row]:
        """Return what a query finds in this scope or the one given."""
        await self.flush()
        return await prepared.rows(
            self.connection, query, records.words(scope or self.scope, **more)
        )

    async def run(self, change: Prepared, **more: object) -> int:
        """Carry out a change in this scope; return how many rows it concerned."""
        await self.flush()
        return await prepared.run(self.connection, change, records.words(self.scope, **more))

    async def page(
        self, table: type[N], *criteria: Any, after: str | None = None, limit: int
    ) -> Sequence[N]:
        """Return up to *limit* resources of this scope in order of name, from behind *after*."""
        if table.by_value and not self._unit.writes and not criteria:
            query = records.statements(table).page
            return await self.values(table, query, behind=after or "", at_most=limit)
        rows = select(table).where(
            table.account == self.scope.account, table.region == self.scope.region, *criteria
        )
        if after is not None:
            rows = rows.where(table.name > after)
        return (await self.session.scalars(rows.order_by(table.name).limit(limit))).all()

    async def count(self, table: type[Named], *criteria: Any) -> int:
        """Return how many resources of this scope meet *criteria*."""
        if not criteria:
            return int((await self.rows(records.statements(table).count))[0][0])
        query = (
            select(func.count())
            .select_from(table)
            .where(table.account == self.scope.account, table.region == self.scope.region)
            .where(*criteria)
        )
        return int(await self.session.scalar(query) or 0)

    async def insert(self, row: Named, *, at_most: int | None = None) -> None:
        """Write a new resource now. Later changes of one that is ``by_value`` are not written.

        Raises:
            AlreadyExists: its name is taken in this scope. The transaction can go on.
            QuotaExceeded: the scope has *at_most* resources of this kind already.
        """
        if row.by_value:
            await self.flush()
            await records.write(
                self.connection, row, at_most=records.NO_QUOTA if at_most is None else at_most
            )
            if at_most is not None:
                self._unit.quotas[type(row)] = at_most
            self._unit.recorder.note_made(row)
            return
        assert at_most is None, "the quota of such a kind is its caller's to count"
        try:
            async with self.session.begin_nested():
                self.session.add(row)
        except IntegrityError as error:
            raise AlreadyExists(row.resource, row.name) from error
        # What was just written has no children but those it was given: nothing is to be loaded.
        for relationship in inspect(type(row)).relationships:
            if relationship.uselist and relationship.key in inspect(row).unloaded:
                set_committed_value(row, relationship.key, [])

    async def remove(self, value: Named) -> None:
        """Remove a resource that is held (:meth:`hold`)."""
        await self.run(records.statements(type(value)).remove, of_uid=value.uid)
        self._unit.recorder.note_removed(value)

    def emit(
        self,
        source_type: str,
        source_identifier: str,
        message: str,
        *,
        sns_event: str | None = None,
        about: str | None = None,
    ) -> None:
        """Write what DescribeEvents shows, at this transaction's instant.

        With *sns_event*, the source's topic is notified; *about* is what the notification names in
        place of the source.
        """
        if sns_event is not None and source_type in TABLES:
            known, topic = False, None
            if self._unit.has_session:
                known, topic = topic_at_hand(
                    self.session, self.scope, source_type, source_identifier
                )
            if topic is not None or not known:
                self.notices.append(
                    Notice(
                        source_type, source_identifier, sns_event, about or source_identifier, topic
                    )
                )
        self._unit.events.append(
            {
                "account": self.scope.account,
                "region": self.scope.region,
                "source_type": source_type,
                "source_identifier": source_identifier,
                "message": message,
                "occurred_at": self.now,
            }
        )

    async def new_subject(self, kind: str, uid: str) -> None:
        """Write the row under which a resource with processes is leased and worked on."""
        self.session.add(
            Subject(
                uid=uid,
                account=self.scope.account,
                region=self.scope.region,
                kind=kind,
                lease_epoch=0,
            )
        )
        await self.session.flush()

    def enqueue(
        self,
        kind: str,
        *,
        subject_uid: str,
        payload: Mapping[str, Any] | None = None,
        token: str = "",
        due_at: datetime | None = None,
    ) -> Operation:
        """File durable work on a subject; the provisioner wakes when this commits."""
        operation = Operation(
            kind=kind,
            subject_uid=subject_uid,
            account=self.scope.account,
            region=self.scope.region,
            state="queued",
            payload=dict(payload or {}),
            token=token or request_token.get() or new_uid(),
            attempt=0,
            progress="",
            created_at=self.now,
            due_at=due_at or self.now,
        )
        self.session.add(operation)
        self.wakes_provisioner = True
        return operation


class Store:
    """Opens transactions on one database (SQLite by file, PostgreSQL by URL)."""

    def __init__(self, engine: AsyncEngine, *, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._writer = asyncio.Lock() if self.is_sqlite else None
        self._turns = Turns() if self.is_sqlite else None
        self._writing: AsyncConnection | None = None  # SQLite's one writer, kept from turn to turn
        # SQLite is private to this process, so its revisions can be counted here.
        self._counted = revisions.Counted() if self.is_sqlite else None
        self.work_filed = asyncio.Event()
        self._listeners: list[Callable[[Scope], None]] = []
        touched.watch(engine)

    @classmethod
    def open(cls, url: str, *, clock: Clock, patient: bool = False) -> Store:
        """Open ``sqlite:///path`` or ``postgresql://...``; connects at first use.

        A *patient* store is that of a command, which may wait long for its turn to write.
        """
        return cls(make_engine(url, patient=patient), clock=clock)

    async def aclose(self) -> None:
        """Close all connections."""
        if self._writing is not None:
            await self._writing.close()
            self._writing = None
        await self._engine.dispose()

    @contextlib.asynccontextmanager
    async def begin(self, scope: Scope) -> AsyncIterator[Transaction]:
        """Give a transaction that commits where the block ends and rolls back where it raises.

        Raises:
            Stale: another transaction took the same names meanwhile; nothing was changed.
        """
        try:
            async with self._turn(), self._unit(writes=True) as unit:
                transaction = Transaction(unit, scope=scope, now=self._clock.now())
                yield transaction
                await unit.flush()
                if transaction.notices:
                    await file_notices(
                        unit.session, transaction.notices, scope=scope, now=transaction.now
                    )
                    await unit.flush()
                await self._finish(unit, transaction)
        except IntegrityError as error:
            raise Stale(f"another transaction was there first: {error.orig}") from error
        if unit.touched.written:
            if self._counted is not None:
                self._counted.note(scope.home, unit.touched.written)
            for listener in self._listeners:
                listener(scope.home)
        if transaction.wakes_provisioner:
            self.work_filed.set()

    async def _finish(self, unit: _Unit, transaction: Transaction) -> None:
        """Write what goes with the changes, and commit."""
        connection = unit.connection
        if unit.events:
            await prepared.run_all(connection, records.WRITE_EVENT, unit.events)
        if unit.touched.written:
            if self._counted is None:
                await revisions.write(connection, transaction.scope.home, unit.touched.written)
                await self._require_quotas(unit, transaction)
            entries = await unit.recorder.entries(
                connection, unit.events, transaction.scope, transaction.now
            )
            if entries:
                await prepared.run_all(connection, records.WRITE_CHANGE, entries)
        await connection.commit()

    async def _require_quotas(self, unit: _Unit, transaction: Transaction) -> None:
        """Count again, now that the revision keeps all others of this scope from committing: two
        that wrote at once have not seen each other's rows."""
        for table, at_most in unit.quotas.items():
            if await transaction.count(table) > at_most:
                raise QuotaExceeded(table.resource, "", at_most)

    @contextlib.asynccontextmanager
    async def read(self, scope: Scope) -> AsyncIterator[Transaction]:
        """Give a transaction that sees one state of the records and must not write."""
        await self.give_way()
        async with self._unit(writes=False) as unit:
            yield Transaction(unit, scope=scope, now=self._clock.now())
            if unit.has_session:
                assert not unit.session.new, "a reading transaction was given rows to write"
                assert not unit.session.dirty, "a reading transaction changed rows"

    async def revision(self, scope: Scope) -> int:
        """Return a number that grows with every change in *scope*."""
        return (await self.revisions(scope)).newest

    async def revisions(self, scope: Scope) -> Revisions:
        """Return that number, and when which table last changed. With SQLite they go on counting:
        keep the numbers, not the object.
        """
        if self._counted is not None:
            return self._counted.get(scope)
        async with self._engine.connect() as connection:
            return await revisions.read(connection, scope)

    def forget_answers(self) -> None:
        """Make every scope's revision a new one: all of them were changed from outside."""
        if self._counted is not None:
            self._counted.note_everything()

    @contextlib.contextmanager
    def listening(self, listener: Callable[[Scope], None]) -> Iterator[None]:
        """Have *listener* called after each commit of this process, with the scope it was in."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """Give a bare connection, for schema checks."""
        async with self._engine.connect() as connection:
            _mark(connection, writes=True, by=None)
            yield connection

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._writer is None:
            yield
            return
        await self.give_way()
        async with self._writer:
            yield

    async def give_way(self) -> None:
        """Let those go first whom a client waits for, before work of several milliseconds."""
        if self._turns is not None:
            await self._turns.give_way()

    @contextlib.asynccontextmanager
    async def _unit(self, *, writes: bool) -> AsyncIterator[_Unit]:
        async with self._connected(writes=writes) as connection:
            unit = _Unit(connection, writes)
            _mark(connection, writes=writes, by=unit.touched, turns=self._turns)
            try:
                yield unit
            finally:
                await unit.close()

    @contextlib.asynccontextmanager
    async def _connected(self, *, writes: bool) -> AsyncIterator[AsyncConnection]:
        """Give a connection; what is not committed when it is given back has never been."""
        if not (writes and self.is_sqlite):
            async with self._engine.connect() as connection:
                yield connection
            return
        # Whoever is here holds the turn. To fetch it anew costs as much as several statements.
        kept, self._writing = self._writing, None
        kept = kept or await self._engine.connect()
        try:
            yield kept
            if kept.in_transaction():
                await kept.rollback()
            self._writing = kept
        finally:
            if self._writing is not kept:
                await kept.close()


def _mark(
    connection: AsyncConnection, *, writes: bool, by: Touched | None, turns: Turns | None = None
) -> None:
    """Note on a connection who has it now; it keeps that when it is given back."""
    sync = connection.sync_connection
    assert sync is not None
    sync.info[sqlite.WRITES] = writes
    sync.info[sqlite.GIVES_WAY] = None if turns is None or writes else turns.give_way
    sync.info[touched.TOUCHED] = by


def make_engine(url: str, *, patient: bool = False) -> AsyncEngine:
    """Return an engine with the drivers and settings that the store counts on."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return sqlite.make_engine(parsed, pool_size=POOL_CONNECTIONS_MAX, patient=patient)
    return create_async_engine(
        parsed.set(drivername="postgresql+psycopg"),
        pool_size=POOL_CONNECTIONS_MAX,
        pool_pre_ping=True,
    )
