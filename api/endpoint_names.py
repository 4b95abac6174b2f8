"""Endpoints in answers under their names instead of their addresses, where that is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from cachefleet.api.registry import Result
from cachefleet.provisioner.state import touched
from cachefleet.provisioner.state.endpoint_names import Names, read_names
from cachefleet.provisioner.state.scope import Scope

if TYPE_CHECKING:
    from cachefleet.provisioner.state.store import Store

SCOPES_KEPT_MAX: Final = 64
ENDPOINT: Final = frozenset({"Address", "Port"})


class EndpointNamer:
    """Knows the names of each scope for as long as nothing in it changes."""

    def __init__(self, domain: str) -> None:
        self._domain = domain
        self._kept: dict[Scope, tuple[int, set[str], Names]] = {}

    async def rename(self, store: Store, scope: Scope, result: Result) -> Result:
        """Return *result* with every endpoint that has a name under it."""
        if not result or not _has_endpoint(result):
            return result
        names = await self._names(store, scope)
        return {name: _renamed(value, names) for name, value in result.items()}

    async def _names(self, store: Store, scope: Scope) -> Names:
        revisions = await store.revisions(scope)
        kept = self._kept.get(scope)
        if kept is not None and revisions.stand_since(kept[0], kept[1]):
            touched.note_read(kept[1])
            return kept[2]
        revision = revisions.newest
        with touched.reading() as tables:
            async with store.read(scope) as tx:
                names = await read_names(tx, scope, self._domain)
        touched.note_read(tables)
        if len(self._kept) >= SCOPES_KEPT_MAX:
            self._kept.pop(next(iter(self._kept)))
        self._kept[scope] = (revision, tables, names)
        return names


def _has_endpoint(value: Any) -> bool:
    if isinstance(value, Mapping):
        return value.keys() == ENDPOINT or any(map(_has_endpoint, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_endpoint, value))


def _renamed(value: Any, names: Names) -> Any:
    if isinstance(value, Mapping):
        if value.keys() == ENDPOINT:
            name = names.get((value["Address"], value["Port"]))
            return value if name is None else {**value, "Address": name}
        return {key: _renamed(item, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_renamed(item, names) for item in value]
    return value
