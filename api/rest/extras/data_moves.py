"""``GET /v1/data-moves``: snapshots and restores under way, with how far they have got.

Bytes are counted as they go by and written down every second; the rate is that of the whole time.
"""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from cachefleet.api.front_end import FrontEnd
from cachefleet.api.rest.requests import scope_of
from cachefleet.provisioner.state import data_moves


class DataMove(BaseModel):
    """One snapshot, copy, export or restore under way."""

    Kind: str = Field(description="snapshot, copy, export or restore")
    Name: str = Field(description="The snapshot, or the cache that is restored.")
    BytesDone: int
    BytesTotal: int | None = Field(description="About as much as there will be, where known.")
    BytesPerSecond: float
    BeganAt: datetime


class DataMoves(BaseModel):
    """All that is under way."""

    DataMoves: list[DataMove]


def router(front_end: FrontEnd) -> APIRouter:
    """Return the route."""
    routes = APIRouter(tags=["Snapshots"])

    @routes.get(
        "/v1/data-moves",
        operation_id="ListDataMoves",
        summary="Snapshots and restores under way.",
    )
    async def moves(request: Request) -> DataMoves:
        """Return what is being copied now, in this account and region."""
        services = front_end.services
        async with services.store.read(scope_of(request)) as tx:
            found = await data_moves.under_way(tx, scope=tx.scope)
        return DataMoves(
            DataMoves=[
                DataMove(
                    Kind=move.kind,
                    Name=move.name,
                    BytesDone=move.bytes_done,
                    BytesTotal=move.bytes_total,
                    BytesPerSecond=move.bytes_per_s(services.clock.now()),
                    BeganAt=move.began_at,
                )
                for move in found
            ]
        )

    return routes
