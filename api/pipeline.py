"""Runs the stages in order. The one place that catches ``Fault`` and what nobody expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from cachefleet.api.faults import Fault, state_fault
from cachefleet.api.stages import STAGES, Exchange, Services, Stage
from cachefleet.provisioner.state.errors import Stale, StateError

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status and the document that goes with it; ``code`` is None on success."""

    status: int
    document: bytes
    code: str | None = None


class Pipeline:
    """Answers requests. Never raises, whatever a client sends or a handler does."""

    def __init__(self, services: Services, *, stages: Sequence[Stage] = STAGES) -> None:
        self.services = services
        self._stages = tuple(stages)

    async def answer(self, exchange: Exchange) -> Answer:
        """Run every stage and return the success document, or the error document of the first
        stage that refused."""
        try:
            for stage in self._stages:
                pending = stage(exchange, self.services)
                if pending is not None:
                    await pending
        except Fault as fault:
            return self.refuse(fault, exchange.request_id)
        except Exception as error:  # the boundary: everything else is ours to explain
            return self.refuse(to_fault(error, exchange), exchange.request_id)
        return Answer(200, exchange.document)

    def refuse(self, fault: Fault, request_id: str) -> Answer:
        """Return the error document of *fault*."""
        document = self.services.serializer.error(
            code=fault.code, message=fault.message, status=fault.status, request_id=request_id
        )
        return Answer(fault.status, document, fault.code)


def to_fault(error: Exception, exchange: Exchange) -> Fault:
    """Return what the client is told of *error*; what it is not to blame for is logged in full."""
    if isinstance(error, StateError):
        fault = state_fault(error)
        if fault is not None:
            return fault
        if isinstance(error, Stale):  # nothing was changed, so the client may well try again
            return Fault("ServiceUnavailable", "The request could not be completed; try again.")
    log.error(
        "request_failed",
        request_id=exchange.request_id,
        operation=exchange.operation_name,
        exc_info=error,
    )
    return Fault(
        "InternalFailure",
        "The request processing has failed because of an unknown error, exception or failure.",
    )
