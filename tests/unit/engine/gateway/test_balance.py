"""Balancer: who is tried first, and who last."""

from __future__ import annotations

from collections import Counter

from cachefleet.engine.gateway.balance import SUSPECT_S, Balancer
from cachefleet.engine.gateway.routes import Address, Route, RouteKind

A, B, C, P = (Address("127.0.0.1", port) for port in (1, 2, 3, 9))


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def route(kind: RouteKind, *backends: Address, fallback: tuple[Address, ...] = ()) -> Route:
    listen = (Address("127.0.0.1", 80),)
    return Route(name="r", listen=listen, kind=kind, backends=backends, fallback=fallback)


def test_tcp_always_prefers_the_first() -> None:
    balancer = Balancer(clock=Clock())
    tcp = route(RouteKind.TCP, A, B, fallback=(P,))
    assert [balancer.order(tcp) for _ in range(3)] == [[A, B, P]] * 3


def test_reader_gives_each_replica_its_turn_and_the_primary_none() -> None:
    balancer = Balancer(clock=Clock())
    reader = route(RouteKind.READER, A, B, C, fallback=(P,))
    orders = [balancer.order(reader) for _ in range(6)]
    assert [order[0] for order in orders] == [A, B, C, A, B, C]
    assert all(order[-1] == P for order in orders)
    assert all(set(order) == {A, B, C, P} for order in orders)


def test_the_turn_of_a_failed_replica_is_shared_by_the_others() -> None:
    balancer = Balancer(clock=Clock())
    reader = route(RouteKind.READER, A, B, C, fallback=(P,))
    balancer.note_failed(B)
    firsts = Counter(balancer.order(reader)[0] for _ in range(10))
    assert firsts == {A: 5, C: 5}
    assert balancer.order(reader)[-1] == B


def test_a_failure_is_forgotten_in_time() -> None:
    clock = Clock()
    balancer = Balancer(clock=clock)
    tcp = route(RouteKind.TCP, A, B)
    balancer.note_failed(A)
    clock.now_s += SUSPECT_S * 0.9
    assert balancer.order(tcp) == [B, A]
    clock.now_s += SUSPECT_S * 0.2
    assert balancer.order(tcp) == [A, B]


def test_a_connection_clears_the_suspicion() -> None:
    balancer = Balancer(clock=Clock())
    balancer.note_failed(A)
    balancer.note_connected(A)
    assert balancer.order(route(RouteKind.TCP, A, B)) == [A, B]


def test_an_address_that_left_comes_back_without_its_past() -> None:
    balancer = Balancer(clock=Clock())
    balancer.note_failed(A)
    balancer.keep_only(frozenset({B}))
    assert balancer.order(route(RouteKind.TCP, A, B)) == [A, B]


def test_falls_back_to_the_primary_before_suspects_and_leaves_nobody_out() -> None:
    balancer = Balancer(clock=Clock())
    reader = route(RouteKind.READER, A, B, fallback=(P,))
    balancer.note_failed(A)
    balancer.note_failed(B)
    assert balancer.order(reader) == [P, A, B]
    balancer.note_failed(P)
    assert set(balancer.order(reader)) == {A, B, P}


def test_an_address_in_both_lists_is_tried_once() -> None:
    assert Balancer(clock=Clock()).order(route(RouteKind.READER, A, fallback=(A, P))) == [A, P]


def test_no_backends_no_order() -> None:
    assert Balancer(clock=Clock()).order(route(RouteKind.READER)) == []
