"""How a new replication group joins a global datastore as a secondary.

It takes over what all members have in common: engine, version, node type, failover, parameters, and
the secret by which its nodes are let in at the primary's. A custom parameter group of the primary's
region is copied, because groups of parameters are each a region's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cachefleet.api.actions.global_groups import file_joining, new_member
from cachefleet.api.context import RequestContext
from cachefleet.api.registry import Params
from cachefleet.api.validation import global_groups as checks
from cachefleet.api.validation.features import check_new_group_sources
from cachefleet.engine.types import Engine
from cachefleet.provisioner.state import global_groups, ids
from cachefleet.provisioner.state.errors import IllegalTransition
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import ParameterGroup, ReplicationGroup

COPY_PREFIX = "global-datastore-"


@dataclass(frozen=True, slots=True)
class Joining:
    """What a secondary follows: the global datastore's name, and the primary as it was read."""

    name: str
    primary: ReplicationGroup
    endpoint: tuple[str, int]
    parameters: Mapping[str, Any] | None  # of a custom group, to be copied


async def inherit(ctx: RequestContext, params: Params) -> tuple[dict[str, Any], Joining]:
    """Return the request with what it inherits, and what it joins.

    Raises:
        Fault: it names what is inherited, or there is no room for it.
        NotFound: there is no such global datastore.
        IllegalTransition: something is being done to it.
    """
    check_new_group_sources(params, encrypted_at_rest=True)
    async with ctx.read() as tx:
        row = await global_groups.get(tx, params["GlobalReplicationGroupId"])
        checks.require_at_rest(row, "join")
        checks.check_room(ctx.catalog, row, ctx.region)
        groups = await global_groups.groups_of(tx, row)
        primary = groups[global_groups.primary_of(row).group_uid]
        endpoint = await global_groups.primary_endpoint(tx, primary)
        if endpoint is None:
            raise IllegalTransition(row.resource, row.name, row.status, "join")
    copied = await _custom_parameters(ctx, primary)
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
    asked = {k: v for k, v in params.items() if k != "GlobalReplicationGroupId"}
    return {**asked, **inherited}, Joining(row.name, primary, endpoint, copied)


async def _custom_parameters(
    ctx: RequestContext, primary: ReplicationGroup
) -> Mapping[str, Any] | None:
    async with ctx.store.read(Scope(primary.account, primary.region)) as tx:
        custom = await tx.find(ParameterGroup, primary.parameter_group_name)
        if custom is None:
            return None
        return {"family": custom.family, "values": dict(custom.values)}


async def join(
    ctx: RequestContext, tx: Transaction, group: ReplicationGroup, joining: Joining
) -> None:
    """Write the new group down as a secondary; it follows the primary from its first start on."""
    row = await global_groups.get(tx, joining.name, lock=True)
    checks.require_at_rest(row, "join")  # it was read before; much can have happened since
    checks.check_room(ctx.catalog, row, ctx.region)
    group.replication_secret = joining.primary.replication_secret
    if joining.parameters is not None:
        group.parameter_group_name = await _copy_parameters(tx, joining)
    for member in group.members:
        member.replication_secret = group.replication_secret
        member.parameter_group_name = group.parameter_group_name
    global_groups.follow(group, joining.endpoint)
    new_member(row, group)
    file_joining(tx, row, ctx.request_id)


async def _copy_parameters(tx: Transaction, joining: Joining) -> str:
    assert joining.parameters is not None
    name = f"{COPY_PREFIX}{joining.name}"
    existing = await tx.find(ParameterGroup, name, lock=True)
    if existing is not None:
        existing.family = joining.parameters["family"]
        existing.values = joining.parameters["values"]
        return name
    await tx.insert(
        ParameterGroup(
            uid=ids.new_uid(),
            account=tx.scope.account,
            region=tx.scope.region,
            name=name,
            description=f"Parameters of global datastore {joining.name}",
            **joining.parameters,
        )
    )
    return name


def _count(params: Params) -> int:
    return int(params.get("NumCacheClusters") or (params.get("ReplicasPerNodeGroup") or 0) + 1)
