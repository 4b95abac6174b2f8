"""What a plan is made of."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from cachefleet.engine.types import Endpoint


class Verb(enum.Enum):
    """One act on one node. Each may be repeated without harm."""

    LAUNCH = "launch"
    WAIT = "wait"
    PROMOTE = "promote"  # REPLICAOF NO ONE
    FOLLOW = "follow"  # REPLICAOF <target>
    BIND = "bind"  # listen on exactly `addresses`
    BEGIN = "begin"  # cluster mode: own the first slots (docs/adr/0001)
    TAKE_OVER = "take_over"  # CLUSTER FAILOVER TAKEOVER
    MEET = "meet"  # CLUSTER MEET <target>
    REPLICATE = "replicate"  # CLUSTER REPLICATE <target_id>
    STIR = "stir"  # WAIT, so that an idle primary's stream moves
    BUMP_EPOCH = "bump_epoch"  # CLUSTER BUMPEPOCH: what the primary's replicas say counts again
    RESUME = "resume"  # have a replica connect once more: a partial sync, and the stream begins
    PACE = "pace"  # cluster-node-timeout, half of which is how often a node pings each other one
    FORGET = "forget"  # CLUSTER FORGET <target_id>
    LISTEN = "listen"  # take clients and nodes at the ports of `directives`
    ANNOUNCE = "announce"  # memcached: answer discovery with the list of the record


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """An act, on whom, and why. Steps of one batch do not depend on each other."""

    verb: Verb
    node_uid: str
    reason: str
    target: Endpoint | None = None
    target_bus_port: int | None = None
    target_id: str | None = None
    addresses: tuple[str, ...] = ()
    directives: tuple[tuple[str, str], ...] = ()
    timeout_ms: int | None = None
    outside: bool = False  # FOLLOW: the target is no node of ours
