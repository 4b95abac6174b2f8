"""How a new replication group joins a global datastore as a secondary.

It takes over what all members have in common: engine, version, node type, failover, parameters, and
the secret by which its nodes are let in at the primary's. Parameter groups are each a region's own,
so it gets one with the values of the primary's.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from cachefleet.api.actions import global_peers
from cachefleet.api.actions.global_groups import (
    file_joining,
    member_of,
    new_member,
    new_subject,
)
from cachefleet.api.context import RequestContext
from cachefleet.api.registry import Params
from cachefleet.api.validation import global_groups as checks
from cachefleet.api.validation.identifiers import check_replication_group_id
from cachefleet.engine.types import Engine
from cachefleet.provisioner.state import global_groups, peer_feeds, peered
from cachefleet.provisioner.state.errors import IllegalTransition, NotFound
from cachefleet.provisioner.state.global_tables import GlobalGroup
from cachefleet.provisioner.state.peer_records import Joined, Lead
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import ReplicationGroup


@dataclass(frozen=True, slots=True)
class Joining:
    """What a secondary follows: the global datastore's name, and the primary as it was read.

    ``joined`` is what the cachefleet of the primary answered, where that is another one.
    """

    name: str
    lead: Lead
    joined: Joined | None = None


async def inherit(ctx: RequestContext, params: Params) -> tuple[dict[str, Any], Joining]:
    """Return the request with what it inherits, and what it joins.

    Raises:
        Fault: there is no room for it.
        NotFound: there is no such global datastore.
        IllegalTransition: something is being done to it.
    """
    joining = await _find(ctx, params)
    return _inherited(ctx, params, joining.lead), joining


async def _find(ctx: RequestContext, params: Params) -> Joining:
    name = params["GlobalReplicationGroupId"]
    async with ctx.read() as tx:
        row = await global_groups.find(tx, name)
        if row is not None and peered.is_led_here(row):
            checks.require_at_rest(row, "join")
            checks.check_room(ctx.catalog, row, ctx.region)
            groups = await global_groups.groups_of(tx, row)
            primary = groups[global_groups.primary_of(row).group_uid]
            lead = await peered.lead_of(tx, ctx.catalog, primary)
            if lead.endpoint is None and not lead.cluster_enabled:
                raise IllegalTransition(row.resource, row.name, row.status, "join")
            return Joining(row.name, lead)
    if row is None and not ctx.peers.regions:
        raise NotFound(GlobalGroup.resource, name)
    check_replication_group_id(params["ReplicationGroupId"])
    region = await global_peers.find_leader(ctx, name.lower())
    group_name = params["ReplicationGroupId"].lower()
    joined = await global_peers.let_in(ctx, region, name.lower(), group_name, only_ask=True)
    return Joining(name.lower(), joined.lead, joined)


@contextlib.asynccontextmanager
async def let_in(
    ctx: RequestContext, params: Params, joining: Joining | None
) -> AsyncIterator[Joining | None]:
    """Have the group let in, where another cachefleet leads, before it is written down here.

    If it cannot be, that one is told; whatever it misses ends there by itself.
    """
    if joining is None or joining.joined is None:
        yield joining
        return
    assert joining.joined.told.record is not None
    region, group_name = joining.joined.told.record.leader.region, params["ReplicationGroupId"]
    joined = await global_peers.let_in(
        ctx, region, joining.name, group_name.lower(), only_ask=False
    )
    try:
        yield Joining(joining.name, joined.lead, joined)
    except BaseException:
        await global_peers.leave(ctx, joined, joining.name, group_name.lower())
        raise


def _inherited(ctx: RequestContext, params: Params, primary: Lead) -> dict[str, Any]:
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
    return {**asked, **inherited}


def _shards_of(primary: Lead, params: Params) -> dict[str, Any]:
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
                "ReplicaCount": shard.replicas if replicas is None else replicas,
            }
            for shard in primary.node_groups
        ],
    }


async def join(
    ctx: RequestContext, tx: Transaction, group: ReplicationGroup, joining: Joining
) -> None:
    """Write the new group down as a secondary; it follows the primary from its first start on."""
    lead = joining.lead
    group.replication_secret = lead.replication_secret
    for member in group.members:
        member.replication_secret = group.replication_secret
    await global_groups.give_parameters(tx, group, family=lead.family, values=lead.parameters)
    if lead.endpoint is not None:
        # Regions of one cachefleet have one authority, which their engines trust anyway.
        ca = lead.authority if joining.joined is not None else ""
        for shard in group.node_groups:
            shard.upstream = global_groups.upstream_at(lead.endpoint, ca=ca)
    if joining.joined is not None:
        await _join_led_elsewhere(tx, group, joining.name, joining.joined)
        return
    row = await global_groups.get(tx, joining.name, lock=True)
    checks.require_at_rest(row, "join")  # it was read before; much can have happened since
    checks.check_room(ctx.catalog, row, ctx.region)
    if lead.endpoint is None:
        leads = await global_groups.groups_of(tx, row)
        global_groups.follow_by_feed(group, leads[global_groups.primary_of(row).group_uid])
    new_member(row, group)
    file_joining(tx, row, ctx.request_id)


async def _join_led_elsewhere(
    tx: Transaction, group: ReplicationGroup, name: str, joined: Joined
) -> None:
    """Write our copy of the record down, with the new group as our member."""
    row = await global_groups.find(tx, name, lock=True)
    if row is None:
        row = peered.joined_row(name, group.account, joined.created_at)
        await tx.insert(row)
        await new_subject(tx, row)
    peered.begin_copy(row, joined.told)
    row.members.append(member_of(row, group, global_groups.SECONDARY, global_groups.ASSOCIATING))
    if group.cluster_enabled:
        peer_feeds.feed_from_peer(group, row, global_groups.primary_of(row))
    group.global_name, group.global_role = row.name, global_groups.SECONDARY


def _count(params: Params) -> int:
    return int(params.get("NumCacheClusters") or (params.get("ReplicasPerNodeGroup") or 0) + 1)
