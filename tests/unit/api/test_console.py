"""The console's files: headers that keep a page at home, caching, and what is said without them."""

from __future__ import annotations

import gzip
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from cachefleet.api.console import POLICY
from tests.unit.api import driver
from tests.unit.api.driver import Response, make_app, quiet_settings

SCRIPT = b"export const answer = 42;\n" * 100


async def send(app: FastAPI, **request: Any) -> Response:
    """Send a request and stay for the answer."""
    return await driver.send(app, stays=True, **request)


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """Give a directory as a build leaves it, with a secret beside it."""
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "console"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>console</title>")
    (folder / "assets" / "index-1a2b3c.js").write_bytes(SCRIPT)
    return folder


async def test_serves_the_page_under_a_strict_policy(built: Path) -> None:
    answer = await send(make_app(console_dir=built), method="GET", path="/console/")
    assert answer.status == 200
    assert b"<title>console</title>" in answer.body
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    assert "unsafe" not in POLICY
    assert "http" not in POLICY


async def test_assets_are_compressed_and_kept_for_ever(built: Path) -> None:
    answer = await send(
        make_app(console_dir=built),
        method="GET",
        path="/console/assets/index-1a2b3c.js",
        headers={"accept-encoding": "gzip"},
    )
    assert gzip.decompress(answer.body) == SCRIPT
    assert answer.headers["cache-control"].endswith("immutable")
    assert answer.headers["content-type"].startswith("text/javascript")


async def test_assets_that_the_build_compressed_are_sent_as_they_are(built: Path) -> None:
    copy = gzip.compress(SCRIPT + b"// of the build")
    (built / "assets" / "index-1a2b3c.js.gz").write_bytes(copy)
    app, path = make_app(console_dir=built), "/console/assets/index-1a2b3c.js"
    answer = await send(app, method="GET", path=path, headers={"accept-encoding": "gzip, br"})
    assert answer.body == copy
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.headers["cache-control"].endswith("immutable")
    assert answer.headers["vary"] == "accept-encoding"
    plain = await send(app, method="GET", path=path, headers={"accept-encoding": "identity"})
    assert plain.body == SCRIPT
    assert "content-encoding" not in plain.headers


async def test_a_page_that_is_known_is_not_sent_again(built: Path) -> None:
    app = make_app(console_dir=built)
    first = await send(app, method="GET", path="/console/")
    again = await send(
        app,
        method="GET",
        path="/console/",
        headers={"if-none-match": first.headers["etag"]},
    )
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize("path", ["/console/../secret.txt", "/console/assets/../../secret.txt"])
async def test_serves_nothing_from_elsewhere(built: Path, path: str) -> None:
    answer = await send(make_app(console_dir=built), method="GET", path=path)
    assert answer.status == 404
    assert b"secret" not in answer.body


async def test_a_browser_is_told_how_to_make_a_console(tmp_path: Path) -> None:
    answer = await send(make_app(console_dir=tmp_path / "none"), method="GET", path="/console/")
    assert answer.status == 200
    assert b"make console" in answer.body
    assert answer.headers["content-security-policy"] == POLICY


async def test_finds_a_console_that_is_built_meanwhile(tmp_path: Path) -> None:
    app = make_app(console_dir=tmp_path)
    assert b"make console" in (await send(app, method="GET", path="/console/")).body
    (tmp_path / "index.html").write_text("here it is")
    assert (await send(app, method="GET", path="/console/")).body == b"here it is"


async def test_tells_a_page_what_it_needs_before_a_sign_in(built: Path) -> None:
    settings = quiet_settings(auth="enforce", account_id="123456789012")
    answer = await send(
        make_app(console_dir=built, settings=settings), method="GET", path="/console/config.json"
    )
    told = json.loads(answer.body)
    assert told["auth"] == "enforce"
    assert told["account_id"] == "123456789012"
    assert datetime.fromisoformat(told["now"]).tzinfo is not None
    assert answer.headers["cache-control"] == "no-store"
    assert "secret" not in answer.body.decode()


async def test_refuses_a_stranger(built: Path) -> None:
    answer = await send(
        make_app(console_dir=built),
        method="GET",
        path="/console/config.json",
        headers={"host": "evil.example"},
    )
    assert answer.status == 403
