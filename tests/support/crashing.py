"""``cachefleet`` that can be told to end, as by ``kill -9``, at a milestone of its work.

    python tests/support/crashing.py FILE serve ...

Whoever writes the name of a milestone into FILE ends the process the next time it gets there. The
name is taken out first, so that the next process goes on.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from cachefleet.cli import main
from cachefleet.provisioner.reconciler import milestones


def crash_at(file: Path) -> milestones.Listener:
    """Return what ends this process at the milestone that *file* names."""

    def listen(milestone: milestones.Milestone) -> None:
        if file.exists() and file.read_text() == milestone:
            file.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    return listen


if __name__ == "__main__":
    milestones.listen(crash_at(Path(sys.argv.pop(1))))
    main()
