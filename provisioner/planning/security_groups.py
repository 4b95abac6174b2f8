"""What the rules of security groups let in to a cache. Pure.

Rules are those of EC2, read from its answers or defined here. Only what lets somebody in counts:
there is no rule that keeps anybody out, and who is not let in by any is refused.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ANY_PROTOCOL = "-1"
TCP = ("tcp", "6")
PORT_MAX = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Clients of a network, or members of another group, may connect to a range of ports."""

    from_port: int = 0
    to_port: int = PORT_MAX
    network: str | None = None
    group_id: str | None = None


def rules_of(permissions: Iterable[Mapping[str, Any]]) -> list[Rule]:
    """Return the rules in the ``IpPermissions`` of a security group, as EC2 answers them."""
    rules = []
    for permission in permissions:
        protocol = str(permission.get("IpProtocol", ANY_PROTOCOL))
        if protocol not in (ANY_PROTOCOL, *TCP):
            continue
        first, last = 0, PORT_MAX
        if protocol != ANY_PROTOCOL:
            first = int(permission.get("FromPort", first))
            last = int(permission.get("ToPort", last))
        networks = [one.get("CidrIp") for one in permission.get("IpRanges", ())]
        networks += [one.get("CidrIpv6") for one in permission.get("Ipv6Ranges", ())]
        rules += [
            Rule(from_port=first, to_port=last, network=network)
            for network in networks
            if _is_network(network)
        ]
        pairs = [pair.get("GroupId") for pair in permission.get("UserIdGroupPairs", ())]
        rules += [
            Rule(from_port=first, to_port=last, group_id=group_id) for group_id in pairs if group_id
        ]
    return rules


def admitted(
    rules: Iterable[Rule], *, port: int, members: Mapping[str, Sequence[str]]
) -> tuple[str, ...]:
    """Return the networks that may connect to *port*; *members* are addresses by group."""
    networks: set[str] = set()
    for rule in rules:
        if not rule.from_port <= port <= rule.to_port:
            continue
        if rule.network is not None:
            networks.add(str(ipaddress.ip_network(rule.network, strict=False)))
        else:
            addresses = members.get(rule.group_id or "", ())
            networks.update(str(ipaddress.ip_network(address)) for address in addresses)
    return tuple(sorted(networks))


def _is_network(text: object) -> bool:
    try:
        ipaddress.ip_network(str(text), strict=False)
    except ValueError:
        return False
    return True
