"""One small fleet for all tables of refusals: what is refused changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.world import World, open_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with open_world(tmp_path_factory.mktemp("world")) as opened:
        yield opened
