"""The names that the service gives endpoints, with a domain of our own at the end. Pure.

    demo.3f9a1c.ng.0001.use1.cache.<domain>          primary of a group without TLS
    master.demo.3f9a1c.use1.cache.<domain>           the same with TLS
    sessions.3f9a1c.cfg.use1.cache.<domain>          configuration endpoint of memcached
    carts-3f9a1c.serverless.use1.cache.<domain>      serverless cache

Clients look at them: some take a name for a configuration endpoint only if ``.cfg.`` or
``clustercfg`` is in it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

CODE_CHARS = 6
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_DIRECTIONS = {
    "northeast": "ne",
    "northwest": "nw",
    "southeast": "se",
    "southwest": "sw",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """What all names of one account in one region have in common."""

    account: str
    region: str
    domain: str

    @property
    def code(self) -> str:
        """Six characters that are the same for an account and region, ever."""
        digest = hashlib.sha256(f"{self.account}/{self.region}".encode()).digest()
        return "".join(ALPHABET[byte % len(ALPHABET)] for byte in digest[:CODE_CHARS])

    @property
    def tail(self) -> str:
        """What every name ends in: ``use1.cache.<domain>``."""
        return f"{region_code(self.region)}.cache.{self.domain}"


def region_code(region: str) -> str:
    """Return a region as names have it: ``us-east-1`` is ``use1``."""
    head, *middle, number = region.split("-")
    return head + "".join(_DIRECTIONS.get(word, word[:1]) for word in middle) + number


def primary_name(group: str, *, tls: bool, place: Place) -> str:
    """Return the name of a group's primary endpoint."""
    if tls:
        return f"master.{group}.{place.code}.{place.tail}"
    return f"{group}.{place.code}.ng.0001.{place.tail}"


def reader_name(group: str, *, tls: bool, place: Place) -> str:
    """Return the name of a group's reader endpoint."""
    if tls:
        return f"replica.{group}.{place.code}.{place.tail}"
    return f"{group}-ro.{place.code}.ng.0001.{place.tail}"


def configuration_name(cache: str, *, memcached: bool, tls: bool, place: Place) -> str:
    """Return the name of a configuration endpoint."""
    if memcached:
        return f"{cache}.{place.code}.cfg.{place.tail}"
    if tls:
        return f"clustercfg.{cache}.{place.code}.{place.tail}"
    return f"{cache}.{place.code}.clustercfg.{place.tail}"


def serverless_name(cache: str, uid: str, *, place: Place) -> str:
    """Return the name of a serverless cache's endpoint; *uid* is the cache's own."""
    digest = hashlib.sha256(uid.encode()).digest()
    code = "".join(ALPHABET[byte % len(ALPHABET)] for byte in digest[:CODE_CHARS])
    return f"{cache}-{code}.serverless.{place.tail}"


def node_name(cluster: str, node_id: str, *, group: str | None, tls: bool, place: Place) -> str:
    """Return the name of one node; *group* is whose member it is, where it is one."""
    if tls and group is not None:
        return f"{cluster}.{group}.{place.code}.{place.tail}"
    return f"{cluster}.{place.code}.{node_id}.{place.tail}"
