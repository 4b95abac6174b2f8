"""Runs a page as a reader would: its fenced blocks in order, in one shell, against a real server.

``sh`` and ``python`` blocks are run; a ``text`` block is what the blocks since the last one
printed, with ``...`` for what may be anything. ``sh foreground`` starts the server, which the test
has done, and ``text sample`` is shown only.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.server import Server, clean_environment

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\S+)(?: (\S+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
URL = "http://127.0.0.1:8379"  # where pages say that the server is
NETWORK = "127.100.0."  # and what they say that addresses begin with
TIMEOUT_S = 570.0  # the longest page has some fifty commands of the aws-cli, a second each


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block; *line* is where it begins."""

    language: str
    note: str
    text: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    """Return every fenced block of a page, in order."""
    text = page.read_text()
    return [
        Block(match[1], match[2] or "", match[3], text.count("\n", 0, match.start()) + 1)
        for match in FENCE.finditer(text)
    ]


def run_page(page: Path, server: Server, folder: Path) -> int:
    """Run a page's blocks and compare what they print; return how many were compared.

    Raises:
        AssertionError: a block failed, or printed something else than the page says.
    """
    blocks = blocks_of(page)
    runnable = [block for block in blocks if _is_run(block)]
    assert runnable, f"{page.name} has nothing to run"
    starts_its_own = any("cachefleet serve" in block.text for block in runnable)
    script = "\n".join(
        ["set -euo pipefail", *(_scripted(block, server, folder) for block in runnable)]
    )
    outcome = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        env=_environment(None if starts_its_own else server, folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    last = max((b.line for b in runnable if _output(b, folder).exists()), default=0)
    said = _output(next(b for b in runnable if b.line == last), folder).read_text() if last else ""
    assert outcome.returncode == 0, (
        f"{page.name}, block at line {last}: {said}{outcome.stderr}\n{server.log}"
    )
    return _compare(page, blocks, server, folder)


def _compare(page: Path, blocks: list[Block], server: Server, folder: Path) -> int:
    printed, compared = "", 0
    for block in blocks:
        if _is_run(block):
            printed += _output(block, folder).read_text()
        elif block.language == "text":
            if block.note != "sample":
                expected = block.text.replace(NETWORK, server.network.removesuffix("0/24"))
                pattern = re.escape(expected.strip()).replace(r"\.\.\.", ".*")
                assert re.fullmatch(pattern, printed.strip(), re.DOTALL), (
                    f"{page.name}:{block.line} says\n{expected}\nand what was printed is\n{printed}"
                )
                compared += 1
            printed = ""
    return compared


def _is_run(block: Block) -> bool:
    return block.language in ("sh", "python") and not block.note


def _scripted(block: Block, server: Server, folder: Path) -> str:
    text = block.text.replace(URL, server.url)
    if block.language == "python":
        text = f"python - <<'END_OF_BLOCK'\n{text}END_OF_BLOCK\n"
    return f"{{\n{text}}} > {shlex.quote(str(_output(block, folder)))} 2>&1"


def _output(block: Block, folder: Path) -> Path:
    return folder / f"block-{block.line}"


def _environment(server: Server | None, folder: Path) -> dict[str, str]:
    """Return an environment in which no AWS settings of a developer count."""
    kept = {name: value for name, value in clean_environment().items() if name[:4] != "AWS_"}
    programs = os.pathsep.join((str(Path(sys.executable).parent), kept["PATH"]))
    nowhere = str(folder / "nowhere")
    return {
        **kept,
        "PATH": programs,
        **({} if server is None else {"CACHEFLEET_DATA_DIR": str(server.data_dir)}),
        "AWS_CONFIG_FILE": nowhere,
        "AWS_SHARED_CREDENTIALS_FILE": nowhere,
        "AWS_PAGER": "",
    }
