"""Calls that come while the work is under way are served by the next one, all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Set

import pytest

from cachefleet.provisioner.reconciler.together import Together


class Work:
    """Notes what it was given; goes on when it is let, and fails as often as it is told."""

    def __init__(self, *, failures: int = 0) -> None:
        self.given: list[Set[str]] = []
        self.let = asyncio.Semaphore(0)
        self.failures = failures

    async def __call__(self, names: Set[str]) -> None:
        self.given.append(frozenset(names))
        await self.let.acquire()
        if self.failures:
            self.failures -= 1
            raise OSError("no")

    def finish(self, times: int = 1) -> None:
        for _ in range(times):
            self.let.release()


async def asked(together: Together, *names: str | None) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(together.ask(name)) for name in names]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_those_who_wait_are_served_together_by_work_that_begins_after_they_came() -> None:
    work = Work()
    together = Together(work)
    first = await asked(together, "a")
    waiting = await asked(together, "b", None, "c")
    work.finish()
    await asyncio.gather(*first)
    assert not any(task.done() for task in waiting)
    late = await asked(together, "d")
    work.finish()
    await asyncio.gather(*waiting)
    assert not late[0].done()
    work.finish()
    await asyncio.gather(*late)
    assert work.given == [{"a"}, {"b", "c"}, {"d"}]


async def test_who_is_let_down_by_anothers_failure_does_it_again() -> None:
    work = Work(failures=2)
    together = Together(work)
    first = await asked(together, "a")
    waiting = await asked(together, "b", "c")
    work.finish(3)
    outcomes = await asyncio.gather(*first, *waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [OSError, OSError, type(None)]
    assert work.given == [{"a"}, {"b", "c"}, {"b", "c"}]


async def test_one_who_is_cancelled_leaves_it_to_the_next() -> None:
    work = Work()
    together = Together(work)
    first = await asked(together, "a")
    waiting = await asked(together, "b", "c")
    first[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await first[0]
    for _ in range(3):
        await asyncio.sleep(0)
    waiting[0].cancel()
    work.finish()
    await waiting[1]
    assert work.given == [{"a"}, {"b", "c"}, {"b", "c"}]
