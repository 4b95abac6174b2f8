"""The classic text commands: request words and a store in, reply lines out.

A handler gets the session and the words of its line. The table says how many words it
takes; memcached answers ``ERROR`` to any other number before it looks at one of them.
"""

from __future__ import annotations

from cachefleet.engine.memserver import reports, wire
from cachefleet.engine.memserver.discovery import CONFIG_BYTES_MAX
from cachefleet.engine.memserver.lru import ACTIVE, SEGMENT_MASK, Item
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

MANY = 1 << 30
MEMLIMIT_MB_MIN = 8
MEMLIMIT_MB_MAX = 1_000_000_000
VERBOSITY_MAX = 2

OUTCOMES = {
    STORED: b"STORED\r\n",
    NOT_STORED: b"NOT_STORED\r\n",
    EXISTS: b"EXISTS\r\n",
    NOT_FOUND: b"NOT_FOUND\r\n",
    NO_MEMORY: wire.OUT_OF_MEMORY,
}
MODES = {
    b"set": SET,
    b"add": ADD,
    b"replace": REPLACE,
    b"append": APPEND,
    b"prepend": PREPEND,
    b"cas": CAS,
}


def _noreply(session: Session, words: list[bytes]) -> bool:
    if words[-1] == b"noreply":
        session.noreply = True
    return session.noreply


# -- storage --------------------------------------------------------------------------------


def update(session: Session, words: list[bytes]) -> None:
    """``set add replace append prepend cas``: read the line, then wait for the data."""
    _noreply(session, words)
    store = session.store
    key = words[1]
    mode = MODES[words[0]]
    flags = wire.parse_u32(words[2])
    exptime = wire.parse_i32(words[3])
    size = wire.parse_i32(words[4])
    cas = wire.parse_u64(words[5]) if mode == CAS else 0
    if (
        len(key) > wire.KEY_BYTES_MAX
        or flags is None
        or exptime is None
        or size is None
        or cas is None
        or not 0 <= size <= wire.VALUE_BYTES_MAX
    ):
        session.reply(wire.BAD_FORMAT)
        return
    expiry = store.expiry(exptime)
    if not store.fits(key, flags, size):
        store.note_too_large(key, mode)
        session.reply(wire.TOO_LARGE)
        session.swallow(size + 2)
        _drop_stale(session, mode, key)
        return

    def finish(chunk: bytes) -> None:
        if chunk[-2:] != b"\r\n":
            session.reply(wire.BAD_CHUNK)
            store.count_set(key, flags, chunk)
            return
        outcome = store.update(mode, key, flags, expiry, chunk, cas=cas)
        if outcome == NO_MEMORY:
            store.stats.store_no_memory += 1
            _drop_stale(session, mode, key)
        session.reply(OUTCOMES[outcome])

    session.want(size + 2, finish)


def _drop_stale(session: Session, mode: int, key: bytes) -> None:
    """A ``set`` that fails must not leave the old value to be read."""
    if mode == SET:
        old = session.store.find(key)
        if old is not None:
            session.store.unlink(key, old)


def delete(session: Session, words: list[bytes]) -> None:
    """``delete <key> [0] [noreply]``."""
    store = session.store
    if len(words) > 2:
        zero = words[2] == b"0"
        quiet = _noreply(session, words)
        if not ((len(words) == 3 and (zero or quiet)) or (len(words) == 4 and zero and quiet)):
            session.reply(
                b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n"
            )
            return
    key = words[1]
    if len(key) > wire.KEY_BYTES_MAX:
        session.reply(wire.BAD_FORMAT)
        return
    item = store.fetch(key)
    if item is not None and key in store.table:
        store.unlink(key, item)
        store.stats.delete_hits += 1
        store.by_class.delete_hits[item.slab] += 1
        session.reply(b"DELETED\r\n")
    else:
        store.stats.delete_misses += 1
        session.reply(b"NOT_FOUND\r\n")


def arithmetic(session: Session, words: list[bytes]) -> None:
    """``incr`` and ``decr``."""
    store = session.store
    _noreply(session, words)
    incr = words[0] == b"incr"
    if len(words[1]) > wire.KEY_BYTES_MAX:
        session.reply(wire.BAD_FORMAT)
        return
    amount = wire.parse_u64(words[2])
    if amount is None:
        session.reply(wire.BAD_DELTA)
        return
    outcome, number, _ = store.add_delta(words[1], amount, incr=incr)
    if outcome == STORED:
        session.reply(b"%d\r\n" % number)
    elif outcome == NOT_NUMERIC:
        session.reply(wire.NON_NUMERIC)
    elif outcome == NO_MEMORY:
        session.reply(b"SERVER_ERROR out of memory\r\n")
    else:
        if incr:
            store.stats.incr_misses += 1
        else:
            store.stats.decr_misses += 1
        session.reply(b"NOT_FOUND\r\n")


def touch(session: Session, words: list[bytes]) -> None:
    """``touch <key> <exptime>``."""
    store = session.store
    _noreply(session, words)
    if len(words[1]) > wire.KEY_BYTES_MAX:
        session.reply(wire.BAD_FORMAT)
        return
    exptime = wire.parse_i32(words[2])
    if exptime is None:
        session.reply(wire.BAD_EXPTIME)
        return
    store.stats.cmd_touch += 1
    item = store.fetch(words[1])
    if item is None:
        store.stats.touch_misses += 1
        session.reply(b"NOT_FOUND\r\n")
        return
    item.exp = store.expiry(exptime)
    store.timed_sets += 1
    store.bump(item)
    store.stats.touch_hits += 1
    store.by_class.touch_hits[item.slab] += 1
    session.reply(b"TOUCHED\r\n")


# -- retrieval ------------------------------------------------------------------------------


def get(session: Session, words: list[bytes]) -> None:
    """``get`` with any number of keys."""
    store = session.store
    keys = words[1:]
    if store.on_fetch is not None:  # every look-up is to be told of
        _retrieve(session, keys, with_cas=False, expiry=None)
        return
    find, now = store.table.get, store.now
    out = session.out
    try:
        # All there, as a rule: comprehensions halve what a loop would cost. What is missing
        # is None, and has no expiry to ask for.
        items: list[Item] = list(map(find, keys))  # type: ignore[arg-type]
        blobs = [item.blob for item in items if item.exp > now]
        cold = [item for item in items if item.bits < ACTIVE]
        places = [(item.bits & SEGMENT_MASK) << 6 | item.slab for item in items]
    except AttributeError:
        _get_some(session, keys)
        return
    if len(blobs) == len(keys):
        out += blobs
        out.append(wire.END)
        for item in cold:
            store.bump(item)
        hits = store.hits
        for place in places:
            hits[place] += 1
        store.stats.cmd_get += len(keys)
        return
    _get_some(session, keys)


def _get_some(session: Session, keys: list[bytes]) -> None:
    """``get`` where not every key is there."""
    store = session.store
    find, now = store.table.get, store.now
    out = session.out
    start = len(out)
    misses = 0
    for done, key in enumerate(keys):
        item = find(key)
        if item is None or item.exp <= now:
            if len(key) > wire.KEY_BYTES_MAX:
                del out[start:]
                store.stats.cmd_get += done
                store.stats.get_misses += misses
                session.error(wire.BAD_FORMAT)
                return
            item = store.fetch(key)
            if item is None:
                misses += 1
                continue
        out.append(item.blob)
        store.hits[(item.bits & SEGMENT_MASK) << 6 | item.slab] += 1
        if item.bits < ACTIVE:
            store.bump(item)
    store.stats.cmd_get += len(keys)
    store.stats.get_misses += misses
    out.append(wire.END)


def gets(session: Session, words: list[bytes]) -> None:
    """``gets``: with the CAS number of each."""
    _retrieve(session, words[1:], with_cas=True, expiry=None)


def get_and_touch(session: Session, words: list[bytes]) -> None:
    """``gat`` and ``gats``: the first word is an exptime for all keys."""
    exptime = wire.parse_i32(words[1])
    if exptime is None:
        session.reply(wire.BAD_EXPTIME)
        return
    expiry = session.store.expiry(exptime)
    _retrieve(session, words[2:], with_cas=words[0] == b"gats", expiry=expiry)


def _retrieve(session: Session, keys: list[bytes], *, with_cas: bool, expiry: int | None) -> None:
    store, stats = session.store, session.store.stats
    out = session.out
    start = len(out)
    for key in keys:
        if len(key) > wire.KEY_BYTES_MAX:
            del out[start:]
            session.error(wire.BAD_FORMAT)
            return
        item = store.fetch(key)
        if expiry is None:
            stats.cmd_get += 1
            stats.get_misses += item is None
        else:
            stats.cmd_touch += 1
            stats.touch_misses += item is None
            stats.touch_hits += item is not None
        if item is None:
            continue
        if expiry is not None:
            item.exp = expiry
            store.timed_sets += 1
            store.by_class.touch_hits[item.slab] += 1
        else:
            store.note_hit(item)
        blob = item.blob
        if with_cas:
            head = item.head
            blob = b"%b %d\r\n%b" % (blob[: head - 2], item.cas, blob[head:])
        out.append(blob)
        store.bump(item)
    out.append(wire.END)


# -- the server -----------------------------------------------------------------------------


def version(session: Session, words: list[bytes]) -> None:
    """The engine version asked for, whatever runs underneath."""
    session.reply(b"VERSION %b\r\n" % session.store.settings.report_version.encode())


def quit_(session: Session, words: list[bytes]) -> None:
    """Close once everything before it is answered."""
    session.closing = True


def flush_all(session: Session, words: list[bytes]) -> None:
    """``flush_all [exptime] [noreply]``."""
    store = session.store
    quiet = _noreply(session, words)
    store.stats.cmd_flush += 1
    if not store.settings.flush:
        session.reply(b"CLIENT_ERROR flush_all not allowed\r\n")
        return
    exptime = 0
    if len(words) != (2 if quiet else 1):
        given = wire.parse_i32(words[1]) if len(words) > 1 else None
        if given is None:
            session.reply(wire.BAD_EXPTIME)
            return
        exptime = given
    store.flush(exptime)
    session.reply(wire.OK)


def verbosity(session: Session, words: list[bytes]) -> None:
    """``verbosity <level>``."""
    _noreply(session, words)
    level = wire.parse_u32(words[1])
    if level is None:
        session.reply(wire.BAD_FORMAT)
        return
    session.host.verbosity = min(level, VERBOSITY_MAX)
    session.reply(wire.OK)


def cache_memlimit(session: Session, words: list[bytes]) -> None:
    """``cache_memlimit <megabytes>``."""
    _noreply(session, words)
    megabytes = wire.parse_u32(words[1])
    if megabytes is None:
        session.reply(wire.ERROR)
    elif megabytes < MEMLIMIT_MB_MIN:
        session.reply(b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n")
    elif megabytes > MEMLIMIT_MB_MAX:
        session.reply(b"MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n")
    else:
        session.store.set_limit(megabytes << 20)
        session.reply(wire.OK)


def shutdown(session: Session, words: list[bytes]) -> None:
    """``shutdown [graceful]``, where it is enabled."""
    if not session.store.settings.shutdown_command and not session.privileged:
        session.reply(b"ERROR: shutdown not enabled\r\n")
    elif len(words) == 1 or (len(words) == 2 and words[1] == b"graceful"):
        session.closing = True
        session.host.stop(save=len(words) == 2)
    else:
        session.reply(b"CLIENT_ERROR invalid shutdown mode\r\n")


def stats(session: Session, words: list[bytes]) -> None:
    """``stats`` and what it can be asked."""
    session.out.append(reports.stats_reply(session.store, session.host, words[1:]))


# -- auto discovery -------------------------------------------------------------------------


def config(session: Session, words: list[bytes]) -> None:
    """``config get`` for everybody; ``config set`` and ``delete`` for the control plane."""
    store = session.store
    verb = words[1]
    if verb == b"get" and len(words) > 2:
        if max(map(len, words)) > wire.KEY_BYTES_MAX:
            session.reply(wire.BAD_FORMAT)
        else:
            session.out.append(store.config.render(words[2:]))
        return
    if verb == b"delete" and len(words) in (3, 4):
        _noreply(session, words)
        if not session.privileged:
            session.reply(b"CLIENT_ERROR config delete not allowed\r\n")
        elif store.config.delete(words[2]):
            session.reply(b"DELETED\r\n")
        else:
            session.reply(b"NOT_FOUND\r\n")
        return
    if verb == b"set" and len(words) in (5, 6):
        _config_set(session, words)
        return
    session.out.append(wire.ERROR)


def _config_set(session: Session, words: list[bytes]) -> None:
    _noreply(session, words)
    store = session.store
    flags, size = wire.parse_u32(words[3]), wire.parse_i32(words[4])
    if flags is None or size is None or size < 0 or len(words[2]) > wire.KEY_BYTES_MAX:
        session.reply(wire.BAD_FORMAT)
        return
    if not session.privileged or size > CONFIG_BYTES_MAX:
        refusal = wire.TOO_LARGE if session.privileged else None
        session.reply(refusal or b"CLIENT_ERROR config set not allowed\r\n")
        session.swallow(min(size, wire.VALUE_BYTES_MAX) + 2)
        return

    def finish(chunk: bytes) -> None:
        if chunk[-2:] != b"\r\n":
            session.reply(wire.BAD_CHUNK)
        elif store.config.set(words[2], flags, chunk[:-2]):
            session.reply(OUTCOMES[STORED])
        else:
            session.reply(wire.OUT_OF_MEMORY)

    session.want(size + 2, finish)


COMMANDS: CommandTable = {
    b"get": (get, 2, MANY),
    b"bget": (get, 2, MANY),
    b"gets": (gets, 2, MANY),
    b"gat": (get_and_touch, 2, MANY),
    b"gats": (get_and_touch, 2, MANY),
    b"set": (update, 5, 6),
    b"add": (update, 5, 6),
    b"replace": (update, 5, 6),
    b"append": (update, 5, 6),
    b"prepend": (update, 5, 6),
    b"cas": (update, 6, 7),
    b"delete": (delete, 2, 4),
    b"incr": (arithmetic, 3, 4),
    b"decr": (arithmetic, 3, 4),
    b"touch": (touch, 3, 4),
    b"flush_all": (flush_all, 1, 3),
    b"version": (version, 1, MANY),
    b"quit": (quit_, 1, MANY),
    b"verbosity": (verbosity, 2, 3),
    b"cache_memlimit": (cache_memlimit, 2, 3),
    b"shutdown": (shutdown, 1, MANY),
    b"stats": (stats, 1, MANY),
    b"config": (config, 2, MANY),
}
