"""What the measurements share: a cachefleet of their own, and a clock around an API call."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

READY = "cachefleet is ready on "
START_TIMEOUT_S = 60.0
POLL_S = 0.002
NETWORK = os.environ.get("CACHEFLEET_ENDPOINT_NETWORK", "127.150.0.0/16")
EPHEMERAL = ("--ephemeral", "--port", "0", "--log-level", "error")


@contextlib.contextmanager
def running(*options: str, network: str = NETWORK) -> Iterator[tuple[str, int]]:
    """Run an ephemeral cachefleet; gives its URL and pid."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cachefleet", "serve", *EPHEMERAL, *options],
        env={**os.environ, "CACHEFLEET_ENDPOINT_NETWORK": network},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line.startswith(READY):
            raise SystemExit(f"cachefleet did not start: {line!r}")
        yield line.removeprefix(READY).strip(), process.pid
    finally:
        process.terminate()
        process.wait(START_TIMEOUT_S)
        process.stdout.close()


def client(url: str, *, account: str = "111111111111") -> Any:
    """Return a boto3 client of *account*."""
    return boto3.client(
        "elasticache",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=account,
        aws_secret_access_key="bench",
        config=Config(retries={"total_max_attempts": 1}, max_pool_connections=50),
    )


def seconds_until(done: Callable[[], bool], *, timeout_s: float = 60.0) -> float:
    """Return how long it takes until *done*."""
    began = time.perf_counter()
    while not done():
        if time.perf_counter() - began > timeout_s:
            raise TimeoutError(f"not done within {timeout_s:g} s")
        time.sleep(POLL_S)
    return time.perf_counter() - began


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which *share* (0..1) of *values* lie; the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: Sequence[float]) -> float:
    """Return the middle value."""
    return statistics.median(values)


def written_to(call: Callable[..., Any], **request: Any) -> None:
    """Make a call that the peer may refuse for want of something it insists on."""
    with contextlib.suppress(ClientError):
        call(**request)
