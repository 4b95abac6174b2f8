"""Keep nodes at what encryption in transit promises: no stray plain text, fresh certificates.

Both are asked of the engines at every settling, because there is no note of either that could be
wrong: which connections there are, and which certificate is shown.
"""

from __future__ import annotations

import asyncio
import ssl

import structlog

from cachefleet.engine import pki
from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.gateway.routes import TlsMode
from cachefleet.engine.types import Endpoint, Engine
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.observe import is_kept_down
from cachefleet.provisioner.reconciler.records import SubjectRecord, own_endpoint
from cachefleet.provisioner.reconciler.transit import (
    gateway_name,
    node_certificate,
    transit_of,
)
from cachefleet.provisioner.state import events, leases, lifecycle
from cachefleet.provisioner.state.tables import CacheNode

log = structlog.get_logger(__name__)

HANDSHAKE_TIMEOUT_S = 5.0


async def cut_plain(record: SubjectRecord, fleet: Fleet) -> None:
    """End plain connections that began before TLS was required, and those that nobody admitted.

    While a node does not listen at the ports that clients know, whoever is connected through them
    came before the gateway did: in plain, before encryption was turned on, or in TLS, before access
    was controlled. Which it was cannot be seen of a connection, but one comes before the other:
    access is controlled only where TLS is required. Or before another region led, and the gateway
    was needed for what is refused since. The gateway cuts its own.

    Raises:
        NodeUnreachable, CommandRefused: a node did not do its part; the next pass sees to it.
    """
    if record.engine is Engine.MEMCACHED:
        return
    if fleet.security_groups is None and not record.is_fed:
        group = record.group
        controlled = bool(record.users is not None or (group and group.auth_token_sha256s))
        if record.transit_mode != TlsMode.REQUIRED.value or controlled:
            return
    endpoints = [Endpoint(row.host, row.port) for row in record.addresses if row.node_uid is None]
    for node in record.live_nodes:
        if node.host is None or await fleet.driver.find(node.uid) is None:
            continue
        if await is_kept_down(node, fleet):
            continue
        adapter = fleet.valkey(node)
        told = await adapter.config_get("port", "tls-port")
        if str(node.port) not in told.values():
            for laddr in (own_endpoint(node), *endpoints):
                await adapter.kill_clients(laddr)


async def refresh_certificates(record: SubjectRecord, fleet: Fleet) -> None:
    """Replace what is due, and see that engines show what is in their files.

    Connections keep the certificate of their handshake. Those of the gateway are renewed when its
    endpoints are looked at.

    Raises:
        NodeUnreachable, CommandRefused: a node did not take its new certificate.
    """
    if transit_of(record, fleet).engine_tls:
        settled = [
            node
            for node in record.live_nodes
            if node.status != lifecycle.NODE_CREATING and not await is_kept_down(node, fleet)
        ]
        await asyncio.gather(*(show_newest(node, record, fleet) for node in settled))
    if record.transit_mode is None:
        return
    if record.fronted:
        await fleet.sync_endpoints(None)
    renewed = [node for node in record.live_nodes if _was_renewed(node, fleet)]
    if renewed:
        await _announce(record, renewed, fleet)


def _was_renewed(node: CacheNode, fleet: Fleet) -> bool:
    return bool(fleet.certificates.take_renewed((node.uid, gateway_name(node.uid))))


async def refresh_trust(record: SubjectRecord, fleet: Fleet) -> None:
    """Have running engines read anew which authorities they trust, where that has changed.

    Before any node shows a certificate of a new authority, or the others would not talk to it.
    """
    stamp = fleet.certificates.trust_stamp()
    if record.engine is Engine.MEMCACHED:  # its nodes talk to nobody
        return
    behind = [node for node in record.live_nodes if fleet.trusts.get(node.uid) != stamp]
    if not behind or not transit_of(record, fleet).engine_tls:
        return
    authority = str(fleet.certificates.authority_path)
    for node in behind:
        if node.host is None or await fleet.driver.find(node.uid) is None:
            continue  # it begins with them
        if await is_kept_down(node, fleet):
            continue
        try:
            # Setting a path to what it is makes the engine read the file again.
            await fleet.valkey(node).configure({"tls-ca-cert-file": authority})
        except (NodeUnreachable, CommandRefused) as error:
            log.info("trust_not_refreshed", node=node.uid, reason=str(error))
        else:
            fleet.trusts[node.uid] = stamp


async def show_newest(node: CacheNode, record: SubjectRecord, fleet: Fleet) -> None:
    """Have a node's engine show the certificate that is good for it.

    Raises:
        NodeUnreachable, CommandRefused: it does not.
    """
    files = node_certificate(node, record, fleet)
    port = node.replication_port or own_endpoint(node).port
    where = Endpoint(own_endpoint(node).host, port)
    if await shown_serial(where) == fleet.certificates.serial(node.uid):
        return
    if record.engine is Engine.MEMCACHED:
        await fleet.memcached(node).refresh_certificates()
    else:
        # Setting a path to what it is makes the engine read the file again.
        await fleet.valkey(node).configure(
            {"tls-cert-file": files.cert_file, "tls-key-file": files.key_file}
        )
    if await shown_serial(where) != fleet.certificates.serial(node.uid):
        raise CommandRefused(f"{node.member_name} does not show its new certificate")
    log.info("certificate_renewed", node=node.uid, member=node.member_name)


async def shown_serial(where: Endpoint) -> int:
    """Return the serial number of the certificate that is shown at an address.

    Raises:
        NodeUnreachable: nobody there speaks TLS in time.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
            _, writer = await asyncio.open_connection(where.host, where.port, ssl=context)
            der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.transport.abort()
    except (OSError, TimeoutError) as error:
        raise NodeUnreachable(f"TLS at {where}: {error or 'no handshake in time'}") from error
    return pki.read(ssl.DER_cert_to_PEM_cert(der).encode()).serial


async def _announce(record: SubjectRecord, renewed: list[CacheNode], fleet: Fleet) -> None:
    async with fleet.store.begin(record.lease.scope) as tx:
        await leases.require(tx, record.lease, holder=fleet.holder)
        for member in sorted({node.member_name for node in renewed}):
            events.record(tx, fleet.catalog, "certificate_renewed", member, cluster=member)
