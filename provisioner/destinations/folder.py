"""Logs as files: one folder a log group or delivery stream, one file a stream.

For those who have no such service to hand. Files are turned over when they are full, once, so that
each takes at most twice :data:`FILE_BYTES_MAX`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from cachefleet.provisioner.destinations.base import DeliveryFailed, Item

FILE_BYTES_MAX = 64 * 1024 * 1024
FORMER = ".1"


class FolderDestination:
    """Implements :class:`cachefleet.provisioner.destinations.base.Destination`."""

    def __init__(self, root: Path, place: str) -> None:
        self._folder = root / _file_name(place)

    def check(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise DeliveryFailed(f"cannot use {self._folder}: {error.strerror}") from error

    def send(self, stream: str, items: Sequence[Item]) -> None:
        self.check()
        path = self._folder / _file_name(stream)
        try:
            if path.exists() and path.stat().st_size > FILE_BYTES_MAX:
                path.replace(path.with_name(path.name + FORMER))
            with path.open("a", encoding="utf-8") as file:
                file.writelines(f"{item.text}\n" for item in items)
        except OSError as error:
            raise DeliveryFailed(f"cannot write to {path}: {error.strerror}") from error


def _file_name(name: str) -> str:
    """Return a name that stays in its folder, whatever *name* is, and tells two names apart."""
    safe = quote(name, safe="")
    return safe if safe.strip(".") else safe.replace(".", "%2E")
