"""How far a start or a stop has come, for people at a terminal.

Nothing is shown where standard error is not a terminal: logs stay logs. One line, which goes away
when the work is done.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

STARTING = "Starting nodes"
SAVING = "Saving nodes"
READING = "Reading"


class Reporter(Protocol):
    """Told *done* of *total* steps of the work called *what*."""

    def __call__(self, what: str, done: int, total: int) -> None: ...


def no_report(what: str, done: int, total: int) -> None:
    """Say nothing."""


class ProgressLine:
    """A :class:`Reporter` that draws; use it in a ``with`` block."""

    def __init__(self, console: Console | None = None) -> None:
        console = console or Console(file=sys.stderr)
        self._drawing: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        if console.is_terminal:
            self._drawing = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                console=console,
                transient=True,
                # Drawn when told: a thread that draws by itself would wake an idle server.
                auto_refresh=False,
            )

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._drawing is not None:
            self._drawing.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._drawing is None:
            return
        if what not in self._tasks:
            if total == 0:
                return
            self._drawing.start()
            self._tasks[what] = self._drawing.add_task(what, total=total)
        self._drawing.update(self._tasks[what], completed=done, total=total)
        self._drawing.refresh()
        if done >= total:
            # The line has to be gone before the server's own lines are printed.
            self._drawing.remove_task(self._tasks.pop(what))
            self._drawing.refresh()
            self._drawing.stop()
