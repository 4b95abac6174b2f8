"""``python -m cachefleet.engine.feed --links PATH --state PATH --control PATH``: the feed worker.

It carries out what the links file says, with or without a living control plane, until SIGTERM,
SIGINT or ``stop``. A missing or illegal file is no reason to exit: the control plane reads the
error on the control socket and writes a better one.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from cachefleet.engine.feed.control import ControlServer
from cachefleet.engine.feed.links import IllegalLinks
from cachefleet.engine.feed.service import FeedService
from cachefleet.engine.loops import new_event_loop

EXIT_UNUSABLE = 2

log = logging.getLogger("cachefleet.engine.feed")


async def serve(*, links_path: Path, state_path: Path, control_path: Path) -> int:
    """Run until asked to stop; returns the exit status."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    service = FeedService(links_path, state_path)
    control = ControlServer(control_path, service, stopping.set)
    keeping = asyncio.create_task(service.keep())
    try:
        try:
            await service.reload()
        except IllegalLinks as error:
            log.warning("started_without_links reason=%s", error)
        await control.open()
        await stopping.wait()
    except OSError as error:
        sys.stderr.write(f"cachefleet feed: {control_path}: {error}\n")
        return EXIT_UNUSABLE
    finally:
        keeping.cancel()
        await control.close()
        await service.stop()
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m cachefleet.engine.feed")
    for name, what in (
        ("--links", "the links file"),
        ("--state", "where it is kept how far targets are"),
        ("--control", "the control socket"),
    ):
        parser.add_argument(name, type=Path, required=True, help=what)
    parser.add_argument("--log-level", default="WARNING", choices=["INFO", "WARNING", "ERROR"])
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=options.log_level, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(
            serve(links_path=options.links, state_path=options.state, control_path=options.control)
        )


if __name__ == "__main__":
    sys.exit(main())
