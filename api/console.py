"""The web console: built files at ``/console/``, and what they have to know before a sign-in.

Everything is served with a policy under which a page can talk to this server only, and run and
show nothing but what came from here. A build without the console says how to make one.
"""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

import cachefleet
from cachefleet.api.settings import ApiSettings
from cachefleet.provisioner.clock import Clock

CONSOLE_DIR: Final = Path(cachefleet.__file__).parent / "_console"
PATH: Final = "/console"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}
# Names of built files carry a hash of what is in them: they never change.
_FOREVER: Final = "public, max-age=31536000, immutable"
_ASK_AGAIN: Final = "no-cache"
COMPRESS_BYTES_MIN: Final = 1024
COMPRESSED: Final = ".gz"

NOT_BUILT: Final = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>cachefleet</title></head>
<body>
<h1>This is cachefleet</h1>
<p>It answers the Amazon ElastiCache API at this address. This build has no web console.</p>
<p>To have one, install Node.js 20.19 or newer with npm, and in the source directory run</p>
<pre>make console</pre>
<p>and reload this page. Packages that were built where Node.js is bring the console along.</p>
<p>Without it, all of this works:</p>
<pre>aws elasticache describe-replication-groups --endpoint-url http://THIS-ADDRESS</pre>
</body>
</html>
"""


def is_built(directory: Path = CONSOLE_DIR) -> bool:
    """Tell whether there is a console to serve."""
    return (directory / "index.html").is_file()


def add_console(
    app: FastAPI, settings: ApiSettings, clock: Clock, directory: Path = CONSOLE_DIR
) -> None:
    """Serve the console of *directory*, and explain it where there is none."""

    @app.get(f"{PATH}/config.json", include_in_schema=False)
    async def config() -> JSONResponse:
        """Say what a page needs to sign requests; no secret is among it."""
        told: dict[str, Any] = {
            "version": cachefleet.__version__,
            "auth": settings.auth,
            "account_id": settings.account_id,
            "region": settings.default_region,
            "now": clock.now().isoformat(timespec="milliseconds"),
        }
        return JSONResponse(told, headers={**_HEADERS, "cache-control": "no-store"})

    files = ConsoleFiles(directory)
    app.mount(PATH, GZipMiddleware(files, minimum_size=COMPRESS_BYTES_MIN), name="console")


def _content_type(path: str) -> str:
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


class ConsoleFiles(StaticFiles):
    """The built files, each with the headers that it needs."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory, html=True, check_dir=False)
        self._built = directory

    async def check_config(self) -> None:
        """Accept a directory that is not there: that is answered, not raised."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answer one file; looks for a build each time, so that one made meanwhile is found."""
        if not is_built(self._built):
            return HTMLResponse(NOT_BUILT, headers={**_HEADERS, "cache-control": "no-store"})
        response = await self._compressed(path, scope) or await super().get_response(path, scope)
        is_asset = path.startswith("assets/") and response.status_code < 400
        response.headers.update(_HEADERS)
        response.headers["cache-control"] = _FOREVER if is_asset else _ASK_AGAIN
        return response

    async def _compressed(self, path: str, scope: Scope) -> Response | None:
        """Answer with the copy that the build has compressed, where there is one and it may be."""
        if not path.startswith("assets/") or "gzip" not in Headers(scope=scope).get(
            "accept-encoding", ""
        ):
            return None
        _, found = await anyio.to_thread.run_sync(self.lookup_path, path + COMPRESSED)
        if found is None:
            return None
        response = await super().get_response(path + COMPRESSED, scope)
        response.headers["content-type"] = _content_type(path)
        response.headers["content-encoding"] = "gzip"
        response.headers["vary"] = "accept-encoding"
        return response

    def is_not_modified(self, response_headers: Headers, request_headers: Headers) -> bool:
        """Answer 304 by ETag alone: a build may put an older file in a newer one's place."""
        return "if-none-match" in request_headers and super().is_not_modified(
            response_headers, request_headers
        )
