"""Which addresses the nodes of a pytest worker get where somebody says which there are."""

from __future__ import annotations

import itertools
from ipaddress import ip_network

import pytest

from cachefleet.testing.pytest_plugin import share_of


@pytest.mark.parametrize("workers", [2, 3, 8])
def test_workers_share_a_network_without_meeting(workers: int) -> None:
    whole = ip_network("127.44.0.0/16")
    shares = [ip_network(share_of(str(whole), f"gw{n}", workers)) for n in range(workers)]
    assert all(share.subnet_of(whole) for share in shares)  # type: ignore[arg-type]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(shares, 2))


def test_one_alone_has_all_of_it() -> None:
    assert share_of("127.44.0.0/16", "main", 1) == "127.44.0.0/16"


def test_refuses_what_is_too_small_to_share() -> None:
    with pytest.raises(ValueError, match="too small for 4 workers"):
        share_of("127.44.0.0/28", "gw3", 4)
