"""Keeps what was measured for a day, within a bound, and gives it back by period.

Numbers are packed as doubles in the order of a layout that is written once; NaN is what was not
measured. A sample of a node takes some 150 bytes.
"""

from __future__ import annotations

import math
import zlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from cachefleet.provisioner.state import prepared, records
from cachefleet.provisioner.state.metric_tables import MetricLayout, MetricSample
from cachefleet.provisioner.state.prepared import Prepared
from cachefleet.provisioner.state.store import Transaction

SAMPLE_EVERY_S = 15
KEPT_S = 24 * 3600
SAMPLES_MAX = 600_000  # a day of 100 nodes; the oldest go first
FORGOTTEN_AT_ONCE_MAX = 5_000  # writers wait for each other: none may take long
STATISTICS: Final = ("Average", "Sum", "Minimum", "Maximum", "SampleCount")


def _keep_statement(insert: Any) -> Prepared:
    statement = insert(records.table_of(MetricSample))
    taken = {name: statement.excluded[name] for name in ("layout_id", "numbers")}
    return Prepared(
        statement.on_conflict_do_update(index_elements=["node_uid", "sampled_at_s"], set_=taken),
        columns=["node_uid", "sampled_at_s", "layout_id", "numbers"],
    )


_KEEP: Final = {
    "sqlite": _keep_statement(sqlite_insert),
    "postgresql": _keep_statement(postgresql_insert),
}


@dataclass(frozen=True, slots=True)
class Point:
    """One period's number; ``at_s`` is where the period begins."""

    at_s: int
    value: float


def next_sample_s(now_s: float) -> int:
    """Return the next instant at which nodes are measured: a quarter of a minute."""
    return (int(now_s) // SAMPLE_EVERY_S + 1) * SAMPLE_EVERY_S


async def ensure_layout(tx: Transaction, names: Sequence[str]) -> int:
    """Return the id of the layout with these names, written now if it is new."""
    for row in (await tx.session.scalars(select(MetricLayout))).all():
        if row.names == list(names):
            return row.id
    layout = MetricLayout(names=list(names))
    tx.session.add(layout)
    await tx.session.flush()
    return layout.id


def pack(values: Mapping[str, float], names: Sequence[str]) -> bytes:
    """Return *values* in the order of *names*."""
    numbers = array("d", (values.get(name, math.nan) for name in names))
    return zlib.compress(numbers.tobytes(), level=1)


def unpack(packed: bytes) -> array[float]:
    """Return the numbers of a sample; NaN where there was none."""
    numbers = array("d")
    numbers.frombytes(zlib.decompress(packed))
    return numbers


async def keep(tx: Transaction, node_uid: str, at_s: int, layout_id: int, packed: bytes) -> None:
    """Write one sample; a second one of the same instant takes its place."""
    sample = {
        "node_uid": node_uid,
        "sampled_at_s": at_s,
        "layout_id": layout_id,
        "numbers": packed,
    }
    await tx.flush()
    await prepared.run(tx.connection, _KEEP[tx.connection.dialect.name], sample)


async def forget(tx: Transaction, now_s: int) -> int:
    """Remove some of what is too old, or too much; return how many samples went."""
    count = int(await tx.session.scalar(select(func.count()).select_from(MetricSample)) or 0)
    oldest = select(MetricSample.node_uid, MetricSample.sampled_at_s).order_by(
        MetricSample.sampled_at_s
    )
    excess = min(max(count - SAMPLES_MAX, 0), FORGOTTEN_AT_ONCE_MAX)
    limit_s = now_s - KEPT_S
    if excess:
        rows = (await tx.session.execute(oldest.offset(excess - 1).limit(1))).all()
        limit_s = max(limit_s, rows[0].sampled_at_s + 1)
    gone = delete(MetricSample).where(MetricSample.sampled_at_s < limit_s)
    await tx.session.execute(gone)
    left = int(await tx.session.scalar(select(func.count()).select_from(MetricSample)) or 0)
    return count - left


async def series(
    tx: Transaction,
    node_uid: str,
    names: Sequence[str],
    *,
    start_s: int,
    end_s: int,
    period_s: int,
    statistics: Mapping[str, str],
) -> dict[str, list[Point]]:
    """Return each named metric by period, from *start_s* up to *end_s* (not included).

    *statistics* says for each name how a period's samples become one number.
    """
    layouts = {
        row.id: {name: index for index, name in enumerate(row.names)}
        for row in (await tx.session.scalars(select(MetricLayout))).all()
    }
    query = (
        select(MetricSample.sampled_at_s, MetricSample.layout_id, MetricSample.numbers)
        .where(
            MetricSample.node_uid == node_uid,
            MetricSample.sampled_at_s >= start_s,
            MetricSample.sampled_at_s < end_s,
        )
        .order_by(MetricSample.sampled_at_s)
    )
    periods: dict[str, dict[int, list[float]]] = {name: {} for name in names}
    for at_s, layout_id, packed in (await tx.session.execute(query)).all():
        numbers, places = unpack(packed), layouts[layout_id]
        begins_s = at_s - at_s % period_s
        for name in names:
            place = places.get(name)
            if place is not None and not math.isnan(numbers[place]):
                periods[name].setdefault(begins_s, []).append(numbers[place])
    return {
        name: [Point(at_s, _reduce(values, statistics[name])) for at_s, values in found.items()]
        for name, found in periods.items()
    }


def _reduce(values: Iterable[float], statistic: str) -> float:
    numbers = list(values)
    match statistic:
        case "Sum":
            return math.fsum(numbers)
        case "Minimum":
            return min(numbers)
        case "Maximum":
            return max(numbers)
        case "SampleCount":
            return float(len(numbers))
    return math.fsum(numbers) / len(numbers)
