"""Global datastores whose members are in several cachefleets: what is asked of whom.

A change is made by the cachefleet of the region that leads; asked elsewhere, it is asked there.
Where that one does not answer, nothing is changed, but for one thing: a failover to a region of
ours. That is what people call for when the other one is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from pydantic import ValidationError

from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault, fault_of_peer
from cachefleet.api.registry import Params, Result
from cachefleet.provisioner.peering.client import PeerAway, PeerRefused, PeerStrange
from cachefleet.provisioner.state import global_groups, peered
from cachefleet.provisioner.state.global_tables import GlobalGroup, GlobalMember
from cachefleet.provisioner.state.peer_records import Joined, Told

LOST_AFTER_S = 10.0  # a leader that has not answered a failover by then is taken for lost
BUSY = "InvalidGlobalReplicationGroupStateFault"

log = structlog.get_logger(__name__)


async def at_leader(
    ctx: RequestContext, params: Params, *, timeout_s: float | None = None
) -> Result:
    """Have the cachefleet that leads do this; None where that is us, or there is nothing to lead.

    Raises:
        PeerAway: it does not answer.
        Fault: it refused, or cannot be spoken to.
    """
    async with ctx.read() as tx:
        row = await global_groups.find(tx, params["GlobalReplicationGroupId"])
        if row is None or peered.is_led_here(row):
            return None
        region = global_groups.primary_of(row).region
    return await _call(ctx, row.name, region, params, timeout_s=timeout_s)


async def led(ctx: RequestContext, params: Params) -> Result:
    """The same, for what can wait until it answers."""
    try:
        return await at_leader(ctx, params)
    except PeerAway as away:
        raise _led_elsewhere(params["GlobalReplicationGroupId"], away) from away


async def call_leader(ctx: RequestContext, name: str, region: str, params: Params) -> Result:
    """Have the cachefleet of *region*, which leads the global datastore *name*, handle a request.

    Raises:
        Fault: it refused, or does not answer.
    """
    try:
        return await _call(ctx, name, region, params)
    except PeerAway as away:
        raise _led_elsewhere(name, away) from away


def _led_elsewhere(name: str, away: PeerAway) -> Fault:
    return Fault(
        BUSY,
        f"Global replication group {name} is led by another cachefleet: {away}. Nothing was "
        "changed here.",
    )


async def _call(
    ctx: RequestContext, name: str, region: str, params: Params, *, timeout_s: float | None = None
) -> Result:
    if ctx.is_forwarded:
        raise Fault(BUSY, f"Global replication group {name} is changing its primary region.")
    body = {
        "account": ctx.account,
        "region": region,
        "operation": ctx.operation.name,
        "params": params,
        "request_id": ctx.request_id,
    }
    found: Result = await _ask(ctx, region, "call", body, timeout_s=timeout_s)
    return found


async def _ask(
    ctx: RequestContext,
    region: str,
    kind: str,
    body: Mapping[str, Any],
    *,
    timeout_s: float | None = None,
) -> Any:
    try:
        return await ctx.peers.ask(region, kind, body, timeout_s=timeout_s)
    except PeerRefused as refusal:
        raise fault_of_peer(refusal.name, str(refusal)) from refusal
    except PeerStrange as strange:
        raise Fault(BUSY, f"{strange}. Nothing was changed here.") from strange


async def require_members(ctx: RequestContext, name: str) -> None:
    """Refuse what needs every member while the cachefleet of one does not answer."""
    for region in await _foreign(ctx, name):
        await require_member(ctx, name, region)


async def _foreign(ctx: RequestContext, name: str) -> list[str]:
    async with ctx.read() as tx:
        row = await global_groups.find(tx, name)
        return [] if row is None else [m.region for m in row.members if m.fleet is not None]


async def require_member(ctx: RequestContext, name: str, region: str) -> None:
    """Refuse what needs the cachefleet of *region*, if it is another one, while it is away."""
    if region not in await _foreign(ctx, name):
        return
    try:
        await _ask(ctx, region, "look", {"account": ctx.account, "name": name})
    except PeerAway as away:
        raise Fault(
            BUSY, f"The cachefleet of {region} is needed for this: {away}. Nothing was changed."
        ) from away


async def take_over(ctx: RequestContext, params: Params, away: PeerAway) -> GlobalGroup | None:
    """Have a region of ours lead, because the cachefleet of the one that led is lost.

    What had not reached it is lost. Raises *away* where another cachefleet's is to lead.
    """
    async with ctx.begin() as tx:
        row = await global_groups.get(tx, params["GlobalReplicationGroupId"], lock=True)
        wanted = (params["PrimaryReplicationGroupId"].lower(), params["PrimaryRegion"])
        member = next(
            (m for m in row.members if (m.group_name, m.region) == wanted and m.fleet is None), None
        )
        if member is None:
            raise Fault(
                BUSY,
                f"The primary region of {row.name} is lost ({away}); ask the cachefleet of "
                f"{params['PrimaryRegion']} to take over.",
            )
        if peered.is_led_here(row):
            return row
        lost = global_groups.primary_of(row)
        log.warning("global_group_taken_over", name=row.name, lost=lost.region, leads=member.region)
        tx.within(tx.scope).emit(
            peered.SOURCE,
            member.group_name,
            f"Failover of {row.name} without {lost.region}, which does not answer: it may take "
            "writes until it is heard again",
        )
        peered.take_over(tx, row, member)
        await peered.obey(tx, row)
        peered.file_settling(tx, row, ctx.request_id)
        return row


async def find_leader(ctx: RequestContext, name: str) -> str:
    """Return the region whose cachefleet leads a global datastore that we do not lead.

    Raises:
        Fault: nobody knows it.
    """
    regions = list(ctx.peers.regions)
    body = {"account": ctx.account, "name": name}
    answers = await asyncio.gather(
        *(ctx.peers.ask(region, "look", body) for region in regions), return_exceptions=True
    )
    silent: list[str] = []
    leader: tuple[int, str] | None = None
    for region, answer in zip(regions, answers, strict=True):
        if isinstance(answer, (PeerAway, PeerStrange, PeerRefused)):
            silent.append(f"{region}: {answer}")
        elif isinstance(answer, BaseException):
            raise answer
        elif (record := _told(answer).record) is not None:
            leader = max(leader or (-1, ""), (record.epoch, record.leader.region))
    if leader is None:
        if silent:
            raise Fault(BUSY, f"Nobody who answers knows {name}, and {'; '.join(silent)}.")
        raise Fault(
            "GlobalReplicationGroupNotFoundFault", f"GlobalReplicationGroup {name} not found."
        )
    return leader[1]


async def let_in(
    ctx: RequestContext, region: str, name: str, group_name: str, *, only_ask: bool
) -> Joined:
    """Have a group of ours let in by the cachefleet that leads, or ask what it would take over.

    Raises:
        Fault: it refused, or does not answer.
    """
    who = await _who(ctx, group_name)
    body = {"account": ctx.account, "name": name, **who, "only_ask": only_ask}
    try:
        return Joined.model_validate(await _ask(ctx, region, "join", body))
    except PeerAway as away:
        raise Fault(BUSY, f"{name} is led in {region}: {away}.") from away
    except ValidationError as error:
        raise Fault(BUSY, f"The cachefleet of {region} is not understood.") from error


async def plan_shards(
    ctx: RequestContext,
    name: str,
    member: GlobalMember,
    ids: Sequence[str],
    configuration: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Return what new shards are made of there, as the cachefleet of *member* says.

    Raises:
        Fault: it refused, or does not answer.
    """
    body = {
        "account": ctx.account,
        "name": name,
        "region": member.region,
        "group_name": member.group_name,
        "node_group_ids": list(ids),
        "configuration": [dict(one) for one in configuration],
    }
    try:
        answer = await _ask(ctx, member.region, "shards", body)
        return [dict(plan) for plan in answer["plans"]]
    except PeerAway as away:
        raise Fault(
            BUSY, f"The cachefleet of {member.region} is needed for this: {away}."
        ) from away
    except (KeyError, TypeError, ValueError) as error:
        raise Fault(BUSY, f"The cachefleet of {member.region} is not understood.") from error


async def leave(ctx: RequestContext, joined: Joined, name: str, group_name: str) -> None:
    """Take back what was asked for by :func:`let_in`; if nobody hears, it ends by itself."""
    assert joined.told.record is not None
    region = joined.told.record.leader.region
    body = {"account": ctx.account, "name": name, **await _who(ctx, group_name)}
    try:
        await ctx.peers.ask(region, "leave", body)
    except (PeerAway, PeerRefused, PeerStrange) as error:
        log.info("peer_not_told", region=region, reason=str(error))


async def _who(ctx: RequestContext, group_name: str) -> dict[str, str]:
    async with ctx.read() as tx:
        own = await peered.own_fleet(tx)
    return {"region": ctx.region, "group_name": group_name, "fleet": own}


def _told(answer: object) -> Told:
    try:
        return Told.model_validate(answer)
    except ValidationError as error:
        raise Fault(BUSY, "What another cachefleet answers is not understood.") from error
