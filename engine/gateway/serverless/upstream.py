"""One connection of one client to one shard: commands out, replies back in their order.

It is opened when the first command needs it, and logs in as its client. A shard that cannot be
reached is tried for as long as a failover may take. What a connection that breaks had been sent
may or may not have been done: the session that owns it decides what that means to its client.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, cast

from cachefleet.engine.gateway.routes import Address
from cachefleet.engine.gateway.serverless.replies import INCOMPLETE, NotAReply, ReplyScanner

CONNECT_S_MAX: Final = 1.0
REACH_S_MAX: Final = 6.0  # a failover takes less
RETRY_S: Final = 0.05
STREAM_BYTES_MIN: Final = 64 * 1024  # what is larger is passed on as it arrives
HELD_BYTES_MAX: Final = 1024 * 1024  # of a reply whose turn has not come
BUFFER_BYTES: Final = 256 * 1024
PUSH: Final = 0x3E  # >

# Called with what was sent, where to, and the reply, in the order of the commands.
OnReply = Callable[["Awaited", "Upstream", bytes], None]


class Awaited:
    """A command that was sent: its bytes, and who takes the reply.

    ``streams``: the reply may be passed on in parts, where its turn has come. ``reply`` is what
    the client gets, once that is known and until its turn comes; ``silent``: it gets nothing.
    """

    __slots__ = ("on_reply", "raw", "redirections", "reply", "silent", "slot", "streams")

    def __init__(
        self, raw: bytes, on_reply: OnReply, *, slot: int | None = None, streams: bool = False
    ) -> None:
        self.raw = raw
        self.on_reply = on_reply
        self.slot = slot
        self.streams = streams
        self.silent = False
        self.reply: bytes | None = None
        self.redirections = 0


class UpstreamOwner(Protocol):
    """The session that a connection belongs to. ``stuck`` counts those that take no more."""

    stuck: int

    def preamble(self, address: Address) -> list[bytes]: ...

    def upstream_tls(self) -> ssl.SSLContext | None: ...

    def moved_to(self, address: Address, slot: int | None) -> Address: ...

    def upstream_unreachable(self, upstream: Upstream) -> None: ...

    def upstream_lost(self, upstream: Upstream) -> None: ...

    def unsolicited(self, upstream: Upstream, reply: bytes) -> bool: ...

    def may_stream(self, awaited: Awaited) -> bool: ...

    def stream(self, awaited: Awaited, part: bytes, *, ended: bool) -> None: ...

    def flush(self) -> None: ...


class Upstream(asyncio.Protocol):
    """Implements the protocol of an asyncio transport."""

    def __init__(self, owner: UpstreamOwner, address: Address) -> None:
        self.address = address
        self.awaited: deque[Awaited] = deque()
        self.subscriptions: set[tuple[bytes, bytes]] = set()  # (kind, channel)
        self.lost = False
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._outbox: list[bytes] = []  # while there is no connection
        self._rest = b""
        self._scanner = ReplyScanner()
        self._streaming = False
        self._paused_by_client = False
        self._paused_by_turn = False
        self._reading = True
        self._task = asyncio.get_running_loop().create_task(self._reach())
        self._stuck = False

    # Out.

    def send(self, awaited: Awaited) -> None:
        """Send a command; its reply comes behind those of the commands before."""
        self.awaited.append(awaited)
        if self._transport is None:
            self._outbox.append(awaited.raw)
        else:
            self._transport.write(awaited.raw)

    async def _reach(self) -> None:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + REACH_S_MAX
        while loop.time() < deadline_s:
            slot = next((one.slot for one in self.awaited if one.slot is not None), None)
            if self._owner.moved_to(self.address, slot) != self.address:
                break  # another node has the slot by now
            try:
                async with asyncio.timeout(CONNECT_S_MAX):
                    await loop.create_connection(
                        lambda: self, *self.address, ssl=self._owner.upstream_tls()
                    )
            except (OSError, TimeoutError):
                await asyncio.sleep(RETRY_S)
            else:
                return
        if not self.lost:
            self.lost = True
            self._owner.upstream_unreachable(self)

    def close(self) -> None:
        """End the connection; nobody waits for what was sent."""
        self.lost = True
        self._unstick()
        self._task.cancel()
        if self._transport is not None:
            self._transport.abort()

    # In.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self.lost:
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=BUFFER_BYTES)
        first = self._owner.preamble(self.address)
        for raw in reversed(first):
            self.awaited.appendleft(Awaited(raw, _logged_in))
        self._transport.write(b"".join((*first, *self._outbox)))
        self._outbox.clear()

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        scanner, start = self._scanner, 0
        if self._streaming:
            start = self._stream_on(data)
        while not self.lost and not self._streaming:
            try:
                end = scanner.end_of_next(data)
            except NotAReply:
                self._break()
                return
            if end == INCOMPLETE:
                break
            self._replied(data[start:end])
            start = end
        if self.lost:
            return
        self._rest = data[start:] if start else data
        scanner.forget(start)
        if len(self._rest) >= STREAM_BYTES_MIN and not self._streaming:
            self._begin_stream()
        self._owner.flush()

    def _replied(self, reply: bytes) -> None:
        if self._owner.unsolicited(self, reply):
            return
        if not self.awaited:
            self._break()
            return
        awaited = self.awaited.popleft()
        awaited.on_reply(awaited, self, reply)

    def _begin_stream(self) -> None:
        """The reply that is arriving is large: pass it on in parts, or let it wait its turn."""
        first = self.awaited[0] if self.awaited else None
        # What is told of subscriptions, and what has to be looked at, is taken whole.
        if first is None or not first.streams or self.subscriptions or self._rest[0] == PUSH:
            return
        if self._owner.may_stream(first):
            self._streaming = True
            self._paused_by_turn = False
            upto = self._stream_on(self._rest)
            self._rest = self._rest[upto:]
            self._scanner.forget(upto)
        elif len(self._rest) >= HELD_BYTES_MAX:
            self._paused_by_turn = True
        self._set_reading()

    def _stream_on(self, data: bytes) -> int:
        """Pass on what belongs to the reply that is streamed; return where it ends in *data*."""
        awaited = self.awaited[0]
        try:
            end = self._scanner.end_of_next(data)
        except NotAReply:
            self._break()
            return len(data)
        if end == INCOMPLETE:
            # A line whose end is missing is not passed on: the scanner looks at it again.
            upto = min(self._scanner.at, len(data))
            if upto:
                self._owner.stream(awaited, data[:upto], ended=False)
            return upto
        self._streaming = False
        self.awaited.popleft()
        self._owner.stream(awaited, data[:end], ended=True)
        return end

    def turn_came(self) -> None:
        """The reply that is arriving here is the next that its client gets."""
        if self._paused_by_turn:
            self._begin_stream()
            self._owner.flush()

    # Pace.

    def pause(self) -> None:
        """The client does not keep up."""
        self._paused_by_client = True
        self._set_reading()

    def resume(self) -> None:
        """It does again."""
        self._paused_by_client = False
        self._set_reading()

    def _set_reading(self) -> None:
        wanted = not (self._paused_by_client or self._paused_by_turn)
        if self._transport is None or wanted == self._reading or self._transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        if not self.lost and not self._stuck:
            self._stuck = True
            self._owner.stuck += 1

    def resume_writing(self) -> None:
        self._unstick()
        self._owner.flush()

    def _unstick(self) -> None:
        if self._stuck:
            self._stuck = False
            self._owner.stuck -= 1

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost:
            self._break()

    def _break(self) -> None:
        self.lost = True
        self._unstick()
        if self._transport is not None:
            self._transport.abort()
        self._owner.upstream_lost(self)


def _logged_in(awaited: Awaited, upstream: Upstream, reply: bytes) -> None:
    """A shard that does not know the client any more says so to the commands that follow."""


__all__ = ["Awaited", "Upstream", "UpstreamOwner"]
