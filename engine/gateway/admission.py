"""Which addresses clients may come from, as the rules of security groups say. Pure."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Sequence

REMEMBERED_MAX = 4096  # answers; strangers may come from as many addresses as they have


class Admission:
    """Networks that are let in; None lets everybody in, and an empty sequence nobody."""

    def __init__(self, networks: Sequence[str] | None) -> None:
        self._networks = None if networks is None else [*map(ipaddress.ip_network, networks)]
        self._remembered = functools.lru_cache(maxsize=REMEMBERED_MAX)(self._look)

    def admits(self, host: str) -> bool:
        """Tell whether *host*, an IP address, is let in."""
        return self._networks is None or self._remembered(host)

    def _look(self, host: str) -> bool:
        address = ipaddress.ip_address(host)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        assert self._networks is not None
        # An address of the other version is in none.
        return any(address in network for network in self._networks)
