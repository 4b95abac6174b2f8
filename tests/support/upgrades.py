"""Engine binaries that can be upgraded in their place, as a package manager does it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cachefleet.engine.discovery import discover
from cachefleet.engine.types import Engine


class UpgradableBinary:
    """A copy of what this machine has, whose version number can be raised.

    What is raised is the number in the file, of the same length: it is the very same engine, and
    says of itself that it is a later one, of another build.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        found = next(
            one
            for one in discover().binaries
            if one.kind is engine and one.source in ("path", "wheel")
        )
        self.path = folder / f"{engine.value}-server"
        self._pristine = Path(found.argv[0]).read_bytes()
        self._first = found.version_text
        self.version = found.version_text
        shutil.copy2(found.argv[0], self.path)

    def upgrade(self) -> str:
        """Put the next version in the place of this one; return its number."""
        head, _, last = self.version.rpartition(".")
        self.version = f"{head}.{int(last) + 1}"
        assert len(self.version) == len(self._first), "the number has to keep its length"
        content = self._pristine.replace(self._first.encode(), self.version.encode())
        assert content != self._pristine, "the binary does not hold its number"
        aside = self.path.with_suffix(".new")
        aside.write_bytes(content)
        aside.chmod(0o755)
        os.replace(aside, self.path)
        return self.version
