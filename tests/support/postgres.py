"""A private PostgreSQL for the tests that run on both databases.

A cluster of its own in a temporary directory, ended with the session. The server refuses to run as
root, so a root session runs it as ``postgres`` or ``nobody``. Where there is no PostgreSQL, the
tests that need it are skipped and say why.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg

from tests.support.ports import own_port

START_TIMEOUT_S = 60
SERVERS = Path("/usr/lib/postgresql")
UNPRIVILEGED = ("postgres", "nobody")
# Nothing here outlives the session, so nothing has to reach the disk.
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "100",
    "shared_buffers": "16MB",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "listen_addresses": "127.0.0.1",
}


class NoPostgres(Exception):
    """It cannot be had here; the message says why."""


@dataclass
class PostgresCluster:
    """A running server. Databases are dear (a second each); tables that are emptied are not."""

    directory: Path
    port: int
    password: str
    _numbers: Iterator[int] = field(default_factory=count)

    def url(self, database: str) -> str:
        """Return the URL of a database, as it is given to ``--database-url``."""
        return f"postgresql://cachefleet:{self.password}@127.0.0.1:{self.port}/{database}"

    def create_database(self) -> str:
        """Make a database and return its name."""
        name = f"test_{next(self._numbers)}"
        self.execute(f'CREATE DATABASE "{name}"')
        return name

    def execute(self, statement: str, *, database: str = "postgres") -> None:
        """Run statements as the superuser, each by itself."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement.encode())


@contextlib.contextmanager
def run_postgres() -> Iterator[PostgresCluster]:
    """Run a server while the block lasts.

    Raises:
        NoPostgres: it is not installed, or may not be run.
    """
    programs, user = _programs(), _user()
    directory = Path(tempfile.mkdtemp(prefix="cachefleet-postgres-"))
    cluster = PostgresCluster(directory, own_port(), secrets.token_hex(8))
    try:
        directory.chmod(0o700)
        if user is not None:
            shutil.chown(directory, user)
        _init(cluster, programs, user)
        data = str(directory / "data")
        control = str(programs / "pg_ctl")
        _run([control, "start", "-s", "-w", "-t", str(START_TIMEOUT_S), "-D", data], cluster, user)
        try:
            yield cluster
        finally:
            _run([control, "stop", "-s", "-w", "-m", "immediate", "-D", data], cluster, user)
    finally:
        shutil.rmtree(directory)


def _programs() -> Path:
    versions = sorted(
        (path for path in SERVERS.glob("*/bin") if (path / "initdb").exists()),
        key=lambda path: float(path.parent.name),
    )
    if versions:
        return versions[-1]
    found = shutil.which("initdb")
    if found is None:
        raise NoPostgres(f"no PostgreSQL server under {SERVERS} or on PATH")
    return Path(found).resolve().parent


def _user() -> str | None:
    """Return whom the server has to run as; None is ourselves."""
    if os.getuid() != 0:
        return None
    for name in UNPRIVILEGED:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise NoPostgres(f"PostgreSQL refuses to run as root, and there is no {UNPRIVILEGED} user")


def _init(cluster: PostgresCluster, programs: Path, user: str | None) -> None:
    password_file = cluster.directory / "password"
    password_file.write_text(cluster.password)
    if user is not None:
        shutil.chown(password_file, user)
    data = cluster.directory / "data"
    options = ["-U", "cachefleet", "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync"]
    _run(
        [str(programs / "initdb"), "-D", str(data), *options, f"--pwfile={password_file}"],
        cluster,
        user,
    )
    settings = SETTINGS | {
        "port": str(cluster.port),
        "unix_socket_directories": str(cluster.directory),
    }
    with (data / "postgresql.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())


def _run(command: Sequence[str], cluster: PostgresCluster, user: str | None) -> None:
    log = cluster.directory / "log"
    with log.open("a") as output:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cluster.directory,
            user=user,
            group=None if user is None else pwd.getpwnam(user).pw_gid,
            extra_groups=None if user is None else [],
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
            check=False,
        )
    if done.returncode != 0:
        raise RuntimeError(f"{Path(command[0]).name} failed:\n{log.read_text()}")
