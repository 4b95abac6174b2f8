"""Give new shards the functions that customers loaded (``FUNCTION LOAD``) into those there are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cachefleet.engine.errors import CommandRefused
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.state.tables import CacheNode


async def copy_functions(
    sources: Sequence[CacheNode], targets: Sequence[CacheNode], fleet: Fleet
) -> None:
    """Copy all functions of one of *sources* to each of *targets*; may be repeated.

    Customers load functions into every primary, so one stands for all (which one, the service
    leaves open). Engines before 7.0 have none.

    Raises:
        CommandRefused: a target did not take them.
        NodeUnreachable: a node did not answer.
    """
    if not sources or not targets:
        return
    try:
        dump = await fleet.valkey(sources[0]).command("FUNCTION", "DUMP")
    except CommandRefused as refusal:
        if "unknown command" in str(refusal).lower():
            return
        raise
    payload = str(dump).encode("utf-8", "surrogateescape")
    await asyncio.gather(
        *(fleet.valkey(node).command("FUNCTION", "RESTORE", payload, "REPLACE") for node in targets)
    )
