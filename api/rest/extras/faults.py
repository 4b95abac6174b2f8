"""``/v1/faults``: break nodes on purpose, see what is broken, and undo it.

A fault hits a node, a cluster, a group or an availability zone. It is filed here and carried out by
whoever runs the nodes. Refused unless the server allows it (``--allow-faults``, ``--ephemeral``).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cachefleet.api.faults import Fault
from cachefleet.api.front_end import FrontEnd
from cachefleet.api.rest.requests import scope_of
from cachefleet.provisioner.state import faults
from cachefleet.provisioner.state.errors import NotFound
from cachefleet.provisioner.state.fault_tables import FaultHit, InjectedFault
from cachefleet.provisioner.state.faults import (
    DURATION_S_DEFAULT,
    DURATION_S_MAX,
    RUN_SHARE_DEFAULT,
    RUN_SHARE_MAX,
    RUN_SHARE_MIN,
    Cut,
    FaultKind,
    FaultTarget,
    HitState,
    NothingToHit,
    TooManyFaults,
)
from cachefleet.provisioner.state.store import Transaction

NAME_CHARS_MAX = 255
LISTED_MAX = 100
CONTINUE = "continue"

FaultState = Literal["requested", "active", "ended", "failed"]
_STATES: Mapping[HitState, FaultState] = MappingProxyType(
    {
        HitState.REQUESTED: "requested",
        HitState.BEGINNING: "requested",
        HitState.ACTIVE: "active",
        HitState.ENDED: "ended",
        HitState.FAILED: "failed",
    }
)

Name = Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX)]
FaultId = Annotated[str, Path(min_length=1, max_length=16)]


class FaultRequest(BaseModel):
    """What is to be broken, how, and for how long."""

    model_config = ConfigDict(extra="forbid")

    Kind: Literal["kill", "stop", "continue", "slow", "partition"] = Field(
        description="`kill` ends the process and keeps it down. `stop` freezes it, `slow` lets it "
        "run for a part of the time; `continue` takes both back. `partition` drops what comes to "
        "it over the network."
    )
    CacheClusterId: Name | None = Field(None, description="The cluster that is hit.")
    CacheNodeId: Name | None = Field(None, description="One node of that cluster.")
    ReplicationGroupId: Name | None = Field(None, description="The group that is hit.")
    AvailabilityZone: Name | None = Field(
        None, description="The zone that is hit; with a group, its nodes in that zone."
    )
    DurationSeconds: float | None = Field(
        None,
        ge=0,
        le=DURATION_S_MAX,
        allow_inf_nan=False,
        description=f"When it is undone by itself. {DURATION_S_DEFAULT:g} where it is not given; "
        "for `kill` 0, which starts the node again at once.",
    )
    Cut: Literal["all", "nodes"] = Field(
        "all",
        description="`partition`: from whom. `all`: clients, other nodes and the control plane. "
        "`nodes`: the other nodes of its group.",
    )
    RunShare: float = Field(
        RUN_SHARE_DEFAULT,
        ge=RUN_SHARE_MIN,
        le=RUN_SHARE_MAX,
        allow_inf_nan=False,
        description="`slow`: the part of the time that the process runs.",
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> FaultRequest:
        if not (self.CacheClusterId or self.ReplicationGroupId or self.AvailabilityZone):
            raise ValueError("name a CacheClusterId, a ReplicationGroupId or an AvailabilityZone")
        if self.CacheNodeId and not self.CacheClusterId:
            raise ValueError("a CacheNodeId needs its CacheClusterId")
        if self.CacheClusterId and (self.ReplicationGroupId or self.AvailabilityZone):
            raise ValueError("a CacheClusterId stands alone")
        if self.Kind not in ("kill", CONTINUE) and self.DurationSeconds == 0:
            raise ValueError("only a kill can last 0 seconds")
        return self

    def target(self) -> FaultTarget:
        """Return what is hit."""
        return FaultTarget(
            cache_cluster_id=self.CacheClusterId,
            cache_node_id=self.CacheNodeId,
            replication_group_id=self.ReplicationGroupId,
            availability_zone=self.AvailabilityZone,
        )

    def duration_s(self) -> float:
        """Return how long it lasts."""
        if self.DurationSeconds is not None:
            return self.DurationSeconds
        return 0.0 if self.Kind == "kill" else DURATION_S_DEFAULT


class FaultNode(BaseModel):
    """How it stands with one node."""

    CacheClusterId: str
    CacheNodeId: str
    State: FaultState
    ProcessId: int | None = Field(description="The process that was hit.")
    BeganAt: datetime | None
    EndedAt: datetime | None
    Note: str = Field(description="Why it ended or failed, where that is not plain.")


class FaultTargetView(BaseModel):
    """What was asked for."""

    CacheClusterId: str | None = None
    CacheNodeId: str | None = None
    ReplicationGroupId: str | None = None
    AvailabilityZone: str | None = None


class FaultView(BaseModel):
    """A fault."""

    FaultId: str
    Kind: str
    State: FaultState = Field(
        description="`requested` until it has begun on every node, `failed` where it could not "
        "begin on any."
    )
    Target: FaultTargetView
    Cut: str | None
    RunShare: float | None
    DurationSeconds: float
    CreatedAt: datetime
    EndsAt: datetime
    Nodes: list[FaultNode]


class FaultList(BaseModel):
    """The newest faults, newest first."""

    Faults: list[FaultView]


def router(front_end: FrontEnd) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["Faults"])
    store = front_end.services.store

    @routes.post(
        "/v1/faults",
        status_code=201,
        operation_id="InjectFault",
        summary="Break nodes on purpose, for a time.",
    )
    async def inject(request: Request, body: FaultRequest) -> FaultList:
        """File the fault; it begins within a fraction of a second.

        `continue` answers the faults that it ends.
        """
        _require_allowed(front_end)
        try:
            async with store.begin(scope_of(request)) as tx:
                if body.Kind == CONTINUE:
                    found = await faults.resume(tx, body.target())
                    return FaultList(Faults=[fault_view(fault) for fault in found])
                fault = await faults.inject(
                    tx,
                    kind=FaultKind(body.Kind),
                    target=body.target(),
                    duration_s=body.duration_s(),
                    cut=Cut(body.Cut),
                    run_share=body.RunShare,
                )
                return FaultList(Faults=[fault_view(fault)])
        except NothingToHit as refusal:
            raise Fault("InvalidParameterValueException", f"{refusal}.") from refusal
        except TooManyFaults as refusal:
            raise Fault("Throttling", f"{refusal}; no more may be.") from refusal

    @routes.get("/v1/faults", operation_id="ListFaults", summary="The newest faults.")
    async def listed(
        request: Request,
        MaxRecords: Annotated[  # noqa: N803 - the wire's name
            int, Query(ge=1, le=LISTED_MAX)
        ] = LISTED_MAX,
    ) -> FaultList:
        """Show what was injected, and how it stands with each node."""
        async with store.read(scope_of(request)) as tx:
            found = await faults.faults_of(tx, limit=MaxRecords)
        return FaultList(Faults=[fault_view(fault) for fault in found])

    @routes.get("/v1/faults/{fault_id}", operation_id="GetFault", summary="One fault.")
    async def one(request: Request, fault_id: FaultId) -> FaultView:
        """Show a fault."""
        async with store.read(scope_of(request)) as tx:
            return fault_view(await _find(tx, fault_id))

    @routes.delete("/v1/faults/{fault_id}", operation_id="UndoFault", summary="End a fault now.")
    async def undo(request: Request, fault_id: FaultId) -> FaultView:
        """Have the fault taken back; nothing happens to one that has ended."""
        _require_allowed(front_end)
        async with store.begin(scope_of(request)) as tx:
            fault = await _find(tx, fault_id)
            await faults.undo(tx, fault)
            return fault_view(fault)

    return routes


async def _find(tx: Transaction, fault_id: str) -> InjectedFault:
    try:
        return await faults.find_fault(tx, fault_id)
    except NotFound as missing:
        raise Fault("NotFound", f"There is no fault {fault_id}.") from missing


def _require_allowed(front_end: FrontEnd) -> None:
    if not front_end.services.settings.allow_faults:
        raise Fault("AccessDenied", "This server does not allow it: start it with --allow-faults.")


def fault_view(fault: InjectedFault) -> FaultView:
    """Return a fault as it is answered."""
    named = fault.target
    return FaultView(
        FaultId=fault.uid,
        Kind=fault.kind,
        State=_state([_shown(hit) for hit in fault.hits]),
        Target=FaultTargetView(
            CacheClusterId=named.get("cache_cluster_id"),
            CacheNodeId=named.get("cache_node_id"),
            ReplicationGroupId=named.get("replication_group_id"),
            AvailabilityZone=named.get("availability_zone"),
        ),
        Cut=fault.cut or None,
        RunShare=fault.run_share if fault.kind == FaultKind.SLOW else None,
        DurationSeconds=fault.duration_s,
        CreatedAt=fault.created_at,
        EndsAt=fault.ends_at,
        Nodes=[_node_view(hit) for hit in fault.hits],
    )


def _state(states: list[FaultState]) -> FaultState:
    """Sum up the nodes of a fault; one whose nodes are all deleted has ended."""
    if states and all(state == "failed" for state in states):
        return "failed"
    if "requested" in states:
        return "requested"
    return "active" if "active" in states else "ended"


def _shown(hit: FaultHit) -> FaultState:
    """Return a node's state for people: a fault is not active before it has taken effect."""
    return _STATES[HitState(hit.state)]


def _node_view(hit: FaultHit) -> FaultNode:
    return FaultNode(
        CacheClusterId=hit.member_name,
        CacheNodeId=hit.cache_node_id,
        State=_shown(hit),
        ProcessId=hit.pid,
        BeganAt=hit.began_at,
        EndedAt=hit.ended_at,
        Note=hit.note,
    )
