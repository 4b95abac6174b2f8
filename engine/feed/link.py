"""One link at work: connects both sides, copies where it has to, then applies the stream.

Nothing is ever applied twice: a command counts as applied once the target has answered it, and a
link that broke goes on only from a place that is certain (:mod:`.marks`); otherwise it begins with
a new copy. What is on its way is bounded, so a slow target slows the source's output buffer, which
the source limits itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cachefleet.engine.errors import CommandRefused, EngineError
from cachefleet.engine.feed.apply import Applier, Sending
from cachefleet.engine.feed.connection import (
    Connection,
    open_source,
    open_target,
    target_view,
)
from cachefleet.engine.feed.copying import receive, restore
from cachefleet.engine.feed.links import Link, Position
from cachefleet.engine.feed.marks import Mark, Marks, TargetView
from cachefleet.engine.feed.wire import CommandStream, encode, error_of, words_of
from cachefleet.engine.replstream import BrokenStream
from cachefleet.engine.valkey.replication import parse_info

IN_FLIGHT_BYTES_MAX = 8 << 20
REPLY_TIMEOUT_S = 30.0  # a target that owes a reply for this long hangs
ACK_EVERY_S = 1.0
ACK_PAUSE_S = 0.05  # after one that says something new: whoever waits for it hears it so soon
MARK_EVERY_S = 0.2
PEAKS_S = 15  # as long as from one measurement of the fleet to the next
RETRY_S_MIN, RETRY_S_MAX = 0.02, 2.0
SOURCE_SILENCE_S_MAX = 60.0  # a primary says something every ten seconds
# The target has taken nothing of what it answers so: it is to be another node, or not yet.
_AWAY = frozenset({"MOVED", "READONLY", "LOADING", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "ASK"})

log = logging.getLogger(__name__)


class State(enum.StrEnum):
    """Where a link is."""

    CONNECTING = "connecting"
    COPYING = "copying"
    STREAMING = "streaming"


class Diverged(EngineError):
    """The target answered a command as it never should: it does not have what it had to."""


@dataclass(slots=True)
class _InFlight:
    """Something sent whose replies have yet to come; a mark has no place in the stream."""

    sending: Sending | None
    replies: int
    received_at_s: float


class FeedLink:
    """Runs one link until cancelled. *remembered* is the mark of an earlier process, if any."""

    def __init__(
        self,
        link: Link,
        *,
        remembered: Mark | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.link = link
        self.marks = Marks([] if remembered is None else [remembered])
        self.state = State.CONNECTING
        self.reason = ""
        self.copies = 0  # full ones that were begun
        self.commands = 0
        self._clock = clock
        self._started = remembered is not None or link.start is None
        self._history: str | None = None  # the source's, of which ``applied`` is a place
        self.applied = -1
        self._run_id: str | None = None  # of the target that is certainly at ``applied``
        self._peaks_s: dict[int, float] = {}  # the longest lag, by second
        self._behind_since_s = clock()
        self._stream: CommandStream | None = None
        self._database = 0
        self._in_flight: deque[_InFlight] = deque()
        self._in_flight_bytes = 0
        self._room = asyncio.Event()
        self._progress = asyncio.Event()

    # -- what is told --------------------------------------------------------------------------

    def lag_s(self) -> float:
        """Return how long ago the source said what the target has yet to apply."""
        if self.state is not State.STREAMING:
            return self._clock() - self._behind_since_s
        if not self._in_flight:
            return 0.0
        return self._clock() - self._in_flight[0].received_at_s

    def lag_max_s(self) -> float:
        """Return the longest lag of the last quarter of a minute."""
        return max([self.lag_s(), *self._peaks_s.values()])

    def _note_lag(self, now_s: float, lag_s: float) -> None:
        second = int(now_s)
        if second not in self._peaks_s:
            for old in [one for one in self._peaks_s if one <= second - PEAKS_S]:
                del self._peaks_s[old]
        self._peaks_s[second] = max(self._peaks_s.get(second, 0.0), lag_s)

    # -- the loop ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the target up to date until cancelled; whatever breaks is begun again."""
        wait_s = RETRY_S_MIN
        while True:
            began_s = self._clock()
            try:
                await self._once()
            except* (EngineError, OSError, TimeoutError) as group:
                self._note(_telling(group))
            wait_s = RETRY_S_MIN if self._clock() - began_s > RETRY_S_MAX else wait_s * 2
            await asyncio.sleep(min(wait_s, RETRY_S_MAX))

    def _note(self, error: BaseException) -> None:
        if self.state is State.STREAMING:
            self._behind_since_s = self._clock()
        self.state = State.CONNECTING
        self.reason = f"{type(error).__name__}: {error}"
        log.warning("link_broke link=%s reason=%s", self.link.name, self.reason)
        if isinstance(error, Diverged):
            self._lose()

    def _lose(self) -> None:
        """What the target has is not known any more."""
        self._run_id, self._history = None, None
        self.marks.forget()

    async def _once(self) -> None:
        target, view = await open_target(self.link.target)
        try:
            run_id = await _run_id(target)
            position = self._position(run_id, view)
            source, line = await open_source(
                self.link.source, position, shown_as=self.link.shown_as
            )
            try:
                await self._follow(source, target, line, position, run_id)
            finally:
                source.close()
        finally:
            target.close()

    def _position(self, run_id: str, view: TargetView | None) -> Position | None:
        """Return what the target certainly has."""
        if not self._started:
            return self.link.start
        if self._history is not None and run_id == self._run_id:
            return Position(replication_id=self._history, offset=self.applied)
        return None if view is None else self.marks.find(view)

    async def _follow(
        self,
        source: Connection,
        target: Connection,
        line: bytes,
        position: Position | None,
        run_id: str,
    ) -> None:
        words = line.split()
        if words and words[0] == b"+CONTINUE" and position is not None:
            history = words[1].decode() if len(words) > 1 else position.replication_id
            begin = Position(replication_id=history, offset=position.offset)
            if self._database:  # the source does not say again which it is
                await target.ask(b"SELECT", b"%d" % self._database)
        else:
            begin = await self._copy(source, target, line)
        self._started = True
        self._history, self.applied, self._run_id = begin.replication_id, begin.offset, run_id
        self._in_flight.clear()
        self._in_flight_bytes = 0
        self._stream = CommandStream(begin.offset)
        self.state, self.reason = State.STREAMING, ""
        log.info("link_streams link=%s offset=%d", self.link.name, begin.offset)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send_on(source, target))
                tasks.create_task(self._take_replies(source, target))
                tasks.create_task(self._keep_alive(source, target))
                tasks.create_task(self._tell_progress(source))
        finally:
            if any(one.sending is not None and one.replies for one in self._in_flight):
                self._run_id = None  # some of it may have been taken

    async def _copy(self, source: Connection, target: Connection, line: bytes) -> Position:
        self.state = State.COPYING
        self.copies += 1
        self._database = 0
        self._lose()
        self._started = True  # a start that was not granted is none any more
        path = Path(self.link.scratch) / f"{self.link.token}.rdb"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        alive = asyncio.create_task(_say_alive(source))
        try:
            position = await receive(source, line, path)
            await restore(path, target, self._count)
        finally:
            alive.cancel()
            await asyncio.gather(alive, return_exceptions=True)
            path.unlink(missing_ok=True)
        return position

    def _count(self, commands: int) -> None:
        self.commands += commands

    # -- streaming -----------------------------------------------------------------------------

    async def _send_on(self, source: Connection, target: Connection) -> None:
        assert self._stream is not None
        applier = Applier(self._database)
        marked_at_s = 0.0
        while True:
            async with asyncio.timeout(SOURCE_SILENCE_S_MAX):
                data = await source.read()
            now_s = self._clock()
            sendings = applier.take(self._stream.feed(data))
            self._database = applier.database
            self._send(sendings, target, now_s)
            if now_s - marked_at_s > MARK_EVERY_S:
                marked_at_s = now_s
                self._send_mark(target, now_s)
            if applier.ack_asked:
                applier.ack_asked = False
                self._acknowledge(source)
            await target.drained()
            while self._in_flight_bytes > IN_FLIGHT_BYTES_MAX:
                self._room.clear()
                await self._room.wait()

    def _send(self, sendings: list[Sending], target: Connection, now_s: float) -> None:
        raw = b"".join(sending.raw for sending in sendings)
        for sending in sendings:
            self._in_flight.append(_InFlight(sending, sending.replies, now_s))
        self._in_flight_bytes += len(raw)
        if raw:
            target.send(raw)
        self._settle()

    def _send_mark(self, target: Connection, now_s: float) -> None:
        if self._database:
            return  # a mark does not say in which one the stream goes on
        self._in_flight.append(_InFlight(None, 1, now_s))
        target.send(encode((b"INFO", b"replication")))

    async def _take_replies(self, source: Connection, target: Connection) -> None:
        while True:
            try:
                async with asyncio.timeout(REPLY_TIMEOUT_S):
                    replies = await target.take()
            except TimeoutError:
                if self._in_flight:
                    raise
                continue
            for reply in replies:
                self._take(reply)

    def _take(self, reply: bytes) -> None:
        if not self._in_flight:
            raise BrokenStream("the target answers what it was not asked")
        head = self._in_flight[0]
        told = error_of(reply)
        if told is not None:
            code = told.split(" ", 1)[0]
            if code in _AWAY:
                raise CommandRefused(told, code=code)
            # Neither the words of a command nor of the refusal: both may be data of a customer.
            name = b"INFO" if head.sending is None else words_of(head.sending.raw)[0]
            raise Diverged(f"{code} is answered to {name.decode('ascii', 'replace')}")
        head.replies -= 1
        if head.replies == 0 and head.sending is None:
            self._note_mark(reply)
            self._in_flight.popleft()
        self._settle()  # so that whoever is at the front is owed a reply

    def _settle(self) -> None:
        """Count as applied whatever at the front is owed no reply any more."""
        now_s = self._clock()
        while self._in_flight and self._in_flight[0].replies == 0:
            done = self._in_flight.popleft()
            if done.sending is None:
                continue
            self.applied = done.sending.end
            self._progress.set()
            self.commands += done.sending.replies
            self._in_flight_bytes -= len(done.sending.raw)
            self._note_lag(now_s, now_s - done.received_at_s)
        if self._in_flight_bytes <= IN_FLIGHT_BYTES_MAX:
            self._room.set()

    def _note_mark(self, reply: bytes) -> None:
        view = target_view(parse_info(reply.decode("utf-8", "replace")))
        if view is None or self._history is None:
            return
        self.marks.add(
            Mark(
                source=Position(replication_id=self._history, offset=self.applied),
                at=Position(replication_id=view.replication_id, offset=view.offset),
            )
        )

    async def _keep_alive(self, source: Connection, target: Connection) -> None:
        """Tell the source how far we are, and keep a mark of where the target is, in quiet too."""
        # A source sends nothing new before it has heard of a copy that it knows to be whole.
        pause_s = ACK_PAUSE_S
        while True:
            self._acknowledge(source)
            self._send_mark(target, self._clock())
            await asyncio.sleep(pause_s)
            pause_s = min(1.5 * pause_s, ACK_EVERY_S)

    async def _tell_progress(self, source: Connection) -> None:
        """Tell the source of what was applied soon after it was."""
        while True:
            await self._progress.wait()
            self._progress.clear()
            self._acknowledge(source)
            await asyncio.sleep(ACK_PAUSE_S)

    def _acknowledge(self, source: Connection) -> None:
        source.send(encode((b"REPLCONF", b"ACK", b"%d" % max(self.applied, 0))))


async def _say_alive(source: Connection) -> None:
    """Keep the source from giving us up while we restore its copy."""
    while True:
        with contextlib.suppress(OSError):
            source.send(b"\n")
        await asyncio.sleep(ACK_EVERY_S)


def _telling(group: BaseExceptionGroup[Exception]) -> Exception:
    """Return the exception that says most: a divergence counts, whatever broke beside it."""
    found = [
        _telling(error) if isinstance(error, BaseExceptionGroup) else error
        for error in group.exceptions
    ]
    return next((error for error in found if isinstance(error, Diverged)), found[0])


async def _run_id(target: Connection) -> str:
    reply = await target.ask(b"INFO", b"server")
    return parse_info(reply.decode("utf-8", "replace")).get("run_id", "")
