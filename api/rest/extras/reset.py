"""``POST /v1/reset``: an empty fleet, at once. For tests; refused unless the server allows it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from cachefleet.api.faults import Fault
from cachefleet.api.front_end import FrontEnd


class ResetRequest(BaseModel):
    """Whose resources are removed."""

    model_config = ConfigDict(extra="forbid")

    Account: Annotated[
        str | None,
        Field(
            pattern=r"^[0-9]{12}$",
            description="Only what this account has; everything of everybody where it is absent.",
        ),
    ] = None


class ResetResult(BaseModel):
    """What was removed."""

    NodesEnded: int = Field(description="How many processes were ended.")


def router(front_end: FrontEnd) -> APIRouter:
    """Return the route."""
    routes = APIRouter(tags=["Server"])

    @routes.post(
        "/v1/reset", operation_id="Reset", summary="Remove every resource, and end every node."
    )
    async def reset(request: Request, body: ResetRequest | None = None) -> ResetResult:
        """Remove resources of every kind with their nodes, tags, events and settings."""
        if not front_end.services.settings.allow_reset:
            raise Fault(
                "AccessDenied", "This server does not allow it: start it with --allow-reset."
            )
        resetter = front_end.ports.resetter
        if resetter is None:
            raise Fault("NotImplemented", "This process runs no nodes, so it cannot end them.")
        account = None if body is None else body.Account
        return ResetResult(NodesEnded=await resetter.reset(account))

    return routes
