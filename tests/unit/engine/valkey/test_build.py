"""What a server says that it is: its own version, not the one it says for its clients' sake."""

from __future__ import annotations

import pytest

from cachefleet.engine.types import Build, Engine
from cachefleet.engine.valkey.build import parse_build


@pytest.mark.parametrize(
    ("info", "build"),
    [
        (
            {"redis_version": "7.0.15", "redis_build_id": "AE4D7C971A948F0"},
            Build(kind=Engine.REDIS, version=(7, 0, 15), build="ae4d7c971a948f0"),
        ),
        (
            {"redis_version": "7.2.4", "valkey_version": "9.1.2", "redis_build_id": "0015"},
            Build(kind=Engine.VALKEY, version=(9, 1, 2), build="15"),
        ),
        ({"redis_version": "6.2"}, Build(kind=Engine.REDIS, version=(6, 2))),
        ({}, None),
        ({"redis_version": "unstable"}, None),
    ],
    ids=["redis", "valkey", "no-build", "nothing", "no-number"],
)
def test_parse_build(info: dict[str, str], build: Build | None) -> None:
    assert parse_build(info) == build
