"""Builds the web console into the Python package, where Node.js is there. Used by make and setup.

    python dashboard/build.py            build where Node.js is there, say so where it is not
    python dashboard/build.py --require  fail where it cannot be built

``CACHEFLEET_CONSOLE`` says the same to a package build: ``auto``, ``require`` or ``skip``. What was
built from the same sources is not built again, so a source distribution that carries the built
console needs no Node.js.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "dashboard"
BUILT = ROOT / "src" / "cachefleet" / "_console"
NOTE = BUILT / "built-from.txt"
LOCK_NOTE = SOURCES / "node_modules" / ".installed-from"
CATALOGUE = ROOT / "engine" / "catalog" / "data" / "node_types.json"
NODE_MIN = (20, 19)
NOT_SOURCES = {"node_modules", "dist", "__pycache__"}
TIMEOUT_S = 600
# Wherever a developer's npm is told otherwise, packages may not run scripts of their own.
NPM_OPTIONS = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


class CannotBuild(Exception):
    """Why there is no console; one line."""


def digest(*files: Path) -> str:
    """Return a hash of the files' names and contents."""
    found = hashlib.sha256()
    for path in sorted(files):
        content = path.read_bytes()
        found.update(f"{path.relative_to(ROOT)} {len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()


def source_files() -> list[Path]:
    """Return what the console is made from."""
    found = [CATALOGUE]
    for folder, names, files in os.walk(SOURCES):
        names[:] = [name for name in names if name not in NOT_SOURCES]
        found += [Path(folder, name) for name in files if not name.endswith((".py", ".test.ts"))]
    return found


def is_fresh() -> bool:
    """Tell whether what is built was built from these sources."""
    if not (BUILT / "index.html").is_file() or not NOTE.is_file():
        return False
    return NOTE.read_text().strip() == digest(*source_files())


def build() -> bool:
    """Build the console where it is not fresh; return whether anything was done.

    Raises:
        CannotBuild: there is no usable Node.js, or it could not do it.
    """
    if not (SOURCES / "package.json").is_file():
        raise CannotBuild("the sources of the console are not here")
    if is_fresh():
        return False
    npm = _tools()
    lock = digest(SOURCES / "package-lock.json", SOURCES / "package.json")
    if not LOCK_NOTE.is_file() or LOCK_NOTE.read_text() != lock:
        _run(npm, "ci", *NPM_OPTIONS)
        LOCK_NOTE.write_text(lock)
    made_from = digest(*source_files())
    _run(npm, "run", "--silent", "build", "--", "--logLevel", "error")
    NOTE.write_text(made_from + "\n")
    return True


def _tools() -> str:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise CannotBuild("Node.js and npm are not installed")
    answer = subprocess.run(
        [node, "--version"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    version = tuple(map(int, re.findall(r"\d+", answer.stdout)[:2]))
    if version < NODE_MIN:
        wanted = ".".join(map(str, NODE_MIN))
        raise CannotBuild(f"Node.js {answer.stdout.strip() or '?'} is older than {wanted}")
    return npm


def _run(*words: str) -> None:
    try:
        done = subprocess.run(
            words, cwd=SOURCES, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotBuild(f"{' '.join(words[1:3])}: {error}") from error
    if done.returncode != 0:
        sys.stderr.write(done.stdout[-4000:] + done.stderr[-4000:])
        raise CannotBuild(f"`{Path(words[0]).name} {' '.join(words[1:3])}` failed")


def main(mode: str) -> int:
    """Build as *mode* says; return an exit status."""
    if mode == "skip":
        return 0
    try:
        if build():
            print("the web console is built")
    except CannotBuild as reason:
        print(f"the web console is not built: {reason}", file=sys.stderr)
        return 1 if mode == "require" else 0
    return 0


if __name__ == "__main__":
    asked = "require" if "--require" in sys.argv else os.environ.get("CACHEFLEET_CONSOLE", "auto")
    sys.exit(main(asked))
