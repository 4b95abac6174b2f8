"""How a subject's traffic travels here and now: the decision, and what follows from it for nodes.

The decision is made anew from the record at every look. What it depends on: the mode, whether the
binary has TLS, and whether the gateway has to look at connections for another reason.
"""

from __future__ import annotations

from cachefleet.engine.memcached.config import BUNDLED
from cachefleet.engine.types import EngineBinary
from cachefleet.engine.valkey.config import Listening, TlsFiles
from cachefleet.provisioner.planning.transit import (
    PLAIN,
    Transit,
    decide_transit,
    node_identity,
)
from cachefleet.provisioner.reconciler.binaries import binary_for
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.naming import (
    certified_endpoint_names,
    certified_node_names,
)
from cachefleet.provisioner.reconciler.records import UPSTREAM, SubjectRecord, own_endpoint
from cachefleet.provisioner.state.tables import CacheNode

COMPATIBLE = "compatible"  # a cluster mode between the two


def transit_of(record: SubjectRecord, fleet: Fleet) -> Transit:
    """Return how the subject's traffic is to travel.

    Raises:
        NoEngineBinary: nothing here can run its engine.
    """
    if record.settings.serverless_uid is not None:
        return PLAIN  # the endpoint's own gateway is in front, and ends TLS
    guarded = is_guarded(record) or fleet.security_groups is not None
    if record.transit_mode is None and not guarded and not record.logins:
        return PLAIN
    return _decide(record, binary_for(record, fleet), guarded=guarded)


def is_guarded(record: SubjectRecord) -> bool:
    """Tell whether the gateway has to look at what clients say before the engine does.

    While a first AUTH token is introduced, clients with and without it are let in. An engine whose
    default user needs no password refuses ``AUTH <token>``, so that has to be turned into what it
    takes. Users of IAM have tokens in the place of passwords, which no engine can check. What a
    secondary in cluster mode refuses, it refuses for another reason than it says (ADR 0036). On a
    way into cluster mode READONLY is said for clients of the reader endpoint, which cannot be said
    from outside of their TLS.
    """
    if record.is_fed:
        return True
    if any(user.iam for user in record.users or ()):
        return True
    group = record.group
    if group is not None and record.transit_mode is not None and group.cluster_mode == COMPATIBLE:
        return True
    return group is not None and bool(group.auth_token_sha256s) and not group.auth_token_required


def _decide(record: SubjectRecord, binary: EngineBinary, *, guarded: bool) -> Transit:
    return decide_transit(
        engine=record.engine,
        mode=record.transit_mode,
        binary_tls=binary.tls,
        bundled=binary.source == BUNDLED,
        guarded=guarded,
        logins=bool(record.logins),
    )


def listening_for(
    node: CacheNode, record: SubjectRecord, fleet: Fleet, transit: Transit
) -> Listening:
    """Return the ports of a node, which has been given all that it needs.

    Its certificate is issued here where it has none: an engine does not start without.
    """
    own = own_endpoint(node)
    if not transit.engine_tls:
        inner = node.engine_port if transit.inner_port else None
        return Listening(port=inner or own.port, client_port=own.port if inner else None)
    tls = node_certificate(node, record, fleet)
    if not transit.fronted:
        return Listening(
            port=node.engine_port or 0 if transit.inner_port else 0,
            tls_port=own.port,
            tls=tls,
            tls_replication=True,
        )
    assert node.engine_port is not None, node.uid
    return Listening(
        port=node.engine_port,
        tls_port=node.replication_port,
        tls=tls,
        tls_replication=True,
        client_port=own.port,
    )


def gateway_name(node_uid: str) -> str:
    """Return the name of the certificate that the gateway shows in a node's place."""
    return f"{node_uid}-gateway"


def node_certificate(node: CacheNode, record: SubjectRecord, fleet: Fleet) -> TlsFiles:
    """Return the files of the node's certificate, issued now where it has none that is good."""
    identity = node_identity(
        member=node.member_name,
        node_id=node.cache_node_id,
        host=own_endpoint(node).host,
        endpoints=sorted(
            row.host
            for row in record.addresses
            if row.node_uid is None and row.kind != UPSTREAM  # that is the gateway's
        ),
        names=(
            *certified_node_names(node, record.settings, fleet.settings.endpoint_domain),
            *(
                name
                for row in sorted(record.addresses, key=lambda row: row.kind)
                if row.node_uid is None
                for name in certified_endpoint_names(
                    row.kind, record.settings, fleet.settings.endpoint_domain
                )
            ),
        ),
    )
    return fleet.certificates.ensure(node.uid, identity)
