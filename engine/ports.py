"""The port through which the provisioner reaches one replicating node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from cachefleet.engine.types import Endpoint, ReplicationView


class EngineAdapter(Protocol):
    """One node that can replicate.

    Every method raises :class:`~cachefleet.engine.errors.NodeUnreachable` when there is no
    answer in time and :class:`~cachefleet.engine.errors.CommandRefused` when the answer is no.
    """

    async def ping(self) -> None:
        """Return once the node has answered; a node still loading refuses with ``LOADING``."""

    async def replication(self) -> ReplicationView:
        """Read the node's role, offset and links."""

    async def follow(self, primary: Endpoint) -> None:
        """Make the node replicate from *primary*."""

    async def promote(self) -> None:
        """Make the node a primary. Fence the old one first: this checks nothing."""

    async def configure(self, directives: Mapping[str, str]) -> None:
        """Set engine directives on the running node, all or none."""

    async def save(self) -> None:
        """Write the data set to the node's directory and return when it is there."""

    async def shutdown(self, *, save: bool) -> None:
        """Ask the process to end, with or without writing its data first."""

    async def aclose(self) -> None:
        """Give up the connection; the node is not touched."""
