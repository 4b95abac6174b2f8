"""Decide how nodes get another engine, or other settings that only a start can give. Pure.

One node at a time. Replicas go first and come back in sync; then the primary hands over to one of
them and is restarted as a replica. A primary without a replica keeps its data by saving it. Data is
never given up here: a memcached node, which can only lose it, is restarted for it all the same,
because that is what the service does.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from cachefleet.engine.types import NodeRole


@dataclass(frozen=True, kw_only=True, slots=True)
class RestartView:
    """One node of one shard. ``stale``: it does not run what the record says."""

    uid: str
    name: str
    role: NodeRole | None
    stale: bool


class Restart(enum.Enum):
    """How to bring a node to what the record says."""

    EMPTY = "empty"  # its data comes back by replication, or is lost as on the service
    SAVED = "saved"  # its data is written and loaded again
    HAND_OVER = "hand_over"  # the primary gives its role to this replica


@dataclass(frozen=True, slots=True)
class RestartStep:
    """One restart, or the switchover that has to come before it."""

    kind: Restart
    uid: str
    reason: str


def plan_restart(shard: Sequence[RestartView]) -> RestartStep | None:
    """Return the next step for a shard whose nodes all serve, in sync; None when none is stale."""
    stale = [node for node in shard if node.stale]
    if not stale:
        return None
    followers = [node for node in stale if node.role is not NodeRole.PRIMARY]
    if followers:
        first = followers[0]
        return RestartStep(Restart.EMPTY, first.uid, f"{first.name} runs another engine")
    primary = stale[0]
    replicas = [node for node in shard if node.role is NodeRole.REPLICA]
    if replicas:
        return RestartStep(Restart.HAND_OVER, replicas[0].uid, f"{primary.name} is to be restarted")
    return RestartStep(Restart.SAVED, primary.uid, f"{primary.name} has no replica to hand over to")
