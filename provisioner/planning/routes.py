"""Decide which endpoints the gateway serves, and from which nodes.

Pure. In loopback mode that is the reader endpoint, and the configuration endpoint of stock
memcached, which knows no auto discovery: all other endpoints are bound by the nodes themselves. In
ports mode every endpoint that can move is a route. A subject whose engines are behind the gateway
(:mod:`.transit`) has a route for every endpoint and every node.

Where the engine speaks TLS itself its bytes go through as they are. The certificate that a client
of the reader endpoint sees is then that of the node behind it, which is good for the endpoint too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from cachefleet.engine.gateway.routes import (
    Address,
    AuthOptions,
    Route,
    RouteKind,
    RouteOptions,
    TlsOptions,
)
from cachefleet.engine.types import Endpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutedNode:
    """A node whose clients come through the gateway: where they connect, where the engine is."""

    uid: str
    listen: Endpoint
    engine: Endpoint


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
    # The nodes behind the gateway: none, or all.
    fronted: tuple[RoutedNode, ...] = ()
    # Where the gateway ends TLS: what with, by the listening address.
    tls: Mapping[Endpoint, TlsOptions] = field(default_factory=dict)
    # What the gateway has to look at before the engine does.
    auth: AuthOptions | None = None
    # From where clients may come; None is from anywhere.
    admitted: tuple[str, ...] | None = None
    # What it refuses as a read-only replica does; none where clients may write.
    refused_writes: tuple[str, ...] = ()
    # Its nodes are in cluster mode, and its clients need not know it.
    compatible: bool = False
    # The nodes that take their clients themselves, and whether they do so in TLS alone.
    unfronted: tuple[RoutedNode, ...] = ()
    tls_only: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenRoute:
    """A route that clients are connected through, and the engines that they are connected to."""

    name: str
    kind: RouteKind
    backends: tuple[Address, ...]


def plan_remains(
    open_routes: Sequence[OpenRoute], subjects: Sequence[RoutedSubject], *, served: Collection[str]
) -> list[Route]:
    """Return routes that listen nowhere, for clients of those that are not *served* any more.

    When engines take their ports back from the gateway, who is connected stays so: the engine goes
    on at the other end. As with an endpoint that moves, a client stays only with an engine that
    stands for what it asked for. Clients in plain go where TLS is required.
    """
    found = []
    hosts = {name: told for subject in subjects for name, told in _hosts_of(subject).items()}
    encrypted = {name for subject in subjects if subject.tls_only for name in _hosts_of(subject)}
    for route in open_routes:
        if route.name in served or route.kind is RouteKind.MEMCACHED_DISCOVERY:
            continue
        good = tuple(one for one in route.backends if one.host in hosts.get(route.name, ()))
        if good:
            options = RouteOptions(tls_only=route.name in encrypted)
            found.append(
                Route(name=route.name, listen=(), kind=route.kind, backends=good, options=options)
            )
    return found


def _hosts_of(subject: RoutedSubject) -> dict[str, set[str]]:
    """Return who may serve each of a subject's routes, whether there is one now or not."""
    if subject.fronted:
        return {}
    primary = [subject.primary] if subject.primary else []
    by_name = {
        "primary": {one.host for one in primary},
        "reader": {one.host for one in (*subject.replicas, *primary)},
        "configuration": {one.host for one in subject.nodes},
        **{f"node-{one.uid}": {one.engine.host} for one in subject.unfronted},
    }
    return {f"{subject.uid}-{name}": hosts for name, hosts in by_name.items()}


def plan_routes(subjects: Sequence[RoutedSubject], *, endpoints_are_bound: bool) -> list[Route]:
    """Return the routes, in a stable order. *endpoints_are_bound* is true in loopback mode."""
    routes = []
    for subject in subjects:
        routes += _routes_of(subject, endpoints_are_bound=endpoints_are_bound)
    return routes


def _routes_of(subject: RoutedSubject, *, endpoints_are_bound: bool) -> list[Route]:
    fallback = _addresses((subject.primary,) if subject.primary else ())
    routes = []
    if subject.reader_endpoint is not None:
        routes.append(
            _route(
                subject,
                "reader",
                subject.reader_endpoint,
                kind=RouteKind.READER,
                backends=_addresses(subject.replicas),
                fallback=fallback,
                readonly=subject.compatible,
            )
        )
    if subject.configuration_endpoint is not None and subject.discovery is not None:
        routes.append(
            _route(
                subject,
                "discovery",
                subject.configuration_endpoint,
                kind=RouteKind.MEMCACHED_DISCOVERY,
                backends=_addresses(subject.nodes),
                cluster_config=subject.discovery,
            )
        )
    if endpoints_are_bound and not subject.fronted:
        return routes
    if subject.primary_endpoint is not None:
        routes.append(_route(subject, "primary", subject.primary_endpoint, backends=fallback))
    if subject.configuration_endpoint is not None and subject.discovery is None:
        nodes = _addresses(subject.nodes)
        routes.append(
            _route(subject, "configuration", subject.configuration_endpoint, backends=nodes)
        )
    for node in subject.fronted:
        behind = _addresses((node.engine,))
        routes.append(_route(subject, f"node-{node.uid}", node.listen, backends=behind))
    return routes


def _route(
    subject: RoutedSubject,
    name: str,
    listen: Endpoint,
    *,
    backends: tuple[Address, ...],
    kind: RouteKind = RouteKind.TCP,
    fallback: tuple[Address, ...] = (),
    cluster_config: str | None = None,
    readonly: bool = False,
) -> Route:
    return Route(
        name=f"{subject.uid}-{name}",
        listen=_addresses((listen,)),
        kind=kind,
        backends=backends,
        fallback=fallback,
        options=RouteOptions(
            tls=subject.tls.get(listen),
            cluster_config=cluster_config,
            readonly=readonly,
            auth=subject.auth,
            admitted=subject.admitted,
            refused_writes=subject.refused_writes,
        ),
    )


def _addresses(endpoints: Sequence[Endpoint]) -> tuple[Address, ...]:
    return tuple(Address(endpoint.host, endpoint.port) for endpoint in endpoints)
