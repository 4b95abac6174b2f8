"""Parameter groups, default and custom alike, and who uses them.

A default group is in the catalogue and has no row; a custom group's row holds only what its owner
changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Select, String, bindparam, cast, or_, select, union_all

from cachefleet.engine.catalog import Catalog, DefaultGroup, ParameterFamily
from cachefleet.provisioner.state import records
from cachefleet.provisioner.state.errors import NotFound
from cachefleet.provisioner.state.prepared import Prepared
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import (
    CacheCluster,
    CacheNode,
    ParameterGroup,
    ReplicationGroup,
)

# Under which a group that a cache is to use is pending; the second goes with a change of the
# cluster mode.
PENDING_GROUP = "CacheParameterGroupName"
PENDING_MODE_GROUP = "ClusterModeParameterGroupName"


def _naming(table: type[ReplicationGroup] | type[CacheCluster]) -> Select[Any]:
    columns = records.columns_of(table)
    return select(columns.parameter_group_name, columns.pending).where(
        columns.account == bindparam("of_account"),
        columns.region == bindparam("of_region"),
        or_(
            columns.parameter_group_name == bindparam("of_name"),
            # JSON: what merely has the name somewhere in it is sorted out by who asks.
            cast(columns.pending, String).like(bindparam("like")),
        ),
    )


_NAMING = Prepared(union_all(_naming(ReplicationGroup), _naming(CacheCluster)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A parameter group; ``values`` are those that are not the family's own."""

    name: str
    family: str
    description: str
    is_default: bool
    values: Mapping[str, str] = field(default_factory=dict)


def default_groups(catalog: Catalog) -> list[Group]:
    """Return the groups that every scope has, in order of name."""
    groups = [
        _of_catalog(family, default)
        for family in catalog.families()
        for default in family.default_groups
    ]
    return sorted(groups, key=lambda group: group.name)


def default_group(catalog: Catalog, name: str) -> Group | None:
    """Return the default group of this name, or None."""
    found = catalog.default_group(name.lower())
    return None if found is None else _of_catalog(*found)


def _of_catalog(family: ParameterFamily, default: DefaultGroup) -> Group:
    return Group(
        name=default.name,
        family=family.name,
        description=default.description,
        is_default=True,
        values=default.overrides,
    )


def of_row(row: ParameterGroup) -> Group:
    """Return a custom group as it is in its row."""
    return Group(
        name=row.name,
        family=row.family,
        description=row.description,
        is_default=False,
        values=dict(row.values),
    )


async def find(tx: Transaction, catalog: Catalog, name: str) -> Group | None:
    """Return the group of this name in this scope, or None."""
    default = default_group(catalog, name)
    if default is not None:
        return default
    row = await tx.find(ParameterGroup, name)
    return None if row is None else of_row(row)


async def get(tx: Transaction, catalog: Catalog, name: str) -> Group:
    """Return the group of this name in this scope.

    Raises:
        NotFound: there is none.
    """
    group = await find(tx, catalog, name)
    if group is None:
        raise NotFound(ParameterGroup.resource, name)
    return group


def effective_values(family: ParameterFamily, values: Mapping[str, str]) -> dict[str, str]:
    """Return every parameter of *family* with the value that a group with *values* gives it."""
    return {one.name: values.get(one.name, one.value) for one in family.parameters}


@dataclass(frozen=True, slots=True)
class Users:
    """What uses a parameter group: subjects to work on, and their nodes."""

    subject_uids: Sequence[str]
    nodes: Sequence[CacheNode]

    def __bool__(self) -> bool:
        return bool(self.subject_uids)


async def is_wanted(tx: Transaction, name: str) -> bool:
    """Say whether a cache uses the custom group *name*, or is to; it should be held."""
    found = await tx.rows(_NAMING, of_name=name, like=f"%{json.dumps(name)}%")
    return any(
        name in (used, pending.get(PENDING_GROUP), pending.get(PENDING_MODE_GROUP))
        for used, pending in found
    )


async def is_awaited(tx: Transaction, name: str) -> bool:
    """Say whether a cache is to use the custom group *name* from its maintenance window on."""
    for table in (ReplicationGroup, CacheCluster):
        query = select(table.pending).where(
            table.account == tx.scope.account, table.region == tx.scope.region
        )
        for pending in (await tx.session.scalars(query)).all():
            if name in (pending.get(PENDING_GROUP), pending.get(PENDING_MODE_GROUP)):
                return True
    return False


async def find_users(tx: Transaction, name: str) -> Users:
    """Return who uses the custom group *name*; its row should be held, so that nobody joins."""
    clusters = (
        await tx.session.scalars(
            select(CacheCluster).where(
                CacheCluster.account == tx.scope.account,
                CacheCluster.region == tx.scope.region,
                CacheCluster.parameter_group_name == name,
            )
        )
    ).all()
    groups = (
        await tx.session.scalars(
            select(ReplicationGroup.uid).where(
                ReplicationGroup.account == tx.scope.account,
                ReplicationGroup.region == tx.scope.region,
                ReplicationGroup.parameter_group_name == name,
            )
        )
    ).all()
    subjects = {*groups, *(one.replication_group_uid or one.uid for one in clusters)}
    nodes = [node for cluster in clusters for node in cluster.nodes]
    return Users(sorted(subjects), nodes)
