"""The only module that makes database sessions.

``Store.begin`` gives a transaction that may write, ``Store.read`` one that may not. A write
transaction that changed anything raises its scope's revision, so that whoever keeps answers knows
when to drop them, and wakes those who wait for work.

SQLite has one writer: a lock in this process queues writers in turn, and ``BEGIN IMMEDIATE`` takes
the write lock up front, so that no transaction fails half-way for having begun as a reader.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import event, func, inspect, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    create_async_engine,
)
from sqlalchemy.orm import ORMExecuteState
from sqlalchemy.orm.attributes import set_committed_value

from cachefleet.provisioner.clock import Clock
from cachefleet.provisioner.state import (
    all_tables,  # noqa: F401  so that the schema is whole
    sqlite,
)
from cachefleet.provisioner.state.changes import Recorder
from cachefleet.provisioner.state.errors import AlreadyExists, NotFound, Stale
from cachefleet.provisioner.state.ids import new_uid, request_token
from cachefleet.provisioner.state.notifications import Notice, file_notices, topic_at_hand
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.tables import (
    Event,
    Named,
    Operation,
    ScopeRevision,
    Subject,
)

# How long a SQLite writer waits for another process (an upgrade, a backup); the loop waits with it.
BUSY_TIMEOUT_S = 2.0
POOL_CONNECTIONS_MAX = 8

N = TypeVar("N", bound=Named)


class Transaction:
    """One database transaction in one scope. ``session`` is there for queries of the families."""

    def __init__(self, session: AsyncSession, *, scope: Scope, now: datetime) -> None:
        self.session = session
        self.scope = scope
        self.now = now
        self.wakes_provisioner = False
        self.notices: list[Notice] = []

    def within(self, scope: Scope) -> Transaction:
        """Return this transaction as one of another scope of the same account.

        Work that is filed through it is found when the provisioner next looks; file some through
        the one that is committed, or have it looked at the next poll.
        """
        return Transaction(self.session, scope=scope, now=self.now)

    async def find(self, table: type[N], name: str, *, lock: bool = False) -> N | None:
        """Return the named resource of this scope, or None. Names are case-insensitive."""
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

    async def page(
        self, table: type[N], *criteria: Any, after: str | None = None, limit: int
    ) -> Sequence[N]:
        """Return up to *limit* resources of this scope in order of name, from behind *after*."""
        query = select(table).where(
            table.account == self.scope.account, table.region == self.scope.region, *criteria
        )
        if after is not None:
            query = query.where(table.name > after)
        return (await self.session.scalars(query.order_by(table.name).limit(limit))).all()

    async def count(self, table: type[Named], *criteria: Any) -> int:
        """Return how many resources of this scope meet *criteria*."""
        query = (
            select(func.count())
            .select_from(table)
            .where(table.account == self.scope.account, table.region == self.scope.region)
            .where(*criteria)
        )
        return int(await self.session.scalar(query) or 0)

    async def insert(self, row: Named) -> None:
        """Write a new resource now.

        Raises:
            AlreadyExists: its name is taken in this scope. The transaction can go on.
        """
        try:
            async with self.session.begin_nested():
                self.session.add(row)
        except IntegrityError as error:
            raise AlreadyExists(row.resource, row.name) from error
        # What was just written has no children but those it was given: nothing is to be loaded.
        for relationship in inspect(type(row)).relationships:
            if relationship.uselist and relationship.key in inspect(row).unloaded:
                set_committed_value(row, relationship.key, [])

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
        if sns_event is not None:
            known, topic = topic_at_hand(self.session, self.scope, source_type, source_identifier)
            if topic is not None or not known:
                self.notices.append(
                    Notice(
                        source_type, source_identifier, sns_event, about or source_identifier, topic
                    )
                )
        self.session.add(
            Event(
                account=self.scope.account,
                region=self.scope.region,
                source_type=source_type,
                source_identifier=source_identifier,
                message=message,
                occurred_at=self.now,
            )
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
        # SQLite is private to this process, so its revisions can be counted here.
        self._revisions: dict[Scope, int] = {}
        self.work_filed = asyncio.Event()
        self._listeners: list[Callable[[Scope], None]] = []

    @classmethod
    def open(cls, url: str, *, clock: Clock) -> Store:
        """Open ``sqlite:///path`` or ``postgresql://...``; connects at first use."""
        return cls(make_engine(url), clock=clock)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    @contextlib.asynccontextmanager
    async def begin(self, scope: Scope) -> AsyncIterator[Transaction]:
        """Give a transaction that commits where the block ends and rolls back where it raises.

        Raises:
            Stale: another transaction took the same names meanwhile; nothing was changed.
        """
        try:
            async with self._turn(), self._session(writes=True) as session:
                changed = _watch_changes(session)
                recorder = Recorder()
                recorder.listen(session)
                transaction = Transaction(session, scope=scope, now=self._clock.now())
                yield transaction
                await session.flush()
                if transaction.notices:
                    await file_notices(
                        session, transaction.notices, scope=scope, now=transaction.now
                    )
                if changed():
                    await self._raise_revision(session, scope.home)
                    session.add_all(await recorder.entries(session, scope, transaction.now))
                await session.commit()
        except IntegrityError as error:
            raise Stale(f"another transaction was there first: {error.orig}") from error
        if changed():
            self._revisions[scope.home] = self._revisions.get(scope.home, 0) + 1
            for listener in self._listeners:
                listener(scope.home)
        if transaction.wakes_provisioner:
            self.work_filed.set()

    @contextlib.asynccontextmanager
    async def read(self, scope: Scope) -> AsyncIterator[Transaction]:
        """Give a transaction that sees one state of the records and must not write."""
        async with self._session(writes=False) as session:
            yield Transaction(session, scope=scope, now=self._clock.now())
            assert not session.new, "a reading transaction was given rows to write"
            assert not session.dirty, "a reading transaction changed rows"

    async def revision(self, scope: Scope) -> int:
        """Return a number that grows with every change in *scope*."""
        if self.is_sqlite:
            return self._revisions.get(scope, 0)
        query = select(ScopeRevision.revision).where(
            ScopeRevision.account == scope.account, ScopeRevision.region == scope.region
        )
        async with self._engine.connect() as connection:
            return int(await connection.scalar(query) or 0)

    def forget_answers(self) -> None:
        """Make every scope's revision a new one: all of them were changed from outside."""
        for scope in self._revisions:
            self._revisions[scope] += 1

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
            yield connection

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._writer is None:
            yield
            return
        async with self._writer:
            yield

    @contextlib.asynccontextmanager
    async def _session(self, *, writes: bool) -> AsyncIterator[AsyncSession]:
        async with self._engine.connect() as connection:
            await connection.execution_options(cachefleet_writes=writes)
            session = AsyncSession(bind=connection, expire_on_commit=False, autoflush=writes)
            try:
                yield session
            finally:
                await session.close()

    async def _raise_revision(self, session: AsyncSession, scope: Scope) -> None:
        if self.is_sqlite:
            return
        values = {"account": scope.account, "region": scope.region, "revision": 1}
        insert = sqlite_insert if self.is_sqlite else postgresql_insert
        statement = insert(ScopeRevision).values(values)
        await session.execute(
            statement.on_conflict_do_update(
                index_elements=["account", "region"],
                set_={"revision": ScopeRevision.revision + 1},
            )
        )


def _watch_changes(session: AsyncSession) -> Any:
    """Return a function that says whether the session has written anything."""
    seen = False

    def note(*_: object) -> None:
        nonlocal seen
        seen = True

    def note_bulk(state: ORMExecuteState) -> None:
        if state.is_insert or state.is_update or state.is_delete:
            note()

    event.listen(session.sync_session, "after_flush", note)
    event.listen(session.sync_session, "do_orm_execute", note_bulk)
    return lambda: seen


def make_engine(url: str) -> AsyncEngine:
    """Return an engine with the drivers and settings that the store counts on."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = create_async_engine(
            parsed.set(drivername="sqlite+aiosqlite"),
            connect_args={
                "timeout": BUSY_TIMEOUT_S,
                "isolation_level": None,  # we say BEGIN ourselves, see _begin_sqlite
                "async_creator_fn": sqlite.connect,
            },
            pool_size=POOL_CONNECTIONS_MAX,
        )
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    return create_async_engine(
        parsed.set(drivername="postgresql+psycopg"),
        pool_size=POOL_CONNECTIONS_MAX,
        pool_pre_ping=True,
    )


def _prepare_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # In WAL mode NORMAL survives kill -9; only a power cut can take the last transactions.
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    writes = connection.get_execution_options().get("cachefleet_writes", True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
