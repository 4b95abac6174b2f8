"""Fixtures that every test may use."""

from __future__ import annotations

import gc

import pytest


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of every later collection of garbage.

    It is hundreds of thousands of objects that stay to the end; going through them again and again
    took a tenth of the time of the quick tests.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def anyio_backend() -> str:
    """Run asynchronous tests on asyncio, as the server does."""
    return "asyncio"
