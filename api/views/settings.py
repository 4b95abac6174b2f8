"""What the views of cache clusters and replication groups have in common."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, Final

from cachefleet.engine.types import Endpoint

# Endpoints of subjects by (subject uid, kind): ``primary``, ``reader``, ``configuration``.
Endpoints = Mapping[tuple[str, str], Endpoint]

NO_ENDPOINTS: Final[Endpoints] = MappingProxyType({})


def endpoint_view(endpoint: Endpoint | None) -> dict[str, Any] | None:
    """Return ``Endpoint``, or None where there is none yet."""
    return None if endpoint is None else {"Address": endpoint.host, "Port": endpoint.port}


def shown_pending(pending: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return ``PendingModifiedValues``: what is pending of *names*, which the shape has."""
    return {name: value for name, value in pending.items() if name in names}
