"""What can go wrong with an engine.

Two of these must never be mixed up: a node that *refused* has told us something, a node that
could not be reached has told us nothing, and nothing is no reason to act.
"""

from __future__ import annotations


class EngineError(Exception):
    """Root of everything the engine layer raises for the world's faults."""


class NodeUnreachable(EngineError):
    """No answer: the node may be dead, slow, starting or cut off. We do not know."""


class CommandRefused(EngineError):
    """The node answered no; *code* is the first word of its reply (``LOADING``, ``ERR``)."""

    def __init__(self, message: str, *, code: str = "ERR") -> None:
        super().__init__(message)
        self.code = code


class NoEngineBinary(EngineError):
    """Nothing that was found on this machine can run the engine as asked."""


class BadConfiguration(EngineError):
    """The values asked for cannot be written down as an engine's configuration."""
