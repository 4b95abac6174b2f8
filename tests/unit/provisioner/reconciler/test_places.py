"""What is kept of nodes: leftovers go, and nothing that somebody has just begun to keep."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cachefleet.provisioner.clock import SystemClock
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.places import (
    forget_unknown,
    kept_picture,
    kept_uids,
    new_sealed_dump,
    sealed_dump,
)
from cachefleet.provisioner.state.store import Store
from tests.builders.fleets import fake_fleet

OURS, GONE, LATE = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", "cccccccccccccccc"


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    store = Store.open(f"sqlite:///{tmp_path / 'records.db'}", clock=SystemClock())
    yield fake_fleet(tmp_path, store, SystemClock())
    await store.aclose()


def keep(uid: str, fleet: Fleet) -> None:
    new_sealed_dump(uid, "REDIS0011", fleet).write_bytes(b"sealed")
    kept_picture(uid, fleet).write_text("picture")


async def test_what_is_in_no_record_goes(fleet: Fleet) -> None:
    assert kept_uids(fleet) == set()
    keep(OURS, fleet)
    keep(GONE, fleet)
    forget_unknown(kept_uids(fleet), {OURS}, fleet)
    assert kept_uids(fleet) == {OURS}
    assert sealed_dump(OURS, fleet) is not None
    assert kept_picture(OURS, fleet).exists()
    assert sealed_dump(GONE, fleet) is None


async def test_what_came_after_the_look_stays(fleet: Fleet) -> None:
    """Another provisioner makes a row, a node and its file between our look and our reading."""
    keep(GONE, fleet)
    found, recorded = kept_uids(fleet), {OURS}
    keep(LATE, fleet)
    forget_unknown(found, recorded, fleet)
    assert kept_uids(fleet) == {LATE}
