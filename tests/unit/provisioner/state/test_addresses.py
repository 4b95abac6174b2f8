"""choose_host and choose_port: round the pool, never one that is in use."""

from __future__ import annotations

import ipaddress

import pytest

from cachefleet.provisioner.state.addresses import (
    LoopbackPool,
    PortsPool,
    choose_host,
    choose_port,
)
from cachefleet.provisioner.state.errors import AddressesExhausted

SMALL = LoopbackPool(ipaddress.IPv4Network("127.100.0.0/29"))  # .1 to .6 can be given
PORTS = PortsPool("127.0.0.1", 20_000, 20_003)


def used(*last_bytes: int) -> list[tuple[str, int]]:
    """Return addresses in use, oldest first."""
    return [(f"127.100.0.{byte}", 6379) for byte in last_bytes]


@pytest.mark.parametrize(
    ("in_use", "chosen"),
    [
        pytest.param((), 1, id="first"),
        pytest.param((1, 2), 3, id="next"),
        pytest.param((2,), 3, id="behind-the-newest-and-not-the-lowest"),
        pytest.param((4, 6), 1, id="round"),
        pytest.param((1, 2, 6), 3, id="round-past-those-in-use"),
        pytest.param((6, 1, 3), 4, id="newest-is-the-last-given"),
        pytest.param((1, 2, 3, 5, 6), 4, id="the-only-one-left"),
    ],
)
def test_chooses_a_host(in_use: tuple[int, ...], chosen: int) -> None:
    assert choose_host(SMALL, used(*in_use)) == f"127.100.0.{chosen}"


def test_never_gives_the_ends_of_the_network() -> None:
    given: list[tuple[str, int]] = []
    for _ in range(6):
        given.append((choose_host(SMALL, given), 6379))
    assert {host for host, _ in given} == {f"127.100.0.{byte}" for byte in range(1, 7)}
    with pytest.raises(AddressesExhausted, match=r"127\.100\.0\.0/29"):
        choose_host(SMALL, given)


def test_addresses_of_another_network_are_no_obstacle() -> None:
    elsewhere = [("127.101.0.1", 6379), ("10.0.0.1", 6379)]
    assert choose_host(SMALL, elsewhere).startswith("127.100.0.")


def all_free(host: str, port: int) -> bool:
    return True


def test_honours_the_wanted_port_where_it_is_free() -> None:
    assert choose_port(PORTS, [], wanted_port=6379, is_free=all_free) == 6379


@pytest.mark.parametrize(
    ("in_use", "busy", "chosen"),
    [
        pytest.param([6379], [], 20_000, id="taken-by-a-record"),
        pytest.param([], [6379], 20_000, id="taken-by-a-stranger"),
        pytest.param([6379, 20_000], [], 20_001, id="next"),
        pytest.param([20_001, 6379], [], 20_002, id="behind-the-newest-of-the-range"),
        pytest.param([6379, 20_000, 20_002], [], 20_003, id="newest-is-the-last-given"),
        pytest.param([6379, 20_003], [], 20_000, id="round"),
        pytest.param([6379, 20_000], [20_001], 20_002, id="past-a-stranger"),
    ],
)
def test_chooses_a_port(in_use: list[int], busy: list[int], chosen: int) -> None:
    taken = [("127.0.0.1", port) for port in in_use]
    port = choose_port(
        PORTS,
        taken,
        wanted_port=6379,
        is_free=lambda host, number: host == "127.0.0.1" and number not in busy,
    )
    assert port == chosen


def test_ports_of_another_host_are_not_taken() -> None:
    assert choose_port(PORTS, [("10.0.0.1", 6379)], wanted_port=6379, is_free=all_free) == 6379


def test_says_which_range_is_used_up() -> None:
    taken = [("127.0.0.1", port) for port in (6379, *range(20_000, 20_004))]
    with pytest.raises(AddressesExhausted, match="20000 to 20003"):
        choose_port(PORTS, taken, wanted_port=6379, is_free=all_free)
