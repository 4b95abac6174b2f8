"""Slots that Valkey moves as a whole: what a target had of them before does not stay."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from cachefleet.engine.types import Engine, SlotRange
from cachefleet.provisioner.clock import SystemClock
from cachefleet.provisioner.planning.resharding import slots_of
from cachefleet.provisioner.reconciler.slot_moves import Login, Peer, move_atomically
from cachefleet.provisioner.reconciler.takeover import let_writes_go_on
from tests.conformance.clusters import assert_converges, seats_of, start_cluster
from tests.conformance.engines import ADMIN, PASSWORD, Node, eventually, need

pytestmark = pytest.mark.engine

SLOT = 8338  # of {tag}
MOVED = SlotRange(first=SLOT - 20, last=SLOT + 20)


async def start_two(stack: AsyncExitStack) -> list[tuple[Peer, Node]]:
    """Give the source and the target, which may be told to stop half way."""
    kind = need(Engine.VALKEY, "9.1"), "valkey9"
    seats = seats_of(2, 0)[::-1]  # the slot is of the second shard
    nodes = await start_cluster(
        stack, kind, seats, placeholder=True, more_lines="enable-debug-command yes\n"
    )
    await assert_converges(nodes, seats)
    return [
        (Peer(seat.id, node.endpoint, node.adapter, Login(ADMIN, PASSWORD)), node)
        for seat, node in zip(seats, nodes, strict=True)
    ]


async def test_what_is_left_of_a_move_that_did_not_count_is_not_added_to() -> None:
    """Valkey 9.1 does not look, and an assertion of its own ends it."""
    async with AsyncExitStack() as stack:
        (source, _), (target, _) = await start_two(stack)
        await source.adapter.commands([("RPUSH", "{tag}list", word) for word in ("a", "b", "c")])
        await target.adapter.cluster_setslot(SLOT, "IMPORTING", source.node_id)
        await target.adapter.commands(
            [
                ("ASKING",),
                ("RPUSH", "{tag}list", "a"),
                ("ASKING",),
                ("SET", "{tag}deleted", "meanwhile"),
            ]
        )
        await target.adapter.cluster_setslot(SLOT, "STABLE")
        assert await target.adapter.count_keys_in_slot(SLOT) == 2

        await move_atomically(source, target, [MOVED])

        me = next(row for row in await target.adapter.cluster_nodes() if row.myself)
        assert slots_of([MOVED]) <= slots_of(me.slots)
        assert await target.adapter.command("LRANGE", "{tag}list", 0, -1) == ["a", "b", "c"]
        assert await target.adapter.count_keys_in_slot(SLOT) == 1


async def test_a_source_takes_writes_again_once_the_target_has_claimed_nothing() -> None:
    """Left to itself it holds them back for 10 s after the target's end."""
    async with AsyncExitStack() as stack:
        (source, _), (target, process) = await start_two(stack)
        await target.adapter.command("DEBUG", "SLOTMIGRATION", "PREVENT-FAILOVER", 1)
        await source.adapter.migrate_slots([MOVED], target.node_id)

        async def agreed() -> bool:
            return (await source.adapter.slot_migrations())[0].state == "failover-granted"

        await eventually(agreed)
        assert process.process is not None
        process.process.kill()
        await let_writes_go_on(source.adapter, "ab" * 20, clock=SystemClock())
        assert (await source.adapter.slot_migrations())[0].runs, "it goes to somebody else"
        await let_writes_go_on(source.adapter, target.node_id, clock=SystemClock())
        assert (await source.adapter.slot_migrations())[0].state == "cancelled"
        assert await source.adapter.command("SET", "{tag}", "taken") == "OK"
