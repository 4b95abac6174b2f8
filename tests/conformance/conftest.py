"""Both databases, for the suites that every database has to pass."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, make_url

from cachefleet.engine.types import EngineBinary
from cachefleet.provisioner.state.store import Store
from cachefleet.provisioner.state.tables import Base
from tests.conformance.engines import ENGINES, need
from tests.conformance.gateways import Worker
from tests.support.postgres import NoPostgres, PostgresCluster, run_postgres
from tests.unit.api.driver import SteppedClock


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
def postgres_records(postgres: PostgresCluster) -> Iterator[Engine]:
    """Make a database that has every table; each test that uses it empties it first."""
    url = postgres.url(postgres.create_database())
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def postgres_blank(postgres: PostgresCluster) -> str:
    """Make a database for tests that begin without a table; return its name."""
    return postgres.create_database()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a database file that has every table, to be copied."""
    path = tmp_path_factory.mktemp("template") / "records.db"
    engine = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    engine.dispose()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the URL of a database without a table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'records.db'}"
        return
    cluster: PostgresCluster = request.getfixturevalue("postgres")
    name: str = request.getfixturevalue("postgres_blank")
    cluster.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public", database=name)
    yield cluster.url(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the URL of a database that has every table and no row."""
    if request.param == "sqlite":
        path = shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path)
        yield f"sqlite:///{path}"
        return
    engine: Engine = request.getfixturevalue("postgres_records")
    with engine.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())
    yield engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
async def store(database_url: str, clock: SteppedClock) -> AsyncIterator[Store]:
    """Give a store over an empty database."""
    opened = Store.open(database_url, clock=clock)
    yield opened
    await opened.aclose()


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    worker = Worker(tmp_path)
    worker.write()
    await worker.start()
    try:
        yield worker
        await worker.end()
    finally:
        with contextlib.suppress(ProcessLookupError):
            worker.process.kill()
        await worker.process.wait()


@pytest.fixture(params=ENGINES)
def kind(request: pytest.FixtureRequest) -> tuple[EngineBinary, str]:
    engine, version, family = request.param
    return need(engine, version), family
