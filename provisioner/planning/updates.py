"""Decide what service updates there are for a cache, and what becomes of earlier ones. Pure.

An update is something that a node would have after its next start, or with its next certificate,
and has not now. Nothing is offered on a guess: a node that does not say what it is, is not judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cachefleet.engine.types import Build
from cachefleet.provisioner.state.updates import UNDER_WAY, Event, Status

ENGINE, AUTHORITY = "engine", "authority"


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """An update as it would be offered to one cache now.

    *behind* are the nodes that it would change; *unknown* those that cannot be judged now.
    """

    kind: str
    engine: str
    fingerprint: str
    brings: str
    severity: str
    description: str
    behind: frozenset[str]
    unknown: frozenset[str] = field(default=frozenset())


def is_newer(offered: Build, running: Build) -> bool:
    """Tell whether *offered* is an update of what runs: a higher version, or another build of it.

    Another program is none, and an older version is none: that would be a way back.
    """
    if offered.kind is not running.kind or offered.version < running.version:
        return False
    if offered.version > running.version:
        return True
    return bool(offered.build and running.build) and offered.build != running.build


def offer_engine(
    engine: str, offered: Build, running: Mapping[str, Build | None], *, where: str
) -> Offer:
    """Return the update of the engine's program; *running* is what each node says that it is."""
    behind = {uid: build for uid, build in running.items() if build and is_newer(offered, build)}
    versions = sorted({build.version for build in behind.values()})
    old = ", ".join(".".join(map(str, version)) for version in versions)
    raised = any(version < offered.version for version in versions)
    version = ".".join(map(str, offered.version))
    text = f"{offered.kind.value} {version} at {where} in place of {old}"
    if behind and not raised:
        text = f"Another build of {offered.kind.value} {version} at {where}"
    return Offer(
        kind=ENGINE,
        engine=engine,
        fingerprint=str(offered),
        brings=f"{offered.kind.value} {version}",
        severity="important" if raised else "medium",
        description=text,
        behind=frozenset(behind),
        unknown=frozenset(uid for uid, build in running.items() if build is None),
    )


def offer_authority(engine: str, serial: str, behind: frozenset[str]) -> Offer:
    """Return the update of certificates to those of a new authority."""
    return Offer(
        kind=AUTHORITY,
        engine=engine,
        fingerprint=serial,
        brings="all versions",
        severity="important",
        description=f"Certificates of the new authority with the serial number {serial}",
        behind=behind,
    )


def next_event(
    status: str, *, is_current: bool, behind: bool, unknown: bool, due: bool
) -> Event | None:
    """Return what has happened to an action, by what was found; None where nothing has.

    *is_current*: its update is still what would be offered. *due*: the date has passed, and it may
    be applied without being asked for.
    """
    if status in UNDER_WAY:
        return None
    ended = status in (Status.COMPLETE, Status.NOT_APPLICABLE)
    if not is_current:
        return None if ended else Event.SUPERSEDE
    if behind:
        if ended:
            return Event.REOPEN
        if due and status == Status.NOT_APPLIED:
            return Event.SCHEDULE
        return Event.SCHEDULED if status == Status.SCHEDULING else None
    return None if ended or unknown else Event.FINISH
