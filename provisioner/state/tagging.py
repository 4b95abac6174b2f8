"""Tags of a resource, as rows: read whole, and written whole where a resource comes to be."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import delete, select

from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import Tag


async def read_tags(tx: Transaction, arn_kind: str, name: str) -> dict[str, str]:
    """Return a resource's tags, key to value, in the order in which they were given."""
    query = (
        select(Tag.key, Tag.value)
        .where(
            Tag.account == tx.scope.account,
            Tag.region == tx.scope.region,
            Tag.arn_kind == arn_kind,
            Tag.resource_name == name,
        )
        .order_by(Tag.id)
    )
    return {key: value for key, value in (await tx.session.execute(query)).all()}


async def replace_tags(
    tx: Transaction, arn_kind: str, names: Collection[str], tags: Mapping[str, str]
) -> None:
    """Give each named resource exactly *tags*; whatever an earlier one of that name had is gone."""
    await tx.session.execute(
        delete(Tag).where(
            Tag.account == tx.scope.account,
            Tag.region == tx.scope.region,
            Tag.arn_kind == arn_kind,
            Tag.resource_name.in_(names),
        )
    )
    tx.session.add_all(
        Tag(
            account=tx.scope.account,
            region=tx.scope.region,
            arn_kind=arn_kind,
            resource_name=name,
            key=key,
            value=value,
        )
        for name in names
        for key, value in tags.items()
    )
