"""One text connection: bytes in, reply bytes out. No sockets, no clock.

``receive`` takes whatever arrived and appends replies to ``out``, a list of byte strings
that the caller sends in order. It stops after a number of requests, so that no client can
keep the others waiting; ``more`` is then set and ``resume`` goes on.

Most of what a cache is asked is ``get``, and most of the time it takes is not the protocol
but what Python spends between two bytecodes. So there are two ways through: a run of
``get`` lines at the start of what arrived is cut in one go, all else is taken line by line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cachefleet.engine.memserver import wire
from cachefleet.engine.memserver.host import Host
from cachefleet.engine.memserver.lru import ACTIVE, NEVER, SEGMENT_MASK
from cachefleet.engine.memserver.store import Store

Handler = Callable[["Session", list[bytes]], None]
CommandTable = dict[bytes, tuple[Handler, int, int]]


class Session:
    """The state of one connection. ``privileged`` ones may change what discovery answers."""

    __slots__ = (
        "_data",
        "_held",
        "_pos",
        "_searched",
        "_swallow",
        "_want",
        "authenticated",
        "closing",
        "commands",
        "finish",
        "host",
        "idle",
        "more",
        "name",
        "noreply",
        "out",
        "privileged",
        "quick",
        "refusal",
        "short_ways",
        "store",
        "streaming",
        "turn",
        "user",
    )

    def __init__(
        self, store: Store, host: Host, commands: CommandTable, *, privileged: bool = False
    ) -> None:
        self.store = store
        self.host = host
        self.commands = commands
        self.privileged = privileged
        self.out: list[bytes] = []
        self.closing = False
        self.more = False
        self.noreply = False
        self.authenticated = True
        self.user: bytes | None = None  # who has logged in
        self.name = ""
        self.short_ways = True
        self.quick = b"version" in commands  # the short ways may be taken: nobody has to log in
        self.idle = self.quick
        self.refusal = wire.ERROR if self.quick else wire.UNAUTHENTICATED
        self.turn = store.settings.requests_per_event
        # Reply bytes that come bit by bit after the request: a dump of all keys.
        self.streaming: Iterator[bytes] | None = None
        self.finish: Callable[[bytes], None] | None = None
        self._want = 0  # bytes of a data block, CRLF included
        self._swallow = 0
        self._held = bytearray()
        self._searched = 0
        self._data = b""
        self._pos = 0

    # -- what handlers use --------------------------------------------------------------

    def reply(self, line: bytes) -> None:
        """Answer with *line*, unless the client wants no reply."""
        if self.noreply:
            self.noreply = False
        else:
            self.out.append(line)

    def error(self, line: bytes) -> None:
        """Answer with *line* whatever the client wants."""
        self.noreply = False
        self.out.append(line)

    def want(self, size: int, finish: Callable[[bytes], None]) -> None:
        """Hand the next *size* bytes to *finish*."""
        self._want = size
        self.finish = finish

    def swallow(self, size: int) -> None:
        """Skip the next *size* bytes."""
        self._swallow = size

    # -- bytes in -----------------------------------------------------------------------

    def answer(self, data: bytes) -> bytes | None:
        """The reply to *data* where that is one plain ``get`` or ``set``, whole; else None.

        Only for an ``idle`` session. None means that nothing was done; an empty reply, that
        there was more and that the rest of the reply is in ``out``.
        """
        verb = data[:4]
        store = self.store
        if verb == b"get ":
            item = store.table.get(data[4:-2])
            if (
                item is None
                or item.exp <= store.now
                or data[-2:] != b"\r\n"
                or not store.plain_keys
            ):
                return self._answer_multiget(data)
            store.stats.cmd_get += 1
            store.hits[(item.bits & SEGMENT_MASK) << 6 | item.slab] += 1
            if item.bits < ACTIVE:
                store.bump(item)
            return item.blob + b"END\r\n"
        if verb != b"set ":
            return None
        line, _, chunk = data.partition(b"\r\n")
        words = line.split(b" ")
        if len(words) != 5:
            return None
        if store.renew(words, chunk):
            return b"STORED\r\n"
        pos = len(line)
        if pos == len(data):
            return None
        stop = self._quick_set(words, data, pos + 2, len(data))
        if stop == len(data):
            return b"STORED\r\n"
        if not stop:
            return None
        self.out.append(b"STORED\r\n")
        self._run(data, stop)
        self._note_idle()
        return b""

    def _answer_multiget(self, data: bytes) -> bytes | None:
        """One line of several keys, straight to its handler."""
        if data.find(b"\n") != len(data) - 1 or data[-2:] != b"\r\n":
            return None
        words = data[:-2].split(b" ")
        if len(words) < 3 or b"" in words or b"\0" in data:
            return None
        self.commands[b"get"][0](self, words)
        return b""

    def take_short_ways(self, allowed: bool) -> None:
        """Let plain requests pass by the handlers, or (somebody watches) let none."""
        self.short_ways = allowed
        self.quick = allowed and b"version" in self.commands
        self.idle = self.idle and self.quick

    def _note_idle(self) -> None:
        """``idle``: nothing is unread, and ``answer`` may try its luck."""
        self.idle = self.quick and not (
            self._held or self._want or self._swallow or self.more or self.closing
        )

    def receive(self, data: bytes) -> None:
        """Take *data* as it came from the client."""
        if self._held:
            self._held += data
            if not self._ready():
                self.idle = False
                return
            data = bytes(self._held)
            self._held.clear()
            self._searched = 0
        self._run(data, 0)
        self._note_idle()

    def resume(self) -> None:
        """Go on with what ``more`` left."""
        if self.streaming is not None:
            piece = next(self.streaming, None)
            if piece is not None:
                self.out.append(piece)
                return
            self.streaming = None
        data, pos = self._data, self._pos
        self._data = b""
        self._run(data, pos)
        self._note_idle()

    def _ready(self) -> bool:
        """Whether what is held can be parsed further; closes where it never will."""
        held = self._held
        if self._want:
            return len(held) >= self._want
        if held.find(b"\n", self._searched) >= 0:
            return True
        self._searched = len(held)
        self._limit_line()
        return False

    def _limit_line(self) -> None:
        held = self._held
        if len(held) > wire.LINE_BYTES_MAX:
            start = bytes(held[:128]).lstrip(b" ")
            multiget = len(start) >= 28 and start.startswith((b"get ", b"gets "))
            if not multiget or len(held) > wire.MULTIGET_LINE_BYTES_MAX:
                self.closing = True
                held.clear()

    def _hold(self, data: bytes, pos: int) -> None:
        if pos < len(data):
            self._held += data[pos:]
            self._searched = 0 if self._want else len(self._held)
            if not self._want:
                self._limit_line()

    def _run(self, data: bytes, pos: int) -> None:
        """Carry out what *data* holds from *pos* on, at most ``turn`` requests of it."""
        self.more = False
        end = len(data)
        left = self.turn
        commands = self.commands
        if not self._want and not self._swallow and data.startswith(b"get ", pos):
            pos, left = self._run_of_gets(data, pos, left)
        while not self.closing and self.streaming is None:
            if self._want:
                stop = pos + self._want
                if stop > end:
                    break
                finish = self.finish
                assert finish is not None
                self._want = 0
                finish(data[pos:stop])
                pos = stop
                commands = self.commands  # a login changes them
                continue
            if self._swallow:
                skipped = min(self._swallow, end - pos)
                self._swallow -= skipped
                pos += skipped
            if pos >= end:
                return
            stop = data.find(b"\n", pos)
            if stop < 0:
                break
            if left <= 0:
                self._data, self._pos, self.more = data, pos, True
                self.store.stats.conn_yields += 1
                return
            left -= 1
            line = data[pos : stop - 1 if stop - pos > 1 and data[stop - 1] == 13 else stop]
            pos = stop + 1
            words = line.split(b" ")
            if len(words) == 5 and words[0] == b"set" and self.quick:
                stop = self._quick_set(words, data, pos, end)
                if stop:
                    self.out.append(b"STORED\r\n")
                    pos = stop
                    continue
            entry = commands.get(words[0])
            if entry is None or b"" in words or b"\0" in line:
                words = wire.split_words(line)
                entry = commands.get(words[0]) if words else None
                if entry is None:
                    self._unknown(words)
                    continue
            if entry[1] <= len(words) <= entry[2]:
                entry[0](self, words)
            else:
                self.out.append(self.refusal)
        if self.streaming is not None and not self.closing:
            self._data, self._pos, self.more = data, pos, True
            return
        if not self.closing:
            self._hold(data, pos)

    def _unknown(self, words: list[bytes]) -> None:
        http = bool(words) and words[-1].startswith(b"HTTP/")
        if http and words[0][:1] not in b"gsacidt" and len(words[0]) > 2:
            self.closing = True  # a browser was led here; memcached hangs up as well
        else:
            self.out.append(self.refusal)

    def _quick_set(self, words: list[bytes], data: bytes, pos: int, end: int) -> int:
        """Carry out the plainest of ``set``s, all of whose data is there; where it ends.

        0 means that it is not so plain, and that nothing was done.
        """
        _, key, flags, exptime, size = words
        if (
            not 0 < len(key) <= wire.KEY_BYTES_MAX
            or not size.isdigit()
            or len(size) > 6
            or (size[0] == 48 and size != b"0")
            or b"\0" in key
        ):
            return 0
        stop = pos + int(size) + 2
        store = self.store
        if stop > end or data[stop - 2 : stop] != b"\r\n" or stop - pos > store.quick_bytes_max:
            return 0
        exp = NEVER
        if exptime != b"0":
            if not exptime.isdigit() or len(exptime) > 10:
                return 0
            exp = store.expiry(int(exptime))
        if flags != b"0" and (not flags.isdigit() or flags[0] == 48 or len(flags) > 9):
            return 0
        chunk = data[pos:stop]
        if store.renew(words, chunk):
            return stop
        head = b"".join((b"VALUE ", key, b" ", flags, b" ", size, b"\r\n"))
        item = store.link(key, head, chunk, exp)
        if item is None:
            return 0
        store.class_sets[item.slab] += 1
        store.stats.cmd_set += 1
        return stop

    def _run_of_gets(self, data: bytes, pos: int, left: int) -> tuple[int, int]:
        """Answer the single-key ``get`` lines at *pos*; where they end, and requests left."""
        store = self.store
        if not store.plain_keys or not self.quick:
            return pos, left
        lines = (data[pos:] if pos else data).split(b"\r\n", left)
        rest = lines.pop()
        find = store.table.get
        now, hits = store.now, store.hits
        found: list[bytes] = []
        append = found.append
        misses = 0
        for line in lines:
            item = find(line[4:])
            if item is not None and line[:4] == b"get " and item.exp > now:
                append(item.blob)
                hits[(item.bits & SEGMENT_MASK) << 6 | item.slab] += 1
                if item.bits < ACTIVE:
                    store.bump(item)
                continue
            # A miss, or not what it looked like: only the plainest misses are answered here.
            key = line[4:]
            if (
                line[:4] != b"get "
                or item is not None
                or not key
                or not key.isalnum()
                or len(key) > wire.KEY_BYTES_MAX
                or store.trash
            ):
                break
            misses += 1
            append(b"")
        count = len(found)
        if count:
            append(b"")
            self.out.append(wire.END.join(found))
            stats = store.stats
            stats.cmd_get += count
            stats.get_misses += misses
        if count == len(lines):
            return len(data) - len(rest), left - count
        return pos + sum(map(len, lines[:count])) + 2 * count, left - count
