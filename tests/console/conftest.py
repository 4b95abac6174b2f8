"""One server with the console and one Chromium for the room; a fresh context for each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.console.browser import Console, launch, new_context, why_not
from tests.support.server import Server

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

REASON = why_not()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a browser and a built console, where one of them is missing."""
    for item in items:
        if "console" in getattr(item, "fixturenames", ()) and REASON:
            item.add_marker(pytest.mark.skip(reason=REASON))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a server that all tests share."""
    folder = tmp_path_factory.mktemp("console") / "data"
    with Server(folder, "--allow-faults", "--log-level", "info") as server:
        yield server


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Give the system's Chromium."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """Give a browser that has seen nothing yet."""
    context = new_context(browser)
    yield context
    context.close()


@pytest.fixture
def console(server: Server, context: BrowserContext) -> Iterator[Console]:
    """Give a page of the console, which has to have been clean at the end."""
    console = Console(context, server.url)
    yield console
    console.require_clean()


@pytest.fixture
def client(server: Server) -> ElastiCacheClient:
    """Give a boto3 client of the account that the console shows first."""
    return server.client()
