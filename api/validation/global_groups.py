"""What may be asked of global datastores and of their members: each check refuses as AWS does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cachefleet.api.faults import Fault
from cachefleet.api.validation import group_changes
from cachefleet.api.validation.features import is_given
from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.engine.catalog import Catalog
from cachefleet.engine.types import Engine
from cachefleet.provisioner.state import auth_tokens, global_groups
from cachefleet.provisioner.state.errors import IllegalTransition
from cachefleet.provisioner.state.global_tables import GlobalGroup, GlobalMember
from cachefleet.provisioner.state.peer_records import Lead
from cachefleet.provisioner.state.tables import ReplicationGroup

SECONDARIES_QUOTA = "Secondary Regions per global datastore"
SUFFIX_CHARS_MAX = 50
DESCRIPTION_CHARS_MAX = 1024
# What a member's own region cannot change.
SHARED_SETTINGS = (
    "CacheNodeType",
    "Engine",
    "EngineVersion",
    "CacheParameterGroupName",
    "AutomaticFailoverEnabled",
    "ClusterMode",
    "PrimaryClusterId",
    "TransitEncryptionEnabled",
    "TransitEncryptionMode",
)
CHANGES = (
    "CacheNodeType",
    "EngineVersion",
    "AutomaticFailoverEnabled",
    "GlobalReplicationGroupDescription",
)

_SUFFIX = re.compile(r"[A-Za-z0-9](?:-?[A-Za-z0-9])*", re.ASCII)


def check_suffix(suffix: str) -> str:
    """Return the part of the name that a customer chooses."""
    if len(suffix) > SUFFIX_CHARS_MAX or not _SUFFIX.fullmatch(suffix):
        raise wrong_value(
            "The parameter GlobalReplicationGroupIdSuffix must have 1 to "
            f"{SUFFIX_CHARS_MAX} letters, digits and single hyphens."
        )
    return suffix.lower()


def check_description(text: str | None) -> str:
    """Return the description; none is an empty one."""
    if len(text or "") > DESCRIPTION_CHARS_MAX:
        raise wrong_value(
            "The parameter GlobalReplicationGroupDescription is longer than "
            f"{DESCRIPTION_CHARS_MAX} characters."
        )
    return text or ""


def check_primary(catalog: Catalog, group: ReplicationGroup) -> None:
    """Refuse a group that cannot lead a global datastore."""
    refuse_member(group)
    if group.status != "available":
        raise Fault(
            "InvalidReplicationGroupStateFault",
            f"Replication group {group.name} is not in available state.",
        )
    node_type = catalog.node_type(group.node_type)
    if node_type is None or not node_type.global_datastore:
        raise wrong_value("Global replication group is not supported for the node type.")
    if not catalog.supports("global_datastore", Engine(group.engine), group.engine_version):
        raise wrong_value(
            f"Global replication group is not supported for {group.engine} {group.engine_version}."
        )


def refuse_member(group: ReplicationGroup) -> None:
    """Refuse what cannot be done to a member of a global datastore by itself."""
    if group.global_name is not None:
        raise wrong_value(
            f"Cluster [{group.name}] is part of a global cluster [{group.global_name}]. Request "
            "rejected."
        )


def refuse_shared_settings(group: ReplicationGroup, params: Mapping[str, Any]) -> None:
    """Refuse to change in one region what all have in common."""
    if any(is_given(params, name) for name in SHARED_SETTINGS):
        refuse_member(group)


def require_at_rest(row: GlobalGroup, act: str) -> None:
    """Refuse while something else is being done to the global datastore."""
    if row.status not in global_groups.AT_REST:
        raise IllegalTransition(row.resource, row.name, row.status, act)


def cannot_delete(row: GlobalGroup) -> Fault:
    """Return the refusal to delete a global datastore that has secondaries, or is busy."""
    return Fault(
        "InvalidGlobalReplicationGroupStateFault",
        f"Cannot delete a global replication group in {row.status} state",
    )


def require_now(params: Mapping[str, Any]) -> None:
    """Refuse a change that is to wait: the service makes these at once or not."""
    if not params["ApplyImmediately"]:
        raise wrong_value("ApplyImmediately must be true for a global replication group.")


def find_member(row: GlobalGroup, group_name: str, region: str) -> GlobalMember:
    """Return the member of this name in this region."""
    for member in row.members:
        if (member.group_name, member.region) == (group_name.lower(), region):
            return member
    raise wrong_value(
        f"Replication group {group_name} in {region} is not associated with Global Replication "
        f"Group {row.name}."
    )


def check_room(catalog: Catalog, row: GlobalGroup, region: str) -> None:
    """Refuse a secondary beyond the quota, or in a region that has a member."""
    if any(member.region == region for member in row.members):
        raise wrong_value(f"Global replication group {row.name} has a member in {region} already.")
    secondaries_max = catalog.quota(SECONDARIES_QUOTA)
    if len(row.members) > secondaries_max:
        raise wrong_value(
            f"A global replication group can have {secondaries_max} secondary regions."
        )


def refuse_shards_asked_for(params: Mapping[str, Any]) -> None:
    """Refuse to say what shards a secondary has: they are the primary's."""
    if is_given(params, "NodeGroupConfiguration") or is_given(params, "ClusterMode"):
        raise wrong_combination(
            "Cannot use the given parameters when creating new replication group in an existing "
            "global replication group."
        )


def check_same_token(primary: Lead, params: Mapping[str, Any]) -> None:
    """Refuse a secondary whose AUTH token is not the primary's: it may come to lead."""
    token = params.get("AuthToken")
    known = primary.auth_token_sha256s
    if bool(token) != bool(known) or (token and auth_tokens.token_sha256(token) not in known):
        raise wrong_value(
            "The AuthToken must be that of the primary replication group of the global "
            "replication group."
        )


def check_changes(
    catalog: Catalog, primary: ReplicationGroup, params: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what every member is to become, by the names of pending values.

    Raises:
        Fault: nothing is asked for, or it cannot be; always as a wrong value, which is all that the
            service declares here.
    """
    if not any(is_given(params, name) for name in CHANGES) and not params.get("Engine"):
        raise wrong_value("At least one of the modifications must be specified.")
    try:
        return _changes(catalog, primary, params)
    except Fault as refusal:
        raise wrong_value(refusal.message) from refusal


def _changes(
    catalog: Catalog, primary: ReplicationGroup, params: Mapping[str, Any]
) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    wanted = group_changes.check_version(catalog, primary, params)
    current = catalog.version_of(Engine(primary.engine), primary.engine_version)
    assert current is not None, primary.engine_version
    version = wanted or current
    if version != current:
        changes["EngineVersion"] = version.cluster_version
        if version.engine is not current.engine:
            changes["Engine"] = version.engine.value
    named = params.get("CacheParameterGroupName")
    if named and version.family == current.family:
        raise wrong_value("CacheParameterGroupName goes with a change of the major version only.")
    if version.family != current.family:
        default = catalog.family(version.family).default_group(
            cluster_enabled=primary.cluster_enabled
        )
        assert default is not None, version.family
        if named not in (None, "", default.name):
            raise wrong_value(f"The parameter group of all members has to be {default.name}.")
        changes["CacheParameterGroupName"] = default.name
    node_type = params.get("CacheNodeType")
    if node_type and node_type != primary.node_type:
        group_changes.check_new_node_type(
            catalog,
            engine=version.engine.value,
            engine_version=version.version,
            current=primary.node_type,
            wanted=node_type,
        )
        told = catalog.node_type(node_type)
        if told is None or not told.global_datastore:
            raise wrong_value("Global replication group is not supported for the node type.")
        changes["CacheNodeType"] = node_type
    failover = params.get("AutomaticFailoverEnabled")
    if failover is not None:
        changes["AutomaticFailoverStatus"] = "enabled" if failover else "disabled"
    return changes
