"""What the gateway says about itself over its control socket: values, and their JSON. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cachefleet.engine.gateway.routes import Address, RouteKind


class UnreadableReport(ValueError):
    """The answer is not one a gateway of this version gives."""


@dataclass(frozen=True, kw_only=True)
class ListenFailure:
    """An address of a route that could not be bound; it is tried again at the next reload."""

    route: str
    listen: Address
    reason: str


@dataclass(frozen=True, kw_only=True)
class ReloadReport:
    version: int  # of the routes file, as applied
    failures: tuple[ListenFailure, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BackendStatus:
    address: Address
    connections: int  # now
    connections_total: int
    failures_total: int  # refused or silent connection attempts


@dataclass(frozen=True, kw_only=True)
class RouteStatus:
    name: str
    kind: RouteKind
    listening: tuple[Address, ...]
    failures: tuple[ListenFailure, ...]
    connections: int  # now, those still waiting for a backend included
    refused_total: int  # turned away at a connection limit
    unserved_total: int  # closed because no backend answered
    bytes_from_clients: int
    bytes_from_backends: int
    backends: tuple[BackendStatus, ...]
    units_total: int = 0  # of a serverless cache: processing units that were used
    throttled_total: int = 0  # commands that had to wait for some
    outstanding: int = 0  # commands that were passed on and have no answer yet


@dataclass(frozen=True, kw_only=True)
class GatewayStatus:
    pid: int
    version: int
    error: str | None  # why the last read of the routes file changed nothing
    connections: int
    routes: tuple[RouteStatus, ...]

    def route(self, name: str) -> RouteStatus:
        """Raises KeyError for a name that the gateway does not serve."""
        for route in self.routes:
            if route.name == name:
                return route
        raise KeyError(name)


def render_reload(report: ReloadReport) -> dict[str, Any]:
    return {
        "version": report.version,
        "failures": [_rendered_failure(failure) for failure in report.failures],
    }


def parse_reload(value: object) -> ReloadReport:
    """Raises :class:`UnreadableReport`."""
    try:
        return ReloadReport(
            version=int(value["version"]),  # type: ignore[index]
            failures=tuple(_failure(item) for item in value["failures"]),  # type: ignore[index]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableReport(repr(error)) from error


def render_status(status: GatewayStatus) -> dict[str, Any]:
    return {
        "pid": status.pid,
        "version": status.version,
        "error": status.error,
        "connections": status.connections,
        "routes": [
            {
                **vars(route),
                "kind": route.kind.value,
                "listening": [list(address) for address in route.listening],
                "failures": [_rendered_failure(failure) for failure in route.failures],
                "backends": [
                    {**vars(backend), "address": list(backend.address)}
                    for backend in route.backends
                ],
            }
            for route in status.routes
        ],
    }


def parse_status(value: object) -> GatewayStatus:
    """Raises :class:`UnreadableReport`."""
    try:
        members: dict[str, Any] = dict(value)  # type: ignore[call-overload]
        return GatewayStatus(
            **{**members, "routes": tuple(_route_status(item) for item in members["routes"])}
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableReport(repr(error)) from error


def _route_status(item: dict[str, Any]) -> RouteStatus:
    return RouteStatus(
        **{
            **item,
            "kind": RouteKind(item["kind"]),
            "listening": tuple(Address(*pair) for pair in item["listening"]),
            "failures": tuple(_failure(failure) for failure in item["failures"]),
            "backends": tuple(
                BackendStatus(**{**backend, "address": Address(*backend["address"])})
                for backend in item["backends"]
            ),
        }
    )


def _rendered_failure(failure: ListenFailure) -> dict[str, Any]:
    return {
        "route": failure.route,
        "listen": list(failure.listen),
        "reason": failure.reason,
    }


def _failure(item: dict[str, Any]) -> ListenFailure:
    return ListenFailure(
        route=str(item["route"]), listen=Address(*item["listen"]), reason=str(item["reason"])
    )
