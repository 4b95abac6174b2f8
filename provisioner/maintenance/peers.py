"""Asks the other cachefleets, twice a second, what they say of the global datastores that are
theirs and ours, and brings our copies of the records up to date.

Nothing is asked where there is no such global datastore. Whoever does not answer is asked more and
more rarely, up to every five seconds; what he missed he asks for himself. At a start the first
look comes before anything else: a region that was deposed meanwhile must not take writes again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from cachefleet.engine.pki import UnusableKeys
from cachefleet.provisioner.peering.client import PeerAway, PeerRefused, Peers, PeerStrange
from cachefleet.provisioner.planning.peers import is_deposed, merge
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.state import peer_parameters, peered
from cachefleet.provisioner.state.errors import Stale
from cachefleet.provisioner.state.global_tables import GlobalGroup, GlobalMember
from cachefleet.provisioner.state.peer_records import Told
from cachefleet.provisioner.state.scope import Scope

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.5
AWAY_AFTER_S = 5.0  # without an answer, and after so many questions:
MISSES_MIN = 2  # we may have been the one who was too busy to ask
RARELY_S = 5.0
FIRST_LOOK_TIMEOUT_S = 3.0  # a start waits no longer for peers that are not there
EVERYTHING = Scope("", "")


@dataclass(frozen=True, slots=True)
class _Shared:
    """A global datastore that the cachefleet of *region*, *fleet* by id, has a member of."""

    uid: str
    account: str
    name: str
    region: str
    fleet: str


class PeerWatch:
    """Runs until cancelled; it is the ``PeerPort`` of its fleet."""

    def __init__(self, fleet: Fleet, peers: Peers) -> None:
        self._fleet = fleet
        self._peers = peers
        self._heard_s: dict[str, float] = {}
        self._misses: dict[str, int] = {}  # in a row, by the id of the cachefleet
        self._said: dict[str, str] = {}  # what was last logged of a region
        # By region, the global datastores shared with it; and those that it is to be told of anew.
        self._shared_with: dict[str, list[str]] = {}
        self._missed_by: set[str] = set()
        self._published = -1  # as of which change it is written down who vouches for our nodes
        self._pause_s: dict[str, float] = {}
        self._due_s: dict[str, float] = {}

    def is_away(self, fleet: str) -> bool:
        """Tell whether a cachefleet, by its id, has not answered for a while."""
        now_s = self._fleet.clock.monotonic_s()
        heard_s = self._heard_s.setdefault(fleet, now_s)  # of a new one it is not known yet
        return self._misses.get(fleet, 0) >= MISSES_MIN and now_s - heard_s > AWAY_AFTER_S

    async def poke(self, region: str) -> None:
        """Tell the cachefleet of *region* that there is something to hear."""
        await self._peers.poke(region)

    async def run(self) -> None:
        """Look again and again. A database that is away is asked at the next look."""
        while True:
            self._peers.news.clear()
            try:
                await self.look()
            except DBAPIError as error:
                log.warning("peers_postponed", reason=str(error.orig))
            with contextlib.suppress(TimeoutError):
                # Where none are configured, records of theirs may be left from before.
                async with asyncio.timeout(LOOK_EVERY_S if self._peers.regions else RARELY_S):
                    await self._peers.news.wait()
                    self._due_s.clear()  # somebody who was away may be back

    async def first_look(self) -> None:
        """Look once before the nodes are started, for as long as a start may take."""
        try:
            async with asyncio.timeout(FIRST_LOOK_TIMEOUT_S):
                await self.look()
        except TimeoutError:
            log.warning("peers_not_heard", waited_s=FIRST_LOOK_TIMEOUT_S)

    async def _publish(self) -> None:
        """Write down who vouches for our nodes, whenever that is somebody else."""
        certificates = self._fleet.certificates
        if not self._peers.regions or certificates.trust_stamp() == self._published:
            return
        try:
            authority = certificates.authority().certificate.decode()
        except (UnusableKeys, OSError) as error:
            log.warning("authority_not_told", reason=str(error))
            return
        stamp = certificates.trust_stamp()
        async with self._fleet.store.begin(EVERYTHING) as tx:
            await peered.publish_authority(tx, authority)
        self._published = stamp

    async def look(self) -> None:
        """Ask every cachefleet once for each global datastore that is shared with it."""
        await self._publish()
        async with self._fleet.store.read(EVERYTHING) as tx:
            query = (
                select(
                    GlobalGroup.uid,
                    GlobalGroup.account,
                    GlobalGroup.name,
                    GlobalMember.region,
                    GlobalMember.fleet,
                )
                .join(GlobalMember, GlobalMember.global_uid == GlobalGroup.uid)
                .where(GlobalMember.fleet.is_not(None))
                .order_by(GlobalMember.region, GlobalGroup.name)
            )
            found = [
                _Shared(uid, account, name, region, fleet or "")
                for uid, account, name, region, fleet in (await tx.session.execute(query)).all()
            ]
        regions: dict[str, list[_Shared]] = {}
        for one in found:
            regions.setdefault(one.region, []).append(one)
        self._shared_with = {region: [one.uid for one in ones] for region, ones in regions.items()}
        now_s = self._fleet.clock.monotonic_s()
        due = [region for region in regions if now_s >= self._due_s.get(region, 0.0)]
        await asyncio.gather(*(self._ask(region, regions[region]) for region in due))

    async def _ask(self, region: str, shared: Sequence[_Shared]) -> None:
        for one in shared:
            try:
                answer = await self._peers.ask(
                    region, "look", {"account": one.account, "name": one.name}
                )
                told = Told.model_validate(answer)
            except (PeerAway, PeerStrange, PeerRefused) as error:
                self._missed(one, str(error))
                return
            except ValidationError as error:
                self._missed(one, f"its answer has {error.error_count()} mistakes")
                return
            if told.fleet != one.fleet:
                self._missed(one, "another cachefleet answers than the one that has the member")
                return
            is_back = self._heard(one, told.fleet)
            await self._take(one, told, is_back=is_back)

    async def _take(self, one: _Shared, told: Told, *, is_back: bool) -> None:
        """Bring our copy up to date; a no-op where nothing is new.

        With one that *is_back*, what was decided without it is looked at again.
        """
        async with self._fleet.store.read(EVERYTHING) as tx:
            row = await tx.session.get(GlobalGroup, one.uid)
            if row is None:
                return
            own = await peered.own_fleet(tx)
            mine = peered.record_of(row, own)
            is_over = mine.leader.fleet == told.fleet and told.record is None
            after = merge(own, mine, told)
            is_known = not is_over and after == mine
            wanted = told.parameters if after.leader.fleet == told.fleet else None
            is_like = not await peer_parameters.others(tx, row, wanted)
            if is_known and is_like and not is_back and not peered.has_unbegun(row):
                return
            ours = [member.region for member in row.members if member.fleet is None]
        # The answers that are kept of this region are dropped with it.
        scope = Scope(one.account, ours[0] if ours else "")
        try:
            async with self._fleet.store.begin(scope) as tx:
                row = await tx.session.get(GlobalGroup, one.uid, with_for_update=True)
                if row is None:
                    return
                mine = peered.record_of(row, own)
                if is_over and mine.leader.fleet == told.fleet:
                    log.warning("global_group_dissolved", name=row.name, region=one.region)
                    await peered.dissolve(tx, row)
                    return
                after = merge(own, mine, told)
                if is_deposed(own, mine, after):
                    log.warning("region_deposed", name=row.name, leads=after.leader.region)
                await peered.adopt(tx, row, after, own)
                if after.leader.fleet == told.fleet and told.parameters is not None:
                    await peer_parameters.take(tx, self._fleet.catalog, row, told.parameters)
        except Stale:
            return  # somebody was there first; it is heard again

    def _heard(self, one: _Shared, fleet: str) -> bool:
        """Note that a cachefleet answered; tell whether it had not, when last asked of *one*."""
        region = one.region
        self._heard_s[fleet] = self._fleet.clock.monotonic_s()
        self._misses.pop(fleet, None)
        self._pause_s.pop(region, None)
        self._due_s.pop(region, None)
        if self._said.pop(region, None) is not None:
            log.warning("peer_back", region=region)
            self._missed_by.update(self._shared_with.get(region, ()))
        is_back = one.uid in self._missed_by
        self._missed_by.discard(one.uid)
        return is_back

    def _missed(self, one: _Shared, reason: str) -> None:
        region = one.region
        self._heard_s.setdefault(one.fleet, self._fleet.clock.monotonic_s())
        self._misses[one.fleet] = self._misses.get(one.fleet, 0) + 1
        pause_s = min(RARELY_S, 2 * self._pause_s.get(region, LOOK_EVERY_S / 2))
        self._pause_s[region] = pause_s
        self._due_s[region] = self._fleet.clock.monotonic_s() + pause_s
        if self._said.get(region) != reason:
            self._said[region] = reason
            log.warning("peer_away", region=region, reason=reason)
