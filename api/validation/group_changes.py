"""What may be changed of a replication group: each check refuses as the service does.

Checks whose change has no effect on an engine here yet return the sentence for a 501 answer; None
means that nothing is asked for, or that what is asked for is so already.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cachefleet.api.faults import Fault
from cachefleet.api.validation import features
from cachefleet.api.validation.engines import resolve_version
from cachefleet.api.validation.features import PREFERRED, is_given
from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.api.validation.shards import check_multi_az
from cachefleet.engine.catalog import Catalog, EngineVersion
from cachefleet.engine.types import Engine, NodeRole
from cachefleet.provisioner.state import auth_tokens, lifecycle
from cachefleet.provisioner.state.auth_tokens import NotAfterRotation, Strategy, Tokens
from cachefleet.provisioner.state.tables import CacheNode, ReplicationGroup

Params = Mapping[str, Any]

OLDEST_REDIS_TO_VALKEY = (5, 0, 6)
OLDEST_TOKEN_CHANGE = (5, 0, 6)
_ON_THE_WAY = {"enabled": "enabling", "disabled": "disabling"}
ROLLBACK = ("7.2", "7.1")  # from valkey, to redis: the only way back
_WITH_CLUSTER_MODE = frozenset(
    {"ReplicationGroupId", "ClusterMode", "CacheParameterGroupName", "ApplyImmediately"}
)


def require_available(group: ReplicationGroup) -> None:
    """Refuse a change of a group that something else is being done to."""
    if lifecycle.target(group.resource, group.status, lifecycle.Event.MODIFY) is None:
        raise Fault(
            "InvalidReplicationGroupStateFault",
            "Replication group must be in available state to modify.",
        )


def nodes_of(group: ReplicationGroup) -> list[CacheNode]:
    """Return the nodes of all shards."""
    return [node for shard in group.node_groups for node in shard.nodes]


def check_cluster_mode(catalog: Catalog, group: ReplicationGroup, params: Params) -> str | None:
    """Return the cluster mode that is asked for; it goes alone and through ``compatible``."""
    mode: str | None = params.get("ClusterMode")
    if mode is None:
        return None
    if any(is_given(params, name) for name in params.keys() - _WITH_CLUSTER_MODE):
        raise wrong_combination(
            "Cluster mode updates are not supported while attempting to update additional "
            "properties."
        )
    if mode == group.cluster_mode:
        return mode
    if group.cluster_mode == "enabled" or (group.cluster_mode, mode) == ("disabled", "enabled"):
        raise wrong_combination(
            f"Cluster mode cannot be changed from {group.cluster_mode} to {mode}."
        )
    if not catalog.supports("cluster_mode_migration", Engine(group.engine), group.engine_version):
        raise wrong_combination(
            f"Cluster mode updates are not supported for engine version {group.engine_version}."
        )
    if group.automatic_failover != "enabled" or len(nodes_of(group)) < 2:
        raise wrong_combination(
            "Cluster mode updates require automatic failover and at least one replica."
        )
    return mode


def refuse_while_compatible(group: ReplicationGroup, what: str) -> None:
    """Refuse to scale or upgrade a group that is half way into cluster mode."""
    if group.cluster_mode == "compatible":
        raise Fault(
            "InvalidReplicationGroupStateFault",
            f"{what} of a replication group cannot be changed while its cluster mode is "
            "compatible.",
        )


def check_version(
    catalog: Catalog, group: ReplicationGroup, params: Params
) -> EngineVersion | None:
    """Return the version that was asked for, where the group can have it; None for no wish."""
    current = catalog.version_of(Engine(group.engine), group.engine_version)
    assert current is not None, group.engine_version
    wanted_engine, wanted_version = params.get("Engine"), params.get("EngineVersion")
    if not wanted_engine and not wanted_version:
        return None
    engine = _engine_after(group, wanted_engine)
    if engine is current.engine and not wanted_version:
        return current
    version = current
    if (engine, wanted_version) != (current.engine, current.version):
        version = resolve_version(catalog, engine, wanted_version)
    if (current.engine, engine) == (Engine.VALKEY, Engine.REDIS):
        if (current.version, version.version) != ROLLBACK:
            raise wrong_combination(
                f"Cannot downgrade from valkey {current.version} to redis {version.version}."
            )
    elif current.engine is Engine.REDIS and engine is Engine.VALKEY:
        if current.numbers < OLDEST_REDIS_TO_VALKEY:
            raise wrong_combination(
                f"Cannot modify redis {current.version} to valkey: upgrade to 5.0.6 first."
            )
    elif version.numbers < current.numbers:
        raise wrong_combination(
            f"Cannot downgrade {engine.value} from {current.version} to {version.version}."
        )
    return version


def _engine_after(group: ReplicationGroup, wanted: str | None) -> Engine:
    if not wanted:
        return Engine(group.engine)
    if wanted.lower() not in (Engine.REDIS, Engine.VALKEY):
        raise wrong_value(f"A replication group cannot have the engine {wanted}.")
    return Engine(wanted.lower())


def check_new_node_type(
    catalog: Catalog, *, engine: str, engine_version: str, current: str, wanted: str | None
) -> None:
    """Check a change of the node type against what ListAllowedNodeTypeModifications lists."""
    if not wanted or wanted == current:
        return
    up, down = catalog.allowed_node_type_modifications(current, Engine(engine), engine_version)
    if wanted not in up and wanted not in down:
        raise wrong_value(f"The node type {current} cannot be modified to {wanted}.")


def check_transit(catalog: Catalog, group: ReplicationGroup, params: Params) -> dict[str, Any]:
    """Return the change of encryption in transit that is asked for, by its pending names."""
    controlled = group.auth_token_enabled or bool(group.user_group_ids)
    enabled, mode = params.get("TransitEncryptionEnabled"), params.get("TransitEncryptionMode")
    if enabled is None and mode is None:
        return {}
    if controlled and enabled is not None:
        raise wrong_combination(
            "Modification of transit encryption is not supported for access control enabled "
            "clusters."
        )
    if enabled is None and not group.transit_encryption_enabled:
        raise wrong_combination(
            "To modify transit encryption mode, set encryption-in-transit as enabled."
        )
    if controlled and mode == PREFERRED:
        raise wrong_combination(
            "Transit encryption preferred is not supported with redis access control."
        )
    wanted = group.transit_encryption_enabled if enabled is None else enabled
    wanted_mode = (mode or group.transit_encryption_mode) if wanted else None
    if wanted == group.transit_encryption_enabled and wanted_mode == group.transit_encryption_mode:
        return {}
    if not catalog.supports(
        "in_transit_encryption_modify", Engine(group.engine), group.engine_version
    ):
        raise wrong_combination(
            "Modification of transit encryption is not supported for engine version "
            f"{group.engine_version}."
        )
    if not params.get("ApplyImmediately"):
        raise wrong_value("ApplyImmediately must be true to modify transit encryption.")
    if not group.transit_encryption_enabled and wanted_mode != PREFERRED:
        raise wrong_combination("Set TransitEncryptionMode to preferred first, then to required.")
    if not wanted and group.transit_encryption_mode != PREFERRED:
        raise wrong_combination(
            "Set TransitEncryptionMode to preferred before encryption-in-transit is disabled."
        )
    return {"TransitEncryptionEnabled": wanted, "TransitEncryptionMode": wanted_mode}


def check_token(catalog: Catalog, group: ReplicationGroup, params: Params) -> Tokens | None:
    """Return the AUTH tokens as they are to be, where a change of them is asked for."""
    token, asked = params.get("AuthToken"), params.get("AuthTokenUpdateStrategy")
    if token is None and asked is None:
        return None
    if not group.transit_encryption_enabled:
        raise features.token_without_encryption()
    version = catalog.version_of(Engine(group.engine), group.engine_version)
    if version is None or version.numbers < OLDEST_TOKEN_CHANGE:
        raise wrong_combination(
            "Modification of the AUTH token is not supported for engine version "
            f"{group.engine_version}."
        )
    strategy = Strategy(asked or "ROTATE")
    if strategy is Strategy.DELETE:
        return _check_deletion(group, params)
    if token is None:
        raise wrong_combination(f"AuthTokenUpdateStrategy {asked} requires an AuthToken.")
    features.check_auth_token(token)
    if group.transit_encryption_mode == PREFERRED:
        raise wrong_combination(
            "Transit encryption preferred is not supported with redis access control."
        )
    if group.user_group_ids and not params.get("RemoveUserGroups"):
        raise wrong_combination(
            "An AUTH token cannot be used together with user groups. Pass RemoveUserGroups to "
            "proceed."
        )
    if not params.get("ApplyImmediately"):
        raise wrong_value("ApplyImmediately must be true to modify the AUTH token.")
    return _changed_tokens(group, strategy, token)


def _changed_tokens(group: ReplicationGroup, strategy: Strategy, token: str) -> Tokens:
    before = Tokens(tuple(group.auth_token_sha256s), group.auth_token_required)
    sha256 = auth_tokens.token_sha256(token)
    if strategy is Strategy.ROTATE:
        return auth_tokens.rotated(before, sha256)
    try:
        return auth_tokens.confirmed(before, sha256)
    except NotAfterRotation:
        raise wrong_combination(
            "AuthTokenUpdateStrategy SET confirms the AUTH token of the last ROTATE, and no other."
        ) from None


def _check_deletion(group: ReplicationGroup, params: Params) -> Tokens:
    if params.get("AuthToken") is not None:
        raise wrong_combination("AuthTokenUpdateStrategy DELETE does not go with an AuthToken.")
    if not group.auth_token_enabled:
        raise wrong_value("Auth token update strategy delete is not supported currently")
    if not params.get("UserGroupIdsToAdd"):
        raise wrong_combination(
            "AuthTokenUpdateStrategy DELETE requires UserGroupIdsToAdd: access stays controlled."
        )
    if not params.get("ApplyImmediately"):
        raise wrong_value("ApplyImmediately must be true to modify the AUTH token.")
    return auth_tokens.NO_TOKENS


def check_user_groups(group: ReplicationGroup, params: Params) -> None:
    """Refuse to have AUTH and user groups at once; the rest needs the records."""
    if (
        params.get("UserGroupIdsToAdd")
        and group.auth_token_enabled
        and params.get("AuthTokenUpdateStrategy") != "DELETE"
    ):
        raise wrong_combination(
            "User group can't be associated with auth token enabled. Pass AuthStrategy delete "
            "to proceed."
        )


def check_promotion(group: ReplicationGroup, wanted: str | None) -> str | None:
    """Return the member that is to be promoted by hand; the present primary is one too."""
    if not wanted:
        return None
    if not group.cluster_enabled and wanted.lower() == primary_name(group):
        return wanted.lower()
    if group.cluster_enabled:
        raise wrong_combination(
            "PrimaryClusterId cannot be used with cluster mode enabled. Use TestFailover."
        )
    if group.automatic_failover in ("enabled", "enabling"):
        raise Fault(
            "InvalidReplicationGroupStateFault",
            "Cannot manually promote a new master cache cluster while autofailover is enabled",
        )
    if wanted.lower() not in {member.name for member in group.members}:
        raise wrong_value(f"{wanted} is not a member of replication group {group.name}.")
    return wanted.lower()


def primary_name(group: ReplicationGroup) -> str:
    """Return the member that is primary of a group without cluster mode."""
    return next(node.member_name for node in nodes_of(group) if node.role == NodeRole.PRIMARY)


def check_failover_change(group: ReplicationGroup, params: Params) -> dict[str, str]:
    """Return automatic failover and Multi-AZ as they are wanted, by their pending names.

    Only those that the request names are there. What is pending counts as so already.
    """
    failover, multi_az = params.get("AutomaticFailoverEnabled"), params.get("MultiAZEnabled")
    if failover and any(len(shard.nodes) < 2 for shard in group.node_groups):
        raise Fault(
            "InvalidReplicationGroupStateFault",
            "Replication group must have at least one read replica to enable autofailover.",
        )
    if failover is False and group.cluster_enabled:
        raise wrong_combination(
            "Turning off automatic failover for replication group with cluster mode enabled is "
            "not supported."
        )
    pending = group.pending
    failover_after = _flag(
        failover, pending.get("AutomaticFailoverStatus", group.automatic_failover)
    )
    multi_az_after = _flag(multi_az, pending.get("MultiAZ", group.multi_az))
    if multi_az_after == "enabled" and failover_after == "disabled":
        raise wrong_combination("Multi-AZ requires automatic failover to be enabled.")
    if multi_az:
        check_multi_az(
            [[node.availability_zone for node in shard.nodes] for shard in group.node_groups]
        )
    wanted = {}
    if failover is not None:
        wanted["AutomaticFailoverStatus"] = failover_after
    if multi_az is not None:
        wanted["MultiAZ"] = multi_az_after
    return wanted


def failover_columns(group: ReplicationGroup, wanted: Mapping[str, str]) -> dict[str, str]:
    """Return the columns that change for automatic failover and Multi-AZ to be as *wanted*."""
    columns = {}
    failover = wanted.get("AutomaticFailoverStatus", group.automatic_failover)
    if failover != group.automatic_failover:
        # The provisioner says enabled or disabled once it has seen to it.
        columns["automatic_failover"] = _ON_THE_WAY[failover]
    if wanted.get("MultiAZ", group.multi_az) != group.multi_az:
        columns["multi_az"] = wanted["MultiAZ"]
    return columns


def _flag(wanted: bool | None, current: str) -> str:
    if wanted is None:
        return current
    return "enabled" if wanted else "disabled"


def check_snapshotting(group: ReplicationGroup, params: Params) -> str | None:
    """Return the member that automatic snapshots are to be taken from, where one is named."""
    member, days = params.get("SnapshottingClusterId"), params.get("SnapshotRetentionLimit")
    if member and group.cluster_enabled:
        raise wrong_combination(
            "Cannot set snapshotting cluster for cluster mode enabled replication group"
        )
    if member and member.lower() not in {cluster.name for cluster in group.members}:
        raise wrong_value(f"{member} is not a member of replication group {group.name}.")
    if days and not member and not group.cluster_enabled and not group.snapshot_retention_limit:
        raise wrong_combination(
            "Must specify both SnapshotRetentionLimit and SnapshottingClusterId to turn on "
            "snapshots"
        )
    return member.lower() if member else None
