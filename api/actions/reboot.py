"""The action that restarts cache nodes. What they hold in memory is lost, as on the service."""

from __future__ import annotations

from collections.abc import Sequence

from cachefleet.api import references
from cachefleet.api.actions.cache_clusters import group_of
from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation.refusals import wrong_value
from cachefleet.api.views.cache_clusters import cache_cluster_view
from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.tables import CacheCluster, CacheNode, ReplicationGroup


@action("RebootCacheCluster")
async def reboot_cache_cluster(ctx: RequestContext, params: Params) -> Result:
    """Mark the named nodes as ``rebooting``; the provisioner restarts them."""
    async with ctx.begin() as tx:
        cluster = await tx.get(CacheCluster, params["CacheClusterId"], lock=True)
        group = await group_of(tx, cluster)
        _check_group(cluster, group)
        lifecycle.require(cluster, lifecycle.Event.REBOOT)
        nodes = _named(cluster, params["CacheNodeIdsToReboot"])
        lifecycle.fire(cluster, lifecycle.Event.REBOOT)
        for node in nodes:
            node.status = lifecycle.NODE_REBOOTING
        tx.enqueue(
            OperationKind.SETTLE,
            subject_uid=cluster.uid if group is None else group.uid,
            token=ctx.request_id,
        )
        await tx.session.flush()
        endpoints = await references.read_endpoints(tx, [cluster.uid])
        view = cache_cluster_view(
            cluster, group_name=None if group is None else group.name, endpoints=endpoints
        )
        return {"CacheCluster": view}


def _check_group(cluster: CacheCluster, group: ReplicationGroup | None) -> None:
    """Refuse members whose slots would be without a primary, or whose group is being changed."""
    if group is None:
        return
    if group.cluster_enabled:
        raise Fault(
            "InvalidCacheClusterStateFault",
            f"Cache cluster {cluster.name} cannot be rebooted: its replication group {group.name} "
            "has cluster mode enabled.",
        )
    if lifecycle.target(group.resource, group.status, lifecycle.Event.MODIFY) is None:
        raise Fault(
            "InvalidCacheClusterStateFault",
            f"Replication group {group.name} of cache cluster {cluster.name} is not available.",
        )


def _named(cluster: CacheCluster, wanted: Sequence[str]) -> list[CacheNode]:
    if not wanted:
        raise wrong_value("CacheNodeIdsToReboot must name at least one cache node.")
    nodes = {node.cache_node_id: node for node in cluster.nodes}
    for node_id in wanted:
        if node_id not in nodes:
            raise wrong_value(f"Cache node {node_id} is not in cache cluster {cluster.name}.")
    return [nodes[node_id] for node_id in dict.fromkeys(wanted)]
