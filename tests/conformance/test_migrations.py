"""The schema's history leads to the models, from anywhere, and refuses what it does not know."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event, inspect, make_url, text

from cachefleet import migrations
from cachefleet.control_plane import open_store
from cachefleet.provisioner.clock import SystemClock
from cachefleet.provisioner.state.tables import Base
from cachefleet.serving import CannotStart
from cachefleet.settings import Settings
from tests.support.server import command as cachefleet

INDEX = "ix_cache_nodes_subject_uid"
NEWER = "9999_expand_things_to_come"


@contextlib.contextmanager
def engine_of(url: str) -> Iterator[Engine]:
    parsed = make_url(url)
    driver = "sqlite" if parsed.get_backend_name() == "sqlite" else "postgresql+psycopg"
    engine = create_engine(parsed.set(drivername=driver))
    try:
        yield engine
    finally:
        engine.dispose()


def differences(url: str) -> list[Any]:
    """Return where the database is not what the models say."""
    with engine_of(url) as engine, engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Base.metadata))


def revisions() -> list[str]:
    """Return every revision, oldest first."""
    return list(reversed(migrations.known_revisions()))


def tables(url: str) -> set[str]:
    with engine_of(url) as engine:
        return set(inspect(engine).get_table_names())


def test_models_and_migrations_agree(empty_url: str) -> None:
    migrations.upgrade(empty_url)
    assert differences(empty_url) == []
    assert tables(empty_url) == {*Base.metadata.tables, "alembic_version"}


def test_a_comparison_would_notice_a_missing_table_column_and_index(empty_url: str) -> None:
    migrations.upgrade(empty_url)
    with engine_of(empty_url) as engine, engine.begin() as connection:
        connection.execute(text("DROP TABLE tags"))
        connection.execute(text("ALTER TABLE events ADD COLUMN surplus INTEGER"))
        connection.execute(text(f"DROP INDEX {INDEX}"))
    assert {step[0] for step in differences(empty_url)} == {
        "add_table",
        "remove_column",
        "add_index",
    }


def test_upgrading_twice_changes_nothing(empty_url: str) -> None:
    migrations.upgrade(empty_url)
    migrations.upgrade(empty_url)
    assert differences(empty_url) == []


@pytest.mark.parametrize("revision", revisions())
def test_every_revision_leads_to_the_newest(empty_url: str, revision: str) -> None:
    command.upgrade(migrations.config(empty_url), revision)
    migrations.upgrade(empty_url)
    assert differences(empty_url) == []


def test_history_is_one_line_without_forks() -> None:
    scripts = ScriptDirectory.from_config(migrations.config("sqlite://"))
    assert len(scripts.get_heads()) == len(scripts.get_bases()) == 1
    for name in revisions():
        assert name.split("_")[0].isdigit()
        assert name.split("_")[1] in ("expand", "contract")


class Interrupted(Exception):
    """The process would have died here."""


@contextlib.contextmanager
def dying_after(statement_count: float) -> Iterator[list[str]]:
    """Let the process die before the next statement that writes; give those that were let pass."""
    passed: list[str] = []

    def note(*args: Any) -> None:
        statement = str(args[2])
        if statement.split(maxsplit=1)[0].upper() in ("CREATE", "INSERT", "ALTER", "UPDATE"):
            if len(passed) >= statement_count:
                raise Interrupted
            passed.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield passed
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@pytest.mark.parametrize("progress", [0.05, 0.5, 1.0], ids=["early", "halfway", "at-the-end"])
def test_an_interrupted_upgrade_leaves_nothing_and_is_repeated(
    empty_url: str, progress: float, tmp_path: Path
) -> None:
    with dying_after(math.inf) as statements:
        migrations.upgrade(f"sqlite:///{tmp_path / 'counted.db'}")
    with dying_after(int(progress * (len(statements) - 1))), pytest.raises(Interrupted):
        migrations.upgrade(empty_url)
    assert tables(empty_url) == set()
    migrations.upgrade(empty_url)
    assert differences(empty_url) == []


async def test_opening_a_store_brings_an_empty_database_up(empty_url: str, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, database_url=empty_url)
    async with open_store(settings, SystemClock()):
        pass
    assert differences(empty_url) == []


async def test_a_database_from_the_future_is_refused_and_untouched(
    empty_url: str, tmp_path: Path
) -> None:
    migrations.upgrade(empty_url)
    with engine_of(empty_url) as engine, engine.begin() as connection:
        connection.execute(text(f"UPDATE alembic_version SET version_num = '{NEWER}'"))
    with pytest.raises(CannotStart, match=f"{NEWER}, which is newer"):
        async with open_store(Settings(data_dir=tmp_path, database_url=empty_url), SystemClock()):
            pytest.fail("it was opened")
    with engine_of(empty_url) as engine, engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == NEWER


# --- what an operator sees --------------------------------------------------------------------


def refusal(*arguments: str) -> str:
    """Run the command line; return the one line with which it refuses."""
    done = cachefleet(*arguments)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    return line.removeprefix("cachefleet: ")


def serve(data_dir: Path, *more: str) -> str:
    return refusal("serve", "--port", "0", "--data-dir", str(data_dir), *more)


def test_a_newer_database_ends_the_start_in_one_line(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'cachefleet.db'}"
    migrations.upgrade(url)
    with engine_of(url) as engine, engine.begin() as connection:
        connection.execute(text(f"UPDATE alembic_version SET version_num = '{NEWER}'"))
    expected = f"the database has schema {NEWER}, which is newer than this cachefleet knows"
    assert serve(tmp_path) == expected
    assert refusal("db", "upgrade", "--data-dir", str(tmp_path)) == expected


def test_a_data_directory_in_use_ends_the_start_in_one_line(tmp_path: Path) -> None:
    holder = os.open(tmp_path / "cachefleet.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        line = serve(tmp_path)
    finally:
        os.close(holder)
    assert line == f"the data directory {tmp_path} is in use by another cachefleet"
    assert not (tmp_path / "cachefleet.db").exists()


def test_a_foreign_data_directory_ends_the_start_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "nodes" / "0123456789abcdef").mkdir(parents=True)
    (tmp_path / "fleet-id").write_text("ffffffffffffffff\n")
    assert serve(tmp_path) == f"the nodes in {tmp_path} belong to another database"
    assert (tmp_path / "nodes" / "0123456789abcdef").exists()


def test_a_file_in_the_place_of_the_data_directory_ends_the_start_in_one_line(
    tmp_path: Path,
) -> None:
    place = tmp_path / "file"
    place.touch()
    assert serve(place).startswith(f"cannot use the data directory {place}: ")


def test_a_file_that_is_no_database_ends_the_start_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "cachefleet.db").write_text("this is no database, and never was one\n" * 50)
    assert serve(tmp_path) == "cannot use the database: file is not a database"


def test_a_database_that_does_not_answer_ends_the_start_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can have it
        url = f"postgresql://nobody@127.0.0.1:{closed.getsockname()[1]}/none"
        line = serve(tmp_path, "--database-url", url)
    assert line.startswith("cannot use the database: ")
    assert "refused" in line


def test_a_port_in_use_ends_the_start_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refusal("serve", "--port", str(port), "--data-dir", str(tmp_path))
    assert line.startswith(f"cannot listen on 127.0.0.1:{port}: Address already in use")


def test_each_revision_is_named_as_its_file_is() -> None:
    scripts = ScriptDirectory.from_config(migrations.config("sqlite://"))
    assert migrations.known_revisions() == tuple(s.revision for s in scripts.walk_revisions())
