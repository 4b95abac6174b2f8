"""SQLite on the event loop's own thread.

aiosqlite gives every connection a thread, because a query may be slow. Ours read a few rows of a
local file in some 20 microseconds; the way to a thread and back costs many times that, and under
load each hop waits for the interpreter lock. Measured with eight clients that describe five
groups: 51 answers a second with threads, 10 times as many without (docs/adr/0003).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import aiosqlite

T = TypeVar("T")

ITERATION_CHUNK = 64


class LoopConnection(aiosqlite.Connection):
    """An aiosqlite connection that runs each call where it is awaited, without a thread."""

    async def _execute(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        if self._connection is None:
            raise ValueError("Connection closed")
        return fn(*args, **kwargs)

    async def _connect(self) -> LoopConnection:
        if self._connection is None:
            self._connection = self._connector()
        return self

    def __await__(self) -> Generator[Any, None, LoopConnection]:
        return self._connect().__await__()

    async def close(self) -> None:
        self.stop()

    def stop(self) -> asyncio.Future[Any] | None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        return None


def connect(database: str, **options: Any) -> LoopConnection:
    """Return a connection for SQLAlchemy's ``async_creator_fn``; takes sqlite3's own options."""
    return LoopConnection(lambda: sqlite3.connect(database, **options), ITERATION_CHUNK)
