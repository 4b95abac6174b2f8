"""Global datastores as the API shows them: what they have in common is their primary's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cachefleet.provisioner.state.global_groups import CREATING, primary_of
from cachefleet.provisioner.state.global_tables import GlobalGroup
from cachefleet.provisioner.state.peer_records import Card
from cachefleet.provisioner.state.tables import ReplicationGroup

ALL_SLOTS = "0-16383"


def global_group_view(
    row: GlobalGroup, groups: Mapping[str, ReplicationGroup], *, with_members: bool = False
) -> dict[str, Any]:
    """Return ``GlobalReplicationGroup``; *groups* are its members' by uid."""
    view: dict[str, Any] = {
        "GlobalReplicationGroupId": row.name,
        "GlobalReplicationGroupDescription": row.description,
        "Status": row.status,
        "ARN": row.arn,
    }
    members: dict[str, ReplicationGroup | Card] = {**_cards(row), **groups}
    primary = members.get(primary_of(row).group_uid)
    if primary is not None:
        view.update(
            {
                "CacheNodeType": primary.node_type,
                "Engine": primary.engine,
                "EngineVersion": primary.engine_version,
                "ClusterEnabled": primary.cluster_enabled,
                "AuthTokenEnabled": primary.auth_token_enabled,
                "TransitEncryptionEnabled": primary.transit_encryption_enabled,
                "AtRestEncryptionEnabled": primary.at_rest_encryption_enabled,
            }
        )
        if row.status != CREATING:
            view["GlobalNodeGroups"] = [
                {
                    "GlobalNodeGroupId": f"{row.name}-{shard.node_group_id}",
                    "Slots": shard.slots or ALL_SLOTS,
                }
                for shard in primary.node_groups
            ]
    if with_members:
        view["Members"] = [
            {
                "ReplicationGroupId": member.group_name,
                "ReplicationGroupRegion": member.region,
                "Role": member.role,
                "AutomaticFailover": members[member.group_uid].automatic_failover
                if member.group_uid in members
                else None,
                "Status": member.status,
            }
            for member in row.members
        ]
    return view


def _cards(row: GlobalGroup) -> dict[str, Card]:
    """Return what other cachefleets have said of their members, by the uids these have here."""
    return {
        member.group_uid: Card.model_validate(member.card)
        for member in row.members
        if member.fleet is not None and member.card is not None
    }
