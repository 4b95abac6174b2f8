"""Which revision of the schema a database has, asked without loading the migrations."""

from __future__ import annotations

from sqlalchemy import inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection

from cachefleet.provisioner.state.store import Store

VERSION_TABLE = "alembic_version"


async def current_revision(store: Store) -> str | None:
    """Return the database's revision, or None where it is empty."""
    async with store.connection() as connection:
        return await _revision(connection)


async def _revision(connection: AsyncConnection) -> str | None:
    names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    if VERSION_TABLE not in names:
        return None
    result = await connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
    return None if result is None else str(result)
