"""With SQLite: who reads for long lets others run between statements; who writes does not."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Store, Transaction
from cachefleet.provisioner.state.turns import awaited

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

HERE = Scope("000000000000", "us-east-1")
# Tens of milliseconds, wherever it runs.
LONG = text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)"
    " SELECT count(*) FROM n"
)
SHORT = text("SELECT 1")


async def others_ran_in(tx: Transaction) -> bool:
    """Tell whether somebody else of the event loop ran while *tx* said a few statements."""
    await tx.session.execute(SHORT)
    ran = asyncio.Event()
    asyncio.get_running_loop().call_soon(ran.set)
    await tx.session.execute(LONG)
    await tx.session.execute(SHORT)
    return ran.is_set()


async def test_a_long_reading_transaction_gives_way_between_statements(store: Store) -> None:
    async with store.read(HERE) as tx:
        assert await others_ran_in(tx)


async def test_one_that_a_client_waits_for_goes_on(store: Store) -> None:
    with awaited():
        async with store.read(HERE) as tx:
            assert not await others_ran_in(tx)


async def test_one_that_writes_does_not_keep_all_others_waiting(store: Store) -> None:
    async with store.begin(HERE) as tx:
        assert not await others_ran_in(tx)
