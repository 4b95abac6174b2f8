"""Engine versions: which can be asked for, and what they are called where. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cachefleet.engine.catalog.documents import Document
from cachefleet.engine.catalog.node_types import version_numbers
from cachefleet.engine.types import Engine

# What the service takes when no version is given. For Valkey it is not known: the newest.
DEFAULT_VERSIONS = {Engine.REDIS: "7.1", Engine.MEMCACHED: "1.6.22"}
NEWEST_REDIS_6 = "6.x"


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineVersion:
    """One version: *version* as it is asked for, *cluster_version* as clusters report it."""

    engine: Engine
    version: str
    family: str
    description: str
    engine_description: str
    cluster_version: str
    status: str

    @property
    def numbers(self) -> tuple[int, ...]:
        """The full version, for comparing."""
        return version_numbers(self.cluster_version)

    @property
    def creatable(self) -> bool:
        """Whether new clusters may have it: the service ended what is past its life."""
        return self.status != "eol"


def read_versions(table: Document) -> tuple[EngineVersion, ...]:
    """Every version in the order of ``DescribeCacheEngineVersions``."""
    names = {Engine(key): text for key, text in table["meta"]["CacheEngineDescription"].items()}
    columns = table["meta"]["columns"]
    versions = []
    for values in table["versions"]:
        row = dict(zip(columns, values, strict=True))
        engine = Engine(row["engine"])
        versions.append(
            EngineVersion(
                engine=engine,
                version=row["EngineVersion"],
                family=row["CacheParameterGroupFamily"],
                description=row["CacheEngineVersionDescription"],
                engine_description=names[engine],
                cluster_version=row["cluster_EngineVersion"],
                status=row["status"],
            )
        )
    # As strings, as the service does: 1.4.33 stands before 1.4.5.
    return tuple(sorted(versions, key=lambda row: (row.engine.value, row.version)))


def resolve(
    versions: Sequence[EngineVersion], engine: Engine, requested: str | None
) -> EngineVersion | None:
    """The version that a request names, the default for None, or None where there is no such."""
    mine = [row for row in versions if row.engine is engine]
    if requested is None:
        wanted = DEFAULT_VERSIONS.get(engine)
        if wanted is None:
            return max(mine, key=lambda row: row.numbers)
        return next(row for row in mine if row.version == wanted)
    if engine is Engine.REDIS and requested == NEWEST_REDIS_6:
        return max((row for row in mine if row.numbers[0] == 6), key=lambda row: row.numbers)
    return next((row for row in mine if row.version == requested), None)


def feature_minimum(table: Document, feature: str, engine: Engine) -> tuple[int, ...] | None:
    """The first version of *engine* with a feature; None where it never had it."""
    minimum: str | None = table["features"][feature]["min"].get(engine.value)
    return None if minimum is None else version_numbers(minimum)


def request_format(table: Document, engine: Engine, requested: str) -> bool:
    """Whether the text has the form in which the service takes versions of this engine."""
    patterns = table["rules"]["request_format"]
    keys = ("redis<6", "redis>=6") if engine is Engine.REDIS else (engine.value,)
    return any(re.fullmatch(patterns[key], requested) for key in keys)
