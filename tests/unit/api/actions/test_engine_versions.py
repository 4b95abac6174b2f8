"""Which versions are shown, and in which order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import Api, open_api


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        yield opened


async def versions(api: Api, **filters: Any) -> list[tuple[str, str]]:
    rows = await api.listed("DescribeCacheEngineVersions", "CacheEngineVersions", **filters)
    return [(one["Engine"], one["EngineVersion"]) for one in rows]


async def test_a_version_is_shown_with_all_its_fields(api: Api) -> None:
    answer = await api("DescribeCacheEngineVersions", Engine="redis", EngineVersion="6.2")
    assert answer == {
        "CacheEngineVersions": [
            {
                "Engine": "redis",
                "EngineVersion": "6.2",
                "CacheParameterGroupFamily": "redis6.x",
                "CacheEngineDescription": "Redis",
                "CacheEngineVersionDescription": "redis version 6.2.6",
            }
        ]
    }


async def test_versions_are_in_order_of_engine_then_text(api: Api) -> None:
    found = await versions(api)
    assert found == sorted(found)
    assert found.index(("memcached", "1.4.33")) < found.index(("memcached", "1.4.5"))
    assert found == await versions(api, MaxRecords=20)
    assert len(found) > 20


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        pytest.param({"Engine": "VALKEY", "EngineVersion": "8.0"}, [("valkey", "8.0")], id="case"),
        pytest.param(
            {"CacheParameterGroupFamily": "redis7"},
            [("redis", "7.0"), ("redis", "7.1")],
            id="family",
        ),
        pytest.param({"Engine": "oracle"}, [], id="unknown-engine"),
        pytest.param({"EngineVersion": "0.1"}, [], id="unknown-version"),
        pytest.param({"CacheParameterGroupFamily": "redis99"}, [], id="unknown-family"),
        pytest.param({"Engine": "oracle", "DefaultOnly": True}, [], id="no-default"),
        pytest.param({"Engine": "redis", "DefaultOnly": True}, [("redis", "7.1")], id="default"),
        pytest.param(
            {"CacheParameterGroupFamily": "memcached1.4", "DefaultOnly": True},
            [("memcached", "1.4.34")],
            id="newest-of-a-family",
        ),
        pytest.param(
            {"CacheParameterGroupFamily": "redis6.x", "DefaultOnly": True},
            [("redis", "6.2")],
            id="newest-of-an-older-family",
        ),
        pytest.param({"EngineVersion": "8.0", "DefaultOnly": False}, [("valkey", "8.0")], id="off"),
    ],
)
async def test_filters(api: Api, filters: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert await versions(api, **filters) == expected


async def test_one_default_an_engine(api: Api) -> None:
    found = await versions(api, DefaultOnly=True)
    assert [engine for engine, _ in found] == ["memcached", "redis", "valkey"]
