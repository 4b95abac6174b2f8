"""The catalogue as one value: loaded once, asked by everybody, changed by nobody."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cachefleet.engine.catalog.documents import document
from cachefleet.engine.catalog.events import EventTemplate, read_events
from cachefleet.engine.catalog.families import (
    CLUSTER_SUFFIX,
    DefaultGroup,
    ParameterFamily,
    read_family,
    resolve_parameters,
)
from cachefleet.engine.catalog.node_types import (
    NodeType,
    allowed_modifications,
    read_node_types,
    version_numbers,
)
from cachefleet.engine.catalog.offerings import Offering, offerings
from cachefleet.engine.catalog.versions import (
    EngineVersion,
    feature_minimum,
    read_versions,
    request_format,
    resolve,
)
from cachefleet.engine.errors import EngineError
from cachefleet.engine.types import Engine


class NotInCatalog(EngineError):
    """The catalogue has no such entry."""


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """Everything in the data files, typed. Get it with :meth:`load`."""

    _node_types: Mapping[str, NodeType]
    _versions: tuple[EngineVersion, ...]
    _families: Mapping[str, ParameterFamily]
    _events: Mapping[str, EventTemplate]

    @staticmethod
    def load() -> Catalog:
        """The catalogue; read at the first call, the same value ever after."""
        return _load()

    # -- node types -------------------------------------------------------------------------

    def node_type(self, name: str) -> NodeType | None:
        """A node type by its name, ``cache.`` in front."""
        return self._node_types.get(name)

    def node_types(self, engine: Engine | None = None) -> tuple[NodeType, ...]:
        """All node types, or those that run *engine*, sorted by name."""
        wanted = (row for _, row in sorted(self._node_types.items()))
        return tuple(row for row in wanted if engine is None or row.runs(engine))

    def allowed_node_type_modifications(
        self, current: str, engine: Engine, engine_version: str | None = None
    ) -> tuple[list[str], list[str]]:
        """Names to scale up and to scale down to; raises NotInCatalog for an unknown type."""
        node_type = self._node_types.get(current)
        if node_type is None:
            raise NotInCatalog(f"there is no node type {current}")
        version = None if engine_version is None else version_numbers(engine_version)
        return allowed_modifications(node_type, self._node_types, Engine(engine), version)

    # -- versions ---------------------------------------------------------------------------

    def engine_versions(self, engine: Engine | None = None) -> tuple[EngineVersion, ...]:
        """All versions, sorted as the service sorts them."""
        return tuple(row for row in self._versions if engine is None or row.engine is engine)

    def resolve_version(self, engine: Engine, requested: str | None) -> EngineVersion | None:
        """The version a request names (``7.0``, ``6.x``, ``1.6.22``), or the engine's default.

        A full patch version of Redis 6 or later and of Valkey is not a request, so it is None,
        as is everything unknown. Whether it may be created is :attr:`EngineVersion.creatable`.
        """
        return resolve(self._versions, Engine(engine), requested)

    def is_version_format(self, engine: Engine, requested: str) -> bool:
        """Whether *requested* has the form the service takes for *engine*."""
        return request_format(document("engine_versions"), Engine(engine), requested)

    def version_of(self, engine: Engine, version: str) -> EngineVersion | None:
        """The row of a version in either form, asked for (``7.0``) or reported (``7.0.7``)."""
        mine = self.engine_versions(Engine(engine))
        return next((row for row in mine if version in (row.version, row.cluster_version)), None)

    def supports(self, feature: str, engine: Engine, version: str) -> bool:
        """Whether the engine has a feature at a version; the features are the data file's."""
        minimum = feature_minimum(document("engine_versions"), feature, Engine(engine))
        row = self.version_of(engine, version)
        numbers = row.numbers if row is not None else version_numbers(version)
        return minimum is not None and numbers >= minimum

    # -- parameters -------------------------------------------------------------------------

    def families(self) -> tuple[ParameterFamily, ...]:
        """All parameter families."""
        return tuple(self._families.values())

    def family(self, name: str) -> ParameterFamily:
        """A family by name; raises NotInCatalog."""
        family = self._families.get(name)
        if family is None:
            raise NotInCatalog(f"there is no parameter family {name}")
        return family

    def family_of(self, engine: Engine, version: str) -> ParameterFamily:
        """The family of a version in either form; raises NotInCatalog."""
        row = self.version_of(engine, version)
        if row is None:
            raise NotInCatalog(f"there is no version {version} of {engine}")
        return self.family(row.family)

    def default_group_name(self, engine: Engine, version: str, *, cluster_enabled: bool) -> str:
        """The default parameter group's name for a version; raises NotInCatalog."""
        family = self.family_of(engine, version)
        group = family.default_group(cluster_enabled=cluster_enabled)
        if group is None:
            raise NotInCatalog(f"{family.name} has no group for this cluster mode")
        return group.name

    def default_group(self, name: str) -> tuple[ParameterFamily, DefaultGroup] | None:
        """A default group and its family, by the group's name."""
        family = self._families.get(name.removeprefix("default.").removesuffix(CLUSTER_SUFFIX))
        groups = family.default_groups if family is not None else ()
        group = next((group for group in groups if group.name == name), None)
        return None if family is None or group is None else (family, group)

    def resolve_parameters(
        self,
        family: ParameterFamily | str,
        user_values: Mapping[str, str],
        node_type: NodeType | str,
        *,
        cluster_enabled: bool,
    ) -> dict[str, str]:
        """Every parameter with the value in force; raises NotInCatalog for an unknown type."""
        chosen = self.family(family) if isinstance(family, str) else family
        row = self._node_types.get(node_type) if isinstance(node_type, str) else node_type
        if row is None:
            raise NotInCatalog(f"there is no node type {node_type}")
        return resolve_parameters(chosen, user_values, row, cluster_enabled=cluster_enabled)

    # -- reserved nodes ---------------------------------------------------------------------

    def offerings(self, region: str) -> Mapping[str, Offering]:
        """What reserved nodes are offered in a region, by id, in order of id."""
        return _offerings(region)

    # -- the rest ---------------------------------------------------------------------------

    def events(self) -> Sequence[EventTemplate]:
        """Every kind of event."""
        return tuple(self._events.values())

    def event(self, key: str) -> EventTemplate:
        """A kind of event by its key; raises NotInCatalog."""
        template = self._events.get(key)
        if template is None:
            raise NotInCatalog(f"there is no event {key}")
        return template

    def event_message(self, key: str, **values: object) -> str:
        """An event's text: ``event_message("cache_nodes_removed", nodes="0002")``."""
        return self.event(key).fill(**values)

    @property
    def limits(self) -> Mapping[str, Any]:
        """``limits.json`` as it is: identifiers, quotas, pages, windows, restricted commands."""
        return document("limits")

    def quota(self, name: str) -> int:
        """A quota's default by its name in ``limits.json``; raises NotInCatalog."""
        quota = _quotas().get(name)
        if quota is None:
            raise NotInCatalog(f"there is no quota {name!r}")
        return quota

    def page(self, operation: str) -> Mapping[str, Any] | None:
        """Page sizes of an operation: ``size``, ``token``, ``min``, ``max``, ``default``."""
        pages = document("limits")["pages"]
        row = pages.get(operation)
        return None if row is None else dict(zip(pages["columns"], row, strict=True))

    def document(self, name: str) -> Mapping[str, Any]:
        """Any data file: ``metrics``, ``reserved_offerings``, ``service_updates``, …"""
        return document(name)


@functools.cache
def _quotas() -> Mapping[str, int]:
    return {row[0]: int(row[1]) for row in document("limits")["quotas"]["rows"]}


@functools.cache
def _load() -> Catalog:
    node_types = read_node_types(document("node_types"))
    return Catalog(
        _node_types=node_types,
        _versions=read_versions(document("engine_versions")),
        _families={
            name: read_family(document(f"parameters/{name}"), node_types)
            for name in document("parameters/index")["families"]
        },
        _events=read_events(document("events")),
    )


# A region's are some 1,500: made once, within milliseconds, and small. There are about 40 regions.
@functools.lru_cache(maxsize=64)
def _offerings(region: str) -> Mapping[str, Offering]:
    return offerings(_load().node_types(), region)
