"""Subscriptions of one client, each held by the shard that has the channel's slot.

Channels have slots as keys do, for both kinds of publishing, so whoever publishes meets those who
listen at one shard. A client's counts are of all shards together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cachefleet.engine.gateway.routes import Address
from cachefleet.engine.gateway.serverless.commands import slot_of
from cachefleet.engine.gateway.serverless.replies import parse, push
from cachefleet.engine.gateway.serverless.requests import encode
from cachefleet.engine.gateway.serverless.upstream import Awaited, Upstream

if TYPE_CHECKING:
    from cachefleet.engine.gateway.serverless.session import Session

CHANNELS_MAX: Final = 65_536  # of one client
PLAIN, SHARDED = b"subscribe", b"ssubscribe"
_ENDS: Final = {PLAIN: b"unsubscribe", SHARDED: b"sunsubscribe"}
_MESSAGES: Final = frozenset((b"message", b"smessage"))
# All that a RESP2 connection takes while it listens.
_ALLOWED: Final = frozenset(
    (b"SUBSCRIBE", b"SSUBSCRIBE", b"UNSUBSCRIBE", b"SUNSUBSCRIBE", b"PSUBSCRIBE", b"PUNSUBSCRIBE",
     b"PING", b"QUIT", b"RESET")
)  # fmt: skip


class Subscriptions:
    """What one client listens to."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._held: dict[bytes, dict[bytes, Address]] = {PLAIN: {}, SHARDED: {}}
        self.listens = False  # to anything
        self._wanted: dict[bytes, set[bytes]] = {PLAIN: set(), SHARDED: set()}

    def confines(self, name: bytes) -> bool:
        """Tell whether a command is not to be had while the client listens."""
        return not self._session.resp3 and self.listens and name not in _ALLOWED

    def refusal(self, name: bytes) -> bytes:
        """Return what the engines say then."""
        return (
            b"-ERR Can't execute '%b': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
            b"RESET are allowed in this context\r\n" % name.lower()
        )

    def begin(self, kind: bytes, words: list[bytes], raw: bytes) -> None:
        """SUBSCRIBE and SSUBSCRIBE."""
        session = self._session
        if len(words) < 2:
            session.route(words, raw, words[0].upper())
            return
        if kind is SHARDED and len({slot_of(channel) for channel in words[1:]}) > 1:
            session.answer(b"-CROSSSLOT Keys in request don't hash to the same slot\r\n")
            return
        if len(words) + sum(map(len, self._held.values())) > CHANNELS_MAX:
            session.answer(b"-ERR too many channels\r\n")
            return
        for channel in words[1:]:
            self._subscribe(kind, channel)

    def _subscribe(self, kind: bytes, channel: bytes, *, again: bool = False) -> None:
        session, slot = self._session, slot_of(channel)
        address = self._held[kind].get(channel) or session.service.slots.owner(slot)
        self._wanted[kind].add(channel)
        # Counted when it is asked for: shards may confirm in another order.
        told = push(kind, channel, len(self._wanted[kind]), resp3=session.resp3)

        def replied(awaited: Awaited, upstream: Upstream, reply: bytes) -> None:
            if reply[:1] == b"-":
                if reply.startswith(b"-MOVED "):
                    session.passed(awaited, upstream, reply)
                    return
                self._wanted[kind].discard(channel)
                if not again:
                    session.finish(awaited, reply)
                return
            self._held[kind][channel] = upstream.address
            self.listens = True
            upstream.subscriptions.add((kind, channel))
            if not again:
                session.finish(awaited, told)

        awaited = Awaited(encode([kind, channel]), replied, slot=slot)
        if again:
            session.upstream(address).send(awaited)
        else:
            session.forward(address, awaited)

    def end(self, kind: bytes, words: list[bytes], raw: bytes) -> None:
        """UNSUBSCRIBE and SUNSUBSCRIBE; without channels, of all."""
        session = self._session
        channels = words[1:] or sorted(self._wanted[kind])
        if not channels:
            told = push(_ENDS[kind], None, 0, resp3=session.resp3)
            session.answer(told, raw)
        for channel in channels:
            self._unsubscribe(kind, channel)

    def _unsubscribe(self, kind: bytes, channel: bytes) -> None:
        session = self._session
        address = self._held[kind].pop(channel, None)
        self.listens = any(self._held.values())
        self._wanted[kind].discard(channel)
        told = push(_ENDS[kind], channel, len(self._wanted[kind]), resp3=session.resp3)
        if address is None:
            session.answer(told)
            return

        def replied(awaited: Awaited, upstream: Upstream, reply: bytes) -> None:
            upstream.subscriptions.discard((kind, channel))
            session.finish(awaited, told)

        session.forward(address, Awaited(encode([_ENDS[kind], channel]), replied))

    def heard(self, upstream: Upstream, reply: bytes) -> bool:
        """Take what a shard says by itself; False where it answers a command."""
        # Only the kind is wanted of what may be large.
        first = reply.split(b"\r\n", 3)
        kind = first[2] if len(first) > 2 and first[1][:1] == b"$" else b""
        if kind in _MESSAGES:
            self._session.tell(reply)
            return True
        if kind != _ENDS[SHARDED]:
            return False
        channel = parse(reply)[1]
        if channel not in self._held[SHARDED]:
            return False  # it was asked for
        # The slot has moved, and with it those who publish.
        upstream.subscriptions.discard((SHARDED, channel))
        del self._held[SHARDED][channel]
        self._subscribe(SHARDED, channel, again=True)
        return True

    def reset(self) -> None:
        """RESET: the connections that held them are ended."""
        for kind in (PLAIN, SHARDED):
            self._held[kind].clear()
            self._wanted[kind].clear()
        self.listens = False
