"""One client of a serverless endpoint: commands in, each to its shard, replies back in order.

A client may send ahead as far as the limits below; replies wait for their turn. Commands that
change the connection itself (AUTH, HELLO, ...) are barriers: what was sent before is answered
first. When a slot has moved, what is under way is led after it, and nothing new is sent until that
is done, so that commands on one key are never turned round.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, cast

from cachefleet.engine.gateway.routes import Address
from cachefleet.engine.gateway.serverless import handlers
from cachefleet.engine.gateway.serverless.commands import READS, NoKeys, keys_of, slot_of
from cachefleet.engine.gateway.serverless.pubsub import Subscriptions
from cachefleet.engine.gateway.serverless.requests import (
    BadRequest,
    Command,
    RequestReader,
    encode,
)
from cachefleet.engine.gateway.serverless.transactions import Transaction
from cachefleet.engine.gateway.serverless.upstream import Awaited, Upstream
from cachefleet.engine.gateway.serving import ClientSide

if TYPE_CHECKING:
    from cachefleet.engine.gateway.serverless.service import ServerlessService

QUEUE_MAX: Final = 4096  # commands of one client that are not answered yet
QUEUE_BYTES_MAX: Final = 8 * 1024 * 1024
UNREAD_BYTES_MAX: Final = 256 * 1024  # beyond the command that is arriving
KEY_BYTES_MAX: Final = 4096  # a limit of the service
REDIRECTIONS_MAX: Final = 128  # with pauses between them that is longer than a failover
RETRY_S: Final = 0.05

CROSS_SLOT: Final = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"
KEY_TOO_LONG: Final = b"-ERR key is longer than 4096 bytes\r\n"
UNREACHABLE: Final = b"-CLUSTERDOWN The cluster is down\r\n"

_RETRIED: Final = (b"-TRYAGAIN ", b"-CLUSTERDOWN ")


class Session(ClientSide):
    """Implements the client's side, and :class:`.upstream.UpstreamOwner`."""

    def __init__(self, service: ServerlessService) -> None:
        self.service = service
        self.transport: asyncio.Transport
        self.queue: deque[Awaited] = deque()
        self.upstreams: dict[Address, Upstream] = {}
        self.transaction: Transaction = Transaction(self)
        self.subscriptions: Subscriptions = Subscriptions(self)
        self.resp3 = False
        self.credentials: tuple[bytes, ...] | None = None
        self.name: bytes | None = None
        self.reads = False  # it came to the port for reads
        self.readonly = False
        self.stuck = 0  # connections to shards that take no more for now
        self.reply_mode = b"ON"
        self.barrier = False
        self.lost = False
        self.made = False
        self.byte_count = 0
        self.bytes_back = 0
        self._home: Address | None = None
        self._reader = RequestReader()
        self._held: Command | None = None
        self._out: list[bytes] = []
        self._queued_bytes = 0
        self._redirecting = False
        self._throttled = False
        self._ending = False
        self._pumping = False
        self._reading = True
        self._client_full = False

    # The client's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.made = True
        self.transport.set_write_buffer_limits(high=self.service.route.options.buffer_bytes)
        self.reads = self.service.is_for_reads(self.transport.get_extra_info("sockname"))
        if not self.service.session_opened(self):
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self.byte_count += len(data)
        self._reader.feed(data)
        self.flush()

    def eof_received(self) -> bool:
        return False  # TLS closes both directions

    def pause_writing(self) -> None:
        self._client_full = True
        for upstream in self.upstreams.values():
            upstream.pause()

    def resume_writing(self) -> None:
        self._client_full = False
        for upstream in self.upstreams.values():
            upstream.resume()
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost:
            self.lost = True
            self.drop_upstreams()
            self.queue.clear()
            self._out.clear()
            self.service.session_ended(self)

    def forsake(self) -> None:
        """Give the connection up when the loop may not say that it is lost."""
        if self.made and not self.lost:
            self.transport.abort()
            self.connection_lost(None)

    def abort(self) -> None:
        """End it now."""
        if self.made and not self.lost:
            self.transport.abort()

    def close(self) -> None:
        """End it once what is to be sent is sent."""
        if self.made and not self.lost:
            self.transport.close()

    def change_sides(self) -> None:
        """Other shards serve from now on, which know nothing of this client yet.

        Whoever has commands under way, or a place that only the former shards know of, is cut off:
        nobody knows what was done.
        """
        bound = self.queue or self.transaction.active or self.subscriptions.listens
        if bound or any(self.transaction.needs(address) for address in self.upstreams):
            self.abort()
            return
        self.drop_upstreams()
        self._home = None

    @property
    def outstanding(self) -> int:
        """How many commands have yet to be answered."""
        return len(self.queue)

    def upstream_tls(self) -> ssl.SSLContext | None:
        """Return how a connection to a shard is encrypted."""
        return self.service.upstream_tls()

    # Commands in.

    def flush(self) -> None:
        """Go on with whatever can be done, and send what is due."""
        if self.lost:
            return
        self._pump()
        if self._out:
            out, self._out = self._out, []
            data = out[0] if len(out) == 1 else b"".join(out)
            self.bytes_back += len(data)
            self.transport.write(data)
        if self._ending and not self.queue:
            self.transport.close()
        self._set_reading()

    def throttle_ended(self) -> None:
        """There may be units again."""
        self._throttled = False
        self.flush()

    def _pump(self) -> None:
        if self._pumping:
            return
        self._pumping = True
        try:
            while not self._is_held():
                command = self._held or self._reader.next_command()
                if command is None:
                    break
                self._held = None
                words, raw = command
                if not words:
                    continue
                name = words[0].upper()
                if name in handlers.BARRIERS and self.queue:
                    self._held = command
                    break
                if not self.service.budget.take():
                    self._held, self._throttled = command, True
                    self.service.throttle(self)
                    break
                self._dispatch(words, raw, name)
        except BadRequest as refusal:
            self._ending = True
            self.answer(refusal.args[0])
        finally:
            self._pumping = False

    def _is_held(self) -> bool:
        return (
            self.barrier
            or self.service.held
            or self._throttled
            or self._ending
            or self.lost
            or self._client_full
            or len(self.queue) >= QUEUE_MAX
            or self._queued_bytes >= QUEUE_BYTES_MAX
            or (self._redirecting and bool(self.queue))
            or self.stuck > 0
        )

    def _set_reading(self) -> None:
        # While commands wait, no more than a little is read ahead of them.
        wanted = not (self._is_held() and self._reader.unread_bytes > UNREAD_BYTES_MAX)
        if wanted != self._reading and not self.lost and not self.transport.is_closing():
            self._reading = wanted
            if wanted:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def _dispatch(self, words: list[bytes], raw: bytes, name: bytes) -> None:
        if self.subscriptions.listens and self.subscriptions.confines(name):
            self.answer(self.subscriptions.refusal(name))
        elif self.transaction.active:
            self.transaction.take(words, raw, name)
        elif (handler := handlers.HANDLERS.get(name)) is not None:
            handler(self, words, raw)
        else:
            self.route(words, raw, name)

    def route(self, words: list[bytes], raw: bytes, name: bytes) -> None:
        """Send a command to the shard that has its keys, or to any where it has none."""
        slot = self.slot_of(words, name)
        if slot is None:
            self.forward(self.home(), Awaited(raw, self.passed, streams=True))
        elif isinstance(slot, bytes):
            self.answer(slot)
        elif (address := self.address_of(slot, name)) is None:
            picture = self.service.picture
            self.answer(b"-MOVED %d %b:%d\r\n" % (slot, picture.host.encode(), picture.port))
        else:
            self.forward(address, Awaited(raw, self.passed, slot=slot, streams=True))

    def slot_of(self, words: Sequence[bytes], name: bytes) -> int | bytes | None:
        """Return the slot of a command's keys, None without keys, or the error for it."""
        try:
            keys = keys_of(words, name)
        except NoKeys:
            return None
        if not keys:
            return None
        if len(keys) == 1:
            return slot_of(keys[0]) if len(keys[0]) <= KEY_BYTES_MAX else KEY_TOO_LONG
        slots = {slot_of(key) for key in keys}
        if max(map(len, keys)) > KEY_BYTES_MAX:
            return KEY_TOO_LONG
        return slots.pop() if len(slots) == 1 else CROSS_SLOT

    def address_of(self, slot: int, name: bytes) -> Address | None:
        """Return where a command is served; None where that is the other port."""
        if not self.reads:
            return self.service.slots.owner(slot)
        if not self.readonly or name not in READS:
            return None
        return self.service.slots.reader(slot, salt=id(self))

    def home(self) -> Address:
        """Return the shard for what is no shard's in particular: the same, as long as it is one."""
        if self._home is None or self._home not in self.service.slots.primaries:
            primaries = self.service.slots.primaries
            self._home = primaries[(id(self) >> 6) % len(primaries)]
        return self._home

    # Replies back.

    def enqueue(self, awaited: Awaited) -> Awaited:
        """Give a command its turn."""
        if self.reply_mode != b"ON":
            awaited.silent = True
            if self.reply_mode == b"SKIPPED":
                self.reply_mode = b"ON"
        self.queue.append(awaited)
        self._queued_bytes += len(awaited.raw)
        return awaited

    def forward(self, address: Address, awaited: Awaited) -> None:
        """Send a command whose reply the client gets."""
        self.enqueue(awaited)
        self.upstream(address).send(awaited)

    def send_aside(self, address: Address, raw: bytes) -> None:
        """Send a command whose reply nobody gets."""
        self.upstream(address).send(Awaited(raw, _ignored))

    def answer(self, reply: bytes, raw: bytes = b"") -> None:
        """Answer a command from here, when its turn comes."""
        awaited = self.enqueue(Awaited(raw, self.passed))
        self.finish(awaited, reply)

    def end_after(self, reply: bytes) -> None:
        """Answer, and end the connection when everything is answered."""
        self.answer(reply)
        self._ending = True

    def forward_through(
        self, words: Sequence[bytes], change: Callable[[bytes], bytes], *, barrier: bool = False
    ) -> None:
        """Send a command to any shard; the client gets what *change* makes of a good reply.

        The shard is asked though its answer is not what the client gets: it says whether the
        client may ask, and whether it asked rightly.
        """

        def replied(awaited: Awaited, upstream: Upstream, reply: bytes) -> None:
            if barrier:
                self.barrier = False
            self.finish(awaited, reply if reply[:1] == b"-" else change(reply))

        self.barrier = self.barrier or barrier
        self.forward(self.home(), Awaited(encode(list(words)), replied))

    def fan_out(self, words: Sequence[bytes], merge: Callable[[list[bytes]], bytes]) -> None:
        """Send a command to every shard; the client gets what *merge* makes of the replies."""
        raw = encode(list(words))
        parent = self.enqueue(Awaited(raw, self.passed))
        addresses = self.service.slots.primaries
        replies: dict[Address, bytes] = {}

        def replied(awaited: Awaited, upstream: Upstream, reply: bytes) -> None:
            replies[upstream.address] = reply
            if len(replies) == len(addresses):
                failed = next((one for one in replies.values() if one[:1] == b"-"), None)
                whole = [replies[address] for address in addresses]
                self.finish(parent, merge(whole) if failed is None else failed)

        for address in addresses:
            self.upstream(address).send(Awaited(raw, replied))

    def passed(self, awaited: Awaited, upstream: Upstream, reply: bytes) -> None:
        """Take the reply to a command that was only passed on."""
        if reply[0] == 0x2D and awaited.slot is not None and self._led_on(awaited, reply):
            return
        awaited.reply = reply
        self._deliver()

    def finish(self, awaited: Awaited, reply: bytes) -> None:
        """Give a command its reply."""
        awaited.reply = reply
        self._deliver()

    def _deliver(self) -> None:
        queue, budget = self.queue, self.service.budget
        while queue and (reply := queue[0].reply) is not None:
            done = queue.popleft()
            self._queued_bytes -= len(done.raw)
            budget.charge(len(done.raw) + len(reply))
            if not done.silent:
                self._out.append(reply)
        if not queue:
            self._redirecting = False
        elif len(self.upstreams) > 1:
            for upstream in list(self.upstreams.values()):
                if upstream.awaited and upstream.awaited[0] is queue[0]:
                    upstream.turn_came()

    def may_stream(self, awaited: Awaited) -> bool:
        """Tell whether a reply may be passed on while it arrives."""
        return bool(self.queue) and self.queue[0] is awaited and not awaited.silent

    def stream(self, awaited: Awaited, part: bytes, *, ended: bool) -> None:
        """Pass on a part of the reply whose turn it is."""
        self._out.append(part)
        if ended:
            awaited.reply = b""
            self._deliver()

    # Slots that move.

    def _led_on(self, awaited: Awaited, reply: bytes) -> bool:
        """Send a command where its keys are now; False where the reply is the client's."""
        if awaited.redirections >= REDIRECTIONS_MAX:
            return False
        if reply.startswith((b"-MOVED ", b"-ASK ")):
            kind, slot, where = reply.split()[:3]
            host, _, port = where.rpartition(b":")
            address = Address(host.decode(), int(port))
            awaited.redirections += 1
            self._redirecting = True
            if kind == b"-MOVED":
                self.service.slots.learn(int(slot), address)
            else:
                self.send_aside(address, encode([b"ASKING"]))
            self.upstream(address).send(awaited)
            return True
        if not reply.startswith(_RETRIED):
            return False
        awaited.redirections += 1
        self._redirecting = True
        asyncio.get_running_loop().call_later(RETRY_S, self._try_again, awaited)
        return True

    def _try_again(self, awaited: Awaited) -> None:
        if not self.lost and awaited.slot is not None:
            self.upstream(self.service.slots.owner(awaited.slot)).send(awaited)

    # Connections to shards.

    def upstream(self, address: Address) -> Upstream:
        """Return the connection to a shard, opened now where there is none."""
        upstream = self.upstreams.get(address)
        if upstream is None:
            upstream = self.upstreams[address] = Upstream(self, address)
        return upstream

    def preamble(self, address: Address) -> list[bytes]:
        """Return what a new connection is told before anything else."""
        first = []
        if self.resp3:
            login = (b"AUTH", *self.login()) if self.credentials else ()
            first.append(encode([b"HELLO", b"3", *login]))
        elif self.credentials:
            first.append(encode([b"AUTH", *self.login()]))
        if self.name:
            first.append(encode([b"CLIENT", b"SETNAME", self.name]))
        if self.reads and self.readonly:
            first.append(encode([b"READONLY"]))
        return first

    def login(self) -> tuple[bytes, ...]:
        """Return the user's name and password."""
        assert self.credentials is not None
        one_word = len(self.credentials) == 1
        return (b"default", *self.credentials) if one_word else self.credentials

    def drop_upstreams(self, *, keep: Address | None = None) -> None:
        """End the connections that know the client as somebody else."""
        for address in [one for one in self.upstreams if one != keep]:
            self.drop_upstream(address)

    def drop_upstream(self, address: Address) -> None:
        """End the connection to a shard."""
        upstream = self.upstreams.pop(address)
        upstream.close()

    def moved_to(self, address: Address, slot: int | None) -> Address:
        """Return who has *slot* now, where a shard at *address* cannot be reached."""
        if slot is None or address in self.service.slots.replicas:
            return address
        return self.service.slots.owner(slot)

    def upstream_unreachable(self, upstream: Upstream) -> None:
        """Lead what waited for a shard to whoever has its slots now, or say that nobody does."""
        self.upstreams.pop(upstream.address, None)
        for awaited in upstream.awaited:
            owner = None if awaited.slot is None else self.service.slots.owner(awaited.slot)
            if owner is not None and owner != upstream.address:
                self._redirecting = True
                self.upstream(owner).send(awaited)
            else:
                awaited.redirections = REDIRECTIONS_MAX
                awaited.on_reply(awaited, upstream, UNREACHABLE)
        self.flush()

    def upstream_lost(self, upstream: Upstream) -> None:
        """A shard closed the connection. What it had been sent may have been done or not: the
        client has to find out, as with any server that went away."""
        if self.upstreams.get(upstream.address) is upstream:
            del self.upstreams[upstream.address]
        if upstream.awaited or upstream.subscriptions or self.transaction.needs(upstream.address):
            self.abort()

    def unsolicited(self, upstream: Upstream, reply: bytes) -> bool:
        """Take what a shard says without having been asked; False where it is a reply."""
        if reply[0] != 0x3E and not upstream.subscriptions:
            return False
        return self.subscriptions.heard(upstream, reply)

    def tell(self, message: bytes) -> None:
        """Send the client what it has subscribed to; that waits for no turn."""
        self._out.append(message)


def _ignored(awaited: Awaited, upstream: Upstream, reply: bytes) -> None:
    """The client knows already what it gets."""
