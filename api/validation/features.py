"""Encryption, access control, data tiering and the like: who may ask for them.

Each check refuses what the service refuses. What is left and has no effect on an engine here is
answered 501: a field is never merely echoed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cachefleet.api.faults import Fault
from cachefleet.api.validation.refusals import wrong_combination, wrong_value

AUTH_TOKEN_CHARS_MIN = 16
AUTH_TOKEN_CHARS_MAX = 128
USER_GROUPS_MAX = 1

_AUTH_TOKEN = re.compile(
    rf"[A-Za-z0-9!&#$^<>-]{{{AUTH_TOKEN_CHARS_MIN},{AUTH_TOKEN_CHARS_MAX}}}", re.ASCII
)

# What a group inherits from its global datastore.
_WITH_DATA = ("SnapshotArns", "SnapshotName", "ServerlessCacheSnapshotName")
_INHERITED_GLOBALLY = (
    "CacheNodeType",
    "Engine",
    "EngineVersion",
    "CacheParameterGroupName",
    "NumNodeGroups",
    "AutomaticFailoverEnabled",
    "TransitEncryptionEnabled",
    "AtRestEncryptionEnabled",
    "SnapshotArns",
    "SnapshotName",
    "PrimaryClusterId",
    "CacheSecurityGroupNames",
)

PREFERRED = "preferred"
_SOURCES = ("SnapshotArns", "SnapshotName", "PrimaryClusterId", "ServerlessCacheSnapshotName")


def is_given(params: Mapping[str, Any], name: str) -> bool:
    """Say whether a parameter is there and not empty. False and 0 are values."""
    return params.get(name) not in (None, "", [])


def check_auth_token(token: str) -> None:
    """Refuse a token of the wrong length or with characters that are not allowed."""
    if not _AUTH_TOKEN.fullmatch(token):
        raise wrong_value("Invalid AuthToken provided.")


def check_new_group_access(params: Mapping[str, Any]) -> None:
    """Check AUTH tokens, user groups and encryption in transit of a group to be created."""
    encrypted = bool(params.get("TransitEncryptionEnabled"))
    mode = params.get("TransitEncryptionMode")
    token, user_groups = params.get("AuthToken"), params.get("UserGroupIds")
    if mode is not None and not encrypted:
        raise wrong_combination(
            "To modify transit encryption mode, set encryption-in-transit as enabled."
        )
    if token:
        if not encrypted:
            raise token_without_encryption()
        check_auth_token(token)
    if user_groups:
        if not encrypted:
            raise user_group_without_encryption()
        if len(user_groups) > USER_GROUPS_MAX:
            raise wrong_value(f"At most {USER_GROUPS_MAX} user group is allowed.")
    if token and user_groups:
        raise wrong_combination("AuthToken and UserGroupIds cannot be used together.")
    if (token or user_groups) and mode == PREFERRED:
        raise wrong_combination(
            "Transit encryption preferred is not supported with redis access control."
        )


def token_without_encryption() -> Exception:
    """Return the refusal of an AUTH token in clear."""
    return wrong_value("The AUTH token is only supported when encryption-in-transit is enabled")


def user_group_without_encryption() -> Exception:
    """Return the refusal of user groups in clear."""
    return wrong_combination(
        "User group based access control requires encryption-in-transit to be enabled on the "
        "replication group."
    )


def check_sources(params: Mapping[str, Any]) -> None:
    """Refuse a new group whose data would come from two places."""
    sources = [name for name in _SOURCES if is_given(params, name)]
    if len(sources) > 1:
        raise wrong_combination(f"{sources[0]} and {sources[1]} cannot be used together.")


def check_new_group_sources(params: Mapping[str, Any], *, encrypted_at_rest: bool) -> None:
    """Check where a new group's data and keys come from."""
    if params.get("GlobalReplicationGroupId") and any(
        is_given(params, name) for name in _INHERITED_GLOBALLY
    ):
        raise wrong_combination(
            "Cannot use the given parameters when creating new replication group in an existing "
            "global replication group."
        )
    if params.get("KmsKeyId") and not encrypted_at_rest:
        raise wrong_combination("KmsKeyId requires AtRestEncryptionEnabled.")
    if params.get("ClusterMode") == "compatible" and any(
        is_given(params, name) for name in _WITH_DATA
    ):
        raise wrong_combination("ClusterMode compatible does not go with data to be restored.")


def check_data_tiering(node_type: str, *, tiered: bool, enabled: bool | None) -> None:
    """Check that a node type with an SSD tier, and only such a one, has tiering on."""
    if tiered and not enabled:
        raise wrong_combination(
            f"When using the {node_type} node type, you must enable data tiering."
        )
    if enabled and not tiered:
        raise wrong_combination(f"Data tiering is not supported with the {node_type} node type.")


def refuse_data_tiering(params: Mapping[str, Any]) -> None:
    """Refuse a tier on disks, as the service does where it has no such nodes to give.

    Raises:
        Fault: ``InsufficientCacheClusterCapacity``: engines here keep everything in memory.
    """
    if params.get("DataTieringEnabled"):
        raise Fault(
            "InsufficientCacheClusterCapacityFault",
            "Node types with data tiering are not available in the specified Availability Zones.",
        )
