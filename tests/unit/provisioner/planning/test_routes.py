"""plan_routes: which endpoints need the gateway, and who stands behind them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cachefleet.engine.gateway.routes import Address, RouteKind, TlsMode, TlsOptions
from cachefleet.engine.types import Endpoint
from cachefleet.provisioner.planning.routes import (
    OpenRoute,
    RoutedNode,
    RoutedSubject,
    plan_remains,
    plan_routes,
)

P, A, B = Endpoint("p", 6379), Endpoint("a", 6379), Endpoint("b", 6379)


def subject(
    uid: str = "g",
    *,
    primary: Endpoint | None = P,
    replicas: tuple[Endpoint, ...] = (A, B),
    endpoints: str = "primary reader configuration",
) -> RoutedSubject:
    def endpoint(kind: str) -> Endpoint | None:
        return Endpoint(f"{uid}-{kind}", 6379) if kind in endpoints.split() else None

    return RoutedSubject(
        uid=uid,
        primary=primary,
        replicas=replicas,
        nodes=tuple(node for node in (primary, *replicas) if node is not None),
        primary_endpoint=endpoint("primary"),
        reader_endpoint=endpoint("reader"),
        configuration_endpoint=endpoint("configuration"),
    )


def test_bound_endpoints_need_a_route_for_the_reader_only() -> None:
    [route] = plan_routes([subject()], endpoints_are_bound=True)
    assert (route.name, route.kind) == ("g-reader", RouteKind.READER)
    assert route.listen == (Address("g-reader", 6379),)
    assert route.backends == (Address("a", 6379), Address("b", 6379))
    assert route.fallback == (Address("p", 6379),)


def test_reader_without_replicas_falls_back_to_the_primary() -> None:
    [route] = plan_routes([subject(replicas=())], endpoints_are_bound=True)
    assert (route.backends, route.fallback) == ((), (Address("p", 6379),))


def test_reader_without_a_primary_has_no_fallback() -> None:
    [route] = plan_routes([subject(primary=None)], endpoints_are_bound=True)
    assert (len(route.backends), route.fallback) == (2, ())


def test_ports_mode_routes_every_endpoint_that_moves() -> None:
    routes = {route.name: route for route in plan_routes([subject()], endpoints_are_bound=False)}
    assert list(routes) == ["g-reader", "g-primary", "g-configuration"]
    primary, configuration = routes["g-primary"], routes["g-configuration"]
    assert (primary.kind, primary.backends) == (RouteKind.TCP, (Address("p", 6379),))
    assert primary.listen == (Address("g-primary", 6379),)
    assert configuration.kind is RouteKind.TCP
    assert configuration.listen == (Address("g-configuration", 6379),)
    assert configuration.backends == (Address("p", 6379), Address("a", 6379), Address("b", 6379))


def test_primary_that_is_gone_leaves_its_route_without_backends() -> None:
    routes = plan_routes([subject(primary=None, endpoints="primary")], endpoints_are_bound=False)
    assert [route.backends for route in routes] == [()]


def test_subject_without_moving_endpoints_has_no_route() -> None:
    for bound in (True, False):
        assert plan_routes([subject(endpoints="")], endpoints_are_bound=bound) == []


def fronted(subject_: RoutedSubject) -> RoutedSubject:
    """Return the subject with its engines behind the gateway, and TLS at every endpoint."""
    nodes = tuple(
        RoutedNode(uid=name, listen=Endpoint(name, 6379), engine=Endpoint(name, 26379))
        for name in ("p", "a", "b")
    )
    endpoints = [
        subject_.primary_endpoint,
        subject_.reader_endpoint,
        subject_.configuration_endpoint,
        *(node.listen for node in nodes),
    ]
    tls = {
        endpoint: TlsOptions(
            mode=TlsMode.REQUIRED,
            certificate_path=f"/tls/{endpoint.host}.crt",
            key_path=f"/tls/{endpoint.host}.key",
        )
        for endpoint in endpoints
        if endpoint is not None
    }
    return replace(
        subject_,
        primary=nodes[0].engine,
        replicas=tuple(node.engine for node in nodes[1:]),
        nodes=tuple(node.engine for node in nodes),
        fronted=nodes,
        tls=tls,
    )


@pytest.mark.parametrize("bound", [True, False], ids=["loopback", "ports"])
def test_engines_behind_the_gateway_have_a_route_each_and_one_an_endpoint(bound: bool) -> None:
    planned = plan_routes([fronted(subject())], endpoints_are_bound=bound)
    routes = {route.name: route for route in planned}
    assert list(routes) == [
        "g-reader", "g-primary", "g-configuration", "g-node-p", "g-node-a", "g-node-b",
    ]  # fmt: skip
    assert routes["g-primary"].backends == (Address("p", 26379),)
    assert routes["g-node-a"].listen == (Address("a", 6379),)
    assert routes["g-node-a"].backends == (Address("a", 26379),)
    for route in planned:
        assert route.options.tls is not None
        assert route.options.tls.certificate_path == f"/tls/{route.listen[0].host}.crt"


def test_engines_that_speak_tls_are_passed_through() -> None:
    [route] = plan_routes([subject()], endpoints_are_bound=True)
    assert route.options.tls is None


def test_order_is_that_of_the_subjects() -> None:
    routes = plan_routes([subject("h"), subject("g")], endpoints_are_bound=True)
    assert [route.name for route in routes] == ["h-reader", "g-reader"]


@pytest.mark.parametrize("bound", [True, False], ids=["loopback", "ports"])
def test_a_cluster_whose_nodes_know_no_discovery_gets_it_from_the_gateway(bound: bool) -> None:
    told = "1\na|a|6379 b|b|6379\n"
    stock = replace(subject(primary=None, endpoints="configuration"), discovery=told)
    [route] = plan_routes([stock], endpoints_are_bound=bound)
    assert route.kind is RouteKind.MEMCACHED_DISCOVERY
    assert route.options.cluster_config == told
    assert route.backends == (Address("a", 6379), Address("b", 6379))


INNER = 26379


def open_route(name: str, *hosts: str, kind: RouteKind = RouteKind.TCP) -> OpenRoute:
    return OpenRoute(name=name, kind=kind, backends=tuple(Address(one, INNER) for one in hosts))


def left_by_gateway(*, tls_only: bool = False) -> RoutedSubject:
    nodes = tuple(RoutedNode(uid=one.host, listen=one, engine=one) for one in (P, A, B))
    return replace(subject(), unfronted=nodes, tls_only=tls_only)


@pytest.mark.parametrize(
    ("route", "hosts"),
    [
        pytest.param(open_route("g-primary", "p"), ["p"], id="primary"),
        pytest.param(open_route("g-primary", "a"), [], id="no-primary-any-more"),
        pytest.param(
            open_route("g-reader", "a", "p", "x", kind=RouteKind.READER), ["a", "p"], id="reader"
        ),
        pytest.param(open_route("g-node-a", "a"), ["a"], id="node"),
        pytest.param(open_route("g-node-a", "b"), [], id="another-node"),
        pytest.param(open_route("g-configuration", "b"), ["b"], id="configuration"),
        pytest.param(open_route("h-primary", "p"), [], id="deleted"),
        pytest.param(
            open_route("g-discovery", "p", kind=RouteKind.MEMCACHED_DISCOVERY), [], id="discovery"
        ),
    ],
)
def test_clients_stay_with_engines_that_stand_for_what_they_asked_for(
    route: OpenRoute, hosts: list[str]
) -> None:
    found = plan_remains([route], [left_by_gateway()], served=set())
    assert [(one.name, one.kind, one.listen) for one in found] == (
        [(route.name, route.kind, ())] if hosts else []
    )
    assert [one.host for left in found for one in left.backends] == hosts


def test_what_is_served_or_still_behind_the_gateway_remains_by_itself() -> None:
    route = open_route("g-primary", "p")
    assert plan_remains([route], [left_by_gateway()], served={"g-primary"}) == []
    behind = replace(left_by_gateway(), fronted=left_by_gateway().unfronted)
    assert plan_remains([route], [behind], served=set()) == []


@pytest.mark.parametrize("tls_only", [True, False])
def test_clients_in_plain_go_where_tls_is_required(tls_only: bool) -> None:
    [left] = plan_remains(
        [open_route("g-primary", "p")], [left_by_gateway(tls_only=tls_only)], served=set()
    )
    assert left.options.tls_only is tls_only
