"""How far behind the region that leads the others are: asked where it is known.

In cluster mode the feed knows; without it the leading region's primary knows of each replica, and a
replica that has lost it knows since when.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select

from cachefleet.engine.metrics.samples import Sample, number
from cachefleet.engine.types import NodeRole
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.state.global_groups import SECONDARY
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.tables import CacheNode, NodeGroup, ReplicationGroup

LINK_DOWN = "master_link_down_since_seconds"
LAST_HEARD = "master_last_io_seconds_ago"
PING_EVERY_S = 10.0  # what a primary says where nobody writes


async def fed_since_s(fleet: Fleet) -> dict[str, float | None]:
    """Return the nodes that lead the shards of secondaries, by uid, with the lag of their feeds.

    None is said of one that is no feed's target: it follows by itself, or is to be fed yet.
    """
    query = (
        select(CacheNode.uid, NodeGroup.feed)
        .join(NodeGroup, NodeGroup.uid == CacheNode.node_group_uid)
        .join(ReplicationGroup, ReplicationGroup.uid == NodeGroup.replication_group_uid)
        .where(ReplicationGroup.global_role == SECONDARY, CacheNode.role == NodeRole.PRIMARY.value)
    )
    async with fleet.store.read(Scope("", "")) as tx:
        rows = (await tx.session.execute(query)).all()
    if not rows:
        return {}
    status = await fleet.feeds.status()
    found: dict[str, float | None] = {}
    for uid, feed in rows:
        link = status.get(feed["token"]) if feed else None
        found[uid] = None if link is None else link.lag_max_s
    return found


def regional_lag_s(uid: str, sample: Sample, fed: Mapping[str, float | None]) -> float | None:
    """Return how far a node is behind the region that leads; None where it leads or is no head."""
    if uid not in fed:
        return None
    if fed[uid] is not None:
        return fed[uid]
    down_s = number(sample.fields, LINK_DOWN)
    if down_s is not None and down_s >= 0:
        return down_s
    if sample.lag_s is not None:
        return sample.lag_s
    # Its primary is another cachefleet's: it is known here when that was last heard.
    silent_s = number(sample.fields, LAST_HEARD)
    if silent_s is None or silent_s < 0:
        return None
    return silent_s if silent_s > PING_EVERY_S else 0.0
