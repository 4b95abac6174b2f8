"""Carry out ``log_delivery``: look whether logs can be delivered where they are to go, and say so.

A destination that is not there is no reason to fail the change, as on the service: the status is
``error`` then, with the reason, and delivery goes on trying. What was turned off vanishes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from cachefleet.provisioner.destinations.base import DeliveryFailed
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.outcomes import Done, Outcome
from cachefleet.provisioner.reconciler.records import load_subject
from cachefleet.provisioner.reconciler.settle import settle
from cachefleet.provisioner.state import leases, log_delivery
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.tables import Operation

log = structlog.get_logger(__name__)


async def apply_log_delivery(operation: Operation, lease: Lease, fleet: Fleet) -> Outcome:
    """Bring every configuration that is on its way to its end."""
    async with fleet.store.read(lease.scope) as tx:
        record = await load_subject(tx, lease)
    if record is None:
        return Done("it is gone")
    checked: dict[str, str | None] = {}
    for entry in record.settings.log_delivery:
        if entry["Status"] in log_delivery.ON_THE_WAY:
            checked[log_delivery.key_of(entry)] = await check(lease.scope, entry, fleet)
    async with fleet.store.begin(lease.scope) as tx:
        await leases.require(tx, lease, holder=fleet.holder)
        fresh = await load_subject(tx, lease)
        assert fresh is not None, "the lease is held, so the subject is there"
        row = fresh.settings
        row.log_delivery = log_delivery.concluded(row.log_delivery, checked)
        row.pending = {k: v for k, v in row.pending.items() if k != log_delivery.PENDING}
    log.info("log_delivery_applied", subject=record.settings.name, failures=checked)
    return await settle(lease, fleet, operation_id=operation.id)


async def check(scope: Scope, entry: Mapping[str, Any], fleet: Fleet) -> str | None:
    """Return why logs cannot be delivered as *entry* says; None where they can."""
    try:
        await fleet.destinations.run(lambda: fleet.destinations.find(scope, entry).check())
    except DeliveryFailed as error:
        return str(error)
    return None
