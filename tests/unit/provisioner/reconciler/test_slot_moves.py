"""lots: keys are sent in portions that do not hold up other clients for long."""

from __future__ import annotations

import pytest

from cachefleet.provisioner.reconciler.slot_moves import BYTES_PER_MIGRATE_MAX, lots

HALF = BYTES_PER_MIGRATE_MAX // 2


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        pytest.param({}, [], id="none"),
        pytest.param({b"a": 1, b"b": 1}, [[b"a", b"b"]], id="small-ones-together"),
        pytest.param({b"a": HALF, b"b": HALF}, [[b"a", b"b"]], id="exactly-full"),
        pytest.param({b"a": HALF, b"b": HALF + 1}, [[b"a"], [b"b"]], id="over-full"),
        pytest.param(
            {b"a": 1, b"b": 9 * HALF, b"c": 1}, [[b"a"], [b"b"], [b"c"]], id="a-large-one-alone"
        ),
    ],
)
def test_lots(sizes: dict[bytes, int], expected: list[list[bytes]]) -> None:
    assert list(lots(list(sizes), sizes)) == expected
