"""How the gateway leads a group to what it follows, by TLS, in another cachefleet.

Engines trust the authority of their own cachefleet alone, and some speak no TLS at all. So what a
group follows there is at an address of our own gateway, where our engines find it as they find each
other: in TLS with a certificate of ours, or in plain on this machine. From there on it is TLS with
whom the other cachefleet's authority vouches for, and nothing else.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import structlog

from cachefleet.engine.gateway.routes import (
    Address,
    Route,
    RouteKind,
    RouteOptions,
    TlsMode,
    TlsOptions,
)
from cachefleet.provisioner.planning.transit import endpoint_identity
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.records import UPSTREAM, SubjectRecord, load_subject
from cachefleet.provisioner.reconciler.transit import transit_of
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.tables import EndpointAddress, ReplicationGroup

log = structlog.get_logger(__name__)


async def upstream_routes(addresses: Sequence[EndpointAddress], fleet: Fleet) -> list[Route]:
    """Return a route for each group that is led so; *addresses* are all that there are."""
    uids = sorted(row.subject_uid for row in addresses if row.kind == UPSTREAM)
    if not uids:
        return []
    routes = []
    async with fleet.store.read(Scope("", "")) as tx:
        for uid in uids:
            group = await tx.session.get(ReplicationGroup, uid)
            if group is None:
                continue
            record = await load_subject(tx, Lease(uid, group.resource, group.scope, epoch=0))
            if record is not None and record.is_led_by_gateway:
                routes.append(_route(record, fleet))
    return [route for route in routes if route is not None]


def _route(record: SubjectRecord, fleet: Fleet) -> Route | None:
    listen = record.endpoint(UPSTREAM)
    assert record.group is not None, "only groups follow"
    assert listen is not None, "they have an address"
    told = next(shard.upstream for shard in record.group.node_groups if shard.upstream)
    try:
        ipaddress.ip_address(told["host"])
    except ValueError:
        log.warning("upstream_not_led_to", group=record.group.name, reason="it is no IP address")
        return None
    return Route(
        name=f"{record.group.uid}-{UPSTREAM}",
        listen=(Address(listen.host, listen.port),),
        kind=RouteKind.TCP,
        backends=(Address(told["host"], told["port"]),),
        options=RouteOptions(tls=_tls(record, fleet), backend_ca=told["ca"]),
    )


def _tls(record: SubjectRecord, fleet: Fleet) -> TlsOptions | None:
    """Return with what the gateway meets our engines, where these speak TLS to each other."""
    listen = record.endpoint(UPSTREAM)
    assert listen is not None, "they have an address"
    if not transit_of(record, fleet).engine_tls:
        return None
    identity = endpoint_identity(subject=record.settings.name, kind=UPSTREAM, host=listen.host)
    files = fleet.certificates.ensure(f"{record.lease.subject_uid}-{UPSTREAM}", identity)
    return TlsOptions(
        mode=TlsMode.REQUIRED, certificate_path=files.cert_file, key_path=files.key_file
    )
