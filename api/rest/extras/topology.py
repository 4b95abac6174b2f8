"""``GET /v1/replication-groups/{id}/topology``: what is recorded, beside what the nodes say now.

The same for a cache cluster that stands alone. A node that does not answer has no ``Reported``; nor
has any node where the API runs apart from the nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import selectinload

from cachefleet.api.front_end import FrontEnd
from cachefleet.api.rest.requests import scope_of
from cachefleet.provisioner.state.errors import NotFound
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import (
    CacheCluster,
    CacheNode,
    EndpointAddress,
    ReplicationGroup,
)

PUBLIC_KINDS = ("configuration", "primary", "reader")


class EndpointView(BaseModel):
    """Where clients connect."""

    Kind: str = Field(description="primary, reader or configuration")
    Address: str
    Port: int


class NodeReport(BaseModel):
    """What a node said of itself just now."""

    ServerName: str = Field(description="What really runs: valkey, redis or memcached.")
    ServerVersion: str = Field(description="Its own version, whatever version was asked for.")
    ProcessId: int | None = None
    UptimeSeconds: int | None = None
    MemoryUsedBytes: int | None = None
    MemoryMaxBytes: int | None = None
    Clients: int | None = None
    Role: str | None = Field(None, description="primary or replica; none of memcached")
    ReplicationOffset: int | None = None
    Loading: bool | None = None
    PrimaryAddress: str | None = None
    PrimaryPort: int | None = None
    LinkUp: bool | None = None
    SyncInProgress: bool | None = None


class NodeTopology(BaseModel):
    """One engine process."""

    CacheClusterId: str
    CacheNodeId: str
    Status: str
    Role: str | None = Field(description="As it is to be: primary or replica; none of memcached")
    AvailabilityZone: str
    Address: str | None
    Port: int | None
    Recovering: bool = Field(description="From the loss of its process until it serves in sync.")
    Reported: NodeReport | None


class ShardTopology(BaseModel):
    """A shard; a cluster that stands alone is one without a name."""

    NodeGroupId: str | None
    Status: str
    Slots: str = Field(description="Such as 0-5461; empty where cluster mode is disabled")
    Nodes: list[NodeTopology]


class Topology(BaseModel):
    """A cache with all its nodes."""

    Name: str
    Kind: str = Field(description="replication-group or cache-cluster")
    Status: str
    Engine: str
    EngineVersion: str
    CacheNodeType: str
    ClusterMode: str
    Endpoints: list[EndpointView]
    NodeGroups: list[ShardTopology]


def router(front_end: FrontEnd) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["Topology"])
    store = front_end.services.store

    @routes.get(
        "/v1/replication-groups/{ReplicationGroupId}/topology",
        operation_id="DescribeReplicationGroupTopology",
        summary="Nodes, roles, zones, addresses, slots and offsets of a replication group.",
    )
    async def of_group(request: Request, ReplicationGroupId: str) -> Topology:  # noqa: N803
        """Answer what is recorded and what each node says."""
        scope = scope_of(request)
        async with store.read(scope) as tx:
            query = (
                select(ReplicationGroup)
                .where(
                    ReplicationGroup.account == scope.account,
                    ReplicationGroup.region == scope.region,
                    ReplicationGroup.name == ReplicationGroupId.lower(),
                )
                .options(selectinload(ReplicationGroup.members))
            )
            group = (await tx.session.scalars(query)).one_or_none()
            if group is None:
                raise NotFound(ReplicationGroup.resource, ReplicationGroupId)
            endpoints = await _endpoints(tx, group.uid)
        nodes = [node for member in group.members for node in member.nodes]
        said = await _reports(front_end, nodes, group.engine)
        return Topology(
            Kind="replication-group",
            ClusterMode=group.cluster_mode,
            Endpoints=endpoints,
            NodeGroups=[
                ShardTopology(
                    NodeGroupId=shard.node_group_id,
                    Status=shard.status,
                    Slots=shard.slots,
                    Nodes=[_node(node, said) for node in nodes if node.node_group_uid == shard.uid],
                )
                for shard in group.node_groups
            ],
            **_common(group),
        )

    @routes.get(
        "/v1/cache-clusters/{CacheClusterId}/topology",
        operation_id="DescribeCacheClusterTopology",
        summary="Nodes, zones and addresses of a cache cluster.",
    )
    async def of_cluster(request: Request, CacheClusterId: str) -> Topology:  # noqa: N803
        """Answer what is recorded and what each node says."""
        async with store.read(scope_of(request)) as tx:
            cluster = await tx.get(CacheCluster, CacheClusterId)
            endpoints = await _endpoints(tx, cluster.uid)
        said = await _reports(front_end, cluster.nodes, cluster.engine)
        shard = ShardTopology(
            NodeGroupId=None,
            Status=cluster.status,
            Slots="",
            Nodes=[_node(node, said) for node in cluster.nodes],
        )
        return Topology(
            Kind="cache-cluster",
            ClusterMode="disabled",
            Endpoints=endpoints,
            NodeGroups=[shard],
            **_common(cluster),
        )

    return routes


async def _endpoints(tx: Transaction, subject_uid: str) -> list[EndpointView]:
    query = (
        select(EndpointAddress)
        .where(EndpointAddress.subject_uid == subject_uid, EndpointAddress.kind.in_(PUBLIC_KINDS))
        .order_by(EndpointAddress.kind)
    )
    rows = (await tx.session.scalars(query)).all()
    return [EndpointView(Kind=row.kind, Address=row.host, Port=row.port) for row in rows]


async def _reports(
    front_end: FrontEnd, nodes: Sequence[CacheNode], engine: str
) -> Mapping[str, Mapping[str, Any]]:
    asker = front_end.ports.node_reports
    return {} if asker is None else await asker.report({node.uid: engine for node in nodes})


def _node(node: CacheNode, said: Mapping[str, Mapping[str, Any]]) -> NodeTopology:
    report = said.get(node.uid)
    return NodeTopology(
        CacheClusterId=node.member_name,
        CacheNodeId=node.cache_node_id,
        Status=node.status,
        Role=node.role,
        AvailabilityZone=node.availability_zone,
        Address=node.host,
        Port=node.port,
        Recovering=node.recovering,
        Reported=None if report is None else NodeReport(**report),
    )


def _common(row: ReplicationGroup | CacheCluster) -> dict[str, Any]:
    return {
        "Name": row.name,
        "Status": row.status,
        "Engine": row.engine,
        "EngineVersion": row.engine_version,
        "CacheNodeType": row.node_type,
    }
