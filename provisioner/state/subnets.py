"""Subnets as this fleet knows them: which are valid, their zones, their VPC, the default group.

An account has one VPC in a region, whose id is drawn from the scope. A subnet is whatever its user
calls by an id of the right form; its zone is drawn from the id, and stays what it is for as long as
any subnet group names it. Refuses nothing: callers say what a missing group means.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, String, bindparam, cast, exists, func, or_, select

from cachefleet.provisioner.state import records
from cachefleet.provisioner.state.errors import NotFound
from cachefleet.provisioner.state.prepared import Prepared
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup, SubnetGroup
from cachefleet.provisioner.state.zones import rotate, zones_of

DEFAULT_GROUP = "default"
DEFAULT_DESCRIPTION = "Default CacheSubnetGroup"
ID_DIGITS = 17  # as long as the ids that EC2 gives today
ID_CHARS_MAX = 64

_columns = records.columns_of(SubnetGroup)
_text = cast(_columns.subnets, String)
_NAMING = Prepared(
    select(_columns.subnets)
    .where(
        _columns.account == bindparam("of_account"),
        _columns.region == bindparam("of_region"),
        # Not LIKE, to which both cases of a letter are one with SQLite.
        func.replace(_text, bindparam("part"), "") != _text,
    )
    .limit(1)
)


def _inside(table: type[CacheCluster] | type[ReplicationGroup]) -> ColumnElement[bool]:
    columns = records.columns_of(table)
    return exists().where(
        columns.account == bindparam("of_account"),
        columns.region == bindparam("of_region"),
        columns.subnet_group_name == bindparam("of_name"),
    )


_IS_USED = Prepared(select(or_(_inside(CacheCluster), _inside(ReplicationGroup))))
_SUBNET_ID = re.compile(r"subnet-[0-9A-Za-z-]+", re.ASCII)


def vpc_of(scope: Scope) -> str:
    """Return the id of the one VPC that a scope has."""
    return f"vpc-{_digits(scope, 'vpc')}"


def default_security_group(scope: Scope) -> str:
    """Return the id of the security group that a scope's VPC begins with."""
    return f"sg-{_digits(scope, 'default-security-group')}"


def default_group(scope: Scope) -> SubnetGroup:
    """Return the group that a cache gets whose user named none: a subnet in every zone."""
    return SubnetGroup(
        uid="",
        account=scope.account,
        region=scope.region,
        name=DEFAULT_GROUP,
        description=DEFAULT_DESCRIPTION,
        vpc_id=vpc_of(scope),
        subnets=[
            {"id": f"subnet-{_digits(scope, zone)}", "az": zone} for zone in zones_of(scope.region)
        ],
    )


def invalid_ids(ids: Iterable[str]) -> list[str]:
    """Return those of *ids* that no subnet can have."""
    return [one for one in ids if len(one) > ID_CHARS_MAX or not _SUBNET_ID.fullmatch(one)]


def place(
    ids: Iterable[str], *, known: Mapping[str, str], zones: Sequence[str]
) -> list[dict[str, Any]]:
    """Return ``{"id", "az"}`` of each subnet, each once and in the order given.

    *known* are the zones of subnets that have been named before. A new one takes the zone drawn
    from its id, or the next one that no other subnet of the group is in: the subnets of a group
    are there to spread nodes.
    """
    wanted = list(dict.fromkeys(ids))
    taken = {known[one] for one in wanted if one in known}
    placed = []
    for one in wanted:
        zone = known.get(one)
        if zone is None:
            drawn = rotate(zones, one)
            zone = next((free for free in drawn if free not in taken), drawn[0])
            taken.add(zone)
        placed.append({"id": one, "az": zone})
    return placed


async def place_in_scope(tx: Transaction, ids: Iterable[str]) -> list[dict[str, Any]]:
    """Return *ids* placed (see :func:`place`) as the groups of this scope know them."""
    known = {one["id"]: one["az"] for one in default_group(tx.scope).subnets}
    wanted = list(ids)
    for one in wanted:  # a few
        for (subnets,) in await tx.rows(_NAMING, part=f'"{one}"'):
            # Whichever group has it, the zone is the same.
            known.update({subnet["id"]: subnet["az"] for subnet in subnets})
    return place(wanted, known=known, zones=zones_of(tx.scope.region))


async def is_used(tx: Transaction, group: SubnetGroup) -> bool:
    """Say whether any cache is in a group, which should be held."""
    return bool((await tx.rows(_IS_USED, of_name=group.name))[0][0])


async def get(tx: Transaction, name: str, *, lock: bool = False) -> SubnetGroup:
    """Return a subnet group of this scope, ``default`` among them.

    Raises:
        NotFound: there is none.
    """
    row = await tx.find(SubnetGroup, name, lock=lock)
    if row is not None:
        return row
    if name.lower() == DEFAULT_GROUP:
        return default_group(tx.scope)
    raise NotFound(SubnetGroup.resource, name)


def _digits(scope: Scope, what: str) -> str:
    text = f"{scope.account}/{scope.region}/{what}"
    return hashlib.blake2b(text.encode()).hexdigest()[:ID_DIGITS]
