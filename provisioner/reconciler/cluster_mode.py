"""Carry out ``change_cluster_mode``: a group without cluster mode becomes one with it, data kept.

An engine is in cluster mode from its start or never, and a replica in cluster mode follows nobody
who is not. So all nodes of the (one) shard are saved and ended, the record changes, and settling
starts them again from what they saved: the clients of a group wait for as long as that takes, and
every write that was acknowledged is in what the primary saved.

If we die on the way: until the record changes, nodes that are missing are started as they were;
from then on, as they are to be. From ``compatible`` to ``enabled`` nothing is restarted: endpoints
go.
"""

from __future__ import annotations

import asyncio

import structlog
from sqlalchemy import delete

from cachefleet.engine.errors import CommandRefused, NodeUnreachable, NoEngineBinary
from cachefleet.engine.types import NodeRole
from cachefleet.engine.valkey.cluster import even_slots, format_slots
from cachefleet.engine.valkey.config import CLUSTER_CONFIG_FILE
from cachefleet.provisioner.drivers.base import LaunchFailed
from cachefleet.provisioner.reconciler.addressing import endpoint_kinds
from cachefleet.provisioner.reconciler.binaries import SAVED_DUMP_FILE
from cachefleet.provisioner.reconciler.conclude import conclude
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.outcomes import Done, Outcome, Requeue
from cachefleet.provisioner.reconciler.places import sealed_dump
from cachefleet.provisioner.reconciler.records import SubjectRecord, load_subject, reload_subject
from cachefleet.provisioner.reconciler.settle import converge, settle
from cachefleet.provisioner.reconciler.stopping import end_node
from cachefleet.provisioner.state import leases
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.parameter_groups import PENDING_MODE_GROUP
from cachefleet.provisioner.state.parameters import IN_SYNC
from cachefleet.provisioner.state.tables import EndpointAddress, Operation, ReplicationGroup

log = structlog.get_logger(__name__)

RETRY_S = 1.0
PENDING_MODE = "ClusterMode"
WITHOUT = "disabled"
GROUP = "replication-group"


class CannotChange(Exception):
    """The data does not allow the change; the message says why."""


async def change_cluster_mode(operation: Operation, lease: Lease, fleet: Fleet) -> Outcome:
    """Give the group the cluster mode that is pending, then settle."""
    async with fleet.store.read(lease.scope) as tx:
        record = await load_subject(tx, lease)
    if record is None or record.group is None:
        return Done("it is gone")
    wanted = record.group.pending.get(PENDING_MODE)
    refusal = None
    if wanted is not None and wanted != record.group.cluster_mode:
        try:
            if WITHOUT in (wanted, record.group.cluster_mode):
                record = await converge(record, fleet)
                await _require_one_database(record, fleet)
                await _save_and_end(record, fleet)
            await _record(record, wanted, fleet)
        except CannotChange as error:
            refusal = str(error)
        except (NodeUnreachable, CommandRefused, LaunchFailed, NoEngineBinary) as error:
            return Requeue(after_s=RETRY_S, reason=str(error))
        except TimeoutError:
            return Requeue(after_s=RETRY_S, reason="it did not become ready in time")
    outcome = await settle(lease, fleet)
    if isinstance(outcome, Done):
        record = await reload_subject(record, fleet.store)
        await _announce(record, wanted, fleet, refusal=refusal)
        await conclude(record, fleet, operation_id=operation.id)
    return outcome


async def _require_one_database(record: SubjectRecord, fleet: Fleet) -> None:
    """Refuse data outside of database 0, which an engine in cluster mode could not load."""
    if record.cluster_enabled:
        return
    for node in record.live_nodes:
        if node.role == NodeRole.PRIMARY:
            databases = set(await fleet.valkey(node).info("keyspace")) - {"db0"}
            if databases:
                raise CannotChange(f"keys are in {', '.join(sorted(databases))}, not only in db0")


async def _save_and_end(record: SubjectRecord, fleet: Fleet) -> None:
    """End every node with its data written, the primary first: nothing is written after that.

    Raises:
        CommandRefused: the primary's data could not be written. Its replicas still serve theirs.
    """
    primaries = [node for node in record.live_nodes if node.role == NodeRole.PRIMARY]
    replicas = [node for node in record.live_nodes if node.role != NodeRole.PRIMARY]
    for node in primaries:
        await end_node(node, record.engine, fleet, save=True)
        saved = (fleet.driver.directory(node.uid) / SAVED_DUMP_FILE).exists()
        if not saved and sealed_dump(node.uid, fleet) is None:
            raise CommandRefused(f"{node.member_name} could not write its data")
    await asyncio.gather(*(end_node(node, record.engine, fleet, save=True) for node in replicas))


async def _record(record: SubjectRecord, wanted: str, fleet: Fleet) -> None:
    """Write the mode, and all that goes with it, in one transaction."""
    begins = not record.cluster_enabled
    if begins:
        for node in record.live_nodes:  # of an earlier time in cluster mode
            (fleet.driver.directory(node.uid) / CLUSTER_CONFIG_FILE).unlink(missing_ok=True)
    async with fleet.store.begin(record.lease.scope) as tx:
        await leases.require(tx, record.lease, holder=fleet.holder)
        fresh = await load_subject(tx, record.lease)
        assert fresh is not None, "the lease is held, so the subject is there"
        group = fresh.group
        assert group is not None
        group.cluster_mode = wanted
        parameter_group = group.pending.get(PENDING_MODE_GROUP, group.parameter_group_name)
        group.parameter_group_name = parameter_group
        for cluster in fresh.clusters:
            cluster.parameter_group_name = parameter_group
        gone = {"primary", "reader", "configuration"} - set(endpoint_kinds(group))
        if wanted == WITHOUT:
            gone.add("bus")
        if begins or wanted == WITHOUT:
            for shard in group.node_groups:
                shard.slots = "" if wanted == WITHOUT else format_slots(even_slots(1))
            for node in fresh.nodes:
                node.parameter_group_status = IN_SYNC  # its start brings all of them into force
                node.bus_port = None
        await tx.session.execute(
            delete(EndpointAddress).where(
                EndpointAddress.subject_uid == group.uid, EndpointAddress.kind.in_(gone)
            )
        )
    log.info("cluster_mode_changed", group=record.settings.name, mode=wanted)


async def _announce(
    record: SubjectRecord, wanted: str | None, fleet: Fleet, *, refusal: str | None
) -> None:
    async with fleet.store.begin(record.lease.scope) as tx:
        await leases.require(tx, record.lease, holder=fleet.holder)
        group = await tx.session.get(ReplicationGroup, record.lease.subject_uid)
        assert group is not None, "the lease is held, so the group is there"
        done = {PENDING_MODE, PENDING_MODE_GROUP}
        group.pending = {k: v for k, v in group.pending.items() if k not in done}
        if refusal is not None:
            text = f"Failed to change the cluster mode of replication group {group.name}: {refusal}"
            tx.emit(GROUP, group.name, text)
        elif wanted is not None:
            text = f"The cluster mode of replication group {group.name} was changed to {wanted}"
            tx.emit(GROUP, group.name, text)
