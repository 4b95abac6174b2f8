"""The console as a person uses it: the system's Chromium, found where it is, and a watched page."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Locator, Page, Playwright, expect

from cachefleet.api.console import is_built

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_MS = 30_000
SETTLED_WITHIN_S = 10.0
SETTLED_POLL_MS = 100
VIEWPORT = (1400, 1000)
AXE = Path(__file__).resolve().parents[2] / "dashboard" / "node_modules" / "axe-core" / "axe.min.js"
# What the browser itself says where a request is answered with an error, which tests provoke.
EXPECTED = ("Failed to load resource",)


def why_not() -> str | None:
    """Return why there is nothing to test here, or None."""
    if not is_built():
        return "the web console is not built"
    return None if executable() else "there is no Chromium"


def executable() -> str | None:
    """Return the path of a Chromium of the system."""
    return next((path for path in map(shutil.which, BROWSERS) if path), None)


def launch(playwright: Playwright) -> Browser:
    """Start the system's Chromium without a window."""
    expect.set_options(timeout=PATIENCE_MS)
    return playwright.chromium.launch(
        executable_path=executable(), args=["--no-sandbox", "--disable-dev-shm-usage"]
    )


def new_context(browser: Browser, **options: Any) -> BrowserContext:
    """Return a browser as somebody opens it for the first time."""
    width, height = VIEWPORT
    context = browser.new_context(
        **{"viewport": {"width": width, "height": height}, "reduced_motion": "reduce", **options}
    )
    context.set_default_timeout(PATIENCE_MS)
    return context


class Console:
    """One page of the console, and everything that it said and asked for."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        self.page: Page = context.new_page()
        self.complaints: list[str] = []
        self.strangers: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._see)

    def open(self, path: str) -> Page:
        """Go to a path of the console."""
        self.page.goto(f"{self.url}/console/#{path}")
        return self.page

    def require_clean(self) -> None:
        """Fail where the page complained, or asked anybody but its own server."""
        assert self.complaints == []
        assert self.strangers == []

    def _hear(self, message: Any) -> None:
        if message.type == "error" and not message.text.startswith(EXPECTED):
            self.complaints.append(message.text)

    def _see(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.strangers.append(request.url)


def violations(page: Page) -> list[str]:
    """Return what axe finds on the page that is serious, in a line each.

    A table makes its scrolling part reachable by keyboard once it knows its width: a finding counts
    if it is still there at the deadline.
    """
    page.evaluate(AXE.read_text())
    ends_at_s = time.monotonic() + SETTLED_WITHIN_S
    while (found := _violations(page)) and time.monotonic() < ends_at_s:
        page.wait_for_timeout(SETTLED_POLL_MS)
    return found


def _violations(page: Page) -> list[str]:
    found = page.evaluate(
        "() => axe.run(document, {resultTypes: ['violations']}).then((result) => result.violations)"
    )
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def field(page: Page, label: str) -> Locator:
    """Return what one types into under this label; tables have labels of the same name."""
    return page.locator("input, textarea").and_(page.get_by_label(label, exact=True))


def fill(page: Page, label: str, text: str) -> None:
    """Type into the field that has this label."""
    field(page, label).fill(text)


def choose(page: Page, label: str, option: str) -> None:
    """Choose from the list that has this label."""
    page.get_by_role("button", name=label).first.click()
    page.get_by_role("option", name=option).first.click()
