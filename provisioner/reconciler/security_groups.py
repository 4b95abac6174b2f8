"""Security groups enforced: their rules read, and what they let in told to the gateway.

A group that is defined here goes before one of the same id in EC2. What is not known lets nobody
in: a group that neither has, and one of EC2 that could not be asked about yet. Once known, rules
stay in force while EC2 cannot be reached.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from cachefleet.engine.errors import NodeUnreachable
from cachefleet.provisioner.drivers.base import LaunchFailed
from cachefleet.provisioner.planning.security_groups import Rule, admitted
from cachefleet.provisioner.reconciler.fleet import Fleet, SyncEndpoints
from cachefleet.provisioner.state.access_tables import VpcSecurityGroup
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup

LOOK_S = 0.4  # a rule that is taken back cuts connections within a second
DEFAULT_GROUP = "default"  # of caches that were given none
EVERYTHING = Scope("", "")

log = structlog.get_logger(__name__)


class RulesUnknown(Exception):
    """The rules could not be asked for; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class Found:
    """Rules by group id, and the addresses of members of the groups that rules name."""

    rules: Mapping[str, Sequence[Rule]] = field(default_factory=dict)
    members: Mapping[str, Sequence[str]] = field(default_factory=dict)


class RuleSource(Protocol):
    """Where the rules of VPC security groups are read."""

    async def read(self, scope: Scope, group_ids: Sequence[str]) -> Found:
        """Return the rules of those of *group_ids* that there are.

        Raises:
            RulesUnknown: they could not be asked for.
        """
        ...


class NoRules:
    """A source for fleets without an EC2 endpoint: it has no groups."""

    async def read(self, scope: Scope, group_ids: Sequence[str]) -> Found:
        return Found()


@dataclass(frozen=True, slots=True)
class _Guarded:
    uid: str
    scope: Scope
    group_ids: tuple[str, ...]
    port: int


class SecurityGroups:
    """Knows from where each cache may be reached."""

    def __init__(self, fleet: Fleet, source: RuleSource) -> None:
        self._fleet = fleet
        self._source = source
        self._found: dict[Scope, Found] = {}
        self._told: Mapping[str, tuple[str, ...]] | None = None

    async def admitted(self, tx: Transaction) -> dict[str, tuple[str, ...]]:
        """Return the networks that are let in, by the uid of the subject, from what is known.

        A group that has not been asked about is asked about now: a new cache can be reached when
        it is available.
        """
        guarded = await _guarded(tx)
        own = await _own_rules(tx)
        for scope, wanted in _wanted(guarded, own).items():
            known = self._found.get(scope, Found())
            if wanted - known.rules.keys():
                await self._read(scope, wanted)
        self._told = {one.uid: self._admitted(one, own) for one in guarded}
        return dict(self._told)

    async def watch(self, sync: SyncEndpoints) -> None:
        """Look again and again whether rules have changed, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look(sync)
            except (DBAPIError, LaunchFailed, NodeUnreachable) as error:
                log.warning("security_groups_not_enforced", reason=type(error).__name__)

    async def look(self, sync: SyncEndpoints) -> None:
        """Read all rules anew; have the gateway told where it was told something else last.

        By whomever: a rule that came with a change of routes and is gone a moment later has to go
        from the gateway.
        """
        async with self._fleet.store.read(EVERYTHING) as tx:
            guarded, own = await _guarded(tx), await _own_rules(tx)
        for scope, wanted in _wanted(guarded, own).items():
            await self._read(scope, wanted)
        now = {one.uid: self._admitted(one, own) for one in guarded}
        if now != self._told:
            await sync(None)

    def forget(self) -> None:
        """Take note that what was last returned may not have arrived."""
        self._told = None

    async def _read(self, scope: Scope, wanted: Iterable[str]) -> None:
        ids = sorted(wanted)
        try:
            found = await self._source.read(scope, ids)
        except RulesUnknown as error:
            log.warning("security_groups_unknown", account=scope.account, reason=str(error))
            return
        # A group that is not there has no rules, and is not asked about for every connection.
        self._found[scope] = Found({**dict.fromkeys(ids, ()), **found.rules}, found.members)

    def _admitted(
        self, one: _Guarded, own: Mapping[tuple[Scope, str], Sequence[Rule]]
    ) -> tuple[str, ...]:
        found = self._found.get(one.scope, Found())
        rules: list[Rule] = []
        for group_id in one.group_ids:
            defined = own.get((one.scope, group_id))
            rules += found.rules.get(group_id, ()) if defined is None else defined
        return admitted(rules, port=one.port, members=found.members)


async def _guarded(tx: Transaction) -> list[_Guarded]:
    found = []
    for table in (ReplicationGroup, CacheCluster):
        query = select(table.uid, table.account, table.region, table.security_group_ids, table.port)
        if table is CacheCluster:
            query = query.where(CacheCluster.replication_group_uid.is_(None))
        for uid, account, region, group_ids, port in (await tx.session.execute(query)).all():
            ids = tuple(group_ids) or (DEFAULT_GROUP,)
            found.append(_Guarded(uid, Scope(account, region).home, ids, port))
    return found


async def _own_rules(tx: Transaction) -> dict[tuple[Scope, str], list[Rule]]:
    rows = (await tx.session.scalars(select(VpcSecurityGroup))).all()
    return {
        (Scope(row.account, row.region), row.group_id): [_rule(rule) for rule in row.ingress]
        for row in rows
    }


def _rule(stored: Mapping[str, Any]) -> Rule:
    return Rule(from_port=stored["from_port"], to_port=stored["to_port"], network=stored["cidr"])


def _wanted(
    guarded: Iterable[_Guarded], own: Mapping[tuple[Scope, str], Sequence[Rule]]
) -> dict[Scope, set[str]]:
    wanted: dict[Scope, set[str]] = {}
    for one in guarded:
        ids = {group_id for group_id in one.group_ids if (one.scope, group_id) not in own}
        if ids:
            wanted.setdefault(one.scope, set()).update(ids)
    return wanted
