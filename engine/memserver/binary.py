"""memcached's binary protocol: one connection, bytes in, packets out. No sockets, no clock.

The same shape as ``session.Session``, so that a connection does not care which it has.
Opcodes 0x60, 0x64 and 0x66 are ElastiCache's: reading and, for the control plane alone,
changing what auto discovery answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cachefleet.engine.memserver import reports, wire
from cachefleet.engine.memserver.auth import Credentials
from cachefleet.engine.memserver.host import Host
from cachefleet.engine.memserver.lru import NEVER
from cachefleet.engine.memserver.packets import (
    AUTH_ERROR,
    BAD_DELTA,
    CONFIG_DELETE,
    CONFIG_GET,
    CONFIG_SET,
    DELTA_EXTRAS,
    EXISTS_STATUS,
    FAILURES,
    HEADER,
    HEADER_BYTES,
    INVALID,
    NO_CREATE,
    NO_MEMORY_STATUS,
    NOT_FOUND_STATUS,
    REQUEST_MAGIC,
    SASL_AUTH,
    SASL_LIST,
    SASL_STEP,
    SET_EXTRAS,
    TEXTS,
    TOO_LARGE,
    U32,
    U64,
    UNKNOWN,
    VERSION,
    Packet,
)
from cachefleet.engine.memserver.store import (
    ADD,
    APPEND,
    CAS,
    EXISTS,
    NO_MEMORY,
    NOT_FOUND,
    PREPEND,
    REPLACE,
    SET,
    STORED,
    Store,
)

Handler = Callable[["BinarySession", Packet, bool], None]


class BinarySession:
    """The state of one binary connection."""

    __slots__ = (
        "_credentials",
        "_held",
        "_swallow",
        "authenticated",
        "closing",
        "host",
        "idle",
        "more",
        "out",
        "privileged",
        "store",
        "streaming",
        "turn",
        "user",
    )

    def __init__(
        self,
        store: Store,
        host: Host,
        *,
        privileged: bool = False,
        credentials: Credentials | None = None,
    ) -> None:
        self.store = store
        self.host = host
        self.privileged = privileged
        self.out: list[bytes] = []
        self.closing = False
        self.more = False
        self.idle = False
        self.streaming: Iterator[bytes] | None = None
        self.authenticated = credentials is None
        self.user: bytes | None = None  # who has logged in
        self.turn = store.settings.requests_per_event
        self._credentials = credentials
        self._held = bytearray()
        self._swallow = 0

    def answer(self, data: bytes) -> bytes | None:
        """None: there is no shorter way here."""
        return None

    def take_short_ways(self, allowed: bool) -> None:
        """Nothing: there are none."""

    def receive(self, data: bytes) -> None:
        """Take *data* as it came from the client."""
        self._held += data
        self.resume()

    def resume(self) -> None:
        """Carry out what is complete, at most ``turn`` requests."""
        held, pos = self._held, 0
        left = self.turn
        self.more = False
        while not self.closing:
            if self._swallow:
                skipped = min(self._swallow, len(held) - pos)
                self._swallow -= skipped
                pos += skipped
                if self._swallow:
                    break
            if len(held) - pos < HEADER_BYTES:
                break
            header = HEADER.unpack_from(held, pos)
            if header[0] != REQUEST_MAGIC:
                self.closing = True
                break
            size = header[6]
            if not self._acceptable(header):
                pos += HEADER_BYTES
                continue
            if len(held) - pos < HEADER_BYTES + size:
                break
            if not left:
                self.more = True
                self.store.stats.conn_yields += 1
                break
            left -= 1
            body = bytes(held[pos + HEADER_BYTES : pos + HEADER_BYTES + size])
            pos += HEADER_BYTES + size
            self._carry_out(Packet(header, body))
        del held[:pos]

    def _acceptable(self, header: tuple[int, ...]) -> bool:
        """Refuse from the header alone what is too large to wait for."""
        _, opcode, key_len, extras_len, _, _, size, opaque, _ = header
        if key_len + extras_len > size:
            self._answer_to(opcode, opaque, UNKNOWN, value=TEXTS[UNKNOWN])
            self.closing = True
            return False
        limit = self.store.settings.item_size_max + wire.KEY_BYTES_MAX + HEADER_BYTES
        if size <= limit:
            return True
        handler = OPCODES.get(opcode, (opcode, None))[1]
        if handler is _update or handler is _concat:
            self.store.stats.store_too_large += 1
            self._answer_to(opcode, opaque, TOO_LARGE, value=TEXTS[TOO_LARGE])
            self._swallow = size
        else:
            self._answer_to(opcode, opaque, INVALID, value=TEXTS[INVALID])
            self.closing = True
        return False

    def _carry_out(self, packet: Packet) -> None:
        if not self.authenticated and packet.opcode not in (
            SASL_LIST,
            SASL_AUTH,
            SASL_STEP,
            VERSION,
        ):
            self.fail(packet, AUTH_ERROR)
            self.closing = True
            return
        packet.loud, handler = OPCODES.get(packet.opcode, (packet.opcode, None))
        if handler is None:
            self.fail(packet, UNKNOWN)
            return
        handler(self, packet, packet.loud != packet.opcode)

    # -- replies ------------------------------------------------------------------------

    def _answer_to(
        self,
        opcode: int,
        opaque: int,
        status: int,
        *,
        extras: bytes = b"",
        key: bytes = b"",
        value: bytes = b"",
        cas: int = 0,
    ) -> None:
        size = len(extras) + len(key) + len(value)
        head = HEADER.pack(0x81, opcode, len(key), len(extras), 0, status, size, opaque, cas)
        self.out.append(b"".join((head, extras, key, value)))

    def confirm(
        self,
        packet: Packet,
        *,
        extras: bytes = b"",
        key: bytes = b"",
        value: bytes = b"",
        cas: int = 0,
    ) -> None:
        """A packet that says yes."""
        self._answer_to(
            packet.opcode, packet.opaque, 0, extras=extras, key=key, value=value, cas=cas
        )

    def fail(self, packet: Packet, status: int, *, key: bytes | None = None) -> None:
        """A packet that says no, with memcached's words for it or with a key."""
        value = TEXTS[status] if key is None else b""
        self._answer_to(packet.opcode, packet.opaque, status, key=key or b"", value=value)

    def invalid(self, packet: Packet) -> None:
        """Answer a malformed packet, and hang up as memcached does."""
        self.fail(packet, INVALID)
        self.closing = True


def _shape(packet: Packet, *, extras: tuple[int, ...], key: bool, body: bool = False) -> bool:
    """Whether the packet has the parts its opcode takes."""
    return (
        packet.extras_len in extras
        and bool(packet.key_len) == key
        and packet.key_len <= wire.KEY_BYTES_MAX
        and (body or not packet.body)
    )


def _get(session: BinarySession, packet: Packet, quiet: bool) -> None:
    touching = packet.loud in (0x1C, 0x1D, 0x23)
    with_key = packet.loud in (0x0C, 0x23)
    if not _shape(packet, extras=(4,) if touching else (0,), key=True, body=touching):
        session.invalid(packet)
        return
    store, stats = session.store, session.store.stats
    item = store.fetch(packet.key)
    if touching:
        stats.cmd_touch += 1
        stats.touch_misses += item is None
        stats.touch_hits += item is not None
    else:
        stats.cmd_get += 1
        stats.get_misses += item is None
    if item is None:
        if not quiet:
            session.fail(packet, NOT_FOUND_STATUS, key=packet.key if with_key else None)
        return
    if touching:
        item.exp = store.expiry(_exptime(packet.extras))
        store.timed_sets += 1
        store.by_class.touch_hits[item.slab] += 1
    else:
        store.note_hit(item)
    store.bump(item)
    session.confirm(
        packet,
        extras=U32.pack(item.flags),
        key=packet.key if with_key else b"",
        value=b"" if packet.loud == 0x1C else item.value,
        cas=item.cas,
    )


def _exptime(extras: bytes) -> int:
    """A 32-bit exptime, never negative here: the largest is a date in 2106."""
    number: int = U32.unpack(extras)[0]
    return number


def _update(session: BinarySession, packet: Packet, quiet: bool) -> None:
    if not _shape(packet, extras=(8,), key=True, body=True):
        session.invalid(packet)
        return
    store = session.store
    flags, exptime = SET_EXTRAS.unpack(packet.extras)
    mode = {1: SET, 2: ADD, 3: REPLACE}[packet.loud]
    if not store.fits(packet.key, flags, len(packet.body)):
        store.note_too_large(packet.key, mode)
        _drop(session, packet)
        session.fail(packet, TOO_LARGE)
        return
    if packet.cas:
        mode = CAS
    outcome = store.update(
        mode, packet.key, flags, store.expiry(exptime), packet.body + b"\r\n", cas=packet.cas
    )
    _tell_update(session, packet, outcome, mode, quiet)


def _drop(session: BinarySession, packet: Packet) -> None:
    old = session.store.find(packet.key) if packet.loud == 1 else None
    if old is not None:
        session.store.unlink(packet.key, old)


def _tell_update(
    session: BinarySession, packet: Packet, outcome: int, mode: int, quiet: bool
) -> None:
    if outcome == STORED:
        if not quiet:
            session.confirm(packet, cas=session.store.cas_id)
    elif outcome == NO_MEMORY:
        session.store.stats.store_no_memory += 1
        _drop(session, packet)
        session.fail(packet, NO_MEMORY_STATUS)
    elif outcome == EXISTS:
        session.fail(packet, EXISTS_STATUS)
    elif outcome == NOT_FOUND:
        session.fail(packet, NOT_FOUND_STATUS)
    else:
        session.fail(packet, FAILURES[outcome, mode])


def _concat(session: BinarySession, packet: Packet, quiet: bool) -> None:
    if not _shape(packet, extras=(0,), key=True, body=True):
        session.invalid(packet)
        return
    mode = APPEND if packet.loud == 0x0E else PREPEND
    if not session.store.fits(packet.key, 0, len(packet.body)):
        session.store.note_too_large(packet.key, mode)
        session.fail(packet, TOO_LARGE)
        return
    outcome = session.store.update(
        mode, packet.key, 0, NEVER, packet.body + b"\r\n", cas=packet.cas
    )
    _tell_update(session, packet, outcome, mode, quiet)


def _delete(session: BinarySession, packet: Packet, quiet: bool) -> None:
    if not _shape(packet, extras=(0,), key=True):
        session.invalid(packet)
        return
    store = session.store
    item = store.find(packet.key)
    if item is None:
        store.stats.delete_misses += 1
        session.fail(packet, NOT_FOUND_STATUS)
    elif packet.cas and packet.cas != item.cas:
        session.fail(packet, EXISTS_STATUS)
    else:
        store.stats.delete_hits += 1
        store.by_class.delete_hits[item.slab] += 1
        store.unlink(packet.key, item)
        if not quiet:
            session.confirm(packet)


def _delta(session: BinarySession, packet: Packet, quiet: bool) -> None:
    if not _shape(packet, extras=(20,), key=True):
        session.invalid(packet)
        return
    store = session.store
    amount, initial, exptime = DELTA_EXTRAS.unpack(packet.extras)
    incr = packet.loud == 5
    outcome, number, item = store.add_delta(packet.key, amount, incr=incr, cas=packet.cas)
    if outcome == NOT_FOUND:
        if exptime == NO_CREATE:
            if incr:
                store.stats.incr_misses += 1
            else:
                store.stats.decr_misses += 1
            session.fail(packet, NOT_FOUND_STATUS)
            return
        number = initial
        item = store.put(packet.key, 0, store.expiry(exptime), b"%d\r\n" % initial)
        outcome = STORED if item is not None else NO_MEMORY
    if outcome == STORED and item is not None:
        if not quiet:
            session.confirm(packet, value=U64.pack(number), cas=item.cas)
    elif outcome == EXISTS:
        session.fail(packet, EXISTS_STATUS)
    elif outcome == NO_MEMORY:
        session.fail(packet, NO_MEMORY_STATUS)
    else:
        session.fail(packet, BAD_DELTA)


def _quit(session: BinarySession, packet: Packet, quiet: bool) -> None:
    if not _shape(packet, extras=(0,), key=False):
        session.invalid(packet)
        return
    if not quiet:
        session.confirm(packet)
    session.closing = True


def _flush(session: BinarySession, packet: Packet, quiet: bool) -> None:
    if not _shape(packet, extras=(0, 4), key=False):
        session.invalid(packet)
        return
    store = session.store
    store.stats.cmd_flush += 1
    if not store.settings.flush:
        session.fail(packet, AUTH_ERROR)
        return
    store.flush(_exptime(packet.extras) if packet.extras else 0)
    if not quiet:
        session.confirm(packet)


def _noop(session: BinarySession, packet: Packet, quiet: bool) -> None:
    if not _shape(packet, extras=(0,), key=False):
        session.invalid(packet)
        return
    session.confirm(packet)


def _version(session: BinarySession, packet: Packet, quiet: bool) -> None:
    if not _shape(packet, extras=(0,), key=False):
        session.invalid(packet)
        return
    session.confirm(packet, value=session.store.settings.report_version.encode())


def _stat(session: BinarySession, packet: Packet, quiet: bool) -> None:
    if packet.extras_len or packet.body:
        session.invalid(packet)
        return
    lines = reports.stats_reply(session.store, session.host, packet.key.split(b" "))
    for line in lines.split(b"\r\n"):
        words = line.split(b" ", 2)
        if words[0] == b"STAT" and len(words) == 3:
            session.confirm(packet, key=words[1], value=words[2])
    if lines == wire.ERROR:
        session.fail(packet, NOT_FOUND_STATUS)
    else:
        session.confirm(packet)


def _sasl(session: BinarySession, packet: Packet, quiet: bool) -> None:
    """PLAIN, against the password file. memcached without -S knows none of these opcodes."""
    credentials = session._credentials
    if credentials is None:
        session.fail(packet, UNKNOWN)
        return
    if packet.loud == SASL_LIST:
        session.confirm(packet, value=b"PLAIN")
        return
    stats = session.store.stats
    stats.auth_cmds += 1
    parts = packet.body.split(b"\0")
    if packet.key == b"PLAIN" and len(parts) == 3 and credentials.check(parts[1], parts[2]):
        session.authenticated, session.user = True, parts[1]
        session.confirm(packet, value=b"Authenticated")
        return
    session.authenticated, session.user = False, None
    stats.auth_errors += 1
    session.fail(packet, AUTH_ERROR)


def _config(session: BinarySession, packet: Packet, quiet: bool) -> None:
    """ElastiCache's own: what auto discovery answers."""
    config = session.store.config
    if packet.loud == CONFIG_GET:
        value = config.get(packet.key)
        if value is None:
            session.fail(packet, NOT_FOUND_STATUS)
        else:
            session.confirm(packet, extras=U32.pack(value[0]), value=value[1], cas=config.cas)
    elif not session.privileged:
        session.fail(packet, AUTH_ERROR)
    elif packet.loud == CONFIG_DELETE:
        if config.delete(packet.key):
            session.confirm(packet)
        else:
            session.fail(packet, NOT_FOUND_STATUS)
    else:
        flags = U32.unpack(packet.extras[:4])[0] if len(packet.extras) >= 4 else 0
        if config.set(packet.key, flags, packet.body):
            session.confirm(packet, cas=config.cas)
        else:
            session.fail(packet, NO_MEMORY_STATUS)


# opcode -> the loud opcode it answers as, handler
OPCODES: dict[int, tuple[int, Handler | None]] = {
    0x00: (0x00, _get),
    0x01: (0x01, _update),
    0x02: (0x02, _update),
    0x03: (0x03, _update),
    0x04: (0x04, _delete),
    0x05: (0x05, _delta),
    0x06: (0x06, _delta),
    0x07: (0x07, _quit),
    0x08: (0x08, _flush),
    0x09: (0x00, _get),
    0x0A: (0x0A, _noop),
    0x0B: (0x0B, _version),
    0x0C: (0x0C, _get),
    0x0D: (0x0C, _get),
    0x0E: (0x0E, _concat),
    0x0F: (0x0F, _concat),
    0x10: (0x10, _stat),
    0x11: (0x01, _update),
    0x12: (0x02, _update),
    0x13: (0x03, _update),
    0x14: (0x04, _delete),
    0x15: (0x05, _delta),
    0x16: (0x06, _delta),
    0x17: (0x07, _quit),
    0x18: (0x08, _flush),
    0x19: (0x0E, _concat),
    0x1A: (0x0F, _concat),
    0x1C: (0x1C, _get),
    0x1D: (0x1D, _get),
    0x1E: (0x1D, _get),
    0x23: (0x23, _get),
    0x24: (0x23, _get),
    SASL_LIST: (SASL_LIST, _sasl),
    SASL_AUTH: (SASL_AUTH, _sasl),
    SASL_STEP: (SASL_STEP, _sasl),
    CONFIG_GET: (CONFIG_GET, _config),
    CONFIG_SET: (CONFIG_SET, _config),
    CONFIG_DELETE: (CONFIG_DELETE, _config),
}
