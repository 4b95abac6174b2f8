"""What a second thread would bring the bundled memcached: one loop, or two in one process.

    python -m bench.memserver_threads [--pairs 5] [--pure]

Two loops here share nothing but the interpreter: a server that shared its items would do no better.
One load is sent to one loop, or half of it to each of two, in turn. Two processes are measured as
well: that is what the cores would give. Items of two processes are two caches, so it is no way out.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.memcached import free_port, serving
from cachefleet.engine.memserver.launch import command
from cachefleet.engine.memserver.server import PURE_VARIABLE, Server
from cachefleet.engine.memserver.settings import Settings

REQUESTS = 60_000


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--pure", action="store_true", help="without the C module")
    parser.add_argument("--serve", nargs="+", type=int, metavar="PORT", help="be the server")
    options = parser.parse_args()
    if options.pure:
        os.environ[PURE_VARIABLE] = "1"
    if options.serve:
        serve(options.serve)
        return
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        mcload = folder / "mcload"
        source = Path(__file__).with_name("mcload.c")
        subprocess.run(["cc", "-O2", "-o", str(mcload), str(source)], check=True)
        setups = {
            "one thread": stack.enter_context(threads(1)),
            "two threads": stack.enter_context(threads(2)),
            "two processes": stack.enter_context(processes(2)),
        }
        rates: dict[str, list[float]] = {name: [] for name in setups}
        for _ in range(options.pairs):
            for name, ports in setups.items():
                rates[name].append(load(mcload, ports))
    first = rates["one thread"]
    for name, found in rates.items():
        ratio = statistics.median(a / b for a, b in zip(found, first, strict=True))
        print(f"| {name} | {statistics.median(found):.0f}/s | {ratio:.2f} |")


def serve(ports: Sequence[int]) -> None:
    """Run a loop for each port, each in a thread of its own."""
    servers = []
    for port in ports:
        settings = Settings()
        settings.port, settings.listen = port, ["127.0.0.1"]
        server = Server(settings)
        server.open()
        servers.append(server)
    running = [threading.Thread(target=server.run) for server in servers]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


@contextlib.contextmanager
def threads(count: int) -> Iterator[list[int]]:
    """Run *count* loops in one process; gives their ports."""
    ports = [free_port() for _ in range(count)]
    argv = [sys.executable, "-m", "bench.memserver_threads", "--serve", *map(str, ports)]
    with serving(argv, ports[-1]):
        yield ports


@contextlib.contextmanager
def processes(count: int) -> Iterator[list[int]]:
    """Run *count* servers; gives their ports."""
    ports = [free_port() for _ in range(count)]
    with contextlib.ExitStack() as stack:
        for port in ports:
            argv = [*command(), "-l", "127.0.0.1", "-p", str(port)]
            stack.enter_context(serving(argv, port))
        yield ports


def load(mcload: Path, ports: Sequence[int]) -> float:
    """Return how many requests a second all ports answered together, 50 connections in all."""
    requests, connections = REQUESTS // len(ports), 50 // len(ports)
    clients = [
        subprocess.Popen(
            [str(mcload), "127.0.0.1", str(port), f"requests={requests}", f"conns={connections}",
             "fill=1"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for port in ports
    ]  # fmt: skip
    rates = [float(client.communicate()[0].split()[0]) for client in clients]
    return sum(rates)


if __name__ == "__main__":
    main()
