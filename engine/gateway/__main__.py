"""``python -m cachefleet.engine.gateway --routes PATH --control PATH``: the gateway worker.

It serves what the routes file says, with or without a living control plane, until SIGTERM,
SIGINT or ``stop``, and prints ``ready`` once it answers on the control socket. A missing or
illegal routes file is no reason to exit: the control plane reads the error on the control
socket and writes a better one. Exit status: 0 after an orderly
stop, 2 when the arguments are unusable or another gateway owns the control path.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import resource
import signal
import sys
import time
from pathlib import Path

from cachefleet.engine.gateway.control_server import AnotherGateway, ControlServer
from cachefleet.engine.gateway.routes import IllegalRoutes
from cachefleet.engine.gateway.server import Gateway
from cachefleet.engine.loops import new_event_loop

DESCRIPTORS_WANTED = 262_144
DESCRIPTORS_RESERVED = 256  # listeners, the control socket, files: not for links
DESCRIPTORS_PER_LINK = 2
EXIT_UNUSABLE = 2

log = logging.getLogger("cachefleet.engine.gateway")


async def serve(*, routes_path: Path, control_path: Path) -> int:
    """Run until asked to stop; returns the exit status."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    gateway = Gateway(routes_path, connections_ceiling=connections_ceiling(), clock=time.monotonic)
    control = ControlServer(control_path, gateway=gateway, stop=stopping.set)
    try:
        # Before the routes: a second gateway must not bind what the first one could not.
        control.claim()
    except (AnotherGateway, OSError) as error:
        sys.stderr.write(f"cachefleet gateway: {error}\n")
        return EXIT_UNUSABLE
    try:
        try:
            await gateway.reload()
        except IllegalRoutes:
            log.warning("started_without_routes")
        # After the routes: whoever gets an answer here may rely on what is bound.
        await control.open()
        with contextlib.suppress(OSError):  # nobody has to listen
            sys.stdout.write("ready\n")
            sys.stdout.flush()
        await stopping.wait()
    except OSError as error:
        sys.stderr.write(f"cachefleet gateway: {control_path}: {error}\n")
        return EXIT_UNUSABLE
    finally:
        await control.close()
        await gateway.stop()
    return 0


def connections_ceiling() -> int:
    """Raise the soft descriptor limit, and return how many links the result allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_WANTED
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    descriptors = wanted if soft == resource.RLIM_INFINITY else soft
    return max(1, (descriptors - DESCRIPTORS_RESERVED) // DESCRIPTORS_PER_LINK)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m cachefleet.engine.gateway")
    parser.add_argument("--routes", type=Path, required=True, help="the routes file")
    parser.add_argument("--control", type=Path, required=True, help="the control socket")
    parser.add_argument("--log-level", default="WARNING", choices=["INFO", "WARNING", "ERROR"])
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=options.log_level, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(serve(routes_path=options.routes, control_path=options.control))


if __name__ == "__main__":
    sys.exit(main())
