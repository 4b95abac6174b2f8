"""Who follows us in another cachefleet, and how far it is, by what our own engines say."""

from __future__ import annotations

from typing import Any

import pytest

from cachefleet.engine.types import Endpoint, NodeRole, ReplicaLink, ReplicationView
from cachefleet.provisioner.reconciler.peered_handover import Head, has_all, heads_of
from cachefleet.provisioner.state.peer_records import Card, CardShard

HEAD = ("10.0.0.1", 6379)


def view(*links: tuple[str, int, int]) -> ReplicationView:
    return ReplicationView(
        role=NodeRole.PRIMARY,
        offset=100,
        replid="f" * 40,
        primary=None,
        link_up=False,
        sync_in_progress=False,
        loading=False,
        failover_state="no-failover",
        replicas=tuple(
            ReplicaLink(endpoint=Endpoint(host, port), offset=offset, state="online", lag_s=0)
            for host, port, offset in links
        ),
    )


@pytest.mark.parametrize(
    ("links", "head", "has"),
    [
        pytest.param([("10.0.0.1", 6379, 100)], HEAD, True, id="all"),
        pytest.param([("10.0.0.1", 6379, 99)], HEAD, False, id="not-the-last-byte"),
        pytest.param([], HEAD, False, id="nobody"),
        pytest.param([("10.0.0.9", 6379, 100)], HEAD, False, id="somebody-else"),
        pytest.param([("10.0.0.1", 6380, 100)], HEAD, False, id="another-one-at-that-address"),
        pytest.param([("10.0.0.1", 1, 100)], ("10.0.0.1", None), True, id="the-port-is-not-known"),
        pytest.param([("10.0.0.1", 6379, 100)], None, False, id="nobody-is-known"),
        pytest.param(
            [("10.0.0.1", 6379, 3), ("10.0.0.1", 6379, 100)], HEAD, True, id="it-came-again"
        ),
    ],
)
def test_who_has_all(links: list[tuple[str, int, int]], head: Head | None, has: bool) -> None:
    assert has_all(view(*links), head, 100) is has


def card(*, clustered: bool, **changes: Any) -> Card:
    told: dict[str, Any] = {
        "status": "available",
        "role": "SECONDARY",
        "automatic_failover": "enabled",
        "node_type": "cache.r7g.large",
        "engine": "valkey",
        "engine_version": "8.0.1",
        "cluster_enabled": clustered,
        "auth_token_enabled": False,
        "transit_encryption_enabled": False,
        "at_rest_encryption_enabled": False,
        "node_groups": (CardShard(node_group_id="0001", slots="", endpoint=HEAD, head=HEAD),),
        "endpoint": ("10.0.0.7", 6379),
        "head": "10.0.0.1",
        **changes,
    }
    return Card(**told)


def test_heads_are_those_of_shards_in_cluster_mode_and_else_the_primary_node() -> None:
    assert heads_of(card(clustered=True)) == {"0001": HEAD}
    assert heads_of(card(clustered=False)) == {"0001": ("10.0.0.1", None)}


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(card(clustered=False, endpoint=None), id="no-endpoint"),
        pytest.param(card(clustered=False, head=None), id="no-primary"),
        pytest.param(
            card(clustered=True, node_groups=(CardShard(node_group_id="0001", slots=""),)),
            id="a-shard-is-nowhere",
        ),
    ],
)
def test_one_of_which_that_is_not_known_cannot_lead(told: Card) -> None:
    assert heads_of(told) is None
