"""Where each operation of the model is found under ``/v1``: one line an operation. Pure.

A path is a collection, a resource in it, and what is done with it:

    GET    /v1/replication-groups                     DescribeReplicationGroups
    GET    /v1/replication-groups/{ReplicationGroupId}   the same, of one
    POST   /v1/replication-groups/{ReplicationGroupId}:test-failover

Names in braces are members of the operation's input. An operation that a newer model brings and
that has no line yet is found at ``POST /v1/operations/<its-name>``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from cachefleet.api.protocol.model import LIST, Model, Operation

PREFIX: Final = "/v1"
UNPLACED: Final = "/operations"
ITEM: Final = "*"


class BadTable(Exception):
    """The table does not fit the model."""


@dataclass(frozen=True, slots=True)
class Route:
    """One operation at one place.

    ``member`` is filled from the path. ``is_item`` marks a listing that is asked for one resource.
    """

    operation: Operation
    method: str
    path: str
    member: str | None
    is_item: bool = False
    creates: bool = False

    @property
    def reads(self) -> bool:
        return self.method == "GET"

    @property
    def takes_body(self) -> bool:
        return self.method not in ("GET", "DELETE")

    @property
    def listing(self) -> str | None:
        """The output's member that holds the resources, where it is asked for one of them."""
        if not self.is_item or self.operation.output is None:
            return None
        members = self.operation.output.members
        return next(name for name, member in members.items() if member.shape.kind == LIST)


@dataclass(frozen=True, slots=True)
class Found:
    """What a path leads to: the methods that it takes, and the name in it, decoded."""

    methods: Mapping[str, Route]
    name: str | None


# Collections: path, member that names a resource, operations (create, describe, modify, delete).
_COLLECTIONS: Final = (
    (
        "cache-clusters",
        "CacheClusterId",
        "CreateCacheCluster DescribeCacheClusters ModifyCacheCluster DeleteCacheCluster",
    ),
    (
        "replication-groups",
        "ReplicationGroupId",
        (
            "CreateReplicationGroup DescribeReplicationGroups ModifyReplicationGroup "
            "DeleteReplicationGroup"
        ),
    ),
    (
        "serverless-caches",
        "ServerlessCacheName",
        (
            "CreateServerlessCache DescribeServerlessCaches ModifyServerlessCache "
            "DeleteServerlessCache"
        ),
    ),
    (
        "serverless-cache-snapshots",
        "ServerlessCacheSnapshotName",
        (
            "CreateServerlessCacheSnapshot DescribeServerlessCacheSnapshots "
            "DeleteServerlessCacheSnapshot"
        ),
    ),
    ("snapshots", "SnapshotName", "CreateSnapshot DescribeSnapshots DeleteSnapshot"),
    (
        "parameter-groups",
        "CacheParameterGroupName",
        (
            "CreateCacheParameterGroup DescribeCacheParameterGroups ModifyCacheParameterGroup "
            "DeleteCacheParameterGroup"
        ),
    ),
    (
        "subnet-groups",
        "CacheSubnetGroupName",
        (
            "CreateCacheSubnetGroup DescribeCacheSubnetGroups ModifyCacheSubnetGroup "
            "DeleteCacheSubnetGroup"
        ),
    ),
    (
        "security-groups",
        "CacheSecurityGroupName",
        "CreateCacheSecurityGroup DescribeCacheSecurityGroups DeleteCacheSecurityGroup",
    ),
    ("users", "UserId", "CreateUser DescribeUsers ModifyUser DeleteUser"),
    (
        "user-groups",
        "UserGroupId",
        "CreateUserGroup DescribeUserGroups ModifyUserGroup DeleteUserGroup",
    ),
    (
        "global-replication-groups",
        "GlobalReplicationGroupId",
        (
            "CreateGlobalReplicationGroup DescribeGlobalReplicationGroups "
            "ModifyGlobalReplicationGroup DeleteGlobalReplicationGroup"
        ),
    ),
    ("reserved-cache-nodes", "ReservedCacheNodeId", "DescribeReservedCacheNodes"),
    (
        "reserved-cache-nodes-offerings",
        "ReservedCacheNodesOfferingId",
        "DescribeReservedCacheNodesOfferings",
    ),
    ("service-updates", "ServiceUpdateName", "DescribeServiceUpdates"),
)

# The method that the first word of an operation's name stands for in a collection.
_BY_VERB: Final[Mapping[str, str]] = {
    "Create": "POST",
    "Describe": "GET",
    "Modify": "PATCH",
    "Delete": "DELETE",
}

_OTHERS: Final = (
    ("GET", "/engine-versions", "DescribeCacheEngineVersions"),
    ("GET", "/events", "DescribeEvents"),
    ("GET", "/update-actions", "DescribeUpdateActions"),
    ("GET", "/parameter-groups/{CacheParameterGroupName}/parameters", "DescribeCacheParameters"),
    (
        "GET",
        "/parameter-families/{CacheParameterGroupFamily}/parameters",
        "DescribeEngineDefaultParameters",
    ),
    (
        "GET",
        "/cache-clusters/{CacheClusterId}/allowed-node-types",
        "ListAllowedNodeTypeModifications",
    ),
    (
        "GET",
        "/replication-groups/{ReplicationGroupId}/allowed-node-types",
        "ListAllowedNodeTypeModifications",
    ),
    ("GET", "/tags/{ResourceName}", "ListTagsForResource"),
    ("POST", "/tags/{ResourceName}", "AddTagsToResource"),
    ("DELETE", "/tags/{ResourceName}", "RemoveTagsFromResource"),
    ("POST", "/cache-clusters/{CacheClusterId}:reboot", "RebootCacheCluster"),
    (
        "POST",
        "/replication-groups/{ReplicationGroupId}:increase-replica-count",
        "IncreaseReplicaCount",
    ),
    (
        "POST",
        "/replication-groups/{ReplicationGroupId}:decrease-replica-count",
        "DecreaseReplicaCount",
    ),
    (
        "POST",
        "/replication-groups/{ReplicationGroupId}:modify-shard-configuration",
        "ModifyReplicationGroupShardConfiguration",
    ),
    ("POST", "/replication-groups/{ReplicationGroupId}:test-failover", "TestFailover"),
    ("POST", "/replication-groups/{ReplicationGroupId}:start-migration", "StartMigration"),
    ("POST", "/replication-groups/{ReplicationGroupId}:test-migration", "TestMigration"),
    ("POST", "/replication-groups/{ReplicationGroupId}:complete-migration", "CompleteMigration"),
    ("POST", "/serverless-caches/{ServerlessCacheName}:prepare-migration", "PrepareMigration"),
    ("POST", "/serverless-caches/{ServerlessCacheName}:start-migration", "StartMigration"),
    ("POST", "/serverless-caches/{ServerlessCacheName}:stop-migration", "StopMigration"),
    ("POST", "/serverless-caches/{ServerlessCacheName}:complete-migration", "CompleteMigration"),
    ("POST", "/snapshots/{SourceSnapshotName}:copy", "CopySnapshot"),
    (
        "POST",
        "/serverless-cache-snapshots/{SourceServerlessCacheSnapshotName}:copy",
        "CopyServerlessCacheSnapshot",
    ),
    (
        "POST",
        "/serverless-cache-snapshots/{ServerlessCacheSnapshotName}:export",
        "ExportServerlessCacheSnapshot",
    ),
    ("POST", "/parameter-groups/{CacheParameterGroupName}:reset", "ResetCacheParameterGroup"),
    (
        "POST",
        "/security-groups/{CacheSecurityGroupName}:authorize-ingress",
        "AuthorizeCacheSecurityGroupIngress",
    ),
    (
        "POST",
        "/security-groups/{CacheSecurityGroupName}:revoke-ingress",
        "RevokeCacheSecurityGroupIngress",
    ),
    (
        "POST",
        "/global-replication-groups/{GlobalReplicationGroupId}:disassociate",
        "DisassociateGlobalReplicationGroup",
    ),
    (
        "POST",
        "/global-replication-groups/{GlobalReplicationGroupId}:failover",
        "FailoverGlobalReplicationGroup",
    ),
    (
        "POST",
        "/global-replication-groups/{GlobalReplicationGroupId}:increase-node-groups",
        "IncreaseNodeGroupsInGlobalReplicationGroup",
    ),
    (
        "POST",
        "/global-replication-groups/{GlobalReplicationGroupId}:decrease-node-groups",
        "DecreaseNodeGroupsInGlobalReplicationGroup",
    ),
    (
        "POST",
        "/global-replication-groups/{GlobalReplicationGroupId}:rebalance-slots",
        "RebalanceSlotsInGlobalReplicationGroup",
    ),
    (
        "POST",
        "/reserved-cache-nodes-offerings/{ReservedCacheNodesOfferingId}:purchase",
        "PurchaseReservedCacheNodesOffering",
    ),
    ("POST", "/service-updates/{ServiceUpdateName}:apply", "BatchApplyUpdateAction"),
    ("POST", "/service-updates/{ServiceUpdateName}:stop", "BatchStopUpdateAction"),
)

_CREATING: Final = ("Create", "Copy", "Purchase")


class RouteTable:
    """All routes, found by path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes: tuple[Route, ...] = tuple(routes)
        self._places: dict[tuple[str, ...], dict[str, Route]] = {}
        for route in self.routes:
            methods = self._places.setdefault(_place(route.path), {})
            if methods.setdefault(route.method, route) is not route:
                raise BadTable(f"two operations at {route.method} {route.path}")
        self._verbs = {
            place[1][2:] for place in self._places if len(place) == 2 and place[1][1:2] == ":"
        }

    def find(self, path: str) -> Found | None:
        """Return what the path, still percent-encoded, leads to; None where it is none of ours."""
        parts = path.removeprefix(PREFIX).split("/")[1:]
        if len(parts) == 1:
            methods = self._places.get((parts[0],))
            return None if methods is None else Found(methods, None)
        if len(parts) not in (2, 3) or not all(parts):
            return None
        name, colon, verb = parts[1].rpartition(":")
        if colon and name and verb in self._verbs and len(parts) == 2:
            methods = self._places.get((parts[0], f"{ITEM}:{verb}"))
            if methods is not None:
                return Found(methods, unquote(name))
        if len(parts) == 2 and tuple(parts) in self._places:
            return Found(self._places[(parts[0], parts[1])], None)
        methods = self._places.get((parts[0], ITEM, *parts[2:]))
        return None if methods is None else Found(methods, unquote(parts[1]))


def make_routes(model: Model) -> RouteTable:
    """Return the routes of every operation of *model*.

    Raises:
        BadTable: two operations are in one place, or a line names a member that the model lacks.
    """
    routes = [
        _route(model.operations[name], method, path, is_item=is_item)
        for method, path, name, is_item in _lines()
        if name in model.operations
    ]
    without = model.operations.keys() - {route.operation.name for route in routes}
    for name in sorted(without):
        path = f"{UNPLACED}/{re.sub('(?<=[a-z0-9])(?=[A-Z])', '-', name).lower()}"
        routes.append(_route(model.operations[name], "POST", path, is_item=False))
    return RouteTable(routes)


def _lines() -> Iterable[tuple[str, str, str, bool]]:
    for collection, member, names in _COLLECTIONS:
        for name in names.split():
            verb = next(word for word in _BY_VERB if name.startswith(word))
            if verb in ("Create", "Describe"):
                yield _BY_VERB[verb], f"/{collection}", name, False
            if verb != "Create":
                yield _BY_VERB[verb], f"/{collection}/{{{member}}}", name, verb == "Describe"
    for method, path, name in _OTHERS:
        yield method, path, name, False


def _route(operation: Operation, method: str, path: str, *, is_item: bool) -> Route:
    member = path.partition("{")[2].partition("}")[0] or None
    if member is not None and member not in operation.input.members:
        raise BadTable(f"{operation.name} has no member {member}")
    return Route(
        operation=operation,
        method=method,
        path=PREFIX + path,
        member=member,
        is_item=is_item,
        creates=operation.name.startswith(_CREATING),
    )


def _place(path: str) -> tuple[str, ...]:
    parts = path.removeprefix(PREFIX).split("/")[1:]
    return tuple(ITEM + part.partition("}")[2] if part.startswith("{") else part for part in parts)
