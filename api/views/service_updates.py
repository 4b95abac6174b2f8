"""Service updates and update actions as the API shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from cachefleet.provisioner.state.tables import ReplicationGroup
from cachefleet.provisioner.state.update_tables import ServiceUpdate, UpdateAction
from cachefleet.provisioner.state.updates import (
    ESTIMATE,
    TYPE,
    nodes_updated,
    sla_met,
    update_status,
)

Node = Mapping[str, Any]


def service_update_view(update: ServiceUpdate, *, now: datetime) -> dict[str, Any]:
    """Return ``ServiceUpdate`` as it is at *now*."""
    return {
        **_facts(update, now),
        "ServiceUpdateEndDate": update.ends_at,
        "ServiceUpdateDescription": update.description,
        "Engine": update.engine,
        "EngineVersion": update.brings,
        "AutoUpdateAfterRecommendedApplyByDate": True,
        "EstimatedUpdateTime": ESTIMATE,
    }


def update_action_view(action: UpdateAction, *, now: datetime, with_nodes: bool) -> dict[str, Any]:
    """Return ``UpdateAction`` as it is at *now*; *with_nodes* also each node's part of it."""
    view = {
        **named(action),
        **_facts(action.update, now),
        "UpdateActionAvailableDate": action.available_at,
        "UpdateActionStatus": action.status,
        "NodesUpdated": nodes_updated(action),
        "UpdateActionStatusModifiedDate": action.status_at,
        "SlaMet": sla_met(action, now),
        "EstimatedUpdateTime": ESTIMATE,
        "Engine": action.update.engine,
    }
    if with_nodes:
        nodes = sorted(action.nodes.values(), key=lambda node: (node["member"], node["node_id"]))
        view |= (
            _by_shard(nodes)
            if _is_group(action)
            else {"CacheNodeUpdateStatus": [_node_view(node) for node in nodes]}
        )
    return view


def named(action: UpdateAction) -> dict[str, str]:
    """Return the member of an answer that says which cache an action is of."""
    return {"ReplicationGroupId" if _is_group(action) else "CacheClusterId": action.name}


def _facts(update: ServiceUpdate, now: datetime) -> dict[str, Any]:
    """Return what an update and its actions show alike."""
    return {
        "ServiceUpdateName": update.name,
        "ServiceUpdateReleaseDate": update.released_at,
        "ServiceUpdateSeverity": update.severity,
        "ServiceUpdateStatus": update_status(update, now),
        "ServiceUpdateRecommendedApplyByDate": update.apply_by_at,
        "ServiceUpdateType": TYPE,
    }


def _is_group(action: UpdateAction) -> bool:
    return action.subject_kind == ReplicationGroup.resource


def _by_shard(nodes: Iterable[Node]) -> dict[str, Any]:
    shards: dict[str, list[dict[str, Any]]] = {}
    for node in nodes:
        entry = {"CacheClusterId": node["member"], **_node_view(node)}
        shards.setdefault(node["shard"] or "", []).append(entry)
    return {
        "NodeGroupUpdateStatus": [
            {"NodeGroupId": shard, "NodeGroupMemberUpdateStatus": shards[shard]}
            for shard in sorted(shards)
        ]
    }


def _node_view(node: Node) -> dict[str, Any]:
    """Return a node's part. ``NodeDeletionDate`` is never there: nodes stay what they are."""
    return {
        "CacheNodeId": node["node_id"],
        "NodeUpdateStatus": node["status"],
        "NodeUpdateStartDate": _instant(node.get("started_at")),
        "NodeUpdateEndDate": _instant(node.get("ended_at")),
        "NodeUpdateInitiatedBy": node.get("initiated_by"),
        "NodeUpdateInitiatedDate": _instant(node.get("initiated_at")),
        "NodeUpdateStatusModifiedDate": _instant(node["status_at"]),
    }


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
