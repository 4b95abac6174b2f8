"""The availability zones of a region, and in which order a resource takes them. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

_LETTERS = {"us-east-1": "abcdef"}
_LETTERS_ELSEWHERE = "abc"


def zones_of(region: str) -> tuple[str, ...]:
    """Return the names of a region's zones, in order: ``us-west-2a``, ``us-west-2b``, ..."""
    return tuple(f"{region}{letter}" for letter in _LETTERS.get(region, _LETTERS_ELSEWHERE))


def rotate(zones: Sequence[str], name: str) -> tuple[str, ...]:
    """Return *zones* beginning with one drawn from *name*, so that resources spread."""
    assert zones
    digest = hashlib.blake2b(name.encode(), digest_size=4).digest()
    first = int.from_bytes(digest) % len(zones)
    return (*zones[first:], *zones[:first])


def spread(zones: Sequence[str], count: int, *, taken: Iterable[str] = ()) -> list[str]:
    """Return a zone for each of *count* nodes: the least used one, the first of *zones* in a tie.

    *taken* are the zones of the nodes that are already there.
    """
    used = Counter(taken)
    chosen = []
    for _ in range(count):
        zone = min(zones, key=lambda candidate: used[candidate])
        used[zone] += 1
        chosen.append(zone)
    return chosen
