"""``GET /v1/engines``: what this machine can run engines with, as it was found at the start."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cachefleet.api.faults import Fault
from cachefleet.api.front_end import FrontEnd


class EngineView(BaseModel):
    """One binary."""

    Kind: str = Field(description="valkey, redis or memcached")
    Version: str
    Tls: bool = Field(description="Whether it speaks TLS itself.")
    Source: str = Field(description="Where it was found: wheel, path, settings or bundled.")


class EngineList(BaseModel):
    """All of them, those that are preferred first."""

    Engines: list[EngineView]
    Problems: list[str] = Field(description="What was named and does not work.")


def router(front_end: FrontEnd) -> APIRouter:
    """Return the route."""
    routes = APIRouter(tags=["Server"])

    @routes.get(
        "/v1/engines", operation_id="DescribeEngines", summary="The engines that were found."
    )
    async def engines() -> EngineList:
        """Answer what `cachefleet doctor` shows of engines; paths are left out."""
        found = front_end.ports.inventory
        if found is None:
            raise Fault(
                "NotImplemented", "This process runs no nodes, so it looked for no engines."
            )
        inventory = found()
        return EngineList(
            Engines=[
                EngineView(
                    Kind=binary.kind.value,
                    Version=binary.version_text,
                    Tls=binary.tls,
                    Source=binary.source,
                )
                for binary in inventory.binaries
            ],
            Problems=list(inventory.problems),
        )

    return routes
