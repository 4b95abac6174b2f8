"""Measures every node that this provisioner holds, four times a minute, and keeps the numbers.

Asked over the control sockets with a short deadline; a node that does not answer has no sample for
that instant. The newest samples are also kept in memory, whole, for whoever counts for himself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import psutil
import structlog
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.metrics.definitions import metrics_of
from cachefleet.engine.metrics.memcached import memcached_metrics
from cachefleet.engine.metrics.samples import HostSample, Sample
from cachefleet.engine.metrics.valkey import (
    ASKED,
    CommandGroups,
    parse_command_stats,
    valkey_metrics,
)
from cachefleet.engine.types import Engine
from cachefleet.provisioner.health.regional_lag import fed_since_s, regional_lag_s
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.state import metrics
from cachefleet.provisioner.state.errors import Stale
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.tables import CacheCluster, CacheNode

ANSWER_TIMEOUT_S = 2.0
ASKED_AT_ONCE_MAX = 16
TIDY_EVERY_ROUNDS = 20
EVERYTHING: Final = Scope("", "")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Measured:
    """The newest of one node: whose it is, what it said, what that means."""

    node: CacheNode
    account: str
    region: str
    sample: Sample
    metrics: Mapping[str, float]


# Called after each round with all that was measured in it, and when (seconds since 1970).
OnRound = Callable[[Sequence[Measured], int], Awaitable[None]]


class MetricsSampler:
    """Asks, works out, keeps."""

    def __init__(
        self, fleet: Fleet, held: Callable[[], Mapping[str, object]], *, on_round: OnRound
    ) -> None:
        self._fleet = fleet
        self._held = held
        self._on_round = on_round
        self._slots = asyncio.Semaphore(ASKED_AT_ONCE_MAX)
        self._groups: dict[tuple[str, str], CommandGroups] = {}
        self._layouts: dict[tuple[str, ...], int] = {}
        self._rounds = 0
        self.newest: dict[str, Measured] = {}

    async def run(self) -> None:
        """Measure again and again, on the quarters of each minute, until cancelled."""
        psutil.cpu_percent(None)  # the first call only begins to count
        while True:
            due_s = metrics.next_sample_s(self._now_s())
            while (early_s := due_s - self._now_s()) > 0:  # sleeps may end a little too soon
                await asyncio.sleep(early_s)
            try:
                await self.measure(due_s)
            except (DBAPIError, Stale) as error:
                log.warning("metrics_not_kept", reason=str(error))
            except Exception:  # a mistake of ours here must not end the fleet; it is logged whole
                log.exception("measuring_broke")

    def _now_s(self) -> float:
        return self._fleet.clock.now().timestamp()

    async def measure(self, at_s: int) -> None:
        """Measure once, for the instant *at_s* (seconds since 1970)."""
        found = await self._look()
        self.newest = {one.node.uid: one for one in found}
        if found:
            await self._keep(found, at_s)
        await self._on_round(found, at_s)
        self._rounds += 1
        if self._rounds % TIDY_EVERY_ROUNDS == 0:
            async with self._fleet.store.begin(EVERYTHING) as tx:
                await metrics.forget(tx, at_s)

    async def _look(self) -> list[Measured]:
        held = self._held()
        async with self._fleet.store.read(EVERYTHING) as tx:
            query = select(
                CacheNode, CacheCluster.engine, CacheCluster.account, CacheCluster.region
            ).join(CacheCluster, CacheCluster.uid == CacheNode.cache_cluster_uid)
            rows = (await tx.session.execute(query)).all()
        ours = [
            row for row in rows if row[0].subject_uid in held and row[0].uid in self._fleet.watched
        ]
        host = _host()
        samples = await asyncio.gather(*(self._ask(row[0], Engine(row[1]), host) for row in ours))
        lags = _lags([sample for sample in samples if sample is not None])
        fed = await fed_since_s(self._fleet)
        found = []
        for (node, _, account, region), sample in zip(ours, samples, strict=True):
            if sample is None:
                continue
            await asyncio.sleep(0)  # a hundred nodes are some 30 ms: requests go in between
            lag_s = lags.get((node.host or "", node.port or 0))
            whole = sample if lag_s is None else replace(sample, lag_s=lag_s)
            whole = replace(whole, global_lag_s=regional_lag_s(node.uid, whole, fed))
            before = self.newest.get(node.uid)
            values = self._metrics(before.sample if before else None, whole)
            found.append(Measured(node, account, region, whole, values))
        return found

    def _metrics(self, before: Sample | None, after: Sample) -> dict[str, float]:
        if after.engine is Engine.MEMCACHED:
            return memcached_metrics(before, after)
        return valkey_metrics(before, after, self._groups[_version(after.fields)])

    async def _ask(self, node: CacheNode, engine: Engine, host: HostSample) -> Sample | None:
        async with self._slots:
            if node.host is None:
                return None
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    fields = (
                        await self._fleet.memcached(node).stats()
                        if engine is Engine.MEMCACHED
                        else await self._info(node)
                    )
            except (NodeUnreachable, CommandRefused, TimeoutError):
                return None
        commands = {} if engine is Engine.MEMCACHED else parse_command_stats(fields)
        return Sample(
            engine=engine,
            at_s=self._fleet.clock.monotonic_s(),
            pid=self._fleet.driver.pid(node.uid),
            fields=fields,
            host=host,
            commands=commands,
        )

    async def _info(self, node: CacheNode) -> dict[str, str]:
        adapter = self._fleet.valkey(node)
        info = await adapter.info("all")
        version = _version(info)
        if version not in self._groups:
            replies = await adapter.commands([("ACL", "CAT", name) for name in ASKED])
            self._groups[version] = CommandGroups(
                {
                    name: frozenset(str(command).lower() for command in reply)
                    for name, reply in zip(ASKED, replies, strict=True)
                }
            )
        return info

    async def _keep(self, found: Sequence[Measured], at_s: int) -> None:
        async with self._fleet.store.begin(EVERYTHING) as tx:
            there = set(
                (
                    await tx.session.scalars(
                        select(CacheNode.uid).where(
                            CacheNode.uid.in_([one.node.uid for one in found])
                        )
                    )
                ).all()
            )
            for one in found:
                if one.node.uid not in there:
                    continue  # deleted while it was asked
                names = tuple(metrics_of(one.sample.engine))
                if names not in self._layouts:
                    self._layouts[names] = await metrics.ensure_layout(tx, names)
                await metrics.keep(
                    tx, one.node.uid, at_s, self._layouts[names], metrics.pack(one.metrics, names)
                )


def _version(info: Mapping[str, str]) -> tuple[str, str]:
    return info.get("server_name", ""), info.get("valkey_version", info.get("redis_version", ""))


def _lags(samples: Sequence[Sample]) -> dict[tuple[str, int], float]:
    """Return by address how far behind each replica is, as its primary sees it."""
    found = {}
    for sample in samples:
        for name, text in sample.fields.items():
            if name.startswith(("slave", "replica")) and "lag=" in text:
                link = dict(pair.partition("=")[::2] for pair in text.split(","))
                try:
                    found[link["ip"], int(link["port"])] = float(link["lag"])
                except (KeyError, ValueError):
                    continue
    return found


def _host() -> HostSample:
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    return HostSample(
        cpu_percent=float(psutil.cpu_percent(None)),
        memory_available_bytes=int(memory.available),
        swap_used_bytes=int(swap.used),
    )
