"""rules_of and admitted: what EC2 says, and whom it lets in."""

from __future__ import annotations

from typing import Any

import pytest

from cachefleet.provisioner.planning.security_groups import (
    PORT_MAX,
    Rule,
    admitted,
    rules_of,
)

PORT = 6379


def tcp(**more: Any) -> dict[str, Any]:
    return {"IpProtocol": "tcp", "FromPort": PORT, "ToPort": PORT, **more}


NETWORKS = {"IpRanges": [{"CidrIp": "10.0.0.0/8"}]}


@pytest.mark.parametrize(
    ("permission", "rules"),
    [
        pytest.param(
            tcp(**NETWORKS), [Rule(from_port=PORT, to_port=PORT, network="10.0.0.0/8")], id="tcp"
        ),
        pytest.param(
            {**tcp(**NETWORKS), "IpProtocol": "6"},
            [Rule(from_port=PORT, to_port=PORT, network="10.0.0.0/8")],
            id="tcp-by-number",
        ),
        pytest.param({**tcp(**NETWORKS), "IpProtocol": "udp"}, [], id="udp"),
        pytest.param({**tcp(**NETWORKS), "IpProtocol": "icmp"}, [], id="icmp"),
        pytest.param(
            # EC2 gives no ports then; ports that are there all the same do not count.
            {"IpProtocol": "-1", "FromPort": 1, "ToPort": 1, **NETWORKS},
            [Rule(from_port=0, to_port=PORT_MAX, network="10.0.0.0/8")],
            id="all-protocols",
        ),
        pytest.param(
            {"IpProtocol": "tcp", **NETWORKS},
            [Rule(from_port=0, to_port=PORT_MAX, network="10.0.0.0/8")],
            id="tcp-without-ports",
        ),
        pytest.param(
            tcp(Ipv6Ranges=[{"CidrIpv6": "2001:db8::/32"}]),
            [Rule(from_port=PORT, to_port=PORT, network="2001:db8::/32")],
            id="ipv6",
        ),
        pytest.param(tcp(IpRanges=[{"CidrIp": "nonsense"}, {}]), [], id="no-networks"),
        pytest.param(
            tcp(UserIdGroupPairs=[{"GroupId": "sg-1"}, {"UserId": "1"}]),
            [Rule(from_port=PORT, to_port=PORT, group_id="sg-1")],
            id="members-of-a-group",
        ),
        pytest.param(
            tcp(**NETWORKS, UserIdGroupPairs=[{"GroupId": "sg-1"}]),
            [
                Rule(from_port=PORT, to_port=PORT, network="10.0.0.0/8"),
                Rule(from_port=PORT, to_port=PORT, group_id="sg-1"),
            ],
            id="both",
        ),
    ],
)
def test_reads_permissions(permission: dict[str, Any], rules: list[Rule]) -> None:
    assert rules_of([permission]) == rules


@pytest.mark.parametrize(
    ("first", "last", "let_in"),
    [
        pytest.param(PORT, PORT, True, id="exactly"),
        pytest.param(PORT - 1, PORT, True, id="up-to"),
        pytest.param(PORT, PORT + 1, True, id="from"),
        pytest.param(0, PORT_MAX, True, id="all"),
        pytest.param(PORT + 1, PORT_MAX, False, id="above"),
        pytest.param(0, PORT - 1, False, id="below"),
    ],
)
def test_a_rule_is_for_its_ports(first: int, last: int, let_in: bool) -> None:
    rule = Rule(from_port=first, to_port=last, network="10.0.0.0/8")
    assert bool(admitted([rule], port=PORT, members={})) is let_in


def test_networks_are_told_once_in_order_and_without_host_bits() -> None:
    rules = [Rule(network=one) for one in ("192.0.2.0/24", "10.9.9.9/8", "10.0.0.0/8")]
    assert admitted(rules, port=PORT, members={}) == ("10.0.0.0/8", "192.0.2.0/24")


def test_members_of_a_group_are_let_in_by_their_addresses() -> None:
    members = {"sg-1": ["10.0.0.5", "2001:db8::5"], "sg-2": ["10.0.0.6"]}
    found = admitted([Rule(group_id="sg-1")], port=PORT, members=members)
    assert found == ("10.0.0.5/32", "2001:db8::5/128")
    assert admitted([Rule(group_id="sg-3")], port=PORT, members=members) == ()


def test_no_rule_lets_nobody_in() -> None:
    assert admitted([], port=PORT, members={"sg-1": ["10.0.0.5"]}) == ()
