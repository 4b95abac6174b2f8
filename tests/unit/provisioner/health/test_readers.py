"""unfit: who is kept out of the reader endpoint, by the primary's account."""

from __future__ import annotations

import pytest

from cachefleet.engine.types import Endpoint, NodeRole, ReplicaLink, ReplicationView
from cachefleet.provisioner.health.readers import LAG_S_MAX, unfit

A, B = Endpoint("127.100.0.1", 6379), Endpoint("127.100.0.2", 6379)


def primary(*links: ReplicaLink) -> ReplicationView:
    return ReplicationView(
        role=NodeRole.PRIMARY,
        offset=10,
        replid="0" * 40,
        primary=None,
        link_up=False,
        sync_in_progress=False,
        loading=False,
        replicas=links,
        failover_state="no-failover",
    )


def link(endpoint: Endpoint, *, state: str = "online", lag_s: int | None = 0) -> ReplicaLink:
    return ReplicaLink(endpoint=endpoint, offset=10, state=state, lag_s=lag_s)


@pytest.mark.parametrize(
    ("links", "kept_out"),
    [
        pytest.param([link(A), link(B)], set(), id="all-in-sync"),
        pytest.param([link(A)], {B}, id="not-connected"),
        pytest.param([link(A), link(B, state="wait_bgsave")], {B}, id="in-full-sync"),
        pytest.param([link(A), link(B, lag_s=LAG_S_MAX)], set(), id="late-but-within-the-limit"),
        pytest.param([link(A), link(B, lag_s=LAG_S_MAX + 1)], {B}, id="too-late"),
        pytest.param([], {A, B}, id="none-left"),
    ],
)
def test_keeps_out_replicas_that_should_not_be_read(
    links: list[ReplicaLink], kept_out: set[Endpoint]
) -> None:
    assert unfit(primary(*links), [A, B]) == kept_out
