"""Watches every node of the subjects that this provisioner holds.

The end of a process is heard at once and hands its subject over to be settled. A silent process is
judged, and where it is found hung it is killed: that is the fence, because a process that is gone
can neither wake up nor take another write, and from there on it is an ended process like any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable

import psutil
import structlog

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.gateway.control import GatewayControl
from cachefleet.provisioner.health.pulse import QUESTIONS, Pulse
from cachefleet.provisioner.health.verdict import Silence, Verdict, judge, pause_s
from cachefleet.provisioner.reconciler.endpoints import GATEWAY_UID, Endpoints
from cachefleet.provisioner.reconciler.feeds import FEED_UID, Feeds
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.loop import Provisioner

log = structlog.get_logger(__name__)

ROUNDS_PER_TIMEOUT = 4  # a hang is found after at most 1.25 timeouts
CONNECT_TIMEOUT_S = 1.0
# A round that comes this much later than it should says that we were not running ourselves.
LATE_FACTOR = 2.0


class Monitor:
    """Turns what happens to processes into settlings of their subjects."""

    def __init__(
        self, fleet: Fleet, provisioner: Provisioner, endpoints: Endpoints, feeds: Feeds
    ) -> None:
        self._fleet = fleet
        self._provisioner = provisioner
        self._endpoints = endpoints
        self._feeds = feeds
        self._pulses: dict[str, Pulse] = {}
        self._connecting: set[str] = set()
        self._rounds = 0
        self._cpu_at_silence_s: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        fleet.driver.listen(self._process_ended)

    async def run(self) -> None:
        """Ask every node for a sign of life, again and again, until cancelled."""
        interval_s = self._fleet.settings.failover_timeout_s / ROUNDS_PER_TIMEOUT
        clock = self._fleet.clock
        self._spawn(self._watch_gateway)
        try:
            now_s = clock.monotonic_s()
            while True:
                asleep_at_s = clock.monotonic_s()
                await asyncio.sleep(self._pause_s(now_s, interval_s))
                now_s = clock.monotonic_s()
                if now_s - asleep_at_s > LATE_FACTOR * interval_s:
                    self._forgive()
                self._round(now_s)
        finally:
            for pulse in self._pulses.values():
                pulse.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _pause_s(self, now_s: float, interval_s: float) -> float:
        """Return the pause after a round that found at *now_s* what it found."""
        owed = (pulse.owed_since_s for pulse in self._pulses.values())
        return pause_s(
            [since_s for since_s in owed if since_s is not None],
            now_s=now_s,
            timeout_s=self._fleet.settings.failover_timeout_s,
            round_s=interval_s,
        )

    def _forgive(self) -> None:
        """Begin all waits anew: it was us who were away, and answers may lie unread."""
        log.warning("watching_was_late")
        self._cpu_at_silence_s.clear()
        for pulse in self._pulses.values():
            pulse.forgive(self._fleet.clock.monotonic_s())

    async def _watch_gateway(self) -> None:
        """End a gateway that hangs; its end is heard like any other, and it is started again."""
        timeout_s = self._fleet.settings.failover_timeout_s
        control = GatewayControl(self._fleet.driver.socket_path(GATEWAY_UID), timeout_s)
        silent_since_s: float | None = None
        cpu_at_silence_s = 0.0
        while True:
            await asyncio.sleep(timeout_s / ROUNDS_PER_TIMEOUT)
            if not self._endpoints.serves or await self._fleet.driver.find(GATEWAY_UID) is None:
                silent_since_s = None
                continue
            asked_at_s = self._fleet.clock.monotonic_s()
            try:
                await control.ping()
            except NodeUnreachable:
                now_s = self._fleet.clock.monotonic_s()
                if silent_since_s is None or now_s - asked_at_s > LATE_FACTOR * timeout_s:
                    # The first answer that is owed may lie unread, where it was us who were away:
                    # all connections of the fleet's TLS endpoints hang on the gateway, so it is
                    # asked once more.
                    silent_since_s, cpu_at_silence_s = asked_at_s, self._cpu_s(GATEWAY_UID)
                    continue
                silence = Silence(
                    silent_s=now_s - silent_since_s,
                    cpu_s=self._cpu_s(GATEWAY_UID) - cpu_at_silence_s,
                )
                if judge(silence, timeout_s=timeout_s) is Verdict.DOWN:
                    log.warning("gateway_fenced", silent_s=silence.silent_s)
                    silent_since_s = None
                    await self._fleet.driver.kill(GATEWAY_UID)
            except CommandRefused:
                silent_since_s = None  # an answer of any kind is life
            else:
                silent_since_s = None

    def _process_ended(self, uid: str) -> None:
        self._drop(uid)
        if uid in self._fleet.ending:
            self._fleet.ending.discard(uid)
            return
        if uid == FEED_UID:
            log.warning("feed_ended")
            self._spawn(self._feeds.ended)
            return
        if uid == GATEWAY_UID:
            log.warning("gateway_ended")
            self._spawn(self._endpoints.gateway_ended)
            return
        watched = self._fleet.watched.pop(uid, None)
        log.warning("node_ended", node=uid)
        if watched is not None:
            self._provisioner.preempt(watched.subject_uid)

    def _round(self, now_s: float) -> None:
        held = self._provisioner.leases
        watched = {uid for uid, node in self._fleet.watched.items() if node.subject_uid in held}
        self._rounds += 1
        for uid in self._pulses.keys() - watched:
            self._drop(uid)
        for uid in watched:
            pulse = self._pulses.get(uid)
            if uid in self._connecting:
                continue
            if pulse is None or not pulse.connected:
                self._connecting.add(uid)
                self._spawn(functools.partial(self._connect, uid))
            else:
                self._look(uid, pulse, now_s)

    def _look(self, uid: str, pulse: Pulse, now_s: float) -> None:
        if pulse.owed_since_s is None:
            self._cpu_at_silence_s.pop(uid, None)
            # Nobody waits to write to a replica that hangs: it is asked half as often.
            if self._rounds % 2 == 0 or uid not in self._fleet.replicas:
                pulse.ask(now_s)
            return
        cpu_s = self._cpu_s(uid)
        at_silence_s = self._cpu_at_silence_s.setdefault(uid, cpu_s)
        silence = Silence(silent_s=now_s - pulse.owed_since_s, cpu_s=cpu_s - at_silence_s)
        verdict = judge(silence, timeout_s=self._fleet.settings.failover_timeout_s)
        if verdict is Verdict.DOWN:
            log.warning("node_fenced", node=uid, silent_s=silence.silent_s)
            self._drop(uid)
            self._spawn(functools.partial(self._fleet.driver.kill, uid))

    def _cpu_s(self, uid: str) -> float:
        pid = self._fleet.driver.pid(uid)
        if pid is None:
            return 0.0
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(pid).cpu_times()
            return float(times.user + times.system)
        return 0.0

    async def _connect(self, uid: str) -> None:
        try:
            node = self._fleet.watched.get(uid)
            if node is None:
                return
            self._pulses[uid] = await Pulse.connect(
                node.asked_at or self._fleet.driver.socket_path(uid),
                question=QUESTIONS[node.engine],
                timeout_s=CONNECT_TIMEOUT_S,
            )
        except (OSError, TimeoutError):
            # Not up yet, or ended: the driver tells the latter, and the next round asks again.
            return
        finally:
            self._connecting.discard(uid)

    def _drop(self, uid: str) -> None:
        self._cpu_at_silence_s.pop(uid, None)
        pulse = self._pulses.pop(uid, None)
        if pulse is not None:
            pulse.close()

    def _spawn(self, work: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            try:
                await work()
            except Exception:
                log.exception("watching_broke")

        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
