"""The action that lists to which node types a cache can be scaled."""

from __future__ import annotations

from cachefleet.api.context import RequestContext
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation.refusals import wrong_combination
from cachefleet.engine.types import Engine
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup


@action("ListAllowedNodeTypeModifications")
async def list_allowed_node_type_modifications(ctx: RequestContext, params: Params) -> Result:
    """Return the node types with as much memory or more, and those with less."""
    cluster_id, group_id = params.get("CacheClusterId"), params.get("ReplicationGroupId")
    if bool(cluster_id) == bool(group_id):
        raise wrong_combination("Specify exactly one of CacheClusterId and ReplicationGroupId.")
    async with ctx.read() as tx:
        row: CacheCluster | ReplicationGroup
        if cluster_id:
            row = await tx.get(CacheCluster, cluster_id)
        else:
            row = await tx.get(ReplicationGroup, group_id or "")
    up, down = ctx.catalog.allowed_node_type_modifications(
        row.node_type, Engine(row.engine), row.engine_version
    )
    return {"ScaleUpModifications": up, "ScaleDownModifications": down}
