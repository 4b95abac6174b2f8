"""Reading back a file that is still being written: never further than it is on the disk.

The writer tells how much of its file was flushed and let go of; whoever follows waits for that. So
what is read comes from the disk, as it would afterwards, and the time for it is not spent at the
end. Blocking, for two threads.
"""

from __future__ import annotations

import threading
from typing import BinaryIO, Final

# The system keeps or drops its copy of a file by pages: the last one, half full, is still a copy.
PAGE_BYTES: Final = 1 << 16  # the largest in use


class WriterGone(Exception):
    """The file will not become whole."""


class Frontier:
    """How much of a file that is being written can be read back."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._size_bytes = 0
        self._ended = self._given_up = False

    def advance(self, size_bytes: int) -> None:
        """So much of it is on the disk, and the system has no copy of that."""
        with self._changed:
            self._size_bytes = max(self._size_bytes, size_bytes - size_bytes % PAGE_BYTES)
            self._changed.notify_all()

    def end(self) -> None:
        """All of it is on the disk."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def give_up(self) -> None:
        """It is written no further."""
        with self._changed:
            self._given_up = True
            self._changed.notify_all()

    def reach(self, size_bytes: int) -> None:
        """Return when so much can be read, or when all of it can.

        Raises:
            WriterGone: neither will be.
        """
        with self._changed:
            while not self._ended and self._size_bytes < size_bytes:
                if self._given_up:
                    raise WriterGone
                self._changed.wait()


class Followed:
    """A file up to its frontier. A read gives what was asked for, or what is left at the end."""

    def __init__(self, file: BinaryIO, frontier: Frontier) -> None:
        self._file = file
        self._frontier = frontier
        self._position = 0

    def read(self, size_bytes: int) -> bytes:
        """Wait until it can be read; raises :class:`WriterGone`, OSError."""
        self._frontier.reach(self._position + size_bytes)
        data = self._file.read(size_bytes)
        while len(data) < size_bytes and (more := self._file.read(size_bytes - len(data))):
            data += more
        self._position += len(data)
        return data
