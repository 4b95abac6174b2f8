"""The metrics of a memcached node. Pure."""

from __future__ import annotations

from cachefleet.engine.metrics.samples import (
    PERCENT,
    Sample,
    host_metrics,
    number,
    plain_metrics,
    since,
)


def memcached_metrics(before: Sample | None, after: Sample) -> dict[str, float]:
    """Return every metric that *after*, and what was added since *before*, allow."""
    found = {**plain_metrics(before, after), **host_metrics(after)}
    limit, used = number(after.fields, "limit_maxbytes"), number(after.fields, "bytes")
    if limit is not None and used is not None:
        found["UnusedMemory"] = limit - used
    for name, source in (("NetworkBytesIn", "bytes_read"), ("NetworkBytesOut", "bytes_written")):
        value = since(before, after, source)
        if value is not None:
            found[name] = value
    busy = [since(before, after, name) for name in ("rusage_user", "rusage_system")]
    if before is not None and after.at_s > before.at_s and None not in busy:
        spent_s = sum(value for value in busy if value is not None)
        found["EngineCPUUtilization"] = PERCENT * spent_s / (after.at_s - before.at_s)
    return found
