"""Tags on whatever has an ARN. A tag of a replication group is given to its members too.

Caches are tagged only while they are available: the change of a group's tags makes the group
``modifying`` for a moment, and meanwhile neither it nor its members can be tagged or listed.
Default groups have no tags.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sqlalchemy import select

from cachefleet.api.actions import serverless_snapshots
from cachefleet.api.arns import Arn, parse_arn
from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation.refusals import wrong_value
from cachefleet.api.views.serverless import SNAPSHOT_ARN_KIND
from cachefleet.api.views.tags import tag_list_view
from cachefleet.engine.catalog import Catalog
from cachefleet.provisioner.state import lifecycle, parameter_groups, subnets, tags
from cachefleet.provisioner.state.access_tables import User, UserGroup
from cachefleet.provisioner.state.errors import IllegalTransition, NotFound
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.reservation_tables import ReservedNode
from cachefleet.provisioner.state.serverless_tables import ServerlessCache
from cachefleet.provisioner.state.snapshot_tables import Snapshot
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import (
    CacheCluster,
    ParameterGroup,
    ReplicationGroup,
    SubnetGroup,
)
from cachefleet.provisioner.state.users import DEFAULT_USER

BUSY = "Cluster not in available state to perform tagging operations."

# What the records call the kinds of resources that are not kept in them.
_NOT_KEPT: Mapping[str, str] = MappingProxyType({"securitygroup": "security_group"})


@dataclass(frozen=True, slots=True)
class Target:
    """A resource that may be tagged now; ``group`` where it is a replication group."""

    arn: Arn
    group: ReplicationGroup | None = None
    tx: Transaction | None = None  # of the scope that its tags are kept in, where that is another


@action("AddTagsToResource")
async def add_tags_to_resource(ctx: RequestContext, params: Params) -> Result:
    """Set tags and return all that the resource then has."""
    arn = parse_arn(params["ResourceName"], ctx.scope)
    async with ctx.begin() as tx:
        target = await find_target(tx, ctx.catalog, arn, lock=True)
        wanted = tags.parse(params["Tags"])
        inside, arn = target.tx or tx, target.arn
        await tags.put(inside, arn.kind, arn.name, wanted)
        if target.group is not None:
            for member in target.group.members:
                await tags.put(tx, CacheCluster.arn_kind, member.name, wanted)
            _settle(tx, target.group, ctx.request_id)
        return {"TagList": tag_list_view(await tags.listed(inside, arn.kind, arn.name))}


@action("RemoveTagsFromResource")
async def remove_tags_from_resource(ctx: RequestContext, params: Params) -> Result:
    """Take tags away by key and return those that are left."""
    arn = parse_arn(params["ResourceName"], ctx.scope)
    async with ctx.begin() as tx:
        target = await find_target(tx, ctx.catalog, arn, lock=True)
        keys = params["TagKeys"]
        inside, arn = target.tx or tx, target.arn
        await tags.remove(inside, arn.kind, arn.name, keys)
        if target.group is not None:
            for member in target.group.members:
                # A member may have lost the tag by itself.
                await tags.discard(tx, CacheCluster.arn_kind, member.name, keys)
            _settle(tx, target.group, ctx.request_id)
        return {"TagList": tag_list_view(await tags.listed(inside, arn.kind, arn.name))}


@action("ListTagsForResource")
async def list_tags_for_resource(ctx: RequestContext, params: Params) -> Result:
    """Return all tags of a resource."""
    arn = parse_arn(params["ResourceName"], ctx.scope)
    async with ctx.read() as tx:
        target = await find_target(tx, ctx.catalog, arn)
        inside, arn = target.tx or tx, target.arn
        return {"TagList": tag_list_view(await tags.listed(inside, arn.kind, arn.name))}


async def find_target(tx: Transaction, catalog: Catalog, arn: Arn, *, lock: bool = False) -> Target:
    """Return the resource that *arn* names.

    Raises:
        Fault: it is a default group, or not available.
        NotFound: there is none.
    """
    if arn.kind == ReplicationGroup.arn_kind:
        group = await tx.get(ReplicationGroup, arn.name, lock=lock)
        if not _is_available(group):
            raise Fault("InvalidReplicationGroupStateFault", BUSY)
        return Target(arn, group)
    if arn.kind == CacheCluster.arn_kind:
        await _require_available_cluster(tx, arn.name, lock=lock)
    elif arn.kind == ParameterGroup.arn_kind:
        await _require_custom_parameter_group(tx, catalog, arn.name)
    elif arn.kind == SubnetGroup.arn_kind:
        if arn.name == subnets.DEFAULT_GROUP:
            raise wrong_value("The default cache subnet group cannot be tagged.")
        await tx.get(SubnetGroup, arn.name)
    elif arn.kind == User.arn_kind:
        await _require_active_user(tx, arn.name)
    elif arn.kind == UserGroup.arn_kind:
        await tx.get(UserGroup, arn.name)
    elif arn.kind == Snapshot.arn_kind:
        await tx.get(Snapshot, arn.name)
    elif arn.kind == ServerlessCache.arn_kind:
        cache = await tx.get(ServerlessCache, arn.name, lock=lock)
        if cache.status != lifecycle.AVAILABLE:
            raise IllegalTransition(cache.resource, cache.name, cache.status, "tagging")
    elif arn.kind == SNAPSHOT_ARN_KIND:
        inside = tx.within(tx.scope.shadow)
        await serverless_snapshots.find(inside, arn.name, lock=lock)
        return Target(Arn(Snapshot.arn_kind, arn.name), tx=inside)
    elif arn.kind == ReservedNode.arn_kind:
        await tx.get(ReservedNode, arn.name)
    else:
        raise NotFound(_NOT_KEPT[arn.kind], arn.name)
    return Target(arn)


async def _require_active_user(tx: Transaction, name: str) -> None:
    if name == DEFAULT_USER:
        raise wrong_value("The default user cannot be tagged.")
    user = await tx.get(User, name)
    if user.status != lifecycle.ACTIVE:
        raise Fault("UserNotFoundFault", f"User {name} is not available for tagging.")


async def _require_available_cluster(tx: Transaction, name: str, *, lock: bool) -> None:
    cluster = await tx.get(CacheCluster, name, lock=lock)
    if cluster.replication_group_uid is None:
        if cluster.status != lifecycle.AVAILABLE:
            raise Fault("InvalidReplicationGroupStateFault", BUSY)
        return
    query = select(ReplicationGroup).where(ReplicationGroup.uid == cluster.replication_group_uid)
    group = (await tx.session.scalars(query)).one()
    if not _is_available(group):
        raise Fault(
            "InvalidReplicationGroupStateFault",
            f"Replication Group of {cluster.name} is not available.",
        )


async def _require_custom_parameter_group(tx: Transaction, catalog: Catalog, name: str) -> None:
    group = await parameter_groups.find(tx, catalog, name)
    if group is None:
        raise Fault("CacheParameterGroupNotFoundFault", f"{name} is not present")
    if group.is_default:
        raise wrong_value(f"The parameter group {name} is a default group and cannot be tagged.")


def _is_available(group: ReplicationGroup) -> bool:
    statuses = [group.status, *(member.status for member in group.members)]
    return all(status == lifecycle.AVAILABLE for status in statuses)


def _settle(tx: Transaction, group: ReplicationGroup, token: str) -> None:
    lifecycle.fire(group, lifecycle.Event.MODIFY)
    tx.enqueue(OperationKind.SETTLE, subject_uid=group.uid, token=token)
