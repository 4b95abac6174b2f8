"""What a user group can hold, and where it can be attached."""

from __future__ import annotations

from collections.abc import Sequence

from cachefleet.api.faults import Fault
from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.engine.types import Engine
from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.access_tables import User, UserGroup
from cachefleet.provisioner.state.users import DEFAULT_USER, IAM, NO_PASSWORD, Version

USERS_PER_GROUP_MAX = 100
RBAC_VERSION_MIN = (6, 0)


def check_members(engine: str, members: Sequence[User]) -> None:
    """Refuse users that cannot be together in a group of *engine*."""
    if len(members) > USERS_PER_GROUP_MAX:
        raise wrong_value(f"A user group can have {USERS_PER_GROUP_MAX} users.")
    names = [user.user_name for user in members]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Fault(
            "DuplicateUserNameFault",
            f"A user group cannot have two users with the user name {twice[0]}.",
        )
    if engine == Engine.REDIS and DEFAULT_USER not in names:
        raise Fault(
            "DefaultUserRequired",
            "User group needs to contain a user with the user name default.",
        )
    for user in members:
        if engine == Engine.REDIS and user.engine != Engine.REDIS:
            raise wrong_combination(
                f"The user {user.name} with engine {user.engine} cannot be in a user group with "
                "engine redis."
            )
        if engine == Engine.VALKEY and user.authentication_type == NO_PASSWORD:
            raise wrong_combination(
                f"The user {user.name} needs no password and cannot be in a user group with "
                "engine valkey."
            )


def check_attachable(
    group: UserGroup, *, engine: str, engine_version: str, version_min: Version, has_iam: bool
) -> None:
    """Refuse to attach *group* to a cache of another engine, or one that is too old for it."""
    if group.status != lifecycle.ACTIVE:
        raise Fault(
            "InvalidUserGroupStateFault",
            f"User group {group.name} has status {group.status}. Only active ones can be used.",
        )
    check_engine_of_cache(group, engine=engine)
    check_version(
        group.name, engine_version=engine_version, version_min=version_min, has_iam=has_iam
    )


def check_engine_of_cache(group: UserGroup, *, engine: str) -> None:
    """Refuse a group for Valkey where the cache runs something else."""
    if group.engine == Engine.VALKEY and engine != Engine.VALKEY:
        raise wrong_combination(
            f"The user group {group.name} with engine valkey cannot be used with engine {engine}."
        )


def check_version(
    name: str, *, engine_version: str, version_min: Version, has_iam: bool = False
) -> None:
    """Refuse users that need a newer engine than a cache has."""
    numbers = tuple(int(part) for part in engine_version.split(".")[:2])
    needed = max(version_min, RBAC_VERSION_MIN)
    if numbers < needed:
        why = "IAM authentication" if has_iam else "User group based access control"
        raise wrong_combination(
            f"{why} with the user group {name} requires engine version "
            f"{'.'.join(map(str, needed))} or newer, and not {engine_version}."
        )


def has_iam(members: Sequence[User]) -> bool:
    """Say whether any of *members* authenticates with IAM."""
    return any(user.authentication_type == IAM for user in members)
