"""Names that users give: letters, digits and single hyphens, a letter first, kept in lower case."""

from __future__ import annotations

import re

from cachefleet.api.validation.refusals import wrong_value

CACHE_CLUSTER_ID_CHARS_MAX = 50
REPLICATION_GROUP_ID_CHARS_MAX = 40

_IDENTIFIER = re.compile(r"[A-Za-z](?:-?[A-Za-z0-9])*", re.ASCII)
_NODE_GROUP_ID = re.compile(r"[0-9]{1,4}", re.ASCII)


def check_identifier(parameter: str, value: str, *, chars_max: int) -> str:
    """Return *value* in lower case.

    Raises:
        Fault: ``InvalidParameterValue`` for one that breaks the rule or is too long.
    """
    if not _IDENTIFIER.fullmatch(value):
        raise wrong_value(
            f"The parameter {parameter} is not a valid identifier. Identifiers must begin with a "
            "letter; must contain only ASCII letters, digits, and hyphens; and must not end with "
            "a hyphen or contain two consecutive hyphens."
        )
    if len(value) > chars_max:
        raise wrong_value(
            f"The parameter {parameter} is not a valid identifier: it is longer than "
            f"{chars_max} characters."
        )
    return value.lower()


def check_cache_cluster_id(value: str) -> str:
    """Return a cache cluster's id as it is stored."""
    return check_identifier("CacheClusterId", value, chars_max=CACHE_CLUSTER_ID_CHARS_MAX)


def check_replication_group_id(value: str) -> str:
    """Return a replication group's id as it is stored."""
    if len(value) > REPLICATION_GROUP_ID_CHARS_MAX:
        raise wrong_value(
            "Replication group id should be no more than "
            f"{REPLICATION_GROUP_ID_CHARS_MAX} characters."
        )
    return check_identifier("ReplicationGroupId", value, chars_max=REPLICATION_GROUP_ID_CHARS_MAX)


def check_node_group_id(value: str) -> str:
    """Return a shard's id, which is kept as it was written."""
    if not _NODE_GROUP_ID.fullmatch(value):
        raise wrong_value("The parameter NodeGroupId must be one to four digits.")
    return value
