"""Make a replica of a cluster the primary of its shard, without a vote.

It first hears which slots its primary has given away and which it was given, and takes on the marks
of those that are half moved in the same breath: clients are led to keys on the other side, and no
key is dropped by a new owner that was outbid, or by the successor as not its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import structlog

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import ClusterNodeView, NodeRole, SlotMigrationView
from cachefleet.provisioner.clock import Clock
from cachefleet.provisioner.planning.takeover import (
    contested_slots,
    marks_of_lost,
    unclaimed_slots,
)

log = structlog.get_logger(__name__)

Word: TypeAlias = str | bytes | int

VIEW_TIMEOUT_S = 2.0  # a primary that answers later is not waited for
AGREE_TIMEOUT_S = 1.0  # the bus tells of a new owner within milliseconds
AGREE_POLL_S = 0.002


class Member(Protocol):
    """What is asked of a node of the cluster; the adapter of a Valkey node is one."""

    async def cluster_nodes(self) -> Sequence[ClusterNodeView]:
        """Return all nodes as this one sees them."""
        ...

    async def commands(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        """Send several commands at once."""
        ...


async def take_over(
    successor: Member, lost_id: str, primaries: Sequence[Member], *, clock: Clock
) -> None:
    """Have *successor* take the place of the node *lost_id*, which is gone or fenced.

    *primaries* are those of the other shards; a command that was under way to one of them when its
    sender was stopped has run by the time it answers: it was there before ours.

    Raises:
        NodeUnreachable, CommandRefused: it did not take over.
    """
    seen, others = await _agreed(successor, lost_id, primaries, clock)
    marks = marks_of_lost(lost_id, seen, others)
    try:
        # Sent as one, they run as one: no client comes in between.
        await successor.commands(
            [
                ("CLUSTER", "FAILOVER", "TAKEOVER"),
                *(("CLUSTER", "SETSLOT", m.slot, m.state, m.peer_id) for m in marks),
            ]
        )
    except CommandRefused as error:
        if not any(
            n.myself and n.role is NodeRole.PRIMARY for n in await successor.cluster_nodes()
        ):
            raise
        # A slot has moved on meanwhile; the resharding sets its marks itself.
        log.info("marks_not_restored", reason=str(error))


class Giver(Protocol):
    """What is asked of a primary that gives slots away as a whole; the adapter of a Valkey node."""

    async def slot_migrations(self) -> Sequence[SlotMigrationView]:
        """Return the moves that it knows of."""
        ...

    async def cluster_hears(self, node_id: str) -> bool:
        """Tell whether there may be more to read from another node."""
        ...

    async def cancel_slot_migrations(self) -> None:
        """Stop its moves."""
        ...


async def let_writes_go_on(giver: Giver, lost_id: str, *, clock: Clock) -> None:
    """End a move to the node *lost_id*, which is gone, and whose claim of the slots never came.

    By itself a primary that has agreed to the end of a move takes no write for 10 s: it cannot know
    that there is nobody left who could claim them. Without a move there, nothing is done.
    """
    ends_at_s = clock.monotonic_s() + AGREE_TIMEOUT_S
    try:
        while any(
            view.target_id == lost_id and view.runs for view in await giver.slot_migrations()
        ):
            if not await giver.cluster_hears(lost_id):
                # All that the lost one said of itself has been read; was a claim among it?
                await giver.cancel_slot_migrations()
                return
            if clock.monotonic_s() > ends_at_s:
                return
            await asyncio.sleep(AGREE_POLL_S)
    except (NodeUnreachable, CommandRefused) as error:
        log.debug("move_not_ended", reason=str(error))  # older engines know no such moves


async def _myself(member: Member) -> ClusterNodeView | None:
    try:
        async with asyncio.timeout(VIEW_TIMEOUT_S):
            return next(node for node in await member.cluster_nodes() if node.myself)
    except (NodeUnreachable, CommandRefused, TimeoutError) as error:
        log.info("view_not_read", reason=str(error))
        return None


async def _agreed(
    successor: Member, lost_id: str, primaries: Sequence[Member], clock: Clock
) -> tuple[Sequence[ClusterNodeView], list[ClusterNodeView]]:
    """Return the cluster as the successor sees it, and what *primaries* say of themselves.

    They agree on what the lost one owned, or have not come to that in time.
    """
    ends_at_s = clock.monotonic_s() + AGREE_TIMEOUT_S
    while True:
        views = await asyncio.gather(*(_myself(member) for member in primaries))
        others = [view for view in views if view is not None]
        seen = await successor.cluster_nodes()
        contested = contested_slots(lost_id, seen, others)
        unclaimed = set[int]()
        if len(others) == len(primaries):  # else they are those of who did not answer
            unclaimed = unclaimed_slots(lost_id, seen, others)
        if not contested and not unclaimed:
            return seen, others
        if clock.monotonic_s() > ends_at_s:
            log.warning(
                "slots_not_agreed", contested=sorted(contested), unclaimed=sorted(unclaimed)
            )
            return seen, others
        await asyncio.sleep(AGREE_POLL_S)
