"""Give every live node and every endpoint of a subject an address, before anything runs.

An address is written before it is used, so a crash leaves a row that the next pass finds, never a
listener that nobody knows. Addresses go with their rows.
"""

from __future__ import annotations

import socket
from dataclasses import replace

from sqlalchemy import delete

from cachefleet.engine.types import Engine
from cachefleet.provisioner.planning.transit import (
    BUS_OFFSET,
    ENGINE_OFFSET,
    REPLICATION_OFFSET,
    Transit,
    port_beside,
)
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.records import (
    UPSTREAM,
    SubjectRecord,
    load_addresses,
    load_subject,
)
from cachefleet.provisioner.reconciler.transit import transit_of
from cachefleet.provisioner.settings import ProvisionerSettings
from cachefleet.provisioner.state import leases
from cachefleet.provisioner.state.addresses import allocate
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheNode, EndpointAddress, ReplicationGroup

SERVERLESS, SERVERLESS_READS = "serverless", "serverless-reads"  # kinds of addresses


def wanted_endpoint_kinds(record: SubjectRecord) -> list[str]:
    """Return which endpoints, beside its nodes', the subject has (semantics of endpoints)."""
    if record.engine is Engine.MEMCACHED:
        return ["configuration"]
    return [] if record.group is None else endpoint_kinds(record.group)


def endpoint_kinds(group: ReplicationGroup) -> list[str]:
    """Return which endpoints a group has in its cluster mode."""
    if group.cluster_mode == "enabled":
        return ["configuration"]
    if group.cluster_mode == "compatible":
        return ["primary", "reader", "configuration"]
    return ["primary", "reader"]


def endpoint_ports(record: SubjectRecord, settings: ProvisionerSettings) -> dict[str, int]:
    """Return the endpoints beside its nodes' that the subject has, and the ports they should have.

    A serverless cache has two ports on one address, where addresses are its own.
    """
    port = record.settings.port
    if record.settings.serverless_uid is None:
        kinds = wanted_endpoint_kinds(record)
        return dict.fromkeys([*kinds, UPSTREAM] if record.is_led_by_gateway else kinds, port)
    if settings.endpoints_are_bound:
        return {SERVERLESS: port}
    return {SERVERLESS: port, SERVERLESS_READS: port + 1}


async def ensure_addresses(record: SubjectRecord, fleet: Fleet) -> SubjectRecord:
    """Return the record with every address in place.

    Raises:
        AddressesExhausted: the pool has too few left.
        Stale: the subject's lease has passed on.
    """
    kinds = {row.kind for row in record.addresses}
    ports = endpoint_ports(record, fleet.settings)
    missing = [kind for kind in ports if kind not in kinds]
    homeless = [
        node
        for node in record.live_nodes
        if node.host is None or (record.cluster_enabled and node.bus_port is None)
    ]
    # What is on its way out needs none; there may be none, and it has to go all the same.
    if not record.live_nodes:
        return record
    transit = transit_of(record, fleet)
    misplaced = [node for node in record.live_nodes if not _has_its_ports(node, transit)]
    if not (missing or homeless or misplaced):
        return record
    async with fleet.store.begin(record.lease.scope) as tx:
        await leases.require(tx, record.lease, holder=fleet.holder)
        fresh = await load_subject(tx, record.lease)
        assert fresh is not None, "the lease was held, so the subject is there"
        # Endpoints come first: in ports mode the port that was asked for is theirs.
        for kind in missing:
            await allocate(
                tx,
                fleet.settings.pool,
                kind=kind,
                subject_uid=record.lease.subject_uid,
                wanted_port=ports[kind],
                is_free=is_free,
            )
        for node in fresh.live_nodes:
            if node.host is None:
                await _house(tx, node, fresh, fleet.settings)
            if fresh.cluster_enabled and node.bus_port is None:
                await _give_bus(tx, node, fresh, fleet.settings)
            await _place(tx, node, fresh, fleet.settings, transit)
        complete = replace(fresh, addresses=await load_addresses(tx, record.lease))
    if record.fronted and not transit.fronted:
        # The gateway lets go of the ports before the engines take them back.
        await fleet.sync_endpoints(None)
    return complete


async def _house(
    tx: Transaction, node: CacheNode, record: SubjectRecord, settings: ProvisionerSettings
) -> None:
    port = record.settings.port
    row = await allocate(
        tx,
        settings.pool,
        kind="node",
        subject_uid=record.lease.subject_uid,
        node_uid=node.uid,
        wanted_port=port,
        is_free=is_free,
    )
    node.host, node.port = row.host, row.port


async def _give_bus(
    tx: Transaction, node: CacheNode, record: SubjectRecord, settings: ProvisionerSettings
) -> None:
    if settings.endpoints_are_bound:
        assert node.port is not None, node.uid
        node.bus_port = port_beside(node.port, BUS_OFFSET)
        return
    bus = await allocate(
        tx,
        settings.pool,
        kind="bus",
        subject_uid=record.lease.subject_uid,
        node_uid=node.uid,
        wanted_port=0,
        is_free=is_free,
    )
    node.bus_port = bus.port


def _has_its_ports(node: CacheNode, transit: Transit) -> bool:
    return (node.engine_port is not None) == transit.inner_port and (
        node.replication_port is not None
    ) == transit.replication_port


async def _place(
    tx: Transaction,
    node: CacheNode,
    record: SubjectRecord,
    settings: ProvisionerSettings,
    transit: Transit,
) -> None:
    """Give a node the ports that only we know, or take back those it needs no more."""
    node.engine_port = await _inner_port(
        tx, node, record, settings, kind="engine", offset=ENGINE_OFFSET, wanted=transit.inner_port
    )
    node.replication_port = await _inner_port(
        tx,
        node,
        record,
        settings,
        kind="replication",
        offset=REPLICATION_OFFSET,
        wanted=transit.replication_port,
    )


async def _inner_port(
    tx: Transaction,
    node: CacheNode,
    record: SubjectRecord,
    settings: ProvisionerSettings,
    *,
    kind: str,
    offset: int,
    wanted: bool,
) -> int | None:
    present = node.engine_port if kind == "engine" else node.replication_port
    if wanted == (present is not None):
        return present
    if not wanted:
        await tx.session.execute(
            delete(EndpointAddress).where(
                EndpointAddress.node_uid == node.uid, EndpointAddress.kind == kind
            )
        )
        return None
    assert node.port is not None, node.uid
    if settings.endpoints_are_bound:
        return port_beside(node.port, offset)
    row = await allocate(
        tx,
        settings.pool,
        kind=kind,
        subject_uid=record.lease.subject_uid,
        node_uid=node.uid,
        wanted_port=0,
        is_free=is_free,
    )
    return row.port


def is_free(host: str, port: int) -> bool:
    """Tell whether a listener could be had right now; port 0 never is an answer."""
    if port == 0:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
