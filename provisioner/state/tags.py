"""Tags of every kind of resource: their rules, and the rows that hold them.

A resource is named by the kind in its ARN (``replicationgroup``) and its name. Nothing here looks
at the resource itself: whether it exists and may be tagged now is the caller's question.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, bindparam, delete, select

from cachefleet.provisioner.state import records
from cachefleet.provisioner.state.errors import InvalidValue, NotFound, TagQuotaExceeded
from cachefleet.provisioner.state.prepared import Prepared
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import Tag

TAGS_PER_RESOURCE_MAX = 50  # the service's quota; what it sets itself (``aws:``) does not count
KEY_CHARS_MAX = 128
VALUE_CHARS_MAX = 256
RESERVED_PREFIX = "aws:"

_columns = records.columns_of(Tag)
_FORGET = Prepared(
    delete(records.table_of(Tag)).where(
        _columns.account == bindparam("of_account"),
        _columns.region == bindparam("of_region"),
        _columns.arn_kind == bindparam("of_kind"),
        _columns.resource_name == bindparam("of_name"),
    )
)


def parse(given: Iterable[Mapping[str, Any]] | None) -> dict[str, str]:
    """Return ``{key: value}`` of a ``Tags`` parameter; no value is an empty one.

    Raises:
        InvalidValue: a key or value is out of bounds, reserved, or given twice.
        TagQuotaExceeded: there are more than any resource can have.
    """
    tags: dict[str, str] = {}
    for tag in given or ():
        key, value = tag.get("Key") or "", tag.get("Value") or ""
        if key in tags:
            raise InvalidValue(f"The tag key {key} is given more than once.")
        tags[key] = value
    require_legal(tags)
    return tags


def require_legal(tags: Mapping[str, str]) -> None:
    """Raise :class:`InvalidValue` or :class:`TagQuotaExceeded` where *tags* can be put nowhere."""
    for key, value in tags.items():
        if not 1 <= len(key) <= KEY_CHARS_MAX:
            raise InvalidValue(f"A tag key must have 1 to {KEY_CHARS_MAX} characters.")
        if len(value) > VALUE_CHARS_MAX:
            raise InvalidValue(
                f"The value of tag {key} is longer than {VALUE_CHARS_MAX} characters."
            )
        if key.lower().startswith(RESERVED_PREFIX):
            raise InvalidValue(f"The tag key {key} is reserved: keys must not begin with aws:.")
    _require_quota(tags)


async def put(tx: Transaction, arn_kind: str, name: str, tags: Mapping[str, str]) -> None:
    """Set *tags* on a resource; those that it has under other keys stay.

    Raises:
        InvalidValue: a tag breaks a rule.
        TagQuotaExceeded: the resource would have too many.
    """
    require_legal(tags)
    if not tags:
        return
    rows = {row.key: row for row in await _rows(tx, arn_kind, name)}
    _require_quota({*rows, *tags})
    for key, value in tags.items():
        row = rows.get(key)
        if row is not None:
            row.value = value
            continue
        tx.session.add(
            Tag(
                account=tx.scope.account,
                region=tx.scope.region,
                arn_kind=arn_kind,
                resource_name=name.lower(),
                key=key,
                value=value,
            )
        )


async def remove(tx: Transaction, arn_kind: str, name: str, keys: Collection[str]) -> None:
    """Take the tags with *keys* from a resource, all or none.

    Raises:
        NotFound: the resource lacks one of them.
    """
    rows = {row.key: row for row in await _rows(tx, arn_kind, name)}
    missing = sorted(set(keys) - set(rows))
    if missing:
        raise NotFound("tag", missing[0])
    await discard(tx, arn_kind, name, keys)


async def discard(tx: Transaction, arn_kind: str, name: str, keys: Collection[str]) -> None:
    """Take the tags with *keys* from a resource as far as it has them."""
    rows = await _rows(tx, arn_kind, name)
    await _delete([row.id for row in rows if row.key in set(keys)], tx)


async def forget(tx: Transaction, arn_kind: str, name: str) -> None:
    """Take all tags from a resource, for when it goes."""
    await tx.run(_FORGET, of_kind=arn_kind, of_name=name.lower())


async def listed(tx: Transaction, arn_kind: str, name: str) -> dict[str, str]:
    """Return a resource's tags in order of key."""
    return {row.key: row.value for row in await _rows(tx, arn_kind, name)}


async def _rows(tx: Transaction, arn_kind: str, name: str) -> Sequence[Tag]:
    query = select(Tag).where(*_of(tx, arn_kind, name))
    # Sorted here: databases differ in how they order upper and lower case.
    return sorted((await tx.session.scalars(query)).all(), key=lambda row: row.key)


def _of(tx: Transaction, arn_kind: str, name: str) -> tuple[ColumnElement[bool], ...]:
    return (
        Tag.account == tx.scope.account,
        Tag.region == tx.scope.region,
        Tag.arn_kind == arn_kind,
        Tag.resource_name == name.lower(),
    )


async def _delete(ids: Collection[int], tx: Transaction) -> None:
    if ids:
        await tx.session.execute(delete(Tag).where(Tag.id.in_(ids)))


def _require_quota(keys: Iterable[str]) -> None:
    count = sum(not key.lower().startswith(RESERVED_PREFIX) for key in keys)
    if count > TAGS_PER_RESOURCE_MAX:
        raise TagQuotaExceeded(
            f"A resource can have {TAGS_PER_RESOURCE_MAX} tags; this would make {count}."
        )
