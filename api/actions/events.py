"""What happened to the resources of a scope in the last fourteen days, newest first.

A ``StartTime`` from before that is taken as the oldest instant that is kept. Without a start, the
time asked for is the ``Duration`` before the end; with a start and no end, the duration behind it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import and_, or_, select

from cachefleet.api.context import RequestContext
from cachefleet.api.pagination import window
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.api.views.events import event_view
from cachefleet.provisioner.state.tables import Event

KEPT = timedelta(days=14)
DURATION_MINUTES_DEFAULT = 60
DURATION_MINUTES_MAX = 20160  # fourteen days

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@action("DescribeEvents")
async def describe_events(ctx: RequestContext, params: Params) -> Result:
    """Return a page of events."""
    source, source_type = params.get("SourceIdentifier"), params.get("SourceType")
    if source and not source_type:
        raise wrong_combination("SourceType must be given where SourceIdentifier is.")
    first, last = choose_span(
        start=params.get("StartTime"),
        end=params.get("EndTime"),
        duration_minutes=params.get("Duration"),
        now=ctx.now,
    )
    # Both parts fall as events get older; a key is shown by its negative, which grows.
    asked = window(params, ctx.paging, like=(0, 0))
    query = select(Event).where(
        Event.account == ctx.account,
        Event.region == ctx.region,
        Event.occurred_at >= first,
        Event.occurred_at <= last,
    )
    if source_type:
        query = query.where(Event.source_type == source_type)
    if source:
        query = query.where(Event.source_identifier == source.lower())
    if asked.after is not None:
        query = query.where(_older_than(asked.after))
    query = query.order_by(Event.occurred_at.desc(), Event.id.desc()).limit(asked.fetch)
    async with ctx.read() as tx:
        rows = (await tx.session.scalars(query)).all()
    shown, marker = asked.close(
        rows, lambda row: (-((row.occurred_at - _EPOCH) // _MICROSECOND), -row.id)
    )
    return {"Events": [event_view(row) for row in shown], "Marker": marker}


def choose_span(
    *,
    start: datetime | None,
    end: datetime | None,
    duration_minutes: int | None,
    now: datetime,
) -> tuple[datetime, datetime]:
    """Return the first and the last instant that are asked for, both included. Pure.

    Raises:
        Fault: the duration is out of bounds, the end is before the start, or all three are given.
    """
    if duration_minutes is not None and not 1 <= duration_minutes <= DURATION_MINUTES_MAX:
        raise wrong_value(f"Duration must be between 1 and {DURATION_MINUTES_MAX} minutes.")
    oldest = now - KEPT
    if start is None:
        last = end or now
        minutes = duration_minutes or DURATION_MINUTES_DEFAULT
        # An end from before all that is kept needs no arithmetic, which could leave the calendar.
        return (oldest if last < oldest else max(oldest, last - timedelta(minutes=minutes))), last
    if end is not None and duration_minutes is not None:
        raise wrong_combination("Duration cannot be given with both StartTime and EndTime.")
    if end is not None and end < start:
        raise wrong_combination("EndTime must not be before StartTime.")
    last = end or now
    if duration_minutes is not None and start < now:
        last = start + timedelta(minutes=duration_minutes)
    return max(oldest, start), last


def _older_than(key: tuple[int, int]) -> Any:
    try:
        instant = _EPOCH + timedelta(microseconds=-key[0])
    except OverflowError:
        raise wrong_value("The Marker is not valid for this request.") from None
    return or_(Event.occurred_at < instant, and_(Event.occurred_at == instant, Event.id < -key[1]))
