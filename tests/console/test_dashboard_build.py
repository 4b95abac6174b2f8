"""The dashboard's own gates, and what is promised of its build."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cachefleet.api.console import CONSOLE_DIR, is_built

DASHBOARD = Path(__file__).resolve().parents[2] / "dashboard"
REASON_NOT_BUILT = "the web console is not built"
BUNDLE_KIB_MAX = 750
UNIT_TESTS_TIMEOUT_S = 400


def test_the_lock_file_names_no_registry() -> None:
    text = (DASHBOARD / "package-lock.json").read_text()
    assert '"resolved"' not in text
    assert "registry" not in text
    assert all(
        "integrity" in package
        for name, package in json.loads(text)["packages"].items()
        if name and not package.get("link")
    )


def test_versions_are_exact() -> None:
    package = json.loads((DASHBOARD / "package.json").read_text())
    wanted = {**package["dependencies"], **package["devDependencies"]}
    assert [name for name, version in wanted.items() if not re.fullmatch(r"[\d.]+", version)] == []


@pytest.mark.skipif(not is_built(), reason=REASON_NOT_BUILT)
def test_the_bundle_is_small() -> None:
    files = [path for path in CONSOLE_DIR.rglob("*") if path.suffix in (".js", ".css", ".html")]
    size = sum(len(gzip.compress(path.read_bytes(), 6)) for path in files)
    assert size / 1024 < BUNDLE_KIB_MAX


@pytest.mark.skipif(not is_built(), reason=REASON_NOT_BUILT)
def test_the_licences_of_what_is_bundled_come_along() -> None:
    licences = (CONSOLE_DIR / "licenses.md").read_text()
    assert "react" in licences
    assert "cloudscape" in licences
    assert (CONSOLE_DIR / "NOTICE.txt").is_file()


def test_the_page_runs_nothing_of_its_own() -> None:
    page = (DASHBOARD / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*src=)|<style|style=|https?://", page) == []


@pytest.mark.skipif(
    shutil.which("npm") is None or not (DASHBOARD / "node_modules").is_dir(),
    reason="the dashboard's packages are not installed",
)
def test_unit_tests_of_the_dashboard_pass() -> None:
    done = subprocess.run(
        ["npm", "test", "--silent"],
        cwd=DASHBOARD,
        capture_output=True,
        text=True,
        timeout=UNIT_TESTS_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
