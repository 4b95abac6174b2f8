"""Both databases, for the suites that every database has to pass."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from cachefleet.provisioner.state.store import Store
from cachefleet.provisioner.state.tables import Base
from tests.support.postgres import NoPostgres, PostgresCluster, run_postgres
from tests.unit.api.driver import SteppedClock

TEMPLATE = "cachefleet_template"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    """Run a PostgreSQL for the whole session."""
    with contextlib.ExitStack() as stack:
        try:
            cluster = stack.enter_context(run_postgres())
        except NoPostgres as reason:
            pytest.skip(str(reason))
        yield cluster


@pytest.fixture(scope="session")
def postgres_template(postgres: PostgresCluster) -> str:
    """Make a database that has every table, to be copied."""
    postgres.execute(f"CREATE DATABASE {TEMPLATE}")
    url = postgres.url(TEMPLATE).replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    engine.dispose()
    return TEMPLATE


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the URL of a database without a table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'records.db'}"
        return
    cluster: PostgresCluster = request.getfixturevalue("postgres")
    name = cluster.create_database()
    yield cluster.url(name)
    cluster.drop_database(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the URL of a database that has every table and no row."""
    if request.param == "sqlite":
        path = tmp_path / "records.db"
        engine = create_engine(f"sqlite:///{path}")
        Base.metadata.create_all(engine)
        engine.dispose()
        yield f"sqlite:///{path}"
        return
    template: str = request.getfixturevalue("postgres_template")
    cluster: PostgresCluster = request.getfixturevalue("postgres")
    name = cluster.create_database(template=template)
    yield cluster.url(name)
    cluster.drop_database(name)


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
async def store(database_url: str, clock: SteppedClock) -> AsyncIterator[Store]:
    """Give a store over an empty database."""
    opened = Store.open(database_url, clock=clock)
    yield opened
    await opened.aclose()
