"""Durable work: in order, one operation a subject, and nothing lost with its worker."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy import select

from cachefleet.provisioner.state import operations
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.operations import OperationKind, OperationState
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Store
from cachefleet.provisioner.state.tables import Operation
from tests.unit.api.driver import SteppedClock

HERE = Scope("000000000000", "us-east-1")
SYSTEM = Scope("", "")
A, B, C = "a" * 16, "b" * 16, "c" * 16


async def file(store: Store, *subjects: str, due_in_s: float = 0, kind: str = "settle") -> None:
    for subject in subjects:
        async with store.begin(HERE) as tx:
            tx.enqueue(kind, subject_uid=subject, due_at=tx.now + timedelta(seconds=due_in_s))


async def claim(store: Store, *subjects: str, limit: int = 50) -> list[Operation]:
    async with store.begin(SYSTEM) as tx:
        return list(await operations.claim(tx, subject_uids=subjects, limit=limit))


async def finish(store: Store, operation: Operation) -> None:
    async with store.begin(SYSTEM) as tx:
        await operations.finish(tx, operation.id, OperationState.DONE, "well")


async def stored(store: Store) -> Sequence[Operation]:
    async with store.read(SYSTEM) as tx:
        return (await tx.session.scalars(select(Operation).order_by(Operation.id))).all()


async def test_claims_come_in_order_and_one_a_subject(store: Store) -> None:
    await file(store, A, A, B)
    first, second = await claim(store, A, B)
    assert [first.subject_uid, second.subject_uid] == [A, B]
    assert {o.state for o in (first, second)} == {OperationState.RUNNING}
    assert await claim(store, A, B) == []
    await finish(store, first)
    [third] = await claim(store, A, B)
    assert (third.subject_uid, third.id > first.id) == (A, True)


async def test_only_the_given_subjects_are_claimed(store: Store) -> None:
    await file(store, A, B, C)
    assert [o.subject_uid for o in await claim(store, B)] == [B]
    assert await claim(store) == []


async def test_a_call_claims_up_to_its_limit_oldest_first(store: Store) -> None:
    await file(store, B, A, C)
    assert [o.subject_uid for o in await claim(store, A, B, C, limit=2)] == [B, A]


async def test_what_is_not_due_waits_and_nothing_overtakes_it(
    store: Store, clock: SteppedClock
) -> None:
    await file(store, A, due_in_s=10)
    await file(store, A)
    assert await claim(store, A) == []
    clock.advance(9.9)
    assert await claim(store, A) == []
    clock.advance(0.2)
    [first] = await claim(store, A)
    assert first.id == (await stored(store))[0].id


async def test_every_claim_is_an_attempt(store: Store, clock: SteppedClock) -> None:
    await file(store, A)
    [first] = await claim(store, A)
    assert first.attempt == 1
    async with store.begin(SYSTEM) as tx:
        due_at = tx.now + timedelta(seconds=5)
        await operations.snooze(tx, first.id, due_at=due_at, progress="waiting")
    assert await claim(store, A) == []
    clock.advance(6)
    [second] = await claim(store, A)
    assert (second.id, second.attempt, second.progress) == (first.id, 2, "waiting")


async def test_finished_work_is_closed_with_its_end(store: Store, clock: SteppedClock) -> None:
    await file(store, A, B)
    done, failed = await claim(store, A, B)
    clock.advance(3)
    async with store.begin(SYSTEM) as tx:
        await operations.finish(tx, done.id, OperationState.DONE, "well")
        await operations.finish(tx, failed.id, OperationState.FAILED, "no engine")
    rows = await stored(store)
    assert [(o.state, o.progress) for o in rows] == [("done", "well"), ("failed", "no engine")]
    assert {o.finished_at for o in rows} == {clock.now()}
    assert await claim(store, A, B) == []


async def test_a_new_lease_gives_back_what_was_running(store: Store, clock: SteppedClock) -> None:
    await file(store, A, A, B)
    first, other = await claim(store, A, B)
    clock.advance(1)
    async with store.begin(SYSTEM) as tx:
        await operations.requeue_running(tx, subject_uids=[A])
    states = {o.id: o.state for o in await stored(store)}
    assert (states[first.id], states[other.id]) == ("queued", "running")
    [again] = await claim(store, A, B)
    assert (again.id, again.attempt) == (first.id, 2)


async def test_due_work_is_seen_over_all_scopes(store: Store, clock: SteppedClock) -> None:
    async def due() -> bool:
        async with store.read(SYSTEM) as tx:
            return await operations.is_anything_to_claim(tx)

    assert not await due()
    await file(store, A, due_in_s=5)
    assert not await due()
    async with store.read(SYSTEM) as tx:
        assert await operations.next_due_at(tx) == clock.now() + timedelta(seconds=5)
    clock.advance(5)
    assert await due()
    await claim(store, A)
    assert not await due()
    async with store.read(SYSTEM) as tx:
        assert await operations.next_due_at(tx) is None


async def test_open_work_of_a_subject_oldest_first(store: Store) -> None:
    await file(store, A, B, A, A)
    [running] = await claim(store, A)
    await finish(store, running)
    await claim(store, A)
    async with store.read(HERE) as tx:
        states = [o.state for o in await operations.open_operations(tx, A)]
    assert states == ["running", "queued"]


async def test_a_settling_is_filed_unless_one_waits(store: Store) -> None:
    lease = Lease(A, "cache_cluster", HERE, epoch=1)

    async def ensure() -> None:
        async with store.begin(SYSTEM) as tx:
            await operations.ensure_settle(tx, lease)

    await file(store, A, kind=OperationKind.APPLY_PARAMETERS)
    await file(store, B)
    await ensure()
    await ensure()
    settlings = [o for o in await stored(store) if (o.kind, o.subject_uid) == ("settle", A)]
    assert [(o.account, o.region) for o in settlings] == [(HERE.account, HERE.region)]
    [parameters] = await claim(store, A)
    await finish(store, parameters)
    [running] = await claim(store, A)
    assert running.kind == "settle"
    await ensure()  # the running one may have looked already
    assert len(await stored(store)) == 4


async def test_what_ended_is_forgotten_when_its_events_are(
    store: Store, clock: SteppedClock
) -> None:
    await file(store, A, B, C)
    old, _ = await claim(store, A, B)
    await finish(store, old)
    clock.advance(operations.FINISHED_KEPT.total_seconds() - 1)

    async def forget() -> list[str]:
        async with store.begin(SYSTEM) as tx:
            await operations.forget_finished(tx)
        return [o.subject_uid for o in await stored(store)]

    assert await forget() == [A, B, C]
    clock.advance(2)
    assert await forget() == [B, C]  # whatever its age, what is open stays


async def test_a_filed_operation_keeps_payload_and_token(store: Store) -> None:
    async with store.begin(HERE) as tx:
        tx.enqueue("settle", subject_uid=A, payload={"a": [1, {"b": None}]}, token="t-1")
        tx.enqueue("settle", subject_uid=A)
    first, second = await stored(store)
    assert (first.payload, first.token) == ({"a": [1, {"b": None}]}, "t-1")
    assert (second.payload, len(second.token)) == ({}, 16)
    assert (first.scope, first.attempt, first.finished_at) == (HERE, 0, None)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_two_claimants_at_once_never_get_one_subject(
    store: Store, database_url: str, clock: SteppedClock
) -> None:
    await file(store, A, A, B)
    second = Store.open(database_url, clock=clock)
    try:
        async with store.begin(SYSTEM) as ours:
            mine = await operations.claim(ours, subject_uids=[A])
            async with second.begin(SYSTEM) as theirs:
                others = await operations.claim(theirs, subject_uids=[A, B])
        assert [o.subject_uid for o in mine] == [A]
        assert [o.subject_uid for o in others] == [B]
    finally:
        await second.aclose()
