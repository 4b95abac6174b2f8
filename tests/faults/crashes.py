"""A server that ends at a milestone of its own work, as by ``kill -9``."""

from __future__ import annotations

from pathlib import Path

from tests.support import crashing
from tests.support.server import Server


class CrashingServer(Server):
    """Goes on normally until it is told where to crash, and again after that."""

    def __init__(self, data_dir: Path, *options: str, **settings: str) -> None:
        super().__init__(data_dir, *options, **settings)
        self._told = data_dir.with_name(data_dir.name + ".crash")
        self.program = (crashing.__file__, str(self._told))

    def crash_at(self, step: str) -> None:
        """Have it end at the next *step*; ``wait_dead`` returns when it has."""
        self._tell(step)

    def hold_at(self, step: str) -> None:
        """Have a thread of it wait at *step*, until :meth:`go_on`."""
        self._tell(f"{crashing.HOLD}{step}")

    def go_on(self) -> None:
        """Let go of what was held."""
        self._told.unlink(missing_ok=True)

    def _tell(self, what: str) -> None:
        aside = self._told.with_name(self._told.name + ".aside")
        aside.write_text(what)
        aside.replace(self._told)
