"""How long a writer waits for another process that has the database."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from cachefleet.provisioner.state.sqlite import BUSY_TIMEOUT_S, PATIENT_BUSY_TIMEOUT_S
from cachefleet.provisioner.state.store import Store
from tests.unit.api.driver import SteppedClock


@pytest.mark.parametrize(
    ("patient", "timeout_s"), [(False, BUSY_TIMEOUT_S), (True, PATIENT_BUSY_TIMEOUT_S)]
)
async def test_a_command_waits_longer_than_a_server(
    tmp_path: Path, patient: bool, timeout_s: float
) -> None:
    store = Store.open(
        f"sqlite:///{tmp_path / 'records.db'}", clock=SteppedClock(), patient=patient
    )
    try:
        async with store.connection() as connection:
            waits_ms = await connection.scalar(text("PRAGMA busy_timeout"))
    finally:
        await store.aclose()
    assert waits_ms == timeout_s * 1000
