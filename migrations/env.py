"""Runs migrations, on one synchronous connection, for SQLite and PostgreSQL alike."""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import Connection, NullPool, create_engine, event, make_url, text

from cachefleet.provisioner.state.all_tables import tables

LOCK_TIMEOUT_MS = 5_000
STATEMENT_TIMEOUT_MS = 60_000


def _url() -> str:
    parsed = make_url(context.config.get_main_option("sqlalchemy.url") or "")
    driver = "sqlite" if parsed.get_backend_name() == "sqlite" else "postgresql+psycopg"
    return parsed.set(drivername=driver).render_as_string(hide_password=False)


def _begin_nothing(connection: Any, _: object) -> None:
    connection.isolation_level = None


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def run() -> None:
    """Apply what is missing in one transaction."""
    engine = create_engine(_url(), poolclass=NullPool)
    if engine.dialect.name == "sqlite":
        # Python's driver begins no transaction for DDL: a kill would leave half a schema behind.
        event.listen(engine, "connect", _begin_nothing)
        event.listen(engine, "begin", _begin)
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SET lock_timeout = {LOCK_TIMEOUT_MS}"))
            connection.execute(text(f"SET statement_timeout = {STATEMENT_TIMEOUT_MS}"))
            connection.commit()
        context.configure(
            connection=connection,
            target_metadata=tables.Base.metadata,
            render_as_batch=True,
            compare_type=True,
            transactional_ddl=True,
        )
        with context.begin_transaction():
            context.run_migrations()


run()
