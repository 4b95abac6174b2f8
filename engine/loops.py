"""The event loop that our processes run on: uvloop where there is a build of it, else asyncio's."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

log = logging.getLogger(__name__)

# What uvloop says when its TLS layer answers a peer whose connection has just been closed: the
# peer is gone, the connection is counted as lost, and there is nothing that anybody could mend.
CLOSED_MEANWHILE = "the handler is closed"


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a new loop, which logs what no task has caught."""
    try:
        import uvloop
    except ImportError:  # everything works, only slower
        loop = asyncio.new_event_loop()
    else:
        loop = uvloop.new_event_loop()
    loop.set_exception_handler(_log_uncaught)
    return loop


def _log_uncaught(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Leave to asyncio whatever is a mistake; an end of a connection is none."""
    error = context.get("exception")
    if isinstance(error, RuntimeError) and CLOSED_MEANWHILE in str(error):
        log.debug("a connection was closed while TLS had something to send")
        return
    loop.default_exception_handler(context)
