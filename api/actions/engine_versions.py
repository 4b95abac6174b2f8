"""Which engine versions there are. What matches no filter is an empty list, never an error."""

from __future__ import annotations

from cachefleet.api.context import RequestContext
from cachefleet.api.pagination import page
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.views.engine_versions import engine_version_view
from cachefleet.engine.catalog import Catalog, EngineVersion


@action("DescribeCacheEngineVersions")
async def describe_cache_engine_versions(ctx: RequestContext, params: Params) -> Result:
    """Return a page of versions, by engine and then by version, compared as text."""
    found = select_versions(
        ctx.catalog,
        engine=params.get("Engine"),
        version=params.get("EngineVersion"),
        family=params.get("CacheParameterGroupFamily"),
        default_only=bool(params.get("DefaultOnly")),
    )
    shown, marker = page(found, _key, params, ctx.paging)
    return {"CacheEngineVersions": [engine_version_view(one) for one in shown], "Marker": marker}


def select_versions(
    catalog: Catalog,
    *,
    engine: str | None,
    version: str | None,
    family: str | None,
    default_only: bool,
) -> list[EngineVersion]:
    """Return what the filters let through, in order. Pure.

    *default_only* leaves one version an engine, or of the family where one is given: the one that
    is chosen where a user names none, else the newest of what is left.
    """
    found = [
        one
        for one in catalog.engine_versions()
        if (not engine or one.engine.value == engine.lower())
        and (not version or one.version == version)
        and (not family or one.family == family)
    ]
    if default_only:
        found = [
            _default(catalog, [one for one in found if one.engine == name])
            for name in dict.fromkeys(one.engine for one in found)
        ]
    return sorted(found, key=_key)


def _default(catalog: Catalog, candidates: list[EngineVersion]) -> EngineVersion:
    chosen = catalog.resolve_version(candidates[0].engine, None)
    newest = max(candidates, key=lambda one: one.numbers)
    return chosen if chosen is not None and chosen in candidates else newest


def _key(version: EngineVersion) -> tuple[str, str]:
    return version.engine.value, version.version
