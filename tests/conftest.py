"""Fixtures that every test may use."""

from __future__ import annotations

import gc

import pytest
from hypothesis import HealthCheck, settings

# How long the machine takes says nothing about what is tested.
settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any-machine")


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
