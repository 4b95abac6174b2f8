"""Decide what is to be done about a fault, and which packets a partition drops. Pure.

A partition is a filter on the sockets of a process: it sees where a packet comes from. Packets of
one connection are dropped where they arrive, at both of its ends, so both processes get a filter.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cachefleet.provisioner.state.faults import Cut, FaultKind, HitState


class Move(enum.Enum):
    """What to do about one hit."""

    BEGIN = "begin"
    KEEP = "keep"
    LIFT = "lift"
    DROP = "drop"  # it ended before anybody had begun it


def next_move(state: HitState, *, undone: bool, ends_at: datetime, now: datetime) -> Move:
    """Return what a hit that is open needs."""
    over = undone or now >= ends_at
    if state is HitState.REQUESTED:
        return Move.DROP if over else Move.BEGIN
    return Move.LIFT if over else Move.KEEP


def keeps_down(kind: FaultKind, *, cut: str, duration_s: float) -> bool:
    """Tell whether a node of such a fault must not be started again while it lasts."""
    if kind is FaultKind.KILL:
        return duration_s > 0
    return kind is FaultKind.PARTITION and cut == Cut.ALL


@dataclass(frozen=True, kw_only=True, slots=True)
class CutNode:
    """A node that a partition hits, or one of its group that none hits (*cut* None).

    *fault* joins the nodes that stay together: those of one zone still reach each other.
    """

    uid: str
    host: str
    subject: str
    fault: str = ""
    cut: Cut | None = None


@dataclass(frozen=True, slots=True)
class PacketRule:
    """Which packets a process gets: all but those of *dropped*, or only those of *allowed*."""

    dropped: frozenset[str] = frozenset()
    allowed: frozenset[str] | None = field(default=None)


def plan_rules(nodes: Sequence[CutNode]) -> dict[str, PacketRule]:
    """Return the rule of each process that needs one, by node.

    *nodes* are all nodes of the groups that partitions touch; a node may be there several times,
    once for each partition that hits it.
    """
    rules: dict[str, PacketRule] = {}
    for hit in nodes:
        if hit.cut is None:
            continue
        together = {n.host for n in nodes if n.fault == hit.fault and n.cut is not None}
        group = {n.uid: n.host for n in nodes if n.subject == hit.subject}
        apart = {uid: host for uid, host in group.items() if host not in together}
        if hit.cut is Cut.ALL:
            _restrict(rules, hit.uid, allowed=together)
        else:
            _restrict(rules, hit.uid, dropped=apart.values())
        for uid in apart:
            _restrict(rules, uid, dropped=(hit.host,))
    return rules


def _restrict(
    rules: dict[str, PacketRule],
    uid: str,
    *,
    dropped: Collection[str] = (),
    allowed: Collection[str] | None = None,
) -> None:
    """Add to what a node is kept from; never take anything back."""
    before = rules.get(uid, PacketRule())
    only = before.allowed
    if allowed is not None:
        only = frozenset(allowed) if only is None else only & frozenset(allowed)
    rules[uid] = PacketRule(before.dropped | frozenset(dropped), only)
