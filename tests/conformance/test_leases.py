"""Leases: one holder a subject, a higher epoch with each, and no write under a stale one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import delete, select

from cachefleet.provisioner.state import leases, operations
from cachefleet.provisioner.state.errors import Stale
from cachefleet.provisioner.state.leases import TTL_S, Lease
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Store
from cachefleet.provisioner.state.tables import Event, Subject
from tests.unit.api.driver import SteppedClock

HERE = Scope("000000000000", "us-east-1")
SYSTEM = Scope("", "")
HOLDERS = 4
SUBJECTS = 60


async def subjects(store: Store, *uids: str) -> None:
    async with store.begin(HERE) as tx:
        for uid in uids:
            await tx.new_subject("cache_cluster", uid)


async def acquire(store: Store, holder: str) -> Sequence[Lease]:
    async with store.begin(SYSTEM) as tx:
        return await leases.acquire_free(tx, holder=holder)


async def renew(store: Store, holder: str) -> set[str]:
    async with store.begin(SYSTEM) as tx:
        return await leases.renew_all(tx, holder=holder)


async def is_ours(store: Store, lease: Lease, holder: str) -> bool:
    try:
        async with store.begin(lease.scope) as tx:
            await leases.require(tx, lease, holder=holder)
    except Stale:
        return False
    return True


async def is_any_free(store: Store) -> bool:
    async with store.read(SYSTEM) as tx:
        return await operations.is_anything_to_claim(tx)


def test_a_holder_stops_before_another_can_begin() -> None:
    assert leases.RENEW_EVERY_S < leases.TRUSTED_S < leases.TTL_S


async def test_what_is_free_is_taken_once(store: Store) -> None:
    await subjects(store, "a", "b")
    assert await is_any_free(store)
    taken = await acquire(store, "one")
    assert {(lease.subject_uid, lease.epoch, lease.scope) for lease in taken} == {
        ("a", 1, HERE),
        ("b", 1, HERE),
    }
    assert not await is_any_free(store)
    assert await acquire(store, "two") == []
    assert await acquire(store, "one") == []


async def test_an_expired_lease_passes_on_with_a_higher_epoch(
    store: Store, clock: SteppedClock
) -> None:
    await subjects(store, "a")
    [first] = await acquire(store, "one")
    clock.advance(TTL_S)
    assert await acquire(store, "two") == []  # its last instant is still the holder's
    assert await is_ours(store, first, "one")
    clock.advance(0.001)
    assert await is_any_free(store)
    assert not await is_ours(store, first, "one")
    [second] = await acquire(store, "two")
    assert (second.subject_uid, second.epoch) == ("a", first.epoch + 1)
    assert await is_ours(store, second, "two")
    assert not await is_ours(store, first, "one")


async def test_renewing_keeps_leases_and_says_which(store: Store, clock: SteppedClock) -> None:
    await subjects(store, "a", "b")
    [first, _] = await acquire(store, "one")
    for _ in range(5):
        clock.advance(leases.RENEW_EVERY_S)
        assert await renew(store, "one") == {"a", "b"}
        assert await acquire(store, "two") == []
    assert await is_ours(store, first, "one")
    assert await renew(store, "two") == set()


async def test_a_lapsed_lease_is_not_renewed(store: Store, clock: SteppedClock) -> None:
    await subjects(store, "a")
    [first] = await acquire(store, "one")
    clock.advance(TTL_S + 1)
    assert await renew(store, "one") == set()
    assert not await is_ours(store, first, "one")
    [again] = await acquire(store, "one")
    assert again.epoch == first.epoch + 1
    assert not await is_ours(store, first, "one")  # the same holder, an older term


async def test_an_orderly_stop_gives_back_what_is_ours_only(store: Store) -> None:
    await subjects(store, "a")
    [mine] = await acquire(store, "one")
    await subjects(store, "b")
    [other] = await acquire(store, "two")
    async with store.begin(SYSTEM) as tx:
        await leases.release_all(tx, holder="one")
    assert not await is_ours(store, mine, "one")
    assert await is_ours(store, other, "two")
    [next_] = await acquire(store, "two")
    assert (next_.subject_uid, next_.epoch) == ("a", mine.epoch + 1)


async def test_a_start_that_is_alone_takes_everything_back(store: Store) -> None:
    await subjects(store, "a", "b")
    old = await acquire(store, "one")
    async with store.begin(SYSTEM) as tx:
        await leases.release_everything(tx)
    assert not any([await is_ours(store, lease, "one") for lease in old])
    assert {lease.epoch for lease in await acquire(store, "two")} == {2}


async def test_a_subject_that_is_gone_is_nobodys(store: Store) -> None:
    await subjects(store, "a")
    [lease] = await acquire(store, "one")
    async with store.begin(HERE) as tx:
        await tx.session.execute(delete(Subject))
    with pytest.raises(Stale, match="subject a"):
        async with store.begin(HERE) as tx:
            await leases.require(tx, lease, holder="one")


async def test_a_stale_holder_writes_nothing(store: Store, clock: SteppedClock) -> None:
    await subjects(store, "a")
    [lease] = await acquire(store, "one")
    clock.advance(TTL_S + 1)
    await acquire(store, "two")

    async def write() -> None:
        async with store.begin(HERE) as tx:
            tx.emit("cache-cluster", "demo", "from the past")
            await tx.session.flush()
            await leases.require(tx, lease, holder="one")

    with pytest.raises(Stale):
        await write()
    async with store.read(HERE) as tx:
        assert (await tx.session.scalars(select(Event))).all() == []
        row = (await tx.session.scalars(select(Subject))).one()
    assert row.lease_holder == "two"


async def test_holders_at_once_never_hold_one_subject(
    store: Store, database_url: str, clock: SteppedClock
) -> None:
    await subjects(store, *(f"s{number}" for number in range(SUBJECTS)))
    stores = [Store.open(database_url, clock=clock) for _ in range(HOLDERS)]
    try:
        for term in (1, 2, 3):
            taken = await asyncio.gather(
                *(acquire(one, f"h{number}") for number, one in enumerate(stores))
            )
            # A row that another transaction holds is passed over: the next call finds it.
            rest = await acquire(store, "late")
            uids = [lease.subject_uid for part in (*taken, rest) for lease in part]
            assert len(uids) == len(set(uids)) == SUBJECTS
            assert {lease.epoch for part in (*taken, rest) for lease in part} == {term}
            clock.advance(TTL_S + 1)
    finally:
        for one in stores:
            await one.aclose()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_what_another_is_taking_is_passed_over_without_waiting(
    store: Store, database_url: str, clock: SteppedClock
) -> None:
    await subjects(store, "a")
    second = Store.open(database_url, clock=clock)
    try:
        async with store.begin(SYSTEM) as ours:
            assert len(await leases.acquire_free(ours, holder="one")) == 1
            async with asyncio.timeout(30):
                assert await acquire(second, "two") == []
    finally:
        await second.aclose()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_write_under_a_lease_holds_up_its_passing_on(
    store: Store, database_url: str, clock: SteppedClock
) -> None:
    await subjects(store, "a")
    [lease] = await acquire(store, "one")
    second = Store.open(database_url, clock=clock)
    try:
        async with store.begin(HERE) as ours:
            await leases.require(ours, lease, holder="one")
            clock.advance(TTL_S + 1)
            async with asyncio.timeout(30):
                assert await acquire(second, "two") == []  # our write is not committed yet
        [passed_on] = await acquire(second, "two")
        assert passed_on.epoch == 2
    finally:
        await second.aclose()
