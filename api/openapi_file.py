"""Writes the OpenAPI document of this build, or compares it with the one that is committed.

python -m cachefleet.api.openapi_file [--check] [PATH]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from cachefleet.api.app import create_app
from cachefleet.api.rest.openapi import render
from cachefleet.api.settings import ApiSettings
from cachefleet.provisioner.clock import SystemClock
from cachefleet.provisioner.state.store import Store

DOCUMENT = Path("openapi/cachefleet.json")


def document() -> dict[str, Any]:
    """Return the document of this build; no database is opened for it."""
    clock = SystemClock()
    app = create_app(
        store=Store.open("sqlite:///nowhere.db", clock=clock),
        settings=ApiSettings(),
        catalog=None,
        clock=clock,
    )
    made: dict[str, Any] = app.state.description()
    return made


def main() -> None:
    """Write the document, or say whether the one that is there is this one."""
    parser = argparse.ArgumentParser(description="Write the OpenAPI document.")
    parser.add_argument("path", nargs="?", type=Path, default=DOCUMENT)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    options = parser.parse_args()
    text = render(document())
    if not options.check:
        options.path.write_text(text)
    elif not options.path.exists() or options.path.read_text() != text:
        sys.exit(f"{options.path} is not what the sources say: make openapi")


if __name__ == "__main__":
    main()
