"""Reads what a memcached server answers to ``stats``.

Pure. Refuses lines that are no statistics.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cachefleet.engine.errors import EngineError
from cachefleet.engine.types import Endpoint


class NotStatistics(EngineError):
    """A line of the reply is not ``STAT <name> <value>``."""


def parse_stats(lines: Iterable[bytes]) -> dict[str, str]:
    """Turn the lines in front of ``END`` into a mapping; a value may be empty or hold blanks."""
    stats: dict[str, str] = {}
    for line in lines:
        word, _, rest = line.decode("utf-8", "replace").partition(" ")
        name, _, value = rest.partition(" ")
        if word != "STAT" or not name:
            raise NotStatistics(f"{line[:60]!r} is not a statistic")
        stats[name] = value
    return stats


def parse_listeners(conns: Mapping[str, str]) -> tuple[Endpoint, ...]:
    """Find in ``stats conns`` the TCP addresses that the server listens on."""
    found = []
    for name, value in conns.items():
        number, _, what = name.partition(":")
        if what != "state" or value != "conn_listening":
            continue
        scheme, _, address = conns.get(f"{number}:addr", "").partition(":")
        host, _, port = address.rpartition(":")
        if scheme in ("tcp", "tcp6") and port.isdecimal():
            found.append(Endpoint(host.strip("[]"), int(port)))
    return tuple(found)
