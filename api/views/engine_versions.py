"""Engine versions as the service shows them."""

from __future__ import annotations

from typing import Any

from cachefleet.engine.catalog import EngineVersion


def engine_version_view(version: EngineVersion) -> dict[str, Any]:
    """Return a ``CacheEngineVersion``."""
    return {
        "Engine": version.engine.value,
        "EngineVersion": version.version,
        "CacheParameterGroupFamily": version.family,
        "CacheEngineDescription": version.engine_description,
        "CacheEngineVersionDescription": version.description,
    }
