"""Decide how the traffic of a subject travels: who speaks TLS, and who stands at its addresses.

Pure. Where the engine can do what was asked for, it does it: an extra process in the data path
costs half of the speed. The gateway stands in front only where the engine cannot: TLS that the
binary lacks, plain and TLS on one port, and whatever has to be looked at before the engine sees it
(``guarded``). Then the engine moves to ports of its own on the same address, and the gateway takes
the ones that clients know: no address changes for anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cachefleet.engine.gateway.routes import TlsMode
from cachefleet.engine.pki import Identity
from cachefleet.engine.types import Engine

PORT_MAX = 65_535
# How far from the customer's port, on the same address: cluster bus, engine, TLS between nodes.
BUS_OFFSET, ENGINE_OFFSET, REPLICATION_OFFSET = 10_000, 20_000, 30_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Transit:
    """*mode* is what clients are offered; None is plain text.

    ``fronted``: the gateway listens where clients connect, the engine behind it. ``engine_tls``:
    the engine has a TLS port, for clients or, where it is fronted, for the other nodes.
    ``inner_port``: the engine has a plain port of its own, which only we know.
    ``replication_port``: it has another one, at which nodes reach each other in TLS; memcached
    nodes do not, and have it for the clients that the gateway passes on.
    """

    mode: TlsMode | None = None
    fronted: bool = False
    engine_tls: bool = False
    inner_port: bool = False
    replication_port: bool = False


PLAIN = Transit()


def decide_transit(
    *,
    engine: Engine,
    mode: str | None,
    binary_tls: bool,
    bundled: bool,
    guarded: bool,
    logins: bool = False,
) -> Transit:
    """Return how a subject's traffic travels.

    *mode* is ``TransitEncryptionMode``, None without encryption. *guarded*: connections have to be
    looked at by the gateway for another reason than TLS. *logins*: clients of memcached log in.
    """
    wanted = None if mode is None else TlsMode(mode)
    if engine is Engine.MEMCACHED:
        return _memcached(wanted, bundled=bundled, guarded=guarded, logins=logins)
    fronted = guarded or wanted is TlsMode.PREFERRED or (wanted is not None and not binary_tls)
    return Transit(
        mode=wanted,
        fronted=fronted,
        engine_tls=binary_tls and (wanted is not None or fronted),
        inner_port=fronted,
        replication_port=fronted and binary_tls,
    )


def _memcached(mode: TlsMode | None, *, bundled: bool, guarded: bool, logins: bool) -> Transit:
    """The bundled server has a control socket and can do it all; the gateway only looks from where
    clients come. A stock one is asked over TCP, at a port where it speaks text in plain, whatever
    it speaks to clients; its auto discovery is the gateway's, which cannot answer within TLS. So
    where clients of its TLS also log in, perhaps in another protocol, the gateway ends TLS.
    """
    tls = mode is not None
    fronted = guarded or (tls and logins and not bundled)
    return Transit(
        mode=mode,
        fronted=fronted,
        engine_tls=tls and (bundled or not fronted),
        inner_port=not bundled and (tls or fronted or logins),
        replication_port=fronted,
    )


def port_beside(port: int, offset: int) -> int:
    """Return a port for the inside that is *offset* away from the customer's."""
    return port + offset if port + offset <= PORT_MAX else port - offset


def node_identity(
    *, member: str, node_id: str, host: str, endpoints: Sequence[str], names: Sequence[str] = ()
) -> Identity:
    """Return what a node's certificate is for: itself, and every endpoint it may stand for."""
    own_name = f"{node_id}.{member}.cachefleet.internal"
    addresses = tuple(dict.fromkeys((host, *endpoints)))
    return Identity(
        common_name=f"{member} {node_id}",
        addresses=addresses,
        names=(own_name, *_local(addresses), *names),
    )


def endpoint_identity(*, subject: str, kind: str, host: str, names: Sequence[str] = ()) -> Identity:
    """Return what the certificate of an endpoint in the gateway is for."""
    return Identity(
        common_name=f"{subject} {kind}",
        addresses=(host,),
        names=(f"{kind}.{subject}.cachefleet.internal", *_local((host,)), *names),
    )


def _local(addresses: Sequence[str]) -> tuple[str, ...]:
    return ("localhost",) if "127.0.0.1" in addresses else ()
