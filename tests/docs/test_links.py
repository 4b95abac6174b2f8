"""Links lead somewhere, commands that pages show exist, and pages are found from the index."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs import reference
from tests.docs.runner import ROOT, blocks_of

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^\$? ?(?:\w+=\S+ )*cachefleet ([^|#&\n]+)", re.MULTILINE)
MAKE = re.compile(r"\bmake ((?:[a-z][a-z-]* ?)+)")
MAKE_LINE = re.compile(r"^(?:    )?(make [a-z -]+?)(?: +#.*)?$", re.MULTILINE)
PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "openapi/*.md", "bench/*.md")
    for path in ROOT.glob(pattern)
)


def links_of(page: str) -> Iterator[str]:
    """Return the targets of a page's links, those in code left out."""
    yield from LINK.findall(FENCED.sub("", (ROOT / page).read_text()))


@functools.cache
def anchors_of(path: Path) -> frozenset[str]:
    """Return the anchors that the forge gives a page's headings."""
    headings = HEADING.findall(FENCED.sub("", path.read_text()))
    return frozenset(
        re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    )


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in links_of(page):
        if link.startswith(("https://", "http://")):
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def test_index_leads_to_every_page() -> None:
    folder = ROOT / "docs"
    linked = {(folder / link.partition("#")[0]).resolve() for link in links_of("docs/README.md")}
    for path in folder.rglob("*.md"):
        assert path.name == "README.md" or path.resolve() in linked, path


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist(page: str) -> None:
    known = reference.commands()
    for block in blocks_of(ROOT / page):
        for words in COMMAND.findall(block.text):
            name = next((n for n in known if f"{words.strip()} ".startswith(f"{n} ")), None)
            assert name is not None, f"{page}:{block.line}: cachefleet {words}"
            options = {opt for parameter in known[name].params for opt in parameter.opts}
            assert set(re.findall(r"--[a-z-]+", words)) <= options, f"{page}:{block.line}: {words}"


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = (ROOT / page).read_text()
    code = "\n".join([*re.findall(r"`(make [^`\n]+)`", text), *MAKE_LINE.findall(text)])
    for words in MAKE.findall(code):
        assert set(words.split()) <= targets, f"{page}: make {words}"
