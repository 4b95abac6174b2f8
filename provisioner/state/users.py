"""Users and user groups: who belongs where, which caches they may use, what changed and is done.

Every scope has the user ``default``, which has no row and never changes. A change is recorded at
once and filed as work on every cache that it concerns (:func:`file_change`); who is ``modifying``
or ``deleting`` comes to rest when the last of them has it (:func:`conclude_change`), for which
they take turns on a subject of the scope's own, which has no processes. What concerns no cache is
at rest at once (:func:`rest_unknown`), with nothing filed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import ColumnElement, String, and_, bindparam, cast, select

from cachefleet.engine.types import Engine
from cachefleet.engine.valkey.access_strings import parse_access_string
from cachefleet.provisioner.state import lifecycle, records, tags
from cachefleet.provisioner.state.access_tables import User, UserGroup
from cachefleet.provisioner.state.errors import NotFound
from cachefleet.provisioner.state.lifecycle import Event
from cachefleet.provisioner.state.operations import OPEN_STATES, OperationKind
from cachefleet.provisioner.state.prepared import Prepared
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import Operation, ReplicationGroup, Subject

DEFAULT_USER: Final = "default"
SUBJECT_KIND: Final = "access"
PASSWORD, NO_PASSWORD, IAM = "password", "no-password", "iam"
UID_DIGITS = 16
VALKEY_VERSION_MIN = (7, 2)
IAM_VERSION_MIN = (7, 0)

Version = tuple[int, int]

_users = records.columns_of(User)
_groups = records.columns_of(UserGroup)
_caches = records.columns_of(ReplicationGroup)
_MEMBERS = select(*_users).where(
    _users.account == bindparam("of_account"),
    _users.region == bindparam("of_region"),
    _users.name.in_(bindparam("ids", expanding=True)),
)
_HOLD_MEMBERS = _MEMBERS.with_for_update()
_GROUPS_NAMING = Prepared(
    select(_groups.user_ids).where(
        _groups.account == bindparam("of_account"),
        _groups.region == bindparam("of_region"),
        # JSON: what merely has the id somewhere in it is sorted out by who asks.
        cast(_groups.user_ids, String).like(bindparam("like")),
    )
)
_ATTACHED = Prepared(
    select(_caches.name, _caches.user_group_ids, _caches.serverless_uid)
    .where(
        _caches.account == bindparam("of_account"),
        _caches.region.in_((bindparam("of_region"), bindparam("of_shadow"))),
    )
    .order_by(_caches.name)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a piece of work is about: ids of users and groups, and whose connections end.

    ``severed`` are user names that lead to another user now, or to none. ``reroutes`` where
    connections may have to go through the gateway now, or need not any more.
    """

    user_ids: frozenset[str] = frozenset()
    group_ids: frozenset[str] = frozenset()
    severed: frozenset[str] = frozenset()
    reroutes: bool = False

    def payload(self) -> dict[str, Any]:
        """Return it as an operation keeps it."""
        return {
            "users": sorted(self.user_ids),
            "groups": sorted(self.group_ids),
            "severed": sorted(self.severed),
            "reroutes": self.reroutes,
        }

    @classmethod
    def of(cls, payload: Mapping[str, Any]) -> Change:
        return cls(
            user_ids=frozenset(payload.get("users", ())),
            group_ids=frozenset(payload.get("groups", ())),
            severed=frozenset(payload.get("severed", ())),
            reroutes=bool(payload.get("reroutes")),
        )


def is_structural(payload: Mapping[str, Any]) -> bool:
    """Tell whether a change is of more than what users may do: of who they are, and how.

    Only such a change has its caches ``modifying``, and ends that.
    """
    change = Change.of(payload)
    return bool(change.group_ids or change.reroutes or payload.get("attachment"))


@dataclass(frozen=True, slots=True)
class Attachments:
    """Which caches the groups of a scope are attached to, by name."""

    caches_of: Mapping[str, list[str]] = field(default_factory=dict)
    serverless_of: Mapping[str, list[str]] = field(default_factory=dict)

    def first_user(self, group_id: str) -> str | None:
        """Return one cache that a group is attached to, or None."""
        users = [*self.caches_of.get(group_id, ()), *self.serverless_of.get(group_id, ())]
        return min(users, default=None)


def default_user(scope: Scope) -> User:
    """Return the user that every scope has."""
    return User(
        uid="",
        account=scope.account,
        region=scope.region,
        name=DEFAULT_USER,
        user_name=DEFAULT_USER,
        status=lifecycle.ACTIVE,
        engine=Engine.REDIS.value,
        access_string="on ~* +@all",
        authentication_type=NO_PASSWORD,
        password_sha256s=[],
    )


def engine_version_min(user: User) -> Version:
    """Return the oldest engine that *user* can be on."""
    version = parse_access_string(user.access_string).engine_version
    if user.authentication_type == IAM:
        version = max(version, IAM_VERSION_MIN)
    return max(version, VALKEY_VERSION_MIN) if user.engine == Engine.VALKEY else version


def group_version_min(group: UserGroup, members: Iterable[User]) -> Version:
    """Return the oldest engine that all of a group's users can be on."""
    versions = [engine_version_min(user) for user in members]
    floor = VALKEY_VERSION_MIN if group.engine == Engine.VALKEY else (6, 0)
    return max([floor, *versions])


async def get(tx: Transaction, user_id: str, *, lock: bool = False) -> User:
    """Return a user of this scope, ``default`` among them.

    Raises:
        NotFound: there is none.
    """
    row = await tx.find(User, user_id, lock=lock)
    if row is not None:
        return row
    if user_id.lower() == DEFAULT_USER:
        return default_user(tx.scope)
    raise NotFound(User.resource, user_id)


async def everybody(tx: Transaction) -> list[User]:
    """Return all users of this scope as values, ``default`` among them, in order of id."""
    found = await tx.values(User, records.statements(User).everything)
    return sorted([*found, default_user(tx.scope)], key=lambda user: user.name)


async def members(tx: Transaction, ids: Collection[str], *, hold: bool = False) -> list[User]:
    """Return the users with *ids* as values, in order of id; one that is gone is left out.

    With *hold* nobody else changes or deletes them until the transaction ends.
    """
    scope = tx.scope.home
    await tx.flush()
    query = _HOLD_MEMBERS if hold else _MEMBERS
    rows = await tx.connection.execute(query, records.words(scope, ids=sorted(ids)))
    found = records.as_values(User, rows)
    if DEFAULT_USER in ids and not any(user.name == DEFAULT_USER for user in found):
        found.append(default_user(scope))
    return sorted(found, key=lambda user: user.name)


async def groups(tx: Transaction) -> Sequence[UserGroup]:
    """Return all groups of this scope, as values."""
    scope = tx.scope.home
    return await tx.values(UserGroup, records.statements(UserGroup).everything, scope=scope)


async def groups_with(tx: Transaction, user_id: str) -> list[UserGroup]:
    """Return the groups that a user is in."""
    if not await is_grouped(tx, user_id):
        return []
    query = select(UserGroup).where(
        UserGroup.account == tx.scope.account, UserGroup.region == tx.scope.region
    )
    rows = (await tx.session.scalars(query.order_by(UserGroup.name))).all()
    return [group for group in rows if user_id in group.user_ids]


async def is_grouped(tx: Transaction, user_id: str) -> bool:
    """Say whether a user is in any group."""
    found = await tx.rows(_GROUPS_NAMING, like=f"%{json.dumps(user_id)}%")
    return any(user_id in user_ids for (user_ids,) in found)


async def attached(tx: Transaction, group_ids: Collection[str]) -> list[ReplicationGroup]:
    """Return the replication groups that any of *group_ids* is attached to, those that stand
    behind serverless caches among them."""
    query = select(ReplicationGroup).where(_in_scope(tx.scope, ReplicationGroup))
    wanted = set(group_ids)
    rows = (await tx.session.scalars(query.order_by(ReplicationGroup.name))).all()
    return [row for row in rows if wanted & set(row.user_group_ids)]


async def groups_of(tx: Transaction) -> Mapping[str, list[str]]:
    """Return the groups that each user of this scope is in, by name."""
    found: dict[str, list[str]] = {}
    for group in await groups(tx):
        for user_id in shown_user_ids(group):
            found.setdefault(user_id, []).append(group.name)
    return found


async def attachments(tx: Transaction) -> Attachments:
    """Return what each group of this scope is attached to."""
    home = tx.scope.home
    caches_of: dict[str, list[str]] = {}
    serverless_of: dict[str, list[str]] = {}
    for name, group_ids, serverless_uid in await tx.rows(
        _ATTACHED, scope=home, of_shadow=home.shadow.region
    ):
        kind = caches_of if serverless_uid is None else serverless_of
        for group_id in group_ids:
            kind.setdefault(group_id, []).append(name)
    return Attachments(caches_of=caches_of, serverless_of=serverless_of)


def _in_scope(scope: Scope, table: type[ReplicationGroup] | type[Operation]) -> ColumnElement[bool]:
    """Meet what is in a scope, and what stands behind its serverless caches."""
    home = scope.home
    regions = (home.region, home.shadow.region)
    return and_(table.account == home.account, table.region.in_(regions))


def shown_user_ids(group: UserGroup) -> list[str]:
    """Return a group's users as customers see them: a change shows when it is everywhere."""
    return group.user_ids_before if group.status == lifecycle.MODIFYING else group.user_ids


def severed_names(before: Iterable[User], after: Iterable[User]) -> frozenset[str]:
    """Return the user names that stood for a user and stand for another one, or none, now."""
    then = {user.user_name: user.name for user in before}
    now = {user.user_name: user.name for user in after}
    return frozenset(name for name, user_id in then.items() if now.get(name) != user_id)


async def users_of(tx: Transaction, group_ids: Collection[str]) -> list[User]:
    """Return the users of all of *group_ids* as they are to be, in order of id."""
    ids = {
        user_id
        for group in await groups(tx)
        if group.name in group_ids
        for user_id in group.user_ids
    }
    return await members(tx, ids)


# -- changes ---------------------------------------------------------------------------------------


async def file_change(
    tx: Transaction, change: Change, *, group_ids: Collection[str], token: str
) -> list[ReplicationGroup]:
    """File *change* with every cache that *group_ids* are attached to; return those caches.

    Where there is none, nothing waits for the change: the caller brings it to rest
    (:func:`rest_unknown`) once it knows what it answers.
    """
    caches = await attached(tx, group_ids) if group_ids else []
    if caches:
        await _require_own_subject(tx)
    for cache in caches:
        tx.enqueue(
            OperationKind.APPLY_ACCESS, subject_uid=cache.uid, payload=change.payload(), token=token
        )
    return caches


def file_attachment(
    tx: Transaction, cache: ReplicationGroup, change: Change, *, token: str
) -> None:
    """File that a cache has other user groups than before."""
    payload = {**change.payload(), "attachment": True}
    tx.enqueue(OperationKind.APPLY_ACCESS, subject_uid=cache.uid, payload=payload, token=token)


async def conclude_change(tx: Transaction, operation_id: int, change: Change) -> None:
    """Note that one subject has *change*; bring to rest what no other subject still waits for."""
    tx = tx.within(tx.scope.home)
    # Two subjects that end at once must not each take the other for the one that is still busy.
    own = await tx.session.get(
        Subject, subject_uid_of(tx.scope), with_for_update=True, populate_existing=True
    )
    assert own is not None or not (change.user_ids or change.group_ids), "filed with the change"
    query = select(Operation).where(
        _in_scope(tx.scope, Operation),
        Operation.kind == OperationKind.APPLY_ACCESS,
        Operation.state.in_(OPEN_STATES),
    )
    busy_users: set[str] = set()
    busy_groups: set[str] = set()
    for operation in (await tx.session.scalars(query)).all():
        if operation.id == operation_id:
            operation.payload = {**operation.payload, "applied": True}
        elif not operation.payload.get("applied"):
            other = Change.of(operation.payload)
            busy_users |= other.user_ids
            busy_groups |= other.group_ids
    await rest(tx, change.user_ids - busy_users, change.group_ids - busy_groups)


async def rest_unknown(tx: Transaction, change: Change, caches: Collection[object]) -> None:
    """Bring to rest at once what :func:`file_change` found no cache for."""
    if not caches:
        await rest(tx, change.user_ids, change.group_ids)


async def rest(tx: Transaction, user_ids: Collection[str], group_ids: Collection[str]) -> None:
    """Bring users and groups to rest: active, or gone."""
    for user_id in sorted(user_ids):
        user = await tx.find(User, user_id, lock=True)
        if user is None:
            continue
        if user.status == lifecycle.MODIFYING:
            lifecycle.fire(user, Event.MODIFIED)
        elif user.status == lifecycle.DELETING:
            await tags.forget(tx, User.arn_kind, user.name)
            await tx.session.delete(user)
    for group_id in sorted(group_ids):
        group = await tx.find(UserGroup, group_id, lock=True)
        if group is None:
            continue
        group.user_ids_before = []
        if group.status == lifecycle.CREATING:
            lifecycle.fire(group, Event.PROVISIONED)
        elif group.status == lifecycle.MODIFYING:
            lifecycle.fire(group, Event.MODIFIED)
        elif group.status == lifecycle.DELETING:
            await tags.forget(tx, UserGroup.arn_kind, group.name)
            await tx.session.delete(group)


def subject_uid_of(scope: Scope) -> str:
    """Return the uid of the subject that stands for a scope's users and groups."""
    text = f"{SUBJECT_KIND}/{scope.account}/{scope.region}"
    return hashlib.blake2b(text.encode()).hexdigest()[:UID_DIGITS]


async def _require_own_subject(tx: Transaction) -> None:
    uid = subject_uid_of(tx.scope)
    if await tx.session.get(Subject, uid) is None:
        # Where two make it at once, one of the transactions is refused and may be repeated.
        await tx.new_subject(SUBJECT_KIND, uid)
