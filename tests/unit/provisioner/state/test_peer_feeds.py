"""From where another cachefleet's shards are fed into ours, whatever becomes of either side."""

from __future__ import annotations

from typing import Any

import pytest

from cachefleet.provisioner.state import peer_feeds
from cachefleet.provisioner.state.global_tables import GlobalGroup, GlobalMember
from cachefleet.provisioner.state.peer_records import Card, CardShard
from cachefleet.provisioner.state.tables import CacheNode, NodeGroup, ReplicationGroup

LAYOUT = {"0001": "0-8191", "0002": "8192-16383"}


def group(layout: dict[str, str] = LAYOUT, **columns: Any) -> ReplicationGroup:
    return ReplicationGroup(
        name="far",
        cluster_mode="enabled",
        node_groups=[NodeGroup(node_group_id=k, slots=v) for k, v in layout.items()],
        **columns,
    )


def card(**changes: Any) -> Card:
    shards = tuple(
        CardShard(node_group_id=name, slots=slots, endpoint=(f"10.0.0.{number}", 6379))
        for number, (name, slots) in enumerate(LAYOUT.items(), start=1)
    )
    told: dict[str, Any] = {
        "status": "available",
        "role": "PRIMARY",
        "automatic_failover": "enabled",
        "node_type": "cache.r7g.large",
        "engine": "valkey",
        "engine_version": "8.0.1",
        "cluster_enabled": True,
        "auth_token_enabled": False,
        "transit_encryption_enabled": False,
        "at_rest_encryption_enabled": False,
        "node_groups": shards,
        **changes,
    }
    return Card(**told)


def follows(fed: ReplicationGroup, told: Card | None, *, epoch: int = 0, **asked: Any) -> bool:
    """Have *fed* follow a leader who says this; tell whether anything is new."""
    leader = GlobalMember(region="us-east-1", role="PRIMARY", fleet="other")
    leader.card = None if told is None else told.model_dump(mode="json")
    row = GlobalGroup(name="ldgnf-x", epoch=epoch, members=[leader])
    return peer_feeds.feed_from_peer(fed, row, leader, **asked)


def feeds(fed: ReplicationGroup) -> list[dict[str, Any]]:
    return [shard.feed or {} for shard in fed.node_groups]


def test_a_feed_begins_once_the_leader_has_settled_and_goes_on_whatever_it_does_then() -> None:
    fed = group()
    assert follows(fed, card(status="modifying"))
    assert [one["waits"] for one in feeds(fed)] == [True, True]
    tokens = [one["token"] for one in feeds(fed)]
    assert follows(fed, card())
    assert not follows(fed, card(status="modifying"))
    assert [(one["waits"], one["token"]) for one in feeds(fed)] == [(False, it) for it in tokens]


@pytest.mark.parametrize("role", ["SECONDARY", None])
def test_nobody_is_fed_by_one_who_does_not_say_that_it_leads(role: str | None) -> None:
    fed = group()
    follows(fed, card(role=role))
    assert [one["waits"] for one in feeds(fed)] == [True, True]


def test_a_new_lead_is_a_new_feed() -> None:
    fed = group()
    follows(fed, card())
    before = [one["token"] for one in feeds(fed)]
    assert not follows(fed, card())
    assert follows(fed, card(), epoch=1)
    assert not set(before) & {one["token"] for one in feeds(fed)}


def test_one_that_moved_is_followed_and_one_that_is_nowhere_is_where_it_was() -> None:
    fed = group()
    follows(fed, card())
    token = feeds(fed)[0]["token"]
    moved = [one.model_copy(update={"endpoint": ("10.9.9.9", 7)}) for one in card().node_groups]
    assert follows(fed, card(node_groups=moved))
    assert feeds(fed)[0]["outside"] == {"host": "10.9.9.9", "port": 7}
    lost = [one.model_copy(update={"endpoint": None}) for one in card().node_groups]
    assert not follows(fed, card(node_groups=lost))
    assert feeds(fed)[0]["token"] == token
    fresh = group()
    follows(fresh, card(node_groups=lost))
    assert feeds(fresh)[0]["waits"], "nobody knows from where"


def test_with_other_shards_or_told_to_rest_nothing_is_fed() -> None:
    fed = group({"0001": "0-16383"})
    assert not follows(fed, card())
    fed = group()
    follows(fed, card())
    assert follows(fed, card(), rests=True)
    assert feeds(fed) == [{}, {}]
    follows(fed, card())
    assert feeds(fed) != [{}, {}]


def test_before_the_leader_has_said_anything_nothing_is_changed() -> None:
    fed = group()
    follows(fed, card())
    before = feeds(fed)
    assert not follows(fed, None, epoch=1)
    assert feeds(fed) == before


def test_who_vouches_for_the_source_is_written_down_where_it_speaks_tls() -> None:
    fed = group()
    follows(fed, card(transit_encryption_enabled=True, authority="PEM"))
    assert feeds(fed)[0]["outside"] == {"host": "10.0.0.1", "port": 6379, "ca": "PEM"}


def test_only_a_feed_that_waits_begins_somewhere() -> None:
    start = {"replication_id": "f" * 40, "offset": 7}
    fed = group()
    follows(fed, card(status="modifying"))
    peer_feeds.begin_from(fed, {"0001": start})
    assert [one["start"] for one in feeds(fed)] == [start, None]
    follows(fed, card())
    assert [one["start"] for one in feeds(fed)] == [start, None], "it is still where it begins"
    peer_feeds.begin_from(fed, {"0002": start})
    assert feeds(fed)[1]["start"] is None


@pytest.mark.parametrize(
    ("encrypted", "ports", "read_at"),
    [
        pytest.param(False, {}, 6379, id="plain"),
        pytest.param(False, {"engine_port": 26379}, 26379, id="plain-behind-the-gateway"),
        pytest.param(True, {}, 6379, id="the-engine-speaks-tls"),
        pytest.param(True, {"engine_port": 1, "replication_port": 2}, 2, id="it-does-behind"),
        pytest.param(True, {"engine_port": 1}, 6379, id="the-gateway-does"),
    ],
)
def test_streams_are_read_in_plain_only_where_clients_may(
    encrypted: bool, ports: dict[str, int], read_at: int
) -> None:
    node = CacheNode(role="primary", status="available", host="10.0.0.5", port=6379, **ports)
    replica = CacheNode(role="replica", status="available", host="10.0.0.6", port=6379)
    leading = group(transit_encryption_enabled=encrypted)
    leading.node_groups[0].nodes = [replica, node]
    first, second = peer_feeds.card_shards(leading)
    assert (first.endpoint, first.head) == (("10.0.0.5", read_at), ("10.0.0.5", 6379))
    assert (second.endpoint, second.head) == (None, None)
