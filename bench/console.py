"""The console with many groups: ``python -m bench.console``.

Groups are written to the database as they are recorded after a creation and served by an API
without nodes: what is measured is the page and the API that feeds it, not 1,500 processes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright
from tests.builders.groups import replication_group
from tests.console.browser import Console, launch, new_context, why_not

from bench.fleet import READY, START_TIMEOUT_S
from cachefleet import migrations
from cachefleet.api.console import CONSOLE_DIR
from cachefleet.control_plane import run_api
from cachefleet.provisioner.clock import SystemClock
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Store
from cachefleet.settings import Settings

GROUPS = 500
MEMBERS = 2
ROW_MS = 1500
INTERACTION_MS = 100
BUNDLE_KIB = 750
STREAM_KB_S = 50
WATCH_S = 10
ROW = "table tbody tr a[href*='/valkey/group/']"
SCOPE = Scope("000000000000", "us-east-1")
# From the act to the frame behind the one that shows it: what a person waits for.
TO_PAINT = """
async (act) => {
  const began = performance.now();
  document.querySelector(act).click();
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return performance.now() - began;
}
"""
INTERACTIONS = {
    "next page": "button[aria-label='Next page']",
    "sort": "thead th:nth-child(2) [role=button]",
    "select a row": "tbody tr:nth-child(2) input[type=checkbox]",
}


def bundle_kib() -> float:
    """Return the size of everything that a page can load, compressed."""
    files = [path for path in CONSOLE_DIR.rglob("*") if path.suffix in (".js", ".css", ".html")]
    return sum(len(gzip.compress(path.read_bytes(), 6)) for path in files) / 1024


async def populate(url: str, groups: int) -> None:
    """Record *groups* replication groups with two members each."""
    store = Store.open(url, clock=SystemClock())
    try:
        async with store.begin(SCOPE) as tx:
            for number in range(groups):
                await replication_group(
                    tx,
                    f"group-{number:04}",
                    member_count=MEMBERS,
                    engine="valkey",
                    engine_version="9.0.0",
                    parameter_group_name="default.valkey9",
                )
    finally:
        await store.aclose()


@contextlib.contextmanager
def api(url: str) -> Iterator[str]:
    """Serve the API of a database, without nodes; gives its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.console", "--serve", url], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line.startswith(READY):
            raise SystemExit(f"the API did not start: {line!r}")
        yield line.removeprefix(READY).strip()
    finally:
        process.terminate()
        process.wait(START_TIMEOUT_S)
        process.stdout.close()


def serve(url: str) -> None:
    """Serve the API alone; the command line would want PostgreSQL for that."""
    logging.disable(logging.WARNING)
    settings = Settings(port=0, database_url=url, log_level="error")
    asyncio.run(
        run_api(
            settings, on_ready=lambda host, port: print(READY + f"http://{host}:{port}", flush=True)
        )
    )


def first_row_ms(browser: Browser, url: str) -> float:
    """Return how long a browser that has nothing takes to show a row."""
    context = new_context(browser)
    page = Console(context, url).page
    began = time.perf_counter()
    page.goto(f"{url}/console/#/valkey")
    page.locator(ROW).first.wait_for()
    passed_ms = (time.perf_counter() - began) * 1000
    context.close()
    return passed_ms


def interactions_ms(page: Page, runs: int) -> dict[str, list[float]]:
    """Return how long each interaction takes until it is painted."""
    return {
        name: [float(page.evaluate(TO_PAINT, act)) for _ in range(runs)]
        for name, act in INTERACTIONS.items()
    }


def idle_kb_s(page: Page) -> float:
    """Return what a list page that is left alone transfers a second."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    received = [0]
    session.on("Network.dataReceived", lambda told: received.append(told["encodedDataLength"]))
    page.wait_for_timeout(WATCH_S * 1000)
    return sum(received) / 1000 / WATCH_S


def line(what: str, measured: str, target: str = "") -> None:
    """Print a row of the table."""
    print(f"| {what} | {measured} | {target} |", flush=True)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=GROUPS)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    if reason := why_not():
        raise SystemExit(f"nothing to measure: {reason}")
    print(f"{options.groups} groups of {MEMBERS}; load {os.getloadavg()[0]:.1f}\n")
    print("| what | measured | target |\n|---|---|---|")
    line("bundle, all of it, gzip", f"{bundle_kib():.0f} KiB", f"{BUNDLE_KIB} KiB")
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'records.db'}"
        migrations.upgrade(url)
        asyncio.run(populate(url, options.groups))
        with api(url) as address, sync_playwright() as playwright:
            browser = launch(playwright)
            cold = [first_row_ms(browser, address) for _ in range(options.runs)]
            line(
                "first row, cold",
                f"median {statistics.median(cold):.0f} ms, worst {max(cold):.0f} ms",
                f"{ROW_MS} ms",
            )
            page = Console(new_context(browser), address).open("/valkey")
            page.get_by_text(f"({options.groups})").first.wait_for()
            page.wait_for_timeout(1000)
            for name, found in interactions_ms(page, options.runs).items():
                told = f"median {statistics.median(found):.0f} ms, worst {max(found):.0f} ms"
                line(name, told, f"{INTERACTION_MS} ms")
            line("an idle list page", f"{idle_kb_s(page):.1f} kB/s", f"{STREAM_KB_S} kB/s")
            browser.close()


if __name__ == "__main__":
    main()
