"""Users and user groups as the service shows them. Passwords are counted, never shown."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from cachefleet.provisioner.state import lifecycle, users
from cachefleet.provisioner.state.access_tables import User, UserGroup


def user_view(user: User, *, group_ids: Sequence[str]) -> dict[str, Any]:
    """Return a ``User``."""
    authentication: dict[str, Any] = {"Type": user.authentication_type}
    if user.authentication_type == users.PASSWORD:
        authentication["PasswordCount"] = len(user.password_sha256s)
    return {
        "UserId": user.name,
        "UserName": user.user_name,
        "Status": user.status,
        "Engine": user.engine,
        "MinimumEngineVersion": version_text(users.engine_version_min(user)),
        "AccessString": user.access_string,
        "UserGroupIds": list(group_ids),
        "Authentication": authentication,
        "ARN": user.arn,
    }


def user_group_view(
    group: UserGroup,
    *,
    members: Collection[User],
    cache_ids: Sequence[str],
    serverless_ids: Sequence[str] = (),
) -> dict[str, Any]:
    """Return a ``UserGroup``; *members* are the users that it is to have."""
    shown = users.shown_user_ids(group)
    view: dict[str, Any] = {
        "UserGroupId": group.name,
        "Status": group.status,
        "Engine": group.engine,
        "UserIds": shown,
        "MinimumEngineVersion": version_text(users.group_version_min(group, members)),
        "ReplicationGroups": list(cache_ids),
        "ServerlessCaches": list(serverless_ids),
        "ARN": group.arn,
    }
    if group.status == lifecycle.MODIFYING:
        added = [one for one in group.user_ids if one not in shown]
        removed = [one for one in shown if one not in group.user_ids]
        changes = {"UserIdsToAdd": added, "UserIdsToRemove": removed}
        view["PendingChanges"] = {name: ids for name, ids in changes.items() if ids}
    return view


def version_text(version: users.Version) -> str:
    """Return a version as ``7.2``."""
    return ".".join(map(str, version))
