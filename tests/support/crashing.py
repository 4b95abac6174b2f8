"""``cachefleet`` that can be told to end, as by ``kill -9``, at a milestone of its work.

    python tests/support/crashing.py FILE serve ...

Whoever writes the name of a milestone into FILE ends the process the next time it gets there. The
name is taken out first, so that the next process goes on. With ``hold`` before the name, a thread
that gets there waits until FILE is gone.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from cachefleet.cli import main
from cachefleet.provisioner.reconciler import milestones

HOLD = "hold "
HOLD_S_MAX = 60.0
LOOK_S = 0.01


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""


def crash_at(file: Path) -> milestones.Listener:
    """Return what ends this process at the milestone that *file* names."""

    def listen(milestone: milestones.Milestone) -> None:
        told = _read(file)
        if told == milestone:
            file.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        deadline_s = time.monotonic() + HOLD_S_MAX
        while told == f"{HOLD}{milestone}" and time.monotonic() < deadline_s:
            time.sleep(LOOK_S)
            told = _read(file)

    return listen


if __name__ == "__main__":
    milestones.listen(crash_at(Path(sys.argv.pop(1))))
    main()
