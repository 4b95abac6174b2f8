"""The store does the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC

import pytest
from sqlalchemy import delete, select, update

from cachefleet.provisioner.state import ids
from cachefleet.provisioner.state.access_tables import User
from cachefleet.provisioner.state.errors import AlreadyExists, NotFound, QuotaExceeded, Stale
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Store, Transaction
from cachefleet.provisioner.state.tables import (
    CacheCluster,
    Event,
    ReplicationGroup,
    SubnetGroup,
    Tag,
)
from tests.builders.groups import cache_settings, replication_group, subnet_group
from tests.unit.api.driver import START, SteppedClock

HERE = Scope("000000000000", "us-east-1")
OTHER_ACCOUNT = Scope("111111111111", "us-east-1")
OTHER_REGION = Scope("000000000000", "eu-west-1")
SCOPES = (HERE, OTHER_ACCOUNT, OTHER_REGION)
WRITERS = 8


def row(tx: Transaction, name: str, description: str = "mine") -> SubnetGroup:
    return SubnetGroup(
        uid=ids.new_uid(),
        account=tx.scope.account,
        region=tx.scope.region,
        name=name,
        description=description,
        vpc_id="vpc-1",
        subnets=[{"id": "subnet-a", "az": "us-east-1a"}],
    )


async def insert(store: Store, *names: str, scope: Scope = HERE) -> None:
    async with store.begin(scope) as tx:
        for name in names:
            await tx.insert(row(tx, name))


async def names(store: Store, scope: Scope = HERE) -> list[str]:
    async with store.read(scope) as tx:
        return [found.name for found in await tx.page(SubnetGroup, limit=100)]


async def test_what_is_committed_is_there(store: Store) -> None:
    await insert(store, "a")
    async with store.read(HERE) as tx:
        found = await tx.get(SubnetGroup, "a")
    assert (found.description, found.subnets) == (
        "mine",
        [{"id": "subnet-a", "az": "us-east-1a"}],
    )


async def test_what_raises_is_rolled_back_whole(store: Store) -> None:
    before = await store.revision(HERE)

    async def fail() -> None:
        async with store.begin(HERE) as tx:
            await tx.insert(row(tx, "a"))
            tx.enqueue("settle", subject_uid="s")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await names(store) == []
    assert await store.revision(HERE) == before
    assert not store.work_filed.is_set()


async def test_a_taken_name_is_refused_and_the_transaction_goes_on(store: Store) -> None:
    await insert(store, "a")
    async with store.begin(HERE) as tx:
        await tx.insert(row(tx, "b"))
        with pytest.raises(AlreadyExists) as refused:
            await tx.insert(row(tx, "a", "another"))
        assert (refused.value.resource, refused.value.name) == ("subnet_group", "a")
        await tx.insert(row(tx, "c"))
    assert await names(store) == ["a", "b", "c"]
    async with store.read(HERE) as tx:
        assert (await tx.get(SubnetGroup, "a")).description == "mine"


async def test_a_name_is_taken_from_the_first_insert_on(store: Store) -> None:
    async with store.begin(HERE) as tx:
        await tx.insert(row(tx, "a"))
        with pytest.raises(AlreadyExists):
            await tx.insert(row(tx, "a"))
    assert await names(store) == ["a"]


async def test_of_those_who_want_a_name_at_once_one_gets_it(store: Store) -> None:
    async def want() -> bool:
        try:
            await insert(store, "a")
        except AlreadyExists:
            return False
        return True

    assert sum(await asyncio.gather(*(want() for _ in range(WRITERS)))) == 1
    assert await names(store) == ["a"]


async def test_no_more_are_written_than_a_scope_may_have(store: Store) -> None:
    await insert(store, "a", "b")
    await insert(store, "a", scope=OTHER_ACCOUNT)
    async with store.begin(HERE) as tx:
        with pytest.raises(QuotaExceeded) as refused:
            await tx.insert(row(tx, "c"), at_most=2)
        assert (refused.value.resource, refused.value.quota) == ("subnet_group", 2)
        with pytest.raises(AlreadyExists):
            await tx.insert(row(tx, "a"), at_most=2)
        await tx.insert(row(tx, "c"), at_most=3)
    assert await names(store) == ["a", "b", "c"]


async def test_of_those_who_want_the_last_place_at_once_one_gets_it(store: Store) -> None:
    await insert(store, "a")

    async def want(number: int) -> bool:
        try:
            async with store.begin(HERE) as tx:
                await tx.insert(row(tx, f"n{number}"), at_most=2)
        except QuotaExceeded:
            return False
        return True

    assert sum(await asyncio.gather(*(want(number) for number in range(WRITERS)))) == 1
    assert len(await names(store)) == 2


async def test_what_a_table_fills_in_is_on_the_row_that_was_written(store: Store) -> None:
    async with store.begin(HERE) as tx:
        user = User(
            uid=ids.new_uid(),
            account=HERE.account,
            region=HERE.region,
            name="u",
            user_name="u",
            status="active",
            engine="redis",
            access_string="on",
            authentication_type="no-password",
        )
        await tx.insert(user)
        assert user.password_sha256s == []
    async with store.read(HERE) as tx:
        found = await tx.get(User, "u")
    assert (found.uid, found.password_sha256s, found.arn) == (user.uid, [], user.arn)


async def test_what_is_held_is_removed_and_a_refusal_takes_it_back(store: Store) -> None:
    await insert(store, "a", "b")

    async def remove(name: str, *, refused: bool) -> None:
        async with store.begin(HERE) as tx:
            held = await tx.hold(SubnetGroup, name.upper())
            assert held is not None
            assert held.subnets == [{"id": "subnet-a", "az": "us-east-1a"}]
            await tx.remove(held)
            assert await tx.hold(SubnetGroup, name) is None
            if refused:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await remove("a", refused=True)
    await remove("b", refused=False)
    assert await names(store) == ["a"]


async def test_plain_statements_see_what_the_session_has_yet_to_write(store: Store) -> None:
    async with store.begin(HERE) as tx:
        subnet_group(tx, "a")
        assert await tx.count(SubnetGroup) == 1
        assert await tx.hold(SubnetGroup, "a") is not None
        with pytest.raises(AlreadyExists):
            await tx.insert(row(tx, "a"))


async def test_names_are_found_in_any_case(store: Store) -> None:
    await insert(store, "demo")
    async with store.read(HERE) as tx:
        assert await tx.find(SubnetGroup, "DEMO") is not None
        assert await tx.find(SubnetGroup, "demo2") is None


async def test_what_is_not_there_is_named(store: Store) -> None:
    async with store.read(HERE) as tx:
        with pytest.raises(NotFound) as missing:
            await tx.get(SubnetGroup, "Gone")
    assert (missing.value.resource, missing.value.name) == ("subnet_group", "Gone")


async def test_scopes_never_meet(store: Store) -> None:
    for number, scope in enumerate(SCOPES):
        await insert(store, "shared", f"own-{number}", scope=scope)
    for number, scope in enumerate(SCOPES):
        assert await names(store, scope) == [f"own-{number}", "shared"]
        async with store.read(scope) as tx:
            assert await tx.count(SubnetGroup) == 2
            assert await tx.find(SubnetGroup, f"own-{(number + 1) % 3}") is None
            assert (await tx.get(SubnetGroup, "shared")).scope == scope


async def test_pages_go_by_name(store: Store) -> None:
    await insert(store, *(f"n{number}" for number in (3, 1, 5, 2, 4)))

    async def page(after: str | None, limit: int) -> list[str]:
        async with store.read(HERE) as tx:
            return [found.name for found in await tx.page(SubnetGroup, after=after, limit=limit)]

    assert await page(None, 2) == ["n1", "n2"]
    assert await page("n2", 2) == ["n3", "n4"]
    assert await page("n4", 2) == ["n5"]
    assert await page("n5", 2) == []
    assert await page("n25", 1) == ["n3"]  # the one that the marker named may be gone


async def test_pages_and_counts_take_criteria(store: Store) -> None:
    async with store.begin(HERE) as tx:
        subnet_group(tx, "a", vpc_id="vpc-1")
        subnet_group(tx, "b", vpc_id="vpc-2")
        subnet_group(tx, "c", vpc_id="vpc-2")
    async with store.read(HERE) as tx:
        wanted = SubnetGroup.vpc_id == "vpc-2"
        assert [r.name for r in await tx.page(SubnetGroup, wanted, limit=9)] == ["b", "c"]
        assert await tx.count(SubnetGroup, wanted) == 2
        assert await tx.count(SubnetGroup, wanted, SubnetGroup.name == "c") == 1


async def test_a_fresh_row_has_its_empty_collections_at_hand(store: Store) -> None:
    async with store.begin(HERE) as tx:
        group = ReplicationGroup(
            uid=ids.new_uid(),
            account=HERE.account,
            region=HERE.region,
            name="g",
            description="",
            cluster_mode="disabled",
            automatic_failover="disabled",
            multi_az="disabled",
            **cache_settings(),
        )
        await tx.insert(group)
        assert list(group.members) == []  # without a query, which would fail outside the loop
        assert list(group.node_groups) == []


async def test_instants_come_back_aware_and_in_utc(store: Store, clock: SteppedClock) -> None:
    clock.advance(0.123456)
    async with store.begin(HERE) as tx:
        tx.emit("cache-cluster", "demo", "Cache cluster created")
    async with store.read(HERE) as tx:
        event = (await tx.session.scalars(select(Event))).one()
    assert event.occurred_at == clock.now()
    assert event.occurred_at.tzinfo is not None
    assert event.occurred_at.astimezone(UTC) == clock.now()


async def test_events_carry_scope_and_instant(store: Store, clock: SteppedClock) -> None:
    for scope in SCOPES:
        clock.advance(1)
        async with store.begin(scope) as tx:
            tx.emit("cache-cluster", f"in-{scope.region}", "m")
    async with store.read(HERE) as tx:
        query = select(Event).where(
            Event.account == OTHER_REGION.account, Event.region == OTHER_REGION.region
        )
        [event] = (await tx.session.scalars(query)).all()
    assert (event.source_identifier, event.message) == ("in-eu-west-1", "m")
    assert (event.occurred_at - START).total_seconds() == 3


async def test_revision_grows_with_every_change_and_in_its_scope_only(store: Store) -> None:
    elsewhere = await store.revision(OTHER_ACCOUNT)
    seen = [await store.revision(HERE)]

    async def note() -> None:
        seen.append(await store.revision(HERE))

    await insert(store, "a")
    await note()
    async with store.begin(HERE) as tx:
        (await tx.get(SubnetGroup, "a")).description = "changed"
    await note()
    async with store.begin(HERE) as tx:
        await tx.session.execute(update(SubnetGroup).values(description="in bulk"))
    await note()
    async with store.begin(HERE) as tx:
        await tx.session.execute(delete(SubnetGroup))
    await note()
    assert seen == sorted(set(seen))
    assert await store.revision(OTHER_ACCOUNT) == elsewhere


async def test_a_change_leaves_what_is_known_of_other_tables(store: Store) -> None:
    async with store.begin(HERE) as tx:
        await replication_group(tx, "g")
    revision = await store.revision(HERE)
    await insert(store, "a")
    after = await store.revisions(HERE)
    assert after.stand_since(revision, ["replication_groups", "cache_nodes", "users"])
    assert not after.stand_since(revision, ["users", "subnet_groups"])
    revision = after.newest
    async with store.begin(HERE) as tx:
        await tx.session.execute(delete(CacheCluster))
    after = await store.revisions(HERE)
    assert not after.stand_since(revision, ["cache_nodes"]), "they went with their clusters"
    assert after.stand_since(revision, ["subnet_groups"])


async def test_revision_stays_where_nothing_changed(store: Store) -> None:
    await insert(store, "a")
    before = await store.revision(HERE)
    async with store.begin(HERE) as tx:
        await tx.get(SubnetGroup, "a")
    async with store.read(HERE) as tx:
        await tx.count(SubnetGroup)
    assert await store.revision(HERE) == before


async def test_revision_counts_every_one_of_many_writers(store: Store) -> None:
    await insert(store, "first")
    before = await store.revision(HERE)
    await asyncio.gather(*(insert(store, f"n{number}") for number in range(WRITERS)))
    assert await store.revision(HERE) == before + WRITERS


async def test_a_locked_row_is_changed_by_one_at_a_time(store: Store) -> None:
    await insert(store, "a")

    async def append(letter: str) -> None:
        async with store.begin(HERE) as tx:
            found = await tx.get(SubnetGroup, "a", lock=True)
            found.description += letter

    await asyncio.gather(*(append(letter) for letter in "abcdefgh"))
    async with store.read(HERE) as tx:
        description = (await tx.get(SubnetGroup, "a")).description
    assert sorted(description.removeprefix("mine")) == list("abcdefgh")


async def test_reading_refuses_to_write(store: Store) -> None:
    with pytest.raises(AssertionError, match="given rows"):
        async with store.read(HERE) as tx:
            tx.session.add(row(tx, "a"))
    async with store.begin(HERE) as tx:
        await replication_group(tx, "b")
    with pytest.raises(AssertionError, match="changed rows"):
        async with store.read(HERE) as tx:
            (await tx.get(ReplicationGroup, "b")).description = "changed"
    assert await names(store) == []


async def test_a_reader_sees_one_state_beside_a_writer(store: Store) -> None:
    await insert(store, "a")
    async with store.begin(HERE) as writing:
        await writing.insert(row(writing, "b"))
        assert await names(store) == ["a"]
    assert await names(store) == ["a", "b"]


async def test_work_wakes_the_provisioner_once_it_is_committed(store: Store) -> None:
    async with store.begin(HERE) as tx:
        tx.enqueue("settle", subject_uid="s")
        await tx.session.flush()
        assert not store.work_filed.is_set()
    assert store.work_filed.is_set()


async def test_deleting_a_resource_takes_its_children_along(store: Store) -> None:
    uid = ids.new_uid()
    async with store.begin(HERE) as tx:
        await tx.new_subject("cache_cluster", uid)
        await tx.insert(
            CacheCluster(
                uid=uid,
                account=HERE.account,
                region=HERE.region,
                name="c",
                num_cache_nodes=0,
                **cache_settings(),
            )
        )
    async with store.begin(HERE) as tx:
        await tx.session.delete(await tx.get(CacheCluster, "c"))
    async with store.read(HERE) as tx:
        assert await tx.count(CacheCluster) == 0


async def test_whoever_comes_second_is_told_that_another_was_first(store: Store) -> None:
    def tag() -> Tag:
        return Tag(
            account=HERE.account,
            region=HERE.region,
            arn_kind="cluster",
            resource_name="c",
            key="k",
            value="v",
        )

    async with store.begin(HERE) as tx:
        tx.session.add(tag())
    with pytest.raises(Stale, match="was there first"):
        async with store.begin(HERE) as tx:
            tx.session.add(tag())


async def test_another_store_on_the_database_sees_what_is_committed(
    store: Store, database_url: str, clock: SteppedClock
) -> None:
    second = Store.open(database_url, clock=clock)
    try:
        await insert(store, "a")
        assert await names(second) == ["a"]
        seen: Sequence[str] = await names(second, OTHER_ACCOUNT)
        assert seen == []
    finally:
        await second.aclose()
