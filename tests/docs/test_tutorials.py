"""What the pages tell a reader to type works, and prints what they say it prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.runner import ROOT, run_page
from tests.support.server import Server


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_page(page: str, tmp_path: Path) -> None:
    with Server(tmp_path / "data", "--ephemeral") as server:
        run_page(ROOT / page, server, tmp_path)
