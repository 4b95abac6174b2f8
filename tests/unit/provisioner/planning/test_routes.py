"""plan_routes: which endpoints need the gateway, and who stands behind them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cachefleet.engine.gateway.routes import Address, RouteKind
from cachefleet.engine.types import Endpoint
from cachefleet.provisioner.planning.routes import RoutedSubject, plan_routes

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
