"""What is known of a node and its host at one instant, and what two such instants make. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cachefleet.engine.metrics.definitions import Kind, metrics_of
from cachefleet.engine.types import Engine

PERCENT = 100.0


@dataclass(frozen=True, slots=True)
class CommandCount:
    """How often a command was run, and how long that took in all."""

    calls: int
    usec: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSample:
    """The machine that nodes run on."""

    cpu_percent: float
    memory_available_bytes: int
    swap_used_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one node said. ``at_s`` is monotonic; ``pid`` tells a restart."""

    engine: Engine
    at_s: float
    pid: int | None
    fields: Mapping[str, str]
    host: HostSample
    commands: Mapping[str, CommandCount] = field(default_factory=dict)
    # From its primary's account of it: how far behind a replica is.
    lag_s: float | None = None
    # How far behind the leading region the first node of a shard of another one is.
    global_lag_s: float | None = None


def number(fields: Mapping[str, str], name: str) -> float | None:
    """Return a field as a number; None where it is missing or no number."""
    try:
        return float(fields[name])
    except (KeyError, ValueError):
        return None


def since(before: Sample | None, after: Sample, name: str) -> float | None:
    """Return what was added to a counter; all of it where the process is a new one."""
    now = number(after.fields, name)
    if now is None or before is None:
        return None
    then = number(before.fields, name) if before.pid == after.pid else 0.0
    # A counter that was reset by hand (CONFIG RESETSTAT) begins anew.
    return now - then if then is not None and then <= now else now


def plain_metrics(before: Sample | None, after: Sample) -> dict[str, float]:
    """Return the metrics that are one field of the engine, or what was added to one."""
    found: dict[str, float] = {}
    for metric in metrics_of(after.engine).values():
        if metric.source is None:
            continue
        value = (
            since(before, after, metric.source)
            if metric.kind is Kind.DELTA
            else number(after.fields, metric.source)
        )
        if value is not None:
            found[metric.name] = value
    return found


def host_metrics(after: Sample) -> dict[str, float]:
    """Return the metrics of the machine."""
    return {
        "CPUUtilization": after.host.cpu_percent,
        "FreeableMemory": float(after.host.memory_available_bytes),
        "SwapUsage": float(after.host.swap_used_bytes),
    }
