"""MULTI, WATCH and EXEC at an endpoint with several shards.

All keys of a transaction are in one slot, so one shard carries it out; which, is known with its
first key. Until then commands are kept here. A slot that moves meanwhile ends the transaction with
an error that tells clients to try it again, as the engines themselves would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cachefleet.engine.gateway.routes import Address
from cachefleet.engine.gateway.serverless.commands import refusal
from cachefleet.engine.gateway.serverless.requests import encode
from cachefleet.engine.gateway.serverless.upstream import Awaited, Upstream

if TYPE_CHECKING:
    from cachefleet.engine.gateway.serverless.session import Session

KEPT_MAX: Final = 1024  # commands before the first key
QUEUED: Final = b"+QUEUED\r\n"
ABORTED: Final = b"-EXECABORT Transaction discarded because of previous errors.\r\n"
NOT_INSIDE: Final = b"-ERR Command not allowed inside a transaction\r\n"
TRY_AGAIN: Final = b"-TRYAGAIN Keys of the transaction are being moved\r\n"
CROSS_SLOT: Final = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"
MULTI, DISCARD = encode([b"MULTI"]), encode([b"DISCARD"])
_LED_ELSEWHERE: Final = (b"-MOVED ", b"-ASK ", b"-CLUSTERDOWN ")
# Several shards would have to do them, or they change the connection.
_OUTSIDE: Final = frozenset(
    b"""AUTH HELLO RESET READONLY READWRITE QUIT CLIENT CLUSTER SCRIPT PUBSUB INFO DBSIZE FLUSHALL
    FLUSHDB SCAN RANDOMKEY SUBSCRIBE UNSUBSCRIBE SSUBSCRIBE SUNSUBSCRIBE PUBLISH""".split()
)


class Transaction:
    """The transaction of one client, and what it watches."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.active = False
        self._watched: Address | None = None
        self._slot: int | None = None  # of the keys, watched ones among them
        self._address: Address | None = None  # where MULTI was sent
        self._kept: list[bytes] = []
        self._dirty = False

    def needs(self, address: Address) -> bool:
        """Tell whether the loss of a shard's connection is the transaction's end."""
        return address in (self._watched, self._address)

    def watch(self, words: list[bytes], raw: bytes) -> None:
        """WATCH."""
        session = self._session
        slot = session.slot_of(words, b"WATCH")
        if isinstance(slot, bytes):
            session.answer(slot)
        elif slot is None:
            session.route(words, raw, b"WATCH")
        elif self._slot not in (None, slot):
            session.answer(CROSS_SLOT)
        else:
            self._slot = slot
            self._watched = self._watched or session.service.slots.owner(slot)
            session.forward(self._watched, Awaited(raw, self._watching))

    def _watching(self, awaited: Awaited, upstream: Upstream, reply: bytes) -> None:
        if reply.startswith(_LED_ELSEWHERE):
            reply = TRY_AGAIN
        self._session.finish(awaited, reply)

    def unwatch(self, words: list[bytes], raw: bytes) -> None:
        """UNWATCH."""
        session = self._session
        address = self._watched or session.home()
        session.forward(address, Awaited(raw, session.passed))
        self._forget()

    def begin(self, words: list[bytes], raw: bytes) -> None:
        """MULTI. Any shard says whether the client may; the one with the keys is told later."""
        session = self._session
        if len(words) != 1:
            session.route(words, raw, b"MULTI")
            return
        self.active, self._kept, self._dirty = True, [], False
        self._address = self._watched
        address = self._watched or session.home()
        session.forward(address, Awaited(raw, self._begun))
        if self._watched is None:
            session.send_aside(address, DISCARD)

    def _begun(self, awaited: Awaited, upstream: Upstream, reply: bytes) -> None:
        if reply[:1] == b"-":
            self._end()
        self._session.finish(awaited, reply)

    def take(self, words: list[bytes], raw: bytes, name: bytes) -> None:
        """A command between MULTI and EXEC."""
        session = self._session
        if name == b"EXEC":
            self._execute(words, raw)
        elif name == b"DISCARD":
            self._discard(raw)
        elif name == b"MULTI":
            session.answer(b"-ERR MULTI calls can not be nested\r\n")
        elif name == b"WATCH":
            session.answer(b"-ERR WATCH inside MULTI is not allowed\r\n")
        elif (refused := refusal(words, name)) is not None:
            self._refuse(refused)
        elif name in _OUTSIDE:
            self._refuse(NOT_INSIDE)
        else:
            self._queue(words, raw, name)

    def _refuse(self, reply: bytes) -> None:
        self._dirty = True
        self._session.answer(reply)

    def _queue(self, words: list[bytes], raw: bytes, name: bytes) -> None:
        session = self._session
        slot = session.slot_of(words, name)
        if isinstance(slot, bytes):
            self._refuse(slot)
            return
        if slot is not None and self._slot not in (None, slot):
            self._refuse(CROSS_SLOT)
            return
        if slot is None and self._address is None:
            if len(self._kept) >= KEPT_MAX:
                self._refuse(b"-ERR too many commands before the first key\r\n")
                return
            self._kept.append(raw)
            session.answer(QUEUED, raw)
            return
        if self._address is None:
            assert slot is not None
            self._slot = slot
            self._open(session.service.slots.owner(slot))
        assert self._address is not None
        session.forward(self._address, Awaited(raw, self._queued))

    def _open(self, address: Address) -> None:
        """Tell the shard of the transaction, and of what was kept."""
        self._address = address
        self._session.send_aside(address, MULTI)
        for raw in self._kept:
            self._session.send_aside(address, raw)
        self._kept = []

    def _queued(self, awaited: Awaited, upstream: Upstream, reply: bytes) -> None:
        if reply[:1] == b"-":
            self._dirty = True
            if reply.startswith(_LED_ELSEWHERE):
                self._learn(reply)
                reply = TRY_AGAIN
        self._session.finish(awaited, reply)

    def _learn(self, reply: bytes) -> None:
        words = reply.split()
        if words[0] == b"-MOVED":
            host, _, port = words[2].rpartition(b":")
            address = Address(host.decode(), int(port))
            self._session.service.slots.learn(int(words[1]), address)

    def _execute(self, words: list[bytes], raw: bytes) -> None:
        session = self._session
        if len(words) != 1:
            self._refuse(b"-ERR wrong number of arguments for 'exec' command\r\n")
            return
        if self._dirty:
            if self._address is not None:
                session.send_aside(self._address, DISCARD)
            session.answer(ABORTED)
        else:
            if self._address is None:
                self._open(session.home())
            assert self._address is not None
            session.forward(self._address, Awaited(raw, self._executed))
        self._end()

    def _executed(self, awaited: Awaited, upstream: Upstream, reply: bytes) -> None:
        if reply.startswith(_LED_ELSEWHERE):
            self._learn(reply)
            reply = TRY_AGAIN
        self._session.finish(awaited, reply)

    def _discard(self, raw: bytes) -> None:
        session = self._session
        if self._address is not None:
            session.forward(self._address, Awaited(raw, session.passed))
        else:
            session.answer(b"+OK\r\n", raw)
        self._end()

    def _end(self) -> None:
        self.active, self._address, self._kept, self._dirty = False, None, [], False
        self._forget()

    def _forget(self) -> None:
        self._watched = self._slot = None

    def reset(self) -> None:
        """RESET."""
        self._end()
