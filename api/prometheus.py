"""``GET /metrics``: counts of what the front-end served, and whatever collectors others bring.

Names and units follow Prometheus's conventions. Labels are bounded: an operation is one of the
model's or ``none``, never what a client wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.responses import Response

from cachefleet import __version__
from cachefleet.api.endpoint import Observe, Served

NONE: Final = "none"
DURATION_BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


def new_registry(collectors: Sequence[Collector]) -> CollectorRegistry:
    """Return a registry with the build that runs, and with *collectors*."""
    registry = CollectorRegistry(auto_describe=False)
    about = Gauge(
        "cachefleet_build_info", "The build that runs; 1.", ("version",), registry=registry
    )
    about.labels(__version__).set(1)
    for collector in collectors:
        registry.register(collector)
    return registry


class ServedCounts:
    """Counts answered requests; give :meth:`note` to the front-end as its observer."""

    def __init__(self, collectors: Sequence[Collector] = ()) -> None:
        self.registry = new_registry(collectors)
        self._requests = Counter(
            "cachefleet_http_requests",
            "Requests that were answered, by door, operation, status and error code.",
            ("door", "operation", "status", "code"),
            registry=self.registry,
        )
        self._duration = Histogram(
            "cachefleet_http_request_duration_seconds",
            "How long requests took, from their head to the end of the answer.",
            ("door", "operation"),
            buckets=DURATION_BUCKETS_S,
            registry=self.registry,
        )
        self._found: dict[tuple[str, ...], tuple[Counter, Histogram]] = {}

    def note(self, served: Served) -> None:
        """Count one request."""
        key = (served.door, served.operation or NONE, str(served.status), served.code or NONE)
        found = self._found.get(key)
        if found is None:  # looking a child up by its labels is dearer than counting
            found = self._found[key] = (
                self._requests.labels(*key),
                self._duration.labels(*key[:2]),
            )
        counter, histogram = found
        counter.inc()
        histogram.observe(served.duration_s)

    def text(self) -> bytes:
        """Return everything in the text format."""
        return generate_latest(self.registry)


def both(first: Observe, second: Observe) -> Observe:
    """Return an observer that tells two."""

    def note(served: Served) -> None:
        first(served)
        second(served)

    return note


def add_metrics(app: FastAPI, counts: ServedCounts) -> None:
    """Serve the counts at ``/metrics``; whoever may reach the server may read them."""

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        """Answer what Prometheus scrapes."""
        return Response(counts.text(), headers={"content-type": CONTENT_TYPE_LATEST})
