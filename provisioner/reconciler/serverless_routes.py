"""The gateway's routes for serverless caches: the shards behind each endpoint, and their slots."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from cachefleet.engine.gateway.routes import (
    Address,
    AuthOptions,
    IamOptions,
    Route,
    RouteKind,
    RouteOptions,
    ServerlessOptions,
    ShardOptions,
    TlsMode,
    TlsOptions,
)
from cachefleet.engine.names.shapes import Place, serverless_name
from cachefleet.engine.types import NodeRole
from cachefleet.engine.valkey.cluster import parse_slots
from cachefleet.provisioner.planning.transit import endpoint_identity
from cachefleet.provisioner.reconciler.addressing import SERVERLESS, SERVERLESS_READS
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.state.serverless_tables import ServerlessCache
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import (
    CacheCluster,
    CacheNode,
    EndpointAddress,
    ReplicationGroup,
)

Backing = ReplicationGroup | CacheCluster


@dataclass(frozen=True, kw_only=True, slots=True)
class Behind:
    """A serverless cache with what stands behind it, as it is recorded now."""

    cache: ServerlessCache
    backing: Backing
    addresses: tuple[Address, ...]  # where clients come, the place for reads last
    nodes: Sequence[CacheNode]


async def read_behind(
    tx: Transaction, addresses: Sequence[EndpointAddress], nodes: Sequence[CacheNode]
) -> list[Behind]:
    """Return all serverless caches that have an address. *nodes* are those that serve."""
    at: dict[str, dict[str, Address]] = {}
    for row in addresses:
        if row.kind in (SERVERLESS, SERVERLESS_READS):
            at.setdefault(row.subject_uid, {})[row.kind] = Address(row.host, row.port)
    if not at:
        return []
    query = select(ServerlessCache).where(ServerlessCache.backing_uid.in_(at))
    found = []
    for cache in (await tx.session.scalars(query.order_by(ServerlessCache.uid))).all():
        table = CacheCluster if cache.is_memcached else ReplicationGroup
        backing: Backing | None = await tx.session.get(table, cache.backing_uid)
        if backing is None:
            continue
        main = at[cache.backing_uid].get(SERVERLESS)
        if main is None:
            continue
        reads = at[cache.backing_uid].get(SERVERLESS_READS, Address(main.host, main.port + 1))
        found.append(
            Behind(
                cache=cache,
                backing=backing,
                addresses=(main, reads),
                nodes=[node for node in nodes if node.subject_uid == cache.backing_uid],
            )
        )
    return found


def serverless_routes(
    behind: Sequence[Behind],
    fleet: Fleet,
    *,
    iam: Mapping[str, IamOptions],
    admitted: Mapping[str, tuple[str, ...]] | None,
) -> list[Route]:
    """Return the routes of those that have anything behind them."""
    routes = []
    for one in behind:
        uid = one.backing.uid
        options = RouteOptions(
            tls=_tls(one, fleet),
            auth=AuthOptions(iam=iam[uid]) if uid in iam else None,
            admitted=None if admitted is None else admitted.get(uid, ()),
        )
        route = (
            _memcached(one, options)
            if isinstance(one.backing, CacheCluster)
            else _valkey(one, one.backing, options, fleet)
        )
        if route is not None:
            routes.append(route)
    return routes


def shown_host(cache: ServerlessCache, host: str, domain: str | None) -> str:
    """Return what clients are told instead of an address, where endpoints have names."""
    if domain is None:
        return host
    place = Place(account=cache.account, region=cache.region, domain=domain)
    return serverless_name(cache.name, cache.uid, place=place)


def _tls(one: Behind, fleet: Fleet) -> TlsOptions:
    host = one.addresses[0].host
    shown = shown_host(one.cache, host, fleet.settings.endpoint_domain)
    identity = endpoint_identity(
        subject=one.cache.name,
        kind=SERVERLESS,
        host=host,
        names=() if shown == host else (shown,),
    )
    files = fleet.certificates.ensure(f"{one.backing.uid}-{SERVERLESS}", identity)
    return TlsOptions(
        mode=TlsMode.REQUIRED, certificate_path=files.cert_file, key_path=files.key_file
    )


def _valkey(
    one: Behind, group: ReplicationGroup, options: RouteOptions, fleet: Fleet
) -> Route | None:
    migration = one.cache.migration
    outside = _outside(migration.get("nodes") or ())
    shards = outside or _shards(group, one.nodes, unfit=fleet.unfit_readers)
    if not shards:
        return None
    main, reads = one.addresses
    primary_id, reader_id = one.cache.node_ids
    return Route(
        name=f"{group.uid}-{SERVERLESS}",
        listen=one.addresses,
        kind=RouteKind.SERVERLESS,
        options=RouteOptions(
            **{
                **vars(options),
                "serverless": ServerlessOptions(
                    host=shown_host(one.cache, main.host, fleet.settings.endpoint_domain),
                    port=main.port,
                    reads_port=reads.port,
                    node_ids=(primary_id, reader_id),
                    shards=tuple(shards),
                    ecpu_per_s=one.cache.ecpu_per_s,
                    outside=bool(outside),
                    outside_ca=(migration.get("ca") or "") if outside else "",
                    held=bool(migration.get("held")),
                ),
            }
        ),
    )


def _outside(nodes: Sequence[Mapping[str, Any]]) -> list[ShardOptions]:
    """Return the shards of the cluster that clients are led to until the cut-over."""
    return [
        ShardOptions(
            slots=tuple((piece.first, piece.last) for piece in parse_slots(node["slots"])),
            primary=Address(node["host"], node["port"]),
        )
        for node in nodes
    ]


def _memcached(one: Behind, options: RouteOptions) -> Route | None:
    backends = tuple(_address(node) for node in one.nodes)
    if not backends:
        return None
    return Route(
        name=f"{one.backing.uid}-{SERVERLESS}",
        listen=one.addresses,
        kind=RouteKind.SERVERLESS_MEMCACHED,
        backends=backends,
        options=options,
    )


def _shards(
    group: ReplicationGroup, nodes: Sequence[CacheNode], *, unfit: Collection[str]
) -> list[ShardOptions]:
    """Return the shards that have a primary, in the order in which they were added."""
    shards = []
    for shard in group.node_groups:
        mine = [node for node in nodes if node.node_group_uid == shard.uid]
        primary = next((node for node in mine if node.role == NodeRole.PRIMARY), None)
        if primary is None:
            continue
        shards.append(
            ShardOptions(
                slots=tuple((piece.first, piece.last) for piece in parse_slots(shard.slots)),
                primary=_address(primary),
                replicas=tuple(
                    _address(node)
                    for node in mine
                    if node.role == NodeRole.REPLICA and node.uid not in unfit
                ),
            )
        )
    return shards


def _address(node: CacheNode) -> Address:
    assert node.host is not None, node.uid
    return Address(node.host, node.engine_port or node.port or 0)
