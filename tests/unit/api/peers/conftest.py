"""Two front-ends as each other's regions."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.wired import HERE, THERE, Two, two_sides


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def sides(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Two]:
    async with two_sides(tmp_path_factory.mktemp("sides")) as opened:
        yield opened


@pytest.fixture
async def two(sides: Two) -> Two:
    """Give the two as if they were new: applications take longer to make than tests to run."""
    for side in sides:
        await side.begin_anew()
    sides[0].peers.apps[THERE], sides[1].peers.apps[HERE] = sides[1].api.app, sides[0].api.app
    return sides
