"""How to start the server as a process of its own, for whoever supervises it."""

from __future__ import annotations

import os
import sys


def command() -> list[str]:
    """The start of the argv; memcached's options follow.

    ``-I -S`` keeps environment and site directories out: half the start-up time, and
    nothing a user has installed can get into a cache node.
    """
    here = os.path.dirname(os.path.abspath(__file__))
    return [sys.executable, "-I", "-S", os.path.join(here, "__main__.py")]
