"""``POST /v1/.../maintenance:run``: what waits for the maintenance window is applied now.

AWS has no call for it: there one waits, or asks again with ``ApplyImmediately``. Here it shows in a
minute what a window would do in a week. It files the operation that a window files.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field

from cachefleet.api.faults import Fault
from cachefleet.api.front_end import FrontEnd
from cachefleet.api.rest.requests import request_id_of, scope_of
from cachefleet.api.validation.group_changes import require_available
from cachefleet.provisioner.state import lifecycle, updates
from cachefleet.provisioner.state.maintenance import Row, file_pending, file_scheduled
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup

NAME_CHARS_MAX = 255
Name = Annotated[str, Path(max_length=NAME_CHARS_MAX)]


class MaintenanceResult(BaseModel):
    """What was found pending."""

    Applying: list[str] = Field(
        description="The names of what is applied now; empty where nothing was pending."
    )


def router(front_end: FrontEnd) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["Maintenance"])
    store = front_end.services.store

    @routes.post(
        "/v1/replication-groups/{ReplicationGroupId}/maintenance:run",
        operation_id="RunReplicationGroupMaintenance",
        summary="Apply what waits for a group's maintenance window.",
    )
    async def run_group(request: Request, ReplicationGroupId: Name) -> MaintenanceResult:  # noqa: N803
        """Mark the group as modifying, and have everything applied that is pending."""
        async with store.begin(scope_of(request)) as tx:
            group = await tx.get(ReplicationGroup, ReplicationGroupId, lock=True)
            waiting = await _waiting(tx, group)
            if waiting:
                require_available(group)
                await _file(tx, group, token=request_id_of(request))
            return MaintenanceResult(Applying=waiting)

    @routes.post(
        "/v1/cache-clusters/{CacheClusterId}/maintenance:run",
        operation_id="RunCacheClusterMaintenance",
        summary="Apply what waits for a cluster's maintenance window.",
    )
    async def run_cluster(request: Request, CacheClusterId: Name) -> MaintenanceResult:  # noqa: N803
        """The same, of a cluster that stands alone: a member has its group's window."""
        async with store.begin(scope_of(request)) as tx:
            cluster = await tx.get(CacheCluster, CacheClusterId, lock=True)
            if cluster.replication_group_uid is not None:
                raise Fault(
                    "InvalidParameterValueException",
                    f"{cluster.name} is a member of a replication group, whose maintenance it has.",
                )
            waiting = await _waiting(tx, cluster)
            if waiting:
                lifecycle.require(cluster, lifecycle.Event.MODIFY)
                await _file(tx, cluster, token=request_id_of(request))
            return MaintenanceResult(Applying=waiting)

    return routes


async def _waiting(tx: Transaction, row: Row) -> list[str]:
    """Return what waits for the window: changes by their names, service updates by theirs."""
    actions = await updates.actions_of(tx, row.uid)
    scheduled = [one.update.name for one in actions if one.status == updates.Status.SCHEDULED]
    return sorted(row.pending) + sorted(scheduled)


async def _file(tx: Transaction, row: Row, *, token: str) -> None:
    if row.pending:
        file_pending(tx, row, token=token)
    await file_scheduled(tx, row, token=token)
