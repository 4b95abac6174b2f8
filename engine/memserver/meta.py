"""The meta commands: ``mg ms md ma mn me``, every one with flags of a letter each.

As memcached 1.6.18 has them, down to which of its errors wins when a line has several.
"""

from __future__ import annotations

from binascii import Error as BadBase64
from binascii import a2b_base64, b2a_base64

from cachefleet.engine.memserver import wire
from cachefleet.engine.memserver.lru import (
    BINARY_KEY,
    FETCHED,
    NEVER,
    STALE,
    TOKEN_SENT,
    Item,
)
from cachefleet.engine.memserver.session import CommandTable, Session
from cachefleet.engine.memserver.store import (
    ADD,
    APPEND,
    CAS,
    EXISTS,
    NO_MEMORY,
    NOT_FOUND,
    NOT_NUMERIC,
    NOT_STORED,
    PREPEND,
    REPLACE,
    SET,
    STORED,
)

WORDS_MAX = 18  # command, key and flags; more is refused
OPAQUE_BYTES_MAX = 32
MANY = 1 << 30

_TOO_MANY = b"CLIENT_ERROR options flags are too long\r\n"
_TOO_MANY_OTHERS = b"CLIENT_ERROR options flags too long\r\n"
_BAD_TOKEN = b"CLIENT_ERROR bad token in command line format\r\n"
_BAD_INITIAL = b"CLIENT_ERROR invalid numeric initial value\r\n"
_BAD_DELTA = b"CLIENT_ERROR invalid numeric delta value\r\n"
_BAD_KEY = b"CLIENT_ERROR error decoding key\r\n"
_BAD_FLAG = b"CLIENT_ERROR invalid or duplicate flag\r\n"
_LONG_OPAQUE = b"CLIENT_ERROR opaque token too long\r\n"
_PLAIN_FLAGS = frozenset(b"OPLkstcfvhluqI")
_SET_MODES = {
    b"": SET,
    b"S": SET,
    b"E": ADD,
    b"A": APPEND,
    b"P": PREPEND,
    b"R": REPLACE,
}
_SET_OUTCOMES = {STORED: b"HD", EXISTS: b"EX", NOT_FOUND: b"NF", NOT_STORED: b"NS"}


class Refused(Exception):
    """A line that is not carried out; ``args[0]`` is the reply."""


class Flags:
    """The flags of one line, read; ``order`` is how they came, for the reply."""

    def __init__(self, session: Session, key: bytes, words: list[bytes]) -> None:
        self.order = words
        self.letters = frozenset(word[0] for word in words)
        self.key = key
        self.exptime: int | None = None
        self.vivify: int | None = None
        self.recache = 0
        self.client_flags = 0
        self.cas: int | None = None
        self.mode = b""
        self.initial = 0
        self.delta = 1
        self._session = session
        self._error: bytes | None = None
        seen: set[int] = set()
        for word in words:
            letter = word[0]
            if letter >= 127 or letter in seen:
                raise Refused(b"CLIENT_ERROR duplicate flag\r\n")
            seen.add(letter)
            if letter not in _PLAIN_FLAGS:
                self._read(letter, word[1:])
        if self._error is not None:
            raise Refused(self._error)

    def has(self, letter: bytes) -> bool:
        """Whether the flag was given."""
        return letter[0] in self.letters

    @property
    def binary(self) -> bool:
        """Whether the key came in base64."""
        return 98 in self.letters

    def _read(self, letter: int, value: bytes) -> None:
        store = self._session.store
        match letter:
            case 0x62:  # b
                self.key = _decode_key(self.key)
                if not self.key:
                    self._error = _BAD_KEY
            case 0x4E | 0x54 | 0x52:  # N T R
                seconds = wire.parse_i32(value)
                if seconds is None:
                    self._error = _BAD_TOKEN
                elif letter == 0x4E:
                    self.vivify = store.expiry(seconds)
                elif letter == 0x54:
                    self.exptime = store.expiry(seconds)
                else:
                    self.recache = store.expiry(seconds)
            case 0x46:  # F
                number = wire.parse_u32(value)
                if number is None:
                    self._error = self._error or wire.BAD_FORMAT
                self.client_flags = number or 0
            case 0x43:  # C
                self.cas = self._number(value, _BAD_TOKEN)
            case 0x4D:  # M
                self.mode = value
                if len(value) != 1:
                    self._error = b"CLIENT_ERROR incorrect length for M token\r\n"
            case 0x4A:  # J
                self.initial = self._number(
                    value, b"CLIENT_ERROR invalid numeric initial value\r\n"
                )
            case 0x44:  # D
                self.delta = self._number(value, _BAD_DELTA)
            case _:
                raise Refused(b"CLIENT_ERROR invalid flag\r\n")

    def _number(self, value: bytes, error: bytes) -> int:
        number = wire.parse_u64(value)
        if number is None:
            self._error = error
        return number or 0

    def echo(self) -> bytes:
        """What every reply repeats: opaque and key, in the order they were asked for."""
        out = []
        for word in self.order:
            if word[0] == 0x4F:
                out.append(b" " + _opaque(word))
            elif word[0] == 0x6B:
                out.append(_shown_key(self.key, binary=self.binary))
        return b"".join(out)


def _decode_key(text: bytes) -> bytes:
    """The key under its base64; empty where that is not quite base64."""
    if len(text) % 4:
        return b""
    try:
        return a2b_base64(text, strict_mode=True)
    except BadBase64:
        return b""


def _opaque(word: bytes) -> bytes:
    if len(word) > OPAQUE_BYTES_MAX:
        raise Refused(_LONG_OPAQUE)
    return word


def _shown_key(key: bytes, *, binary: bool) -> bytes:
    return b" k" + (b2a_base64(key, newline=False) + b" b" if binary else key)


def _ttl(item: Item, now: int) -> bytes:
    return b"-1" if item.exp == NEVER else b"%d" % ((item.exp - now) & wire.U32)


def _flags(session: Session, words: list[bytes], first: int, too_many: bytes) -> Flags:
    """Check the line's form and read its flags, which start at word *first*."""
    if len(words[1]) > wire.KEY_BYTES_MAX:
        raise Refused(wire.BAD_FORMAT)
    if len(words) > WORDS_MAX + 1:
        raise Refused(too_many)
    return Flags(session, words[1], words[first:])


def meta_get(session: Session, words: list[bytes]) -> None:
    """``mg <key> <flags>*``."""
    store = session.store
    try:
        flags = _flags(session, words, 2, _TOO_MANY)
        item = store.fetch(flags.key)
        created = item is None and flags.vivify is not None
        if created:
            item = store.put(flags.key, 0, NEVER, b"\r\n")
        if item is None:
            store.stats.cmd_get += 1
            store.stats.get_misses += 1
            if not flags.has(b"q"):
                session.out.append(b"EN" + flags.echo() + b"\r\n")
            return
        line = _describe(session, flags, item, created=created)
    except Refused as refusal:
        session.error(refusal.args[0])
        return
    value = item.blob[item.head :] if flags.has(b"v") else b""
    session.out.append(line + value)
    if not flags.has(b"u"):
        store.bump(item)
    if flags.has(b"T"):
        store.stats.cmd_touch += 1
        store.stats.touch_hits += 1
        store.by_class.touch_hits[item.slab] += 1
        store.timed_sets += 1
    else:
        store.stats.cmd_get += 1
        store.note_hit(item)


def _describe(session: Session, flags: Flags, item: Item, *, created: bool) -> bytes:
    """The line before the value; carries out what the flags change on the way."""
    now = session.store.now
    won = False
    out = [b"VA %d" % item.value_len if flags.has(b"v") else b"HD"]
    for word in flags.order:
        match word[0]:
            case 0x54:  # T
                item.exp = flags.exptime or NEVER
            case 0x4E:  # N
                if created:
                    item.exp = flags.vivify or NEVER
                    won = True
            case 0x52:  # R
                fresh = created or item.bits & TOKEN_SENT
                if not fresh and item.exp != NEVER and item.exp < flags.recache:
                    won = True
            case 0x73:  # s
                out.append(b" s%d" % item.value_len)
            case 0x74:  # t
                out.append(b" t" + _ttl(item, now))
            case 0x63:  # c
                out.append(b" c%d" % item.cas)
            case 0x66:  # f
                out.append(b" f%d" % item.flags)
            case 0x6C:  # l
                out.append(b" l%d" % (now - item.time))
            case 0x68:  # h
                out.append(b" h1" if item.bits & FETCHED else b" h0")
            case 0x4F:  # O
                out.append(b" " + _opaque(word))
            case 0x6B:  # k
                out.append(_shown_key(flags.key, binary=bool(item.bits & BINARY_KEY)))
    bits = item.bits
    if bits & TOKEN_SENT:
        out.append(b" Z")
    if bits & STALE:
        out.append(b" X")
        won = won or not bits & TOKEN_SENT
    if won:
        out.append(b" W")
        item.bits = bits | TOKEN_SENT
    out.append(b"\r\n")
    return b"".join(out)


def meta_set(session: Session, words: list[bytes]) -> None:
    """``ms <key> <datalen> <flags>*`` and a data block."""
    size = wire.parse_i32(words[2]) if len(words) > 2 else None
    if len(words[1]) > wire.KEY_BYTES_MAX or size is None:
        session.error(wire.BAD_FORMAT)
        return
    if len(words) > WORDS_MAX + 1:
        session.error(_TOO_MANY_OTHERS)
        return
    if not 0 <= size <= wire.VALUE_BYTES_MAX:
        session.error(wire.BAD_FORMAT)
        return
    try:
        flags, mode = _set_flags(session, words, size)
    except Refused as refusal:
        session.swallow(size + 2)
        session.error(refusal.args[0])
        return
    if flags.cas is not None and mode in (SET, REPLACE):
        mode = CAS
    session.want(size + 2, lambda chunk: _finish_set(session, flags, mode, chunk))


def _set_flags(session: Session, words: list[bytes], size: int) -> tuple[Flags, int]:
    """Flags and mode of an ``ms``; Refused with all that can be told before the data."""
    store = session.store
    flags = Flags(session, words[1], words[3:])
    mode = _SET_MODES.get(flags.mode)
    if mode is None:
        raise Refused(b"CLIENT_ERROR invalid mode for ms M token\r\n")
    flags.echo()  # a bad opaque is refused before the data is read
    if not store.fits(flags.key, flags.client_flags, size):
        store.note_too_large(flags.key, mode)
        _drop(session, flags.key)
        raise Refused(wire.TOO_LARGE)
    return flags, mode


def _drop(session: Session, key: bytes) -> None:
    old = session.store.find(key)
    if old is not None:
        session.store.unlink(key, old)


def _finish_set(session: Session, flags: Flags, mode: int, chunk: bytes) -> None:
    store = session.store
    if chunk[-2:] != b"\r\n":
        store.count_set(flags.key, flags.client_flags, chunk)
        session.error(wire.BAD_CHUNK)
        return
    outcome = store.update(
        mode,
        flags.key,
        flags.client_flags,
        flags.exptime or NEVER,
        chunk,
        cas=flags.cas or 0,
        bits=BINARY_KEY if flags.binary else 0,
        set_stale=flags.has(b"I") and mode == CAS,
    )
    if outcome == NO_MEMORY:
        store.stats.store_no_memory += 1
        _drop(session, flags.key)
        session.error(wire.OUT_OF_MEMORY)
        return
    if outcome == STORED and flags.has(b"q"):
        return
    out = [_SET_OUTCOMES[outcome]]
    for word in flags.order:
        if word[0] == 0x4F:
            out.append(b" " + word)
        elif word[0] == 0x6B:
            out.append(_shown_key(flags.key, binary=flags.binary))
        elif word[0] == 0x63:
            out.append(b" c%d" % (store.cas_id if outcome == STORED else 0))
    out.append(b"\r\n")
    session.out.append(b"".join(out))


def meta_delete(session: Session, words: list[bytes]) -> None:
    """``md <key> <flags>*``."""
    store = session.store
    try:
        flags = _flags(session, words, 2, _TOO_MANY_OTHERS)
        echo = flags.echo()
    except Refused as refusal:
        session.error(_as_bad_flag(refusal))
        return
    item = store.fetch(flags.key)
    status = b"HD"
    if item is None or flags.key not in store.table:
        store.stats.delete_misses += 1
        status = b"NF"
    elif flags.cas is not None and item.cas != flags.cas:
        store.stats.delete_misses += 1
        status = b"EX"
    elif flags.has(b"I"):
        if flags.exptime is not None:
            item.exp = flags.exptime
        store.mark_stale(item)
    else:
        store.stats.delete_hits += 1
        store.by_class.delete_hits[item.slab] += 1
        store.unlink(flags.key, item)
    if not (flags.has(b"q") and status == b"HD"):
        session.out.append(status + echo + b"\r\n")


def _as_bad_flag(refusal: Refused) -> bytes:
    """``md`` and ``ma`` have one word for most of what can be wrong with flags."""
    line: bytes = refusal.args[0]
    kept = (wire.BAD_FORMAT, _TOO_MANY_OTHERS, _LONG_OPAQUE)
    return line if line in kept else _BAD_FLAG


def meta_arithmetic(session: Session, words: list[bytes]) -> None:
    """``ma <key> <flags>*``."""
    store = session.store
    try:
        flags = _flags(session, words, 2, _TOO_MANY_OTHERS)
    except Refused as refusal:
        session.error(_as_bad_flag(refusal))
        return
    if flags.mode not in (b"", b"I", b"+", b"D", b"-"):
        session.error(b"CLIENT_ERROR invalid mode for ma M token\r\n")
        return
    incr = flags.mode in (b"", b"I", b"+")
    outcome, number, item = store.add_delta(flags.key, flags.delta, incr=incr, cas=flags.cas or 0)
    created = outcome == NOT_FOUND and flags.vivify is not None
    if created:
        number = flags.initial
        bits = BINARY_KEY if flags.binary else 0
        item = store.put(flags.key, 0, NEVER, b"%d\r\n" % number, bits)
        outcome = STORED if item is not None else NO_MEMORY
    if outcome in (NOT_NUMERIC, NO_MEMORY):
        refused = outcome == NOT_NUMERIC
        session.error(wire.NON_NUMERIC if refused else b"SERVER_ERROR out of memory\r\n")
        return
    try:
        if item is None:
            _arithmetic_miss(session, flags, outcome, incr=incr)
            return
        reply = _describe_number(session, flags, item, number, created=created)
    except Refused as refusal:
        session.error(refusal.args[0])
        return
    if not flags.has(b"q"):
        session.out.append(reply)


def _arithmetic_miss(session: Session, flags: Flags, outcome: int, *, incr: bool) -> None:
    status = b"EX"
    if outcome == NOT_FOUND:
        status = b"NF"
        if incr:
            session.store.stats.incr_misses += 1
        else:
            session.store.stats.decr_misses += 1
    session.out.append(status + flags.echo() + b"\r\n")


def _describe_number(
    session: Session, flags: Flags, item: Item, number: int, *, created: bool
) -> bytes:
    text = b"%d" % number
    out = [b"VA %d" % len(text) if flags.has(b"v") else b"HD"]
    for word in flags.order:
        match word[0]:
            case 0x63:  # c
                out.append(b" c%d" % item.cas)
            case 0x74:  # t
                out.append(b" t" + _ttl(item, session.store.now))
            case 0x54:  # T
                item.exp = flags.exptime or NEVER
            case 0x4E:  # N
                if created:
                    item.exp = flags.vivify or NEVER
            case 0x4F:  # O
                out.append(b" " + _opaque(word))
            case 0x6B:  # k
                out.append(_shown_key(flags.key, binary=flags.binary))
    if flags.has(b"v"):
        out.append(b"\r\n" + text)
    out.append(b"\r\n")
    return b"".join(out)


def meta_noop(session: Session, words: list[bytes]) -> None:
    """``mn``: the end of a batch of quiet commands."""
    session.out.append(b"MN\r\n")


def meta_debug(session: Session, words: list[bytes]) -> None:
    """``me <key> [b]``: what is known of an item, without reading it."""
    store = session.store
    key = words[1] if len(words) > 1 else b""
    if not key or len(key) > wire.KEY_BYTES_MAX:
        session.out.append(wire.BAD_FORMAT)
        return
    if len(words) > 2 and words[2] == b"b":
        key = _decode_key(key)
        if not key:
            session.out.append(wire.BAD_FORMAT)
            return
    item = store.fetch(key)
    store.stats.cmd_meta += 1
    if item is None:
        session.out.append(b"EN\r\n")
        return
    shown = b2a_base64(key, newline=False) if item.bits & BINARY_KEY else key
    session.out.append(
        b"ME %b exp=%d la=%d cas=%d fetch=%b cls=%d size=%d\r\n"
        % (
            shown,
            -1 if item.exp == NEVER else store.now - item.exp,
            store.now - item.time,
            item.cas,
            b"yes" if item.bits & FETCHED else b"no",
            item.slab,
            store.size_of(key, item),
        )
    )


META_COMMANDS: CommandTable = {
    b"mg": (meta_get, 2, MANY),
    b"ms": (meta_set, 2, MANY),
    b"md": (meta_delete, 2, MANY),
    b"ma": (meta_arithmetic, 2, MANY),
    b"mn": (meta_noop, 1, MANY),
    b"me": (meta_debug, 1, MANY),
}
