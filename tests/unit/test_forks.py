"""What tests started ends with them, also where they are killed."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.runner import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")

WAIT_MS = 30_000
SERVER = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
TESTS = """
import os, sys, tempfile
from pathlib import Path
from tests.support import forks

with tempfile.TemporaryFile("w+") as err:
    server = forks.start([sys.argv[1]], folder=Path("/"), environment=dict(os.environ), err=err)
    print(server.stdout.readline(), flush=True)
    server.wait()
"""


def test_a_server_ends_with_the_tests_that_were_killed(tmp_path: Path) -> None:
    program = tmp_path / "server.py"
    program.write_text(SERVER)
    with subprocess.Popen(
        [sys.executable, "-c", TESTS, str(program)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
        start_new_session=True,
    ) as tests:
        assert tests.stdout is not None
        server = os.pidfd_open(int(tests.stdout.readline()))
        os.killpg(tests.pid, signal.SIGKILL)
    ended = select.poll()
    ended.register(server, select.POLLIN)
    found = ended.poll(WAIT_MS)
    if not found:
        signal.pidfd_send_signal(server, signal.SIGKILL)
    os.close(server)
    assert found
