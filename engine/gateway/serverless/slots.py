"""Which shard has which slot, as far as this gateway knows. Pure.

The control plane says it with each version of the routes; between two, what shards say of slots
that have moved is believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cachefleet.engine.gateway.routes import Address, ShardOptions
from cachefleet.engine.gateway.serverless.commands import SLOT_COUNT


@dataclass(frozen=True, slots=True)
class _Shard:
    primary: Address
    replicas: tuple[Address, ...]


class SlotMap:
    """All slots of one cache. ``primaries`` are in the order in which shards were added."""

    def __init__(self, shards: Sequence[ShardOptions]) -> None:
        assert shards
        self.primaries: tuple[Address, ...] = ()
        self.replicas: frozenset[Address] = frozenset()
        self._owners: list[Address] = []
        self._shards: dict[Address, _Shard] = {}
        self.change(shards)

    def change(self, shards: Sequence[ShardOptions]) -> None:
        """Take what the control plane says. A slot that is nobody's goes to the first shard, which
        knows whose it is."""
        self.primaries = tuple(shard.primary for shard in shards)
        self.replicas = frozenset(replica for shard in shards for replica in shard.replicas)
        self._shards = {shard.primary: _Shard(shard.primary, shard.replicas) for shard in shards}
        owners = [self.primaries[0]] * SLOT_COUNT
        for shard in shards:
            for first, last in shard.slots:
                owners[first : last + 1] = [shard.primary] * (last + 1 - first)
        self._owners = owners

    def owner(self, slot: int) -> Address:
        """Return the primary that has *slot*."""
        return self._owners[slot]

    def reader(self, slot: int, *, salt: int) -> Address:
        """Return a replica that has *slot*, the same for the same *salt*; its primary without."""
        owner = self._owners[slot]
        shard = self._shards.get(owner)
        if shard is None or not shard.replicas:
            return owner
        return shard.replicas[(salt >> 6) % len(shard.replicas)]

    def learn(self, slot: int, owner: Address) -> None:
        """Believe a shard that says who has *slot* now."""
        if 0 <= slot < SLOT_COUNT:
            self._owners[slot] = owner
