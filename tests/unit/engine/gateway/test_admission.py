"""Admission: who may come, decided by address alone."""

from __future__ import annotations

import pytest

from cachefleet.engine.gateway.admission import Admission


def test_without_rules_everybody_comes() -> None:
    assert Admission(None).admits("203.0.113.9")


def test_with_no_network_nobody_comes() -> None:
    assert not Admission(()).admits("127.0.0.1")


@pytest.mark.parametrize(
    ("host", "admitted"),
    [
        pytest.param("10.1.2.3", True, id="inside"),
        pytest.param("10.0.0.0", True, id="first-of-the-network"),
        pytest.param("10.255.255.255", True, id="last-of-the-network"),
        pytest.param("11.0.0.0", False, id="just-above"),
        pytest.param("9.255.255.255", False, id="just-below"),
        pytest.param("192.0.2.7", True, id="a-single-address"),
        pytest.param("192.0.2.8", False, id="its-neighbour"),
        pytest.param("2001:db8::1", True, id="inside-ipv6"),
        pytest.param("2001:db9::1", False, id="outside-ipv6"),
        pytest.param("fe80::1%eth0", True, id="with-a-zone"),
        pytest.param("::ffff:10.1.2.3", True, id="ipv4-in-ipv6"),
        pytest.param("::ffff:11.1.2.3", False, id="ipv4-in-ipv6-outside"),
    ],
)
def test_an_address_is_let_in_by_the_network_that_has_it(host: str, admitted: bool) -> None:
    some = Admission(["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "fe80::/10"])
    assert some.admits(host) is admitted
    assert some.admits(host) is admitted  # and says the same when it remembers


def test_all_of_ipv4_is_nothing_of_ipv6() -> None:
    assert not Admission(["0.0.0.0/0"]).admits("2001:db8::1")
    assert not Admission(["::/0"]).admits("10.0.0.1")


def test_what_is_no_address_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not appear"):
        Admission(["10.0.0.0/8"]).admits("localhost")
