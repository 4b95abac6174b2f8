"""What lies in a directory that a running server works in: files come and go while one looks."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Found:
    """A file as it was when it was read."""

    path: Path
    content: bytes
    permissions: int


def read_all(paths: Iterable[Path]) -> Iterator[Found]:
    """Give every regular file of *paths* that is still there when it is its turn."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            mode = path.stat().st_mode
            if stat.S_ISREG(mode):
                yield Found(path, path.read_bytes(), stat.S_IMODE(mode))


def below(folder: Path) -> Iterator[Found]:
    """Give every regular file below a folder; links to folders are not followed."""
    return read_all(Path(place) / name for place, _, names in os.walk(folder) for name in names)
