"""Read the world: every live node of a subject, side by side, as values for the planners.

A node that does not answer is reported as unknown, never as absent: only the driver says whether a
process is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from cachefleet.engine.errors import NodeUnreachable
from cachefleet.engine.types import ClusterInfoView, ClusterNodeView, NodeRole
from cachefleet.engine.valkey.cluster import SLOT_COUNT
from cachefleet.engine.valkey.config import CLUSTER_NODE_TIMEOUT_MS
from cachefleet.provisioner.planning.cluster import ClusterMemberView
from cachefleet.provisioner.planning.memcached import MemcachedNodeView
from cachefleet.provisioner.planning.replication import NodeView
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.launch import wanted_listening
from cachefleet.provisioner.reconciler.records import (
    SubjectRecord,
    behind_port,
    own_endpoint,
    replication_endpoint,
)
from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.tables import CacheNode

# Whatever of these a node does not know is not in its answer.
LISTENING = (
    "port",
    "replica-announce-port",
    "tls-port",
    "tls-cert-file",
    "tls-key-file",
    "tls-ca-cert-file",
    "tls-auth-clients",
    "tls-protocols",
    "tls-replication",
    "tls-cluster",
    "cluster-announce-port",
    "cluster-announce-tls-port",
    "cluster-announce-client-port",
    "cluster-announce-client-tls-port",
)
NODE_TIMEOUT = "cluster-node-timeout"


async def observe_replication(record: SubjectRecord, fleet: Fleet) -> list[NodeView]:
    """Return the nodes of a subject without cluster mode."""
    nodes = record.live_nodes
    views = await asyncio.gather(*(_observe_replica(node, record, fleet) for node in nodes))
    holder = _configuration_holder(record, {view.uid: view.binds for view in views if view.running})
    ports = wanted_listening(record, fleet)
    return [
        replace(
            view,
            wanted_binds=wanted_binds(node, record, fleet, configuration_holder=holder),
            wanted_listening=ports.get(node.uid, {}),
        )
        for node, view in zip(nodes, views, strict=True)
    ]


async def observe_cluster(record: SubjectRecord, fleet: Fleet) -> list[ClusterMemberView]:
    """Return the nodes of a group in cluster mode."""
    nodes = record.live_nodes
    views = await asyncio.gather(*(_observe_member(node, record, fleet) for node in nodes))
    running = [view for view in views if view.running]
    # Clients learn the cluster from the endpoint: a node that has just come back knows half of it.
    knowing = [view for view in running if view.info and view.info.slots_assigned == SLOT_COUNT]
    holder = _configuration_holder(record, {view.uid: view.binds for view in knowing or running})
    ports = wanted_listening(record, fleet)
    return [
        replace(
            view,
            wanted_binds=wanted_binds(node, record, fleet, configuration_holder=holder),
            wanted_listening=ports.get(node.uid, {}),
        )
        for node, view in zip(nodes, views, strict=True)
    ]


def is_away(node: CacheNode, fleet: Fleet, *, running: bool) -> bool:
    """Tell whether an injected fault keeps a node down that served: the others go on without it."""
    served = node.status == lifecycle.NODE_AVAILABLE
    return served and not running and node.uid in fleet.held_down


async def is_kept_down(node: CacheNode, fleet: Fleet) -> bool:
    """Ask the same of a node that was not looked at yet."""
    if node.uid not in fleet.held_down:
        return False
    return is_away(node, fleet, running=await fleet.driver.find(node.uid) is not None)


async def observe_memcached(record: SubjectRecord, fleet: Fleet) -> list[MemcachedNodeView]:
    """Return the nodes of a memcached cluster."""
    observed = await asyncio.gather(
        *(_observe_memcached(node, record, fleet) for node in record.live_nodes)
    )
    present = [
        (node, view)
        for node, view in zip(record.live_nodes, observed, strict=True)
        if not is_away(node, fleet, running=view.running)
    ]
    nodes, views = [node for node, _ in present], [view for _, view in present]
    running = {view.uid: view.binds for view in views if view.running}
    holder = None if fleet.stock_memcached else _configuration_holder(record, running)
    return [
        replace(view, wanted_binds=wanted_binds(node, record, fleet, configuration_holder=holder))
        for node, view in zip(nodes, views, strict=True)
    ]


def wanted_binds(
    node: CacheNode, record: SubjectRecord, fleet: Fleet, *, configuration_holder: str | None
) -> tuple[str, ...]:
    """Return the addresses a node has to listen on: its own and the endpoints it stands for."""
    own = own_endpoint(node).host
    if not fleet.binds_endpoints(record):
        return (own,)
    extra = []
    primary = record.endpoint("primary")
    if primary is not None and node.role == NodeRole.PRIMARY:
        extra.append(primary.host)
    configuration = record.endpoint("configuration")
    if configuration is not None and node.uid == configuration_holder:
        extra.append(configuration.host)
    return (own, *extra)


def _configuration_holder(
    record: SubjectRecord, binds: Mapping[str, tuple[str, ...]]
) -> str | None:
    """Return the uid of the node that stands for the configuration endpoint.

    Whoever has it keeps it; otherwise the first node that runs gets it. *binds* are those of the
    nodes that run.
    """
    endpoint = record.endpoint("configuration")
    if endpoint is None:
        return None
    holders = [uid for uid, addresses in binds.items() if endpoint.host in addresses]
    if holders:
        return holders[0]
    ordered = sorted(record.live_nodes, key=lambda node: (node.member_name, node.cache_node_id))
    return next((node.uid for node in ordered if node.uid in binds), None)


async def _observe_replica(node: CacheNode, record: SubjectRecord, fleet: Fleet) -> NodeView:
    view = NodeView(
        uid=node.uid,
        own=replication_endpoint(node),
        wanted_role=NodeRole(node.role or NodeRole.PRIMARY),
        wanted_binds=(),
        running=await fleet.driver.find(node.uid) is not None,
        upstream=record.upstream(node),
    )
    if not view.running:
        return replace(view, away=is_away(node, fleet, running=False))
    # Before it is asked: one that an earlier control plane started may hang by now, and only who
    # is watched is found hung.
    fleet.watch(node, record)
    adapter = fleet.valkey(node)
    try:
        replication = await adapter.replication()
        told = await adapter.config_get("bind", NODE_TIMEOUT, *LISTENING)
    except NodeUnreachable:
        return view
    return replace(view, replication=replication, binds=_binds(told), listening=told)


async def _observe_member(
    node: CacheNode, record: SubjectRecord, fleet: Fleet
) -> ClusterMemberView:
    plain = await _observe_replica(node, record, fleet)
    primary = record.shard_primary(node)
    info: ClusterInfoView | None = None
    peers: tuple[ClusterNodeView, ...] = ()
    told_ids: frozenset[str] = frozenset()
    tls_ports: dict[str, int] = {}
    if plain.replication is not None:
        adapter = fleet.valkey(node)
        try:
            info = await adapter.cluster_info()
            peers = tuple(await adapter.cluster_nodes())
            told_ids = await adapter.cluster_told_nodes()
            if plain.listening.get("tls-cluster") == "yes" and not record.fronted:
                tls_ports = await adapter.cluster_tls_ports()
        except NodeUnreachable:
            info = None
    assert node.bus_port is not None, node.uid
    return ClusterMemberView(
        uid=node.uid,
        engine_node_id=node.engine_node_id,
        own=plain.own,
        bus_port=node.bus_port,
        wanted_role=plain.wanted_role,
        wanted_primary_id=primary.engine_node_id if primary else None,
        wanted_binds=plain.wanted_binds,
        running=plain.running,
        away=plain.away,
        begins=(record.is_creating or record.is_forming) and plain.wanted_role is NodeRole.PRIMARY,
        replication=plain.replication,
        binds=plain.binds,
        listening=plain.listening,
        client_port=node.port,
        told_ids=told_ids,
        tls_ports=tls_ports,
        node_timeout_ms=int(plain.listening.get(NODE_TIMEOUT, CLUSTER_NODE_TIMEOUT_MS)),
        info=info,
        peers=peers,
    )


async def _observe_memcached(
    node: CacheNode, record: SubjectRecord, fleet: Fleet
) -> MemcachedNodeView:
    running = await fleet.driver.find(node.uid) is not None
    serving, announced = False, None
    binds: tuple[str, ...] = ()
    if running:
        fleet.watch(node, record)  # before it is asked, as above
        adapter = fleet.memcached(node)
        try:
            if fleet.stock_memcached:
                # It announces nothing and listens where it began to: the gateway does the rest.
                await adapter.ping()
                announced, binds = record.discovery_payload(), (own_endpoint(node).host,)
            else:
                announced = await adapter.config_get_cluster()
                port = behind_port(node)
                # One at another port is none that is wanted.
                binds = tuple(
                    where.host if where.port == port else str(where)
                    for where in await adapter.listeners()
                )
            serving = True
        except NodeUnreachable:
            serving = False
    return MemcachedNodeView(
        uid=node.uid,
        own=own_endpoint(node),
        wanted_binds=(),
        running=running,
        serving=serving,
        binds=binds,
        announced=announced,
    )


def _binds(config: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(config.get("bind", "").split())
