"""What a running server says that it is."""

from __future__ import annotations

from collections.abc import Mapping

from cachefleet.engine.types import Build, Engine


def parse_build(info: Mapping[str, str]) -> Build | None:
    """Return the build that ``INFO server`` tells of; None where it tells of none.

    Valkey says ``redis_version`` too, for its clients' sake: its own is what counts.
    """
    kind = Engine.VALKEY if "valkey_version" in info else Engine.REDIS
    version = info.get("valkey_version") or info.get("redis_version") or ""
    numbers = tuple(int(part) for part in version.split(".") if part.isdecimal())
    if not numbers:
        return None
    build = info.get("redis_build_id", "").lower().lstrip("0")
    return Build(kind=kind, version=numbers, build=build)
