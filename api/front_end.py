"""``FrontEnd``: what routers beside the Query API may use, and the ports that others fill.

The front-end files requests and reads records; it touches no process. Where an answer needs one
(what a node says of itself, ending all of them at once), the composition root passes a port; a
front-end that runs by itself has none, and such requests say so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from prometheus_client.registry import Collector

from cachefleet.api.pipeline import Pipeline
from cachefleet.api.stages import Services
from cachefleet.engine.discovery import Inventory
from cachefleet.engine.types import Endpoint, Engine
from cachefleet.provisioner.state.tables import CacheNode


class NodeReports(Protocol):
    """Asks running nodes what they say of themselves."""

    async def report(self, node_uids: Mapping[str, str]) -> Mapping[str, Mapping[str, Any]]:
        """Return by uid what each node says now; those that do not answer are left out.

        *node_uids* gives for each node's uid the engine that it runs.
        """
        ...


class Resetter(Protocol):
    """Removes every resource at once, processes and all."""

    async def reset(self, account: str | None) -> int:
        """Remove everything of *account*, or of everybody; return how many nodes were ended."""
        ...


class NodeVisits(Protocol):
    """Lets a person look into one node, within limits.

    Both raise :class:`~cachefleet.engine.errors.CommandRefused` for what is not done here and
    :class:`~cachefleet.engine.errors.NodeUnreachable` where the node does not answer in time.
    """

    async def command(self, uid: str, words: Sequence[str], *, engine: Engine, writes: bool) -> Any:
        """Run one command and return its reply as JSON takes it."""
        ...

    async def keys(
        self, uid: str, *, engine: Engine, cursor: str, match: str, count: int, kind: str | None
    ) -> tuple[str, list[dict[str, Any]]]:
        """Return the cursor to go on from, and some keys."""
        ...


class Frame(Protocol):
    """Something changed in a shard that is watched."""

    @property
    def at_ms(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def offset(self) -> int | None: ...
    @property
    def detail(self) -> str: ...


class Camera(Protocol):
    """Watches the nodes of a shard, and the shard as a client does."""

    @property
    def is_busy(self) -> bool:
        """Whether another film would be one too many."""
        ...

    def film(
        self,
        nodes: Sequence[CacheNode],
        endpoints: Sequence[Endpoint],
        *,
        tls: bool,
        duration_s: float,
    ) -> AsyncGenerator[Frame, None]:
        """Yield what changes, beginning with how it is, until the time is over."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What only a process that also runs nodes can give; None where there is none."""

    node_reports: NodeReports | None = None
    resetter: Resetter | None = None
    node_visits: NodeVisits | None = None
    camera: Camera | None = None
    inventory: Callable[[], Inventory] | None = None
    # What Prometheus is told beside what the front-end counts itself.
    collectors: tuple[Collector, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontEnd:
    """What other routers may use: the pipeline's services, and the pipeline itself."""

    services: Services
    pipeline: Pipeline
    ports: Ports = field(default_factory=Ports)
    # Set when the server is about to stop: answers without an end, end.
    closing: asyncio.Event = field(default_factory=asyncio.Event)
