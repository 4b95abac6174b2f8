"""Decide which endpoints the gateway serves, and from which nodes.

Pure. In loopback mode that is the reader endpoint, and the configuration endpoint of stock
memcached, which knows no auto discovery: all other endpoints are bound by the nodes themselves. In
ports mode every endpoint that can move is a route.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cachefleet.engine.gateway.routes import Address, Route, RouteKind, RouteOptions
from cachefleet.engine.types import Endpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutedSubject:
    """A subject's moving endpoints and who can stand behind them."""

    uid: str
    primary: Endpoint | None  # the node
    replicas: tuple[Endpoint, ...]  # those that may serve reads
    nodes: tuple[Endpoint, ...]  # all that serve, for the configuration endpoint
    primary_endpoint: Endpoint | None
    reader_endpoint: Endpoint | None
    configuration_endpoint: Endpoint | None
    # What the gateway tells memcached clients of the cluster, where the nodes cannot.
    discovery: str | None = None
    # Its nodes are in cluster mode, and its clients need not know it.
    compatible: bool = False


def plan_routes(subjects: Sequence[RoutedSubject], *, endpoints_are_bound: bool) -> list[Route]:
    """Return the routes, in a stable order. *endpoints_are_bound* is true in loopback mode."""
    routes = []
    for subject in subjects:
        fallback = _addresses((subject.primary,) if subject.primary else ())
        if subject.reader_endpoint is not None:
            routes.append(
                Route(
                    name=f"{subject.uid}-reader",
                    listen=_addresses((subject.reader_endpoint,)),
                    kind=RouteKind.READER,
                    backends=_addresses(subject.replicas),
                    fallback=fallback,
                    options=RouteOptions(readonly=subject.compatible),
                )
            )
        if subject.configuration_endpoint is not None and subject.discovery is not None:
            routes.append(
                Route(
                    name=f"{subject.uid}-discovery",
                    listen=_addresses((subject.configuration_endpoint,)),
                    kind=RouteKind.MEMCACHED_DISCOVERY,
                    backends=_addresses(subject.nodes),
                    options=RouteOptions(cluster_config=subject.discovery),
                )
            )
        if endpoints_are_bound:
            continue
        if subject.primary_endpoint is not None:
            routes.append(
                Route(
                    name=f"{subject.uid}-primary",
                    listen=_addresses((subject.primary_endpoint,)),
                    kind=RouteKind.TCP,
                    backends=fallback,
                )
            )
        if subject.configuration_endpoint is not None and subject.discovery is None:
            routes.append(
                Route(
                    name=f"{subject.uid}-configuration",
                    listen=_addresses((subject.configuration_endpoint,)),
                    kind=RouteKind.TCP,
                    backends=_addresses(subject.nodes),
                )
            )
    return routes


def _addresses(endpoints: Sequence[Endpoint]) -> tuple[Address, ...]:
    return tuple(Address(endpoint.host, endpoint.port) for endpoint in endpoints)
