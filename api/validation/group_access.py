"""Which user group a replication group has, new or changed; refuses what the service refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cachefleet.api.validation.features import USER_GROUPS_MAX, user_group_without_encryption
from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.api.validation.user_groups import check_attachable, has_iam
from cachefleet.provisioner.state import users
from cachefleet.provisioner.state.access_tables import User, UserGroup
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import ReplicationGroup
from cachefleet.provisioner.state.users import Change

PREFERRED = "preferred"


@dataclass(frozen=True, slots=True)
class Attachment:
    """The user groups that a replication group is to have, and what that does to connections."""

    user_group_ids: tuple[str, ...]
    pending: Mapping[str, Sequence[str]]  # as PendingModifiedValues shows it
    change: Change


async def user_groups_of_new(
    tx: Transaction, params: Mapping[str, Any], *, engine: str, engine_version: str
) -> list[str]:
    """Return the user groups of a replication group to be created, each held for it.

    Raises:
        NotFound: there is no such user group.
        Fault: it cannot be used here.
    """
    ids = [one.lower() for one in params.get("UserGroupIds") or ()]
    for group_id in ids:
        await _require_attachable(tx, group_id, engine=engine, engine_version=engine_version)
    return ids


async def changed_user_groups(
    tx: Transaction, group: ReplicationGroup, params: Mapping[str, Any]
) -> Attachment | None:
    """Return the user groups that *group* is to have; None where nothing is asked for.

    Raises:
        NotFound: there is no such user group.
        Fault: it cannot be used here, or was not attached.
    """
    added = list(dict.fromkeys(one.lower() for one in params.get("UserGroupIdsToAdd") or ()))
    removed = list(dict.fromkeys(one.lower() for one in params.get("UserGroupIdsToRemove") or ()))
    if params.get("RemoveUserGroups"):
        removed += [one for one in group.user_group_ids if one not in removed]
    for group_id in removed:
        if group_id not in group.user_group_ids:
            raise wrong_value(
                f"User group {group_id} is not associated with the replication group."
            )
    for group_id in added:
        if group_id in group.user_group_ids:
            raise wrong_value(
                f"User group {group_id} is associated with the replication group already."
            )
    if not added and not removed:
        return None
    if added:
        _require_encryption(group, params)
    after = [*(one for one in group.user_group_ids if one not in removed), *added]
    if len(after) > USER_GROUPS_MAX:
        raise wrong_value(f"At most {USER_GROUPS_MAX} user group is allowed.")
    for group_id in added:
        await _require_attachable(
            tx, group_id, engine=group.engine, engine_version=group.engine_version
        )
    before = await users.users_of(tx, group.user_group_ids)
    now = await users.users_of(tx, after)
    return Attachment(
        user_group_ids=tuple(after),
        pending={"UserGroupIdsToAdd": added, "UserGroupIdsToRemove": removed},
        change=Change(severed=_severed(before, now)),
    )


def _severed(before: Sequence[User], now: Sequence[User]) -> frozenset[str]:
    # Without user groups everybody is the engine's own default user, who is another one.
    names = users.severed_names(before, now)
    is_swapped = not before or not now
    return names | {users.DEFAULT_USER} if is_swapped else names


async def severed_names_of(
    tx: Transaction, before_ids: Sequence[str], after_ids: Sequence[str]
) -> frozenset[str]:
    """Return the user names whose connections end where user groups are exchanged."""
    before, now = await users.users_of(tx, before_ids), await users.users_of(tx, after_ids)
    return _severed(before, now)


def _require_encryption(group: ReplicationGroup, params: Mapping[str, Any]) -> None:
    if not group.transit_encryption_enabled:
        raise user_group_without_encryption()
    mode = params.get("TransitEncryptionMode") or group.transit_encryption_mode
    if mode == PREFERRED:
        raise wrong_combination(
            "Transit encryption preferred is not supported with redis access control."
        )


async def _require_attachable(
    tx: Transaction, group_id: str, *, engine: str, engine_version: str
) -> None:
    group = await tx.get(UserGroup, group_id, lock=True)
    found = await users.members(tx, group.user_ids)
    check_attachable(
        group,
        engine=engine,
        engine_version=engine_version,
        version_min=users.group_version_min(group, found),
        has_iam=has_iam(found),
    )
