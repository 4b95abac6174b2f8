"""``doctor``, ``status`` and the errors of the command line, as people meet them."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cachefleet import cli
from tests.support.server import (
    Server,
    available_cluster,
    available_group,
    clean_environment,
    cluster_of,
)
from tests.support.server import command as cachefleet
from tests.support.waiting import wait_until

READ_TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a server of our own with a group and a memcached cluster."""
    with Server(tmp_path_factory.mktemp("cli") / "data") as server:
        client = server.client()
        client.create_replication_group(
            ReplicationGroupId="shown",
            ReplicationGroupDescription="two nodes",
            Engine="valkey",
            CacheNodeType="cache.t3.micro",
            NumCacheClusters=2,
        )
        client.create_cache_cluster(
            CacheClusterId="mem",
            Engine="memcached",
            CacheNodeType="cache.t3.micro",
            NumCacheNodes=1,
        )
        available_group(client, "shown")
        available_cluster(client, "mem")
        yield server


@dataclass(frozen=True)
class Said:
    """What a command printed, and the status it ended with."""

    returncode: int
    stdout: str
    stderr: str


Here = Callable[..., Said]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """Run a command in this process: starting Python costs more than what most of them do."""

    def run(*words: str, env: dict[str, str] | None = None) -> Said:
        monkeypatch.setattr(sys, "argv", ["cachefleet", *words])
        for name, value in (env or {}).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Said(ended.value.code, said.out, said.err)

    return run


class Terminal:
    """A command at a terminal of its own."""

    def __init__(self, *words: str, env: dict[str, str] | None = None) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cachefleet", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env=clean_environment(TERM="xterm-256color", COLUMNS="180", **(env or {})),
        )
        os.close(theirs)
        self.seen = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def read_until(self, text: str) -> None:
        """Read until *text* was shown."""
        deadline_s = time.monotonic() + READ_TIMEOUT_S
        while text not in self.seen:
            left_s = deadline_s - time.monotonic()
            assert left_s > 0, f"{text!r} was not shown:\n{self.seen}"
            if select.select([self._ours], [], [], left_s)[0]:
                with contextlib.suppress(OSError):  # the other side is closed
                    self.seen += os.read(self._ours, 65_536).decode(errors="replace")

    def interrupt(self) -> int:
        """Press Ctrl-C; returns the exit status."""
        self.process.send_signal(signal.SIGINT)
        while self.process.poll() is None:
            # Whoever writes to a terminal that nobody reads hangs.
            if select.select([self._ours], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):
                    self.seen += os.read(self._ours, 65_536).decode(errors="replace")
        return self.process.returncode


# -- doctor ---------------------------------------------------------------------------------------


def test_doctor_says_what_is_here_and_makes_nothing(tmp_path: Path) -> None:
    done = cachefleet("doctor", "--data-dir", str(tmp_path / "new"), "--port", "0")
    assert done.returncode == 0, done.stdout
    assert "cachefleet can serve here" in done.stdout
    for words in ("valkey", "memcached 1.6.22 (bundled)", "Free addresses", "will be made"):
        assert words in done.stdout
    assert not (tmp_path / "new").exists()


def test_doctor_knows_a_running_server(own: Server) -> None:
    done = cachefleet("doctor", "--data-dir", str(own.data_dir), "--port", own.url.split(":")[-1])
    assert done.returncode == 0, done.stdout
    assert "in use by a running cachefleet" in done.stdout


def test_doctor_fails_where_the_port_is_taken(tmp_path: Path, here: Here) -> None:
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port = str(squatter.getsockname()[1])
        done = here("doctor", "--data-dir", str(tmp_path), "--port", port)
    assert done.returncode == 1
    assert "something listens there already" in done.stdout
    assert "--port" in done.stdout


def test_doctor_fails_where_the_database_is_away_and_hides_its_password(
    tmp_path: Path, here: Here
) -> None:
    url = "postgresql://user:sesame@127.0.0.1:1/nowhere"
    done = here("doctor", "--data-dir", str(tmp_path), "--port", "0", "--database-url", url)
    assert done.returncode == 1
    assert "the database cannot be used" in done.stdout
    assert "sesame" not in done.stdout + done.stderr


def test_doctor_fails_where_no_data_can_be_kept(tmp_path: Path, here: Here) -> None:
    (tmp_path / "file").write_text("")
    done = here("doctor", "--data-dir", str(tmp_path / "file" / "data"), "--port", "0")
    assert done.returncode == 1
    assert "is not a directory" in done.stdout


def test_doctor_names_a_binary_that_does_not_work(tmp_path: Path, here: Here) -> None:
    done = here(
        *("doctor", "--data-dir", str(tmp_path), "--port", "0"),
        env={"CACHEFLEET_MEMCACHED": "/nonexistent", "CACHEFLEET_VALKEY_SERVER": sys.executable},
    )
    assert done.returncode == 0  # others stand in
    assert "/nonexistent: no such file" in done.stdout
    assert f"{sys.executable}: it does not answer" in done.stdout


# -- status ---------------------------------------------------------------------------------------


@pytest.mark.engine
def test_status_shows_what_nodes_say(own: Server) -> None:
    done = cachefleet("status", "--data-dir", str(own.data_dir))
    assert done.returncode == 0, done.stderr
    assert "cachefleet is running" in done.stdout
    for words in ("shown-001/0001", "primary", "replica", "384.0 MiB", "configuration 127."):
        assert words in done.stdout
    assert "\x1b" not in done.stdout  # no colours in a file


@pytest.mark.engine
def test_status_as_json(own: Server) -> None:
    endpoint = cluster_of(own.client(), "mem")["CacheNodes"][0]["Endpoint"]
    with socket.create_connection((endpoint["Address"], endpoint["Port"])):
        done = cachefleet("status", "--json", "--data-dir", str(own.data_dir))
    fleet = json.loads(done.stdout)
    assert fleet["running"] is True
    caches = {cache["name"]: cache for cache in fleet["caches"]}
    assert set(caches) == {"shown", "mem"}
    assert set(caches["shown"]["endpoints"]) == {"primary", "reader"}
    nodes = caches["shown"]["nodes"]
    assert [node["role"] for node in nodes] == ["primary", "replica"]
    assert all(node["answers"] for node in nodes)
    assert {node["memory_max_bytes"] for node in nodes} == {536_870_912 * 3 // 4}
    assert caches["mem"]["nodes"][0]["clients"] >= 1


@pytest.mark.engine
def test_status_at_a_terminal_lives_until_interrupted(own: Server) -> None:
    with Terminal("status", "--data-dir", str(own.data_dir)) as terminal:
        terminal.read_until("shown-002/0001")
        shown_first = len(terminal.seen)
        terminal.read_until("mem/0001")
        wait_until(
            lambda: terminal.process.poll() is None and shown_first,
            what="it goes on",
        )
        assert terminal.interrupt() == 130
        assert "Traceback" not in terminal.seen


@pytest.mark.engine
def test_status_without_a_server_and_progress_of_a_start_and_a_stop(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        client = server.client()
        client.create_cache_cluster(
            CacheClusterId="kept", Engine="redis", CacheNodeType="cache.t3.micro", NumCacheNodes=1
        )
        available_cluster(client, "kept")
        assert server.stop() == 0
        network = {"CACHEFLEET_ENDPOINT_NETWORK": server.network}
        stopped = cachefleet("status", "--data-dir", str(server.data_dir))
        assert stopped.returncode == 0, stopped.stderr
        assert "cachefleet is not running" in stopped.stdout
        assert "available, silent" in stopped.stdout
        words = ("serve", "--port", "0", "--data-dir", str(server.data_dir))
        with Terminal(*words, env=network) as terminal:
            terminal.read_until("cachefleet is ready on")
            assert "Starting nodes" in terminal.seen
            running = cachefleet("status", "--data-dir", str(server.data_dir))
            assert "silent" not in running.stdout
            assert terminal.interrupt() == 0
            assert "Saving nodes" in terminal.seen
            assert "Traceback" not in terminal.seen


def test_status_where_nothing_has_run(tmp_path: Path, here: Here) -> None:
    done = here("status", "--data-dir", str(tmp_path))
    assert done.returncode == 2
    assert one_line(done.stderr).startswith("cachefleet: no cachefleet has run in")
    assert not list(tmp_path.iterdir())


# -- errors ---------------------------------------------------------------------------------------


def one_line(text: str) -> str:
    (line,) = text.splitlines()
    return line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(["frobnicate"], "frobnicate", id="no-such-command"),
        pytest.param(["serve", "--prot", "1"], "--prot", id="no-such-option"),
        pytest.param(["serve", "--port", "many"], "--port", id="not-a-number"),
        pytest.param(["serve", "--port", "70000"], "--port", id="out-of-range"),
        pytest.param(["serve", "--endpoint-mode", "dns"], "--endpoint-mode", id="no-such-mode"),
        pytest.param(["api"], "--database-url", id="needs-a-database"),
        pytest.param(["status", "--database-url", "nonsense"], "--database-url", id="no-url"),
        pytest.param(["db"], "command", id="half-a-command"),
    ],
)
def test_unusable_options_are_told_in_one_line(words: list[str], told: str, here: Here) -> None:
    done = here(*words)
    assert done.returncode == 2
    line = one_line(done.stderr)
    assert line.startswith("cachefleet: ")
    assert told in line
    assert not done.stdout


def test_a_place_that_cannot_be_used_is_told_in_one_line() -> None:
    done = cachefleet("serve", "--data-dir", "/dev/null", "--port", "0")
    assert done.returncode == 2
    assert "/dev/null" in one_line(done.stderr)


def test_an_address_that_is_not_ours_is_told_in_one_line(tmp_path: Path) -> None:
    done = cachefleet("serve", "--data-dir", str(tmp_path), "--host", "192.0.2.1", "--port", "0")
    assert done.returncode == 2
    assert "192.0.2.1" in one_line(done.stderr)


@pytest.mark.engine
def test_a_second_server_on_the_same_directory_is_refused(own: Server) -> None:
    done = cachefleet("serve", "--port", "0", "--data-dir", str(own.data_dir))
    assert done.returncode == 2
    assert "is in use by another cachefleet" in one_line(done.stderr)
