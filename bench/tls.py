"""Measure TLS and the gateway: throughput beside what the engines do themselves, and memory.

    python -m bench.tls [--rounds 5] [--seconds 1.0] [--idle 1000]

In one run, in pairs: ratios are the median over rounds, with their range. Plain through the gateway
beside the same engine direct; TLS through the gateway beside the TLS of a redis-server; memory of
the gateway with idle TLS connections. The client is redis-benchmark, in C, which leaves the core to
the server; in plain there is also one of our own, which needs more time itself, so that it minds
less what stands between. In parentheses: processor time of engine and gateway for a batch.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import ssl
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from bench.gateway import (
    GET,
    GET_REPLY_BYTES,
    HOST,
    answers,
    benchmark_rate,
    compare,
    engine_command,
    free_port,
    own_rate,
    rss_kib,
    running,
    store,
    wait_until,
)
from cachefleet.engine import pki

WANTED = "wanted: plain 0.40, TLS 0.60, 60 MB"


def idle(pid: int, port: int, count: int, trusted: str) -> None:
    """Print what *count* TLS connections that each said one thing cost the gateway."""
    context = ssl.create_default_context(cafile=trusted)
    fresh = rss_kib(pid)
    held = []
    for _ in range(count):
        sock = context.wrap_socket(socket.create_connection((HOST, port)), server_hostname=HOST)
        sock.sendall(GET)
        while len(sock.recv(4096)) < GET_REPLY_BYTES:
            pass
        held.append(sock)
    now = rss_kib(pid)
    print(
        f"memory     {count:,} idle TLS connections: {(now - fresh) / 1024:.1f} MiB more, "
        f"{now / 1024:.1f} MiB in all"
    )
    for sock in held:
        sock.close()


def certificate(folder: Path) -> tuple[str, str, str]:
    """Write an authority and a pair that it issued; return the paths of authority, pair."""
    now = datetime.now(UTC)
    authority = pki.new_authority(fleet="bench", now=now)
    pair = pki.issue(
        authority, pki.Identity(common_name="bench", addresses=(HOST,), names=()), now=now
    )
    for name, content in (
        ("ca.crt", authority.certificate),
        ("crt", pair.certificate),
        ("key", pair.key),
    ):
        (folder / name).write_bytes(content)
    return str(folder / "ca.crt"), str(folder / "crt"), str(folder / "key")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--idle", type=int, default=1000)
    options = parser.parse_args()
    redis = shutil.which("redis-server")
    if redis is None or shutil.which("redis-benchmark") is None:
        raise SystemExit("redis-server and redis-benchmark have to be on PATH")
    print(f"load       {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {WANTED}")
    direct, plain, native, behind, through = (free_port() for _ in range(5))
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        trusted, crt, key = certificate(folder)
        tls = {"mode": "required", "certificate_path": crt, "key_path": key}
        routes, control = folder / "routes.json", folder / "control"
        routes.write_text(
            json.dumps(
                {
                    "schema": 1,
                    "version": 1,
                    "routes": [
                        _route("plain", plain, direct, {}),
                        _route("tls", through, behind, {"tls": tls}),
                    ],
                }
            )
        )
        worker = [sys.executable, "-m", "cachefleet.engine.gateway"]
        worker += ["--routes", str(routes), "--control", str(control)]
        engine = [redis, "--port", str(behind), "--tls-port", str(native)]
        engine += ["--tls-cert-file", crt, "--tls-key-file", key, "--tls-ca-cert-file", trusted]
        engine += ["--tls-auth-clients", "no", "--bind", HOST, "--save", "", "--dir", directory]
        engine += ["--logfile", "/dev/null"]
        with (
            running(engine_command(direct)) as valkey,
            running(engine) as peer,
            running(worker) as gateway,
        ):
            for port, what in ((direct, "valkey"), (behind, "redis"), (plain, "the gateway")):
                wait_until(lambda port=port: answers(port), what)  # type: ignore[misc]
            for port in (direct, behind):
                store(port, b"SET key " + b"v" * 64 + b"\r\n")
            idle(gateway.pid, through, options.idle, trusted)
            servers = [valkey.pid, gateway.pid]
            own = own_rate(GET, GET_REPLY_BYTES, options)
            compare("plain", (direct, plain), own, servers, options)
            compare(
                "plain, C", (direct, plain), benchmark_rate(options, tls=False), servers, options
            )
            servers = [peer.pid, gateway.pid]
            compare(
                "TLS, C", (native, through), benchmark_rate(options, tls=True), servers, options
            )
            print(f"load       {os.getloadavg()[0]:.1f} at the end")


def _route(name: str, listen: int, backend: int, options: dict[str, object]) -> dict[str, object]:
    return {
        "name": name,
        "listen": [[HOST, listen]],
        "kind": "tcp",
        "backends": [{"host": HOST, "port": backend}],
        "options": options,
    }


if __name__ == "__main__":
    main()
