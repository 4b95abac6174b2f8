"""What the pages tell a reader to type works, and prints what they say it prints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.runner import ROOT, run_page
from tests.support.server import Server

FIRST_PAGES = ["README.md", "docs/tutorial.md"]  # they show addresses as a new server gives them
PAGES = [
    "docs/security.md",
    "docs/configuration.md",
    "docs/patterns.md",
    "docs/global-datastores.md",
    "docs/serverless.md",
    "docs/guides/aws-cli.md",
    "docs/guides/boto3.md",
    "docs/guides/cdk.md",
    "docs/guides/ci.md",
    "docs/service-updates.md",  # last: it gives the server that all share a new authority
]

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("pages") / "data", "--ephemeral") as running:
        yield running


@pytest.mark.parametrize("page", FIRST_PAGES)
def test_first_page(page: str, tmp_path: Path) -> None:
    with Server(tmp_path / "data", "--ephemeral") as server:
        assert run_page(ROOT / page, server, tmp_path) > 0


@pytest.mark.parametrize("page", PAGES)
def test_page(page: str, server: Server, tmp_path: Path) -> None:
    assert run_page(ROOT / page, server, tmp_path) > 0
