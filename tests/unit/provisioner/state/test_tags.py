"""The rules of tags, and the rows that hold them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cachefleet.provisioner.state import tags
from cachefleet.provisioner.state.errors import InvalidValue, NotFound, TagQuotaExceeded
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Store
from tests.support.api import SCOPE, open_api


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_api(tmp_path) as api:
        yield api.store


def numbered(count: int, *, prefix: str = "k") -> dict[str, str]:
    return {f"{prefix}{n}": str(n) for n in range(count)}


def test_parses_a_request() -> None:
    given: list[dict[str, str | None]] = [
        {"Key": "b", "Value": "1"},
        {"Key": "B"},
        {"Key": "a", "Value": None},
    ]
    assert tags.parse(given) == {"b": "1", "B": "", "a": ""}
    assert tags.parse(None) == {}


@pytest.mark.parametrize(
    ("tag", "is_legal"),
    [
        ({"": "v"}, False),
        ({"k" * 128: "v" * 256}, True),
        ({"k" * 129: "v"}, False),
        ({"k": "v" * 257}, False),
        ({"aws:k": "v"}, False),
        ({"AWS:k": "v"}, False),
        ({"aws": "v"}, True),
        (numbered(50), True),
    ],
)
def test_rules(tag: dict[str, str], is_legal: bool) -> None:
    if is_legal:
        tags.require_legal(tag)
        return
    with pytest.raises(InvalidValue):
        tags.require_legal(tag)


def test_refuses_a_key_given_twice() -> None:
    with pytest.raises(InvalidValue, match="more than once"):
        tags.parse([{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}])


async def test_sets_overwrites_and_lists_in_order_of_key(store: Store) -> None:
    async with store.begin(SCOPE) as tx:
        await tags.put(tx, "cluster", "Demo", {"b": "1", "a": "2"})
    async with store.begin(SCOPE) as tx:
        await tags.put(tx, "cluster", "demo", {"b": "3", "B": "4"})
        assert await tags.listed(tx, "cluster", "DEMO") == {"B": "4", "a": "2", "b": "3"}
        assert list(await tags.listed(tx, "cluster", "demo")) == ["B", "a", "b"]


async def test_resources_do_not_share_tags(store: Store) -> None:
    async with store.begin(SCOPE) as tx:
        await tags.put(tx, "cluster", "demo", {"k": "1"})
        assert await tags.listed(tx, "cluster", "demo2") == {}
        assert await tags.listed(tx, "user", "demo") == {}
    async with store.read(Scope(SCOPE.account, "eu-west-1")) as tx:
        assert await tags.listed(tx, "cluster", "demo") == {}


async def test_the_quota_counts_what_is_there(store: Store) -> None:
    async with store.begin(SCOPE) as tx:
        await tags.put(tx, "cluster", "demo", numbered(49))
        await tags.put(tx, "cluster", "demo", {"k0": "again", "one": "more"})
        with pytest.raises(TagQuotaExceeded):
            await tags.put(tx, "cluster", "demo", {"too": "many"})
        assert "too" not in await tags.listed(tx, "cluster", "demo")


async def test_removes_all_or_none(store: Store) -> None:
    async with store.begin(SCOPE) as tx:
        await tags.put(tx, "cluster", "demo", numbered(3))
        with pytest.raises(NotFound) as refusal:
            await tags.remove(tx, "cluster", "demo", ["k0", "none"])
        assert (refusal.value.resource, refusal.value.name) == ("tag", "none")
        assert len(await tags.listed(tx, "cluster", "demo")) == 3
        await tags.remove(tx, "cluster", "demo", ["k0", "k2"])
        assert await tags.listed(tx, "cluster", "demo") == {"k1": "1"}


async def test_discards_what_is_there_and_forgets_everything(store: Store) -> None:
    async with store.begin(SCOPE) as tx:
        await tags.put(tx, "cluster", "demo", numbered(3))
        await tags.put(tx, "cluster", "other", numbered(1))
        await tags.discard(tx, "cluster", "demo", ["k0", "none"])
        assert list(await tags.listed(tx, "cluster", "demo")) == ["k1", "k2"]
        await tags.forget(tx, "cluster", "demo")
        assert await tags.listed(tx, "cluster", "demo") == {}
        assert await tags.listed(tx, "cluster", "other") == {"k0": "0"}
