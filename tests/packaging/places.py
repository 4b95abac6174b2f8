"""Where things are in a clone, and how its tools are run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.server import clean_environment

ROOT = Path(__file__).resolve().parents[2]
BUILD_TIMEOUT_S = 300
CONSOLE = "cachefleet/_console/index.html"


def run(words: Sequence[str], *, path: str | None = None) -> None:
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
        stdin=subprocess.DEVNULL,
        env=clean_environment(**({} if path is None else {"PATH": path})),
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def without_node() -> str:
    folders = os.environ["PATH"].split(os.pathsep)
    return os.pathsep.join(one for one in folders if not (Path(one) / "node").exists())
