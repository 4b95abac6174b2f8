"""The bundled memcached against memcached itself: same load, same machine, same minutes.

    python bench/memcached.py [--pairs 5] [--scale 1.0] [--pure] [get set ...]

Builds ``mcload`` with the C compiler, starts both servers (memcached with one thread, as
ours has), and runs each load on one and then the other, as many pairs as asked. Printed are
medians: requests per second, 99th percentile, processor time per request, and the ratio.
Throughput depends on what else the machine does; processor time much less.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cachefleet.engine.memserver.launch import command
from cachefleet.engine.memserver.server import PURE_VARIABLE, quick_module

START_S_MAX = 10.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
MEMORY_MB = 1024
MILLION = 1_000_000


@dataclass(frozen=True)
class Load:
    """One kind of traffic; ``ratio_min`` is what we want of memcached's throughput."""

    name: str
    requests: int
    options: tuple[str, ...]
    ratio_min: float


LOADS = [
    Load("get", 200_000, (), 0.85),
    Load("set", 200_000, ("sets=100",), 0.85),
    Load("get-pipeline-20", 600_000, ("pipeline=20",), 3.0),
    Load("multiget-50", 20_000, ("multiget=50", "keys=1000"), 1.0),
    Load("mixed-90-10", 200_000, ("keys=1000000", "sets=10"), 0.8),
]


@dataclass(frozen=True)
class Run:
    """What one run of the load generator said, and what it cost the server."""

    per_s: float
    p99_us: float
    cpu_us: float


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def serving(argv: list[str], port: int) -> Iterator[int]:
    """Run a server until the block ends; its process id."""
    process = subprocess.Popen(argv)
    deadline = time.monotonic() + START_S_MAX
    try:
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"{argv[0]} does not listen")
            time.sleep(0.01)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MILLION


def run(mcload: Path, port: int, pid: int, load: Load, scale: float, *, fill: bool) -> Run:
    requests = max(int(load.requests * scale), 1000)
    options = [*load.options, f"requests={requests}", f"fill={int(fill)}"]
    before = cpu_s(pid)
    result = subprocess.run(
        [str(mcload), "127.0.0.1", str(port), *options], capture_output=True, text=True, check=True
    )
    per_s, _, p99 = map(float, result.stdout.split())
    return Run(per_s, p99, (cpu_s(pid) - before) / requests * 1e6)


def median(runs: list[Run], name: str) -> float:
    values: list[float] = [getattr(one, name) for one in runs]
    return statistics.median(values)


def compare(
    mcload: Path, servers: list[tuple[str, int, int]], load: Load, pairs: int, scale: float
) -> None:
    """Run *load* on both servers in turn and print a row for each, and the ratio."""
    for _, port, pid in servers:
        run(mcload, port, pid, Load(load.name, 1000, load.options, 0), 1.0, fill=True)
    runs: dict[str, list[Run]] = {name: [] for name, _, _ in servers}
    for _ in range(pairs):
        for name, port, pid in servers:
            runs[name].append(run(mcload, port, pid, load, scale, fill=False))
    for name, _, pid in servers:
        some = runs[name]
        print(
            f"{load.name:16} {name:11} {median(some, 'per_s'):9.0f}/s "
            f"p99 {median(some, 'p99_us'):7.0f} us  cpu {median(some, 'cpu_us'):6.2f} us/request "
            f"resident {resident_mb(pid):5.0f} MB"
        )
    theirs, ours = (runs[name] for name, _, _ in servers)
    per_s = statistics.median(b.per_s / a.per_s for a, b in zip(theirs, ours, strict=True))
    cpu = median(theirs, "cpu_us") / max(median(ours, "cpu_us"), 0.01)
    p99 = median(ours, "p99_us") / median(theirs, "p99_us")
    verdict = "reached" if per_s >= load.ratio_min else "missed"
    print(
        f"{'':16} ours/theirs: throughput {per_s:.2f} (wanted {load.ratio_min:.2f}, {verdict}), "
        f"per processor second {cpu:.2f}, p99 {p99:.2f}",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("loads", nargs="*", help=", ".join(load.name for load in LOADS))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of requests")
    parser.add_argument("--pure", action="store_true", help="ours without its C module")
    options = parser.parse_args()
    if options.pure:
        os.environ[PURE_VARIABLE] = "1"
    print(f"ours {'with' if quick_module() else 'without'} the C module", flush=True)
    memcached, compiler = shutil.which("memcached"), shutil.which("cc")
    if memcached is None or compiler is None:
        print("needs memcached and cc", file=sys.stderr)
        return 2
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        mcload = folder / "mcload"
        source = Path(__file__).with_name("mcload.c")
        subprocess.run([compiler, "-O2", "-o", str(mcload), str(source)], check=True)
        user = ["-u", "root"] if os.geteuid() == 0 else []
        common = ["-l", "127.0.0.1", "-m", str(MEMORY_MB), "-t", "1"]
        servers = []
        for name, argv in (("memcached", [memcached, *user]), ("cachefleet", command())):
            port = free_port()
            pid = stack.enter_context(serving([*argv, *common, "-p", str(port)], port))
            servers.append((name, port, pid))
        for load in LOADS:
            if not options.loads or load.name in options.loads:
                compare(mcload, servers, load, options.pairs, options.scale)
    return 0


if __name__ == "__main__":
    sys.exit(main())
