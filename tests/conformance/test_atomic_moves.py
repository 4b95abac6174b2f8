"""Slots that Valkey moves as a whole: what a target had of them before does not stay."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from cachefleet.engine.types import Engine, SlotRange
from cachefleet.provisioner.planning.resharding import slots_of
from cachefleet.provisioner.reconciler.slot_moves import Login, Peer, move_atomically
from tests.conformance.clusters import assert_converges, seats_of, start_cluster
from tests.conformance.engines import ADMIN, PASSWORD, need

pytestmark = pytest.mark.engine

SLOT = 8338  # of {tag}
MOVED = SlotRange(first=SLOT - 20, last=SLOT + 20)


async def test_what_is_left_of_a_move_that_did_not_count_is_not_added_to() -> None:
    """Valkey 9.1 does not look, and an assertion of its own ends it."""
    seats = seats_of(2, 0)[::-1]  # the slot is of the second shard
    async with AsyncExitStack() as stack:
        nodes = await start_cluster(
            stack, (need(Engine.VALKEY, "9.1"), "valkey9"), seats, placeholder=True
        )
        await assert_converges(nodes, seats)
        source, target = (
            Peer(seat.id, node.endpoint, node.adapter, Login(ADMIN, PASSWORD))
            for seat, node in zip(seats, nodes, strict=True)
        )
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
