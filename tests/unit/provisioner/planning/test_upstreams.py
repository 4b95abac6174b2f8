"""A primary that follows another shard: what is planned for it and for its replicas."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cachefleet.engine.types import Endpoint, NodeRole, ReplicationView, Upstream
from cachefleet.provisioner.planning.replication import NodeView, plan_replication
from cachefleet.provisioner.planning.steps import Step, Verb

AFAR, NEAR = Endpoint("10.0.0.1", 6379), Endpoint("127.0.0.1", 6379)


def view(primary: Endpoint | None, *, link_up: bool = True) -> ReplicationView:
    return ReplicationView(
        role=NodeRole.PRIMARY if primary is None else NodeRole.REPLICA,
        offset=0,
        replid="0" * 40,
        primary=primary,
        link_up=link_up,
        sync_in_progress=False,
        loading=False,
        replicas=(),
        failover_state="no-failover",
    )


def leading(
    follows: Endpoint | None,
    *,
    link_up: bool = True,
    upstream: Upstream | None = None,
) -> NodeView:
    return NodeView(
        uid="p",
        own=NEAR,
        wanted_role=NodeRole.PRIMARY,
        wanted_binds=(NEAR.host,),
        running=True,
        replication=view(follows, link_up=link_up),
        binds=(NEAR.host,),
        upstream=upstream or Upstream(AFAR),
    )


def replica(follows: Endpoint | None, *, link_up: bool = True) -> NodeView:
    return replace(
        leading(follows, link_up=link_up), uid="r", wanted_role=NodeRole.REPLICA, upstream=None
    )


def acts(nodes: list[NodeView]) -> list[tuple[str, str]]:
    return [(step.node_uid, step.verb.value) for step in plan_replication(nodes)]


@pytest.mark.parametrize("follows", [None, NEAR], ids=["leads", "follows-another"])
@pytest.mark.parametrize("outside", [True, False])
def test_it_is_led_to_whom_it_follows(follows: Endpoint | None, outside: bool) -> None:
    steps = plan_replication([leading(follows, upstream=Upstream(AFAR, outside=outside))])
    assert [(s.verb, s.target, s.outside) for s in steps] == [(Verb.FOLLOW, AFAR, outside)]


def test_it_is_no_deposed_primary() -> None:
    assert acts([leading(AFAR), replica(NEAR)]) == []


def test_without_an_upstream_it_leads_again() -> None:
    nodes = [replace(leading(AFAR), upstream=None), replica(NEAR)]
    assert acts(nodes) == [("p", "promote")]


def test_a_lost_upstream_holds_nothing_up_but_new_replicas_are_attached() -> None:
    away = leading(AFAR, link_up=False)
    assert acts([away, replica(NEAR, link_up=False)]) == []
    assert acts([away, replica(None)]) == [("r", "follow")]


def test_replicas_are_waited_for_while_the_upstream_is_there() -> None:
    assert acts([leading(AFAR), replica(NEAR, link_up=False)]) == [("r", "wait")]


def test_a_shard_that_is_made_is_not_made_before_it_has_a_copy() -> None:
    made = leading(AFAR, link_up=False, upstream=Upstream(AFAR, awaited=True))
    steps: list[Step] = plan_replication([made, replica(NEAR)])
    assert [(step.node_uid, step.verb) for step in steps] == [("p", Verb.WAIT)]
