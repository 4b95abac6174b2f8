"""Look for what a cache's nodes would have after their next start, or certificate, and have not.

Evidence only: what a process says that it is, what would be started in its place, which authority
signed the certificate that it serves with. A note of either could be wrong; what a process is, is
asked once and holds for as long as it runs.
"""

from __future__ import annotations

import structlog

from cachefleet.engine.errors import CommandRefused, NodeUnreachable, NoEngineBinary
from cachefleet.engine.pki import UnusableKeys
from cachefleet.engine.types import Build, Engine
from cachefleet.engine.valkey.build import parse_build
from cachefleet.provisioner.planning.updates import (
    AUTHORITY,
    ENGINE,
    Offer,
    offer_authority,
    offer_engine,
)
from cachefleet.provisioner.reconciler.binaries import binary_for
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.records import SubjectRecord
from cachefleet.provisioner.reconciler.transit import gateway_name, transit_of
from cachefleet.provisioner.state.tables import CacheNode

log = structlog.get_logger(__name__)

ENDPOINT_KINDS = ("primary", "reader", "configuration")


async def find_offer(kind: str, record: SubjectRecord, fleet: Fleet) -> Offer | None:
    """Return the update of one kind as it would be offered now; None where there is no telling.

    One that would change nothing is returned as well: then it says what all nodes are.
    """
    assert kind in (ENGINE, AUTHORITY), kind
    return await _engine(record, fleet) if kind == ENGINE else _authority(record, fleet)


async def _engine(record: SubjectRecord, fleet: Fleet) -> Offer | None:
    try:
        binary = binary_for(record, fleet)
    except NoEngineBinary:
        return None
    running = {node.uid: await running_build(node, record, fleet) for node in record.live_nodes}
    return offer_engine(record.engine.value, binary.identity, running, where=binary.argv[0])


async def running_build(node: CacheNode, record: SubjectRecord, fleet: Fleet) -> Build | None:
    """Return what the node's process says that it is; None where it does not answer."""
    handle = await fleet.driver.find(node.uid)
    if handle is None:
        return None
    known = fleet.builds.get(node.uid)
    if known is not None and known[0] == handle:
        return known[1]
    try:
        if record.engine is Engine.MEMCACHED:
            build = await _memcached_build(node, fleet)
        else:
            build = parse_build(await fleet.valkey(node).info("server"))
    except (NodeUnreachable, CommandRefused):
        return None
    # What it was asked over may have been another process's.
    if build is not None and await fleet.driver.find(node.uid) == handle:
        fleet.builds[node.uid] = handle, build
    return build


async def _memcached_build(node: CacheNode, fleet: Fleet) -> Build | None:
    adapter = fleet.memcached(node)
    if fleet.stock_memcached:
        numbers = tuple(int(n) for n in (await adapter.version()).split(".") if n.isdecimal())
        return Build(kind=Engine.MEMCACHED, version=numbers) if numbers else None
    # Its version is what the customer asked for; what tells one from another is its build.
    build = await adapter.build()
    bundled = next((b for b in fleet.inventory.binaries if b.source == "bundled"), None)
    if not build or bundled is None:
        return None
    return Build(kind=Engine.MEMCACHED, version=bundled.version, build=build)


def _authority(record: SubjectRecord, fleet: Fleet) -> Offer | None:
    try:
        transit = transit_of(record, fleet)
        if record.transit_mode is None and not transit.engine_tls:
            return None
        serial = fleet.certificates.authority_serial()
    except (NoEngineBinary, UnusableKeys) as error:
        log.info("authority_unknown", subject=record.settings.name, reason=str(error))
        return None
    certificates = fleet.certificates
    behind = frozenset(
        node.uid
        for node in record.live_nodes
        if any(certificates.is_behind(name) for name in node_names(node))
    )
    if not behind and any(certificates.is_behind(name) for name in endpoint_names(record)):
        behind = frozenset(node.uid for node in record.live_nodes)
    return offer_authority(record.engine.value, serial, behind)


def node_names(node: CacheNode) -> tuple[str, str]:
    """Return the names of the certificates that are shown at a node's own address."""
    return node.uid, gateway_name(node.uid)


def endpoint_names(record: SubjectRecord) -> list[str]:
    """Return the names of the certificates that are shown at the subject's endpoints."""
    return [f"{record.lease.subject_uid}-{kind}" for kind in ENDPOINT_KINDS]
