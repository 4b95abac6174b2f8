"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import os

import pytest
from hypothesis import HealthCheck, settings

from tests.support.length import AT_LENGTH

# A busy machine is no finding: an example may take as long as it wants. Which examples there are
# is the same in each run, unless somebody is out for new ones.
settings.register_profile(
    "everywhere",
    deadline=None,
    derandomize=not (AT_LENGTH or "CACHEFLEET_FUZZ_EXAMPLES" in os.environ),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("everywhere")


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of every later collection of garbage.

    It is hundreds of thousands of objects that stay to the end, and going through all of them took
    a fifth of a second of processor time each time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def anyio_backend() -> str:
    """Run asynchronous tests on asyncio, as the server does."""
    return "asyncio"
