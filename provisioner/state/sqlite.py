"""SQLite on the event loop's own thread: Python's driver behind SQLAlchemy's asyncio extension.

A query of ours reads a few rows of a local file in some 20 microseconds; the way to a thread and
back costs many times that, and under load each hop waits for the interpreter lock. So there is no
thread: a statement runs where it is awaited. Measured against aiosqlite, with its threads and with
them taken out, in docs/adr/0003. A transaction that reads for long gives way between statements.

A transaction says ``BEGIN`` itself. One that may write takes the write lock at once
(:data:`WRITES` in the connection's ``info``), so that none fails half-way for having begun as a
reader.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, Pool
from sqlalchemy.util import await_only

# A transaction that reads for longer lets others of the loop run between two of its statements. One
# that writes does not: it keeps everybody else from writing.
GIVES_WAY_EVERY_S = 0.003
# How long a writer waits for another process (an upgrade, a backup); the loop waits with it.
BUSY_TIMEOUT_S = 2.0
# And where nobody else is on the loop, but a server may be busy with the database.
PATIENT_BUSY_TIMEOUT_S = 60.0
STATEMENTS_KEPT = 512  # prepared, a connection: SQLite need not parse them again
WRITES: Final = "cachefleet_writes"
GIVES_WAY: Final = "cachefleet_gives_way"  # what is awaited then
DRIVER: Final = "sqlite+loop"


class _AtOnce:
    """What is there already: whoever awaits it goes on without giving way.

    SQLAlchemy insists that an asynchronous driver awaits something for each statement.
    """

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()


_AT_ONCE: Final = _AtOnce()


class _Cursor(sqlite3.Cursor):
    async def _async_soft_close(self) -> None:
        """Do nothing: SQLAlchemy asks it of cursors that would have to be awaited to be closed."""


class _Connection(sqlite3.Connection):
    gave_way_s = 0.0  # when its transaction began, or when others were let run in it
    gives_way: Callable[[], Awaitable[None]] | None = None

    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(factory or _Cursor)


class LoopDialect(SQLiteDialect_pysqlite):
    """Python's own driver, called where it is awaited."""

    driver = "loop"
    is_async = True
    has_terminate = True
    supports_statement_cache = True

    @classmethod
    def get_pool_class(cls, url: URL) -> type[Pool]:
        return AsyncAdaptedQueuePool

    def connect(self, *words: Any, **options: Any) -> Any:
        return sqlite3.connect(
            *words, factory=_Connection, cached_statements=STATEMENTS_KEPT, **options
        )

    def do_terminate(self, dbapi_connection: Any) -> None:
        dbapi_connection.close()

    def do_begin(self, dbapi_connection: Any) -> None:
        writes = dbapi_connection.info.get(WRITES, True)
        dbapi_connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
        driver = dbapi_connection.driver_connection
        driver.gives_way = dbapi_connection.info.get(GIVES_WAY)
        driver.gave_way_s = time.perf_counter()

    def do_execute(self, cursor: Any, statement: Any, parameters: Any, context: Any = None) -> None:
        _give_way(cursor.connection)
        cursor.execute(statement, parameters)

    def do_executemany(
        self, cursor: Any, statement: Any, parameters: Any, context: Any = None
    ) -> None:
        _give_way(cursor.connection)
        cursor.executemany(statement, parameters)


def _give_way(connection: _Connection) -> None:
    ended_s = connection.gave_way_s + GIVES_WAY_EVERY_S
    if connection.gives_way is None or time.perf_counter() < ended_s:
        await_only(_AT_ONCE)
        return
    await_only(connection.gives_way())
    connection.gave_way_s = time.perf_counter()


registry.register("sqlite.loop", __name__, LoopDialect.__name__)


def make_engine(url: URL, *, pool_size: int, patient: bool = False) -> AsyncEngine:
    """Return an engine for ``sqlite:///path``; connects at first use.

    A *patient* one waits longer for its turn to write: nobody else waits with it.
    """
    engine = create_async_engine(
        url.set(drivername=DRIVER),
        connect_args={
            "timeout": PATIENT_BUSY_TIMEOUT_S if patient else BUSY_TIMEOUT_S,
            "isolation_level": None,  # the dialect says BEGIN
        },
        pool_size=pool_size,
    )
    event.listen(engine.sync_engine, "connect", _prepare)
    return engine


def _prepare(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # In WAL mode NORMAL survives kill -9; only a power cut can take the last transactions.
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
