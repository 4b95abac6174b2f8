"""What ``cachefleet`` says once it is ready: where it is, and which doors stand open."""

from __future__ import annotations

import sys
from collections.abc import Callable

from cachefleet.api.console import is_built
from cachefleet.serving import url_of
from cachefleet.settings import Settings

LOOPBACK_NAMES = frozenset({"127.0.0.1", "::1", "localhost"})


def warn_of_open_doors(settings: Settings) -> None:
    """Say so where everybody who reaches the API may create and delete caches."""
    if settings.auth == "off" and settings.host not in LOOPBACK_NAMES:
        print(
            f"cachefleet: warning: the API listens on {settings.host} with auth off: "
            "whoever reaches it can create and delete caches",
            file=sys.stderr,
        )


def note_missing_console() -> None:
    """Say so where the web console was not built into this package."""
    if not is_built():
        print(
            "cachefleet: this build has no web console; /console/ says how to make one",
            file=sys.stderr,
        )


def say_ready(settings: Settings) -> Callable[[str, int], None]:
    """Return what tells people, and scripts that wait for the line, where the API is."""

    def say(host: str, port: int) -> None:
        warn_of_open_doors(settings)
        note_missing_console()
        print(f"cachefleet is ready on {url_of(host, port)}", flush=True)

    return say


def say_provisioner_ready(host: str, port: int) -> None:
    """Tell people, and scripts that wait for the line, that nodes are run."""
    if port and host not in LOOPBACK_NAMES:
        print(
            f"cachefleet: warning: metrics are served on {host}: whoever reaches it reads the "
            "names of caches",
            file=sys.stderr,
        )
    where = f"; metrics are on {url_of(host, port)}/metrics" if port else ""
    print(f"cachefleet provisioner is ready{where}", flush=True)
