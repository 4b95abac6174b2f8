"""A replica takes over at the moment its primary's slots change hands: no key is dropped."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
from valkey.asyncio import Connection
from valkey.crc import key_slot

from cachefleet.engine.types import Engine
from cachefleet.engine.valkey.adapter import ValkeyAdapter
from cachefleet.engine.valkey.guard import OWN_SPELLING
from cachefleet.provisioner.clock import SystemClock
from cachefleet.provisioner.reconciler.slot_moves import Login, Peer, until_claims_count
from cachefleet.provisioner.reconciler.takeover import take_over
from tests.conformance.clusters import assert_converges, seats_of, start_cluster
from tests.conformance.engines import ADMIN, PASSWORD, Node, eventually, find_binary

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(find_binary(Engine.REDIS, "7.1") is None, reason="no Redis OSS here"),
]

SLOTS = range(16)
CLAIMED = range(8)


async def test_a_successor_neither_outbids_new_owners_nor_forgets_half_moved_slots() -> None:
    seats = seats_of(2, 1)
    source, successor, target, _ = seats
    binary = find_binary(Engine.REDIS, "7.1")
    assert binary is not None
    async with AsyncExitStack() as stack:
        nodes = dict(
            zip(
                (seat.id for seat in seats),
                await start_cluster(stack, (binary, "redis7"), seats, placeholder=True),
                strict=True,
            )
        )
        await assert_converges(list(nodes.values()), seats)
        old, heir, new = (nodes[seat.id] for seat in (source, successor, target))
        # As every move of slots begins: a claim that the source could outbid would be lost.
        giver, taker = (
            Peer(seat_id, node.endpoint, node.adapter, Login(ADMIN, PASSWORD))
            for seat_id, node in ((source.id, old), (target.id, new))
        )
        await until_claims_count(giver, taker, [])
        keys = await one_key_each(old)
        for node, state, peer in ((new, "IMPORTING", source), (old, "MIGRATING", target)):
            await node.adapter.commands(
                [("CLUSTER", "SETSLOT", slot, state, peer.id) for slot in SLOTS]
            )
        for key in keys.values():
            await old.adapter.migrate_keys(
                new.endpoint, [key.encode()], username=ADMIN, password=PASSWORD
            )
        await eventually(lambda: is_empty(heir))

        mover = Connection(
            host=new.endpoint.host, port=new.endpoint.port, username=ADMIN, password=PASSWORD
        )
        await mover.connect()  # type: ignore[no-untyped-call]
        stack.push_async_callback(mover.disconnect)
        assert old.process is not None
        old.process.kill()
        # What was on its way when the mover was stopped: the new owner claims half of the slots.
        word = OWN_SPELLING["CLUSTER"]
        claims = [(word, "SETSLOT", slot, "NODE", target.id) for slot in CLAIMED]
        await mover.send_packed_command(mover.pack_commands(claims))
        way_in = ValkeyAdapter(endpoint=new.endpoint, username=ADMIN, password=PASSWORD)
        stack.push_async_callback(way_in.aclose)
        await take_over(heir.adapter, source.id, [way_in], clock=SystemClock())
        for _ in CLAIMED:
            await mover.read_response()

        await eventually(lambda: agree(heir, new, target.id))
        assert [await new.adapter.command("GET", keys[slot]) for slot in CLAIMED] == [
            str(slot) for slot in CLAIMED
        ]
        me = next(row for row in await heir.adapter.cluster_nodes() if row.myself)
        assert me.migrating == tuple((slot, target.id) for slot in SLOTS if slot not in CLAIMED)


async def one_key_each(node: Node) -> dict[int, str]:
    """Write a key in each slot, holding the number of its slot; return the keys."""
    keys: dict[int, str] = {}
    for number in range(200_000):
        key = f"key-{number}"
        slot = key_slot(key.encode())
        if slot in SLOTS and slot not in keys:
            keys[slot] = key
            await node.adapter.command("SET", key, slot)
            if len(keys) == len(SLOTS):
                return keys
    raise AssertionError("some slot has no key")


async def is_empty(node: Node) -> bool:
    return int(await node.adapter.command("DBSIZE")) == 0


async def agree(heir: Node, new: Node, new_id: str) -> bool:
    """Tell whether both believe the higher epoch, and so the same owner."""
    views = [await node.adapter.cluster_nodes() for node in (heir, new)]
    owned = [next(row.slots for row in rows if row.id == new_id) for rows in views]
    epochs = [sorted((row.id, row.epoch) for row in rows if not row.failed) for rows in views]
    return owned[0] == owned[1] and epochs[0][-1] == epochs[1][-1]
