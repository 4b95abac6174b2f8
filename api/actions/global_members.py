"""How a new replication group joins a global datastore as a secondary.

It takes over what all members have in common: engine, version, node type, failover, parameters, and
the secret by which its nodes are let in at the primary's. Parameter groups are each a region's own,
so it gets one with the values of the primary's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cachefleet.api.actions.global_groups import file_joining, new_member
from cachefleet.api.context import RequestContext
from cachefleet.api.registry import Params
from cachefleet.api.validation import global_groups as checks
from cachefleet.engine.types import Engine
from cachefleet.provisioner.state import global_groups, parameter_groups
from cachefleet.provisioner.state.errors import IllegalTransition
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import ReplicationGroup


@dataclass(frozen=True, slots=True)
class Joining:
    """What a secondary follows: the global datastore's name, and the primary as it was read."""

    name: str
    primary: ReplicationGroup
    endpoint: tuple[str, int] | None  # None in cluster mode: its shards are fed
    parameters: parameter_groups.Group


async def inherit(ctx: RequestContext, params: Params) -> tuple[dict[str, Any], Joining]:
    """Return the request with what it inherits, and what it joins.

    Raises:
        Fault: there is no room for it.
        NotFound: there is no such global datastore.
        IllegalTransition: something is being done to it.
    """
    async with ctx.read() as tx:
        row = await global_groups.get(tx, params["GlobalReplicationGroupId"])
        checks.require_at_rest(row, "join")
        checks.check_room(ctx.catalog, row, ctx.region)
        groups = await global_groups.groups_of(tx, row)
        primary = groups[global_groups.primary_of(row).group_uid]
        endpoint = await global_groups.lead_address(tx, primary)
        if endpoint is None and not primary.cluster_enabled:
            raise IllegalTransition(row.resource, row.name, row.status, "join")
    parameters = await _parameters(ctx, primary)
    version = ctx.catalog.version_of(Engine(primary.engine), primary.engine_version)
    assert version is not None, primary.engine_version
    inherited: dict[str, Any] = {
        "Engine": primary.engine,
        "EngineVersion": version.version,
        "CacheNodeType": primary.node_type,
        "AtRestEncryptionEnabled": primary.at_rest_encryption_enabled,
        "AutomaticFailoverEnabled": primary.automatic_failover == "enabled" and _count(params) > 1,
        "Port": params.get("Port") or primary.port,
    }
    if primary.transit_encryption_enabled:
        checks.check_same_token(primary, params)
        inherited |= {
            "TransitEncryptionEnabled": True,
            "TransitEncryptionMode": primary.transit_encryption_mode,
        }
    if primary.cluster_enabled:
        inherited |= _shards_of(primary, params)
    asked = {k: v for k, v in params.items() if k != "GlobalReplicationGroupId"}
    return {**asked, **inherited}, Joining(row.name, primary, endpoint, parameters)


def _shards_of(primary: ReplicationGroup, params: Params) -> dict[str, Any]:
    """Return the request for the shards that the primary has, slot for slot.

    Raises:
        Fault: others are asked for.
    """
    checks.refuse_shards_asked_for(params)
    replicas = params.get("ReplicasPerNodeGroup")
    return {
        "ClusterMode": "enabled",
        "AutomaticFailoverEnabled": True,
        "NodeGroupConfiguration": [
            {
                "NodeGroupId": shard.node_group_id,
                "Slots": shard.slots,
                "ReplicaCount": len(shard.nodes) - 1 if replicas is None else replicas,
            }
            for shard in primary.node_groups
        ],
    }


async def _parameters(ctx: RequestContext, primary: ReplicationGroup) -> parameter_groups.Group:
    async with ctx.store.read(Scope(primary.account, primary.region)) as tx:
        return await parameter_groups.get(tx, ctx.catalog, primary.parameter_group_name)


async def join(
    ctx: RequestContext, tx: Transaction, group: ReplicationGroup, joining: Joining
) -> None:
    """Write the new group down as a secondary; it follows the primary from its first start on."""
    row = await global_groups.get(tx, joining.name, lock=True)
    checks.require_at_rest(row, "join")  # it was read before; much can have happened since
    checks.check_room(ctx.catalog, row, ctx.region)
    group.replication_secret = joining.primary.replication_secret
    for member in group.members:
        member.replication_secret = group.replication_secret
    await global_groups.give_parameters(
        tx, group, family=joining.parameters.family, values=joining.parameters.values
    )
    if joining.endpoint is None:
        leads = await global_groups.groups_of(tx, row)
        global_groups.follow_by_feed(group, leads[global_groups.primary_of(row).group_uid])
    else:
        global_groups.follow(group, joining.endpoint)
    new_member(row, group)
    file_joining(tx, row, ctx.request_id)


def _count(params: Params) -> int:
    return int(params.get("NumCacheClusters") or (params.get("ReplicasPerNodeGroup") or 0) + 1)
