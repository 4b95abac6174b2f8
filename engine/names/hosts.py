"""A block of our own in a hosts file: written whole, between two comments, the rest untouched."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

BEGIN: Final = "# cachefleet begins; written while it runs"
END: Final = "# cachefleet ends"
_BLOCK: Final = re.compile(rf"\n?{re.escape(BEGIN)}\n.*?{re.escape(END)}\n", re.DOTALL)


def with_block(text: str, names: Mapping[str, str]) -> str:
    """Return a hosts file's text with exactly *names* (name to address) as ours; none: no block."""
    kept = _BLOCK.sub("", text)
    if not names:
        return kept
    lines = [f"{address} {name}" for name, address in sorted(names.items())]
    gap = "" if not kept or kept.endswith("\n") else "\n"
    return "\n".join([f"{kept}{gap}\n{BEGIN}", *lines, END, ""])


def write_block(path: Path, names: Mapping[str, str]) -> None:
    """Write our block into the file at *path*; a no-op where it is there already.

    The file itself is written, not replaced: it may be mounted, as in containers.

    Raises:
        OSError: it cannot be read or written.
    """
    text = path.read_text()
    wanted = with_block(text, names)
    if wanted == text:
        return
    descriptor = os.open(path, os.O_WRONLY)
    with os.fdopen(descriptor, "w") as file:
        file.write(wanted)
        file.truncate()
