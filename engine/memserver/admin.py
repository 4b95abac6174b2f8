"""Commands for operators: ``lru``, ``lru_crawler``, ``slabs``, ``watch`` and the like.

ElastiCache's engine answers ``ERROR`` to the first three from 1.6.17 on; so does this
server when started with ``--no-admin-commands``.
"""

from __future__ import annotations

from collections.abc import Iterator

from cachefleet.engine.memserver import wire
from cachefleet.engine.memserver.crawler import metadump, walk
from cachefleet.engine.memserver.session import CommandTable, Session
from cachefleet.engine.memserver.slabs import CLASSES_MAX

MANY = 1 << 30
CRAWLER_SLEEP_US_MAX = 1_000_000
LRU_PCT_MAX = 80
WATCHES = frozenset(
    (
        b"rawcmds",
        b"evictions",
        b"fetchers",
        b"mutations",
        b"sysevents",
        b"connevents",
        b"proxyreqs",
        b"proxyevents",
        b"proxyuser",
    )
)


def _noreply(session: Session, words: list[bytes]) -> None:
    if words[-1] == b"noreply":
        session.noreply = True


def _real(text: bytes) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def lru(session: Session, words: list[bytes]) -> None:
    """``lru tune|mode|temp_ttl``."""
    _noreply(session, words)
    settings, store = session.store.settings, session.store
    reply = wire.ERROR
    if words[1] == b"tune" and len(words) >= 6:
        reply = _tune(session, words)
    elif words[1] == b"mode" and len(words) >= 3 and settings.lru_maintainer:
        if words[2] in (b"flat", b"segmented"):
            settings.lru_segmented = words[2] == b"segmented"
            reply = wire.OK
    elif words[1] == b"temp_ttl" and len(words) >= 3 and settings.lru_maintainer:
        seconds = wire.parse_i32(words[2])
        if seconds is not None:
            settings.temp_lru = seconds >= 0
            if seconds >= 0:
                settings.temporary_ttl_s = seconds
            reply = wire.OK
    store.special_segments = settings.temp_lru or not settings.lru_segmented
    session.reply(reply)


def _tune(session: Session, words: list[bytes]) -> bytes:
    hot, warm = wire.parse_u32(words[2]), wire.parse_u32(words[3])
    hot_factor, warm_factor = _real(words[4]), _real(words[5])
    if hot is None or warm is None or hot_factor is None or warm_factor is None:
        return wire.ERROR
    if hot + warm > LRU_PCT_MAX:
        return b"ERROR hot and warm pcts must not exceed 80\r\n"
    if hot_factor <= 0 or warm_factor <= 0:
        return b"ERROR hot/warm age factors must be greater than 0\r\n"
    settings = session.store.settings
    settings.hot_lru_pct, settings.warm_lru_pct = hot, warm
    settings.hot_max_factor, settings.warm_max_factor = hot_factor, warm_factor
    return wire.OK


def slabs(session: Session, words: list[bytes]) -> None:
    """``slabs reassign|automove``: understood, though there are no pages to move."""
    settings = session.store.settings
    if len(words) == 4 and words[1] == b"reassign":
        session.reply(_reassign(session, words))
        return
    if len(words) < 3 or words[1] != b"automove":
        session.reply(wire.ERROR)
        return
    _noreply(session, words)
    if words[2] == b"ratio":
        ratio = _real(words[3]) if len(words) > 3 else None
        if ratio is None:
            session.reply(wire.ERROR)
            return
        settings.slab_automove_ratio = ratio
    else:
        level = wire.parse_u32(words[2])
        if level is None or level > 2:
            session.reply(wire.BAD_FORMAT if level is None else wire.ERROR)
            return
        settings.slab_automove = level
    session.reply(wire.OK)


def _reassign(session: Session, words: list[bytes]) -> bytes:
    if not session.store.settings.slab_reassign:
        return b"CLIENT_ERROR slab reassignment disabled\r\n"
    source, target = wire.parse_i32(words[2]), wire.parse_i32(words[3])
    if source is None or target is None:
        return wire.BAD_FORMAT
    if source == target:
        return b"SAME src and dst class are identical\r\n"
    classes = session.store.classes.count
    if not -1 <= source <= classes or not 0 <= target <= classes:
        return b"BADCLASS invalid src or dst class id\r\n"
    return b"NOSPARE source class has no spare pages\r\n"


def lru_crawler(session: Session, words: list[bytes]) -> None:
    """``lru_crawler enable|disable|crawl|metadump|tocrawl|sleep``."""
    settings = session.store.settings
    match words[1:]:
        case [b"crawl", which]:
            _crawl(session, which, dump=False)
        case [b"metadump", which]:
            _crawl(session, which, dump=True)
        case [b"tocrawl", number]:
            count = wire.parse_u32(number)
            settings.lru_crawler_tocrawl = count or 0
            session.reply(wire.BAD_FORMAT if count is None else wire.OK)
        case [b"sleep", number]:
            micros = wire.parse_u32(number)
            if micros is None:
                session.reply(wire.BAD_FORMAT)
            elif micros > CRAWLER_SLEEP_US_MAX:
                session.reply(b"CLIENT_ERROR sleep must be one second or less\r\n")
            else:
                settings.lru_crawler_sleep_us = micros
                session.reply(wire.OK)
        case [b"enable"] if settings.lru_crawler:
            session.reply(b"ERROR failed to start lru crawler thread\r\n")
        case [b"disable"] if not settings.lru_crawler:
            session.reply(b"ERROR failed to stop lru crawler thread\r\n")
        case [b"enable" | b"disable" as verb]:
            settings.lru_crawler = verb == b"enable"
            session.reply(wire.OK)
        case _:
            session.reply(wire.ERROR)


def _classes(which: bytes) -> frozenset[int] | None:
    """The classes named, None for a name that is none; empty for all."""
    if which in (b"all", b"hash"):
        return frozenset()
    numbers = [wire.parse_u32(word) for word in which.split(b",") if word]
    named = frozenset(number for number in numbers if number is not None)
    if len(named) != len(set(numbers)) or not all(0 < n < CLASSES_MAX for n in named):
        return None
    return named or None


def _crawl(session: Session, which: bytes, *, dump: bool) -> None:
    store = session.store
    if not store.settings.lru_crawler:
        session.reply(b"CLIENT_ERROR lru crawler disabled\r\n")
        return
    if dump and not store.settings.dump:
        session.reply(b"ERROR metadump not allowed\r\n")
        return
    if dump and session.out:
        session.reply(b"ERROR cannot pipeline other commands before metadump\r\n")
        return
    classes = _classes(which)
    if classes is None:
        session.reply(b"BADCLASS invalid class id\r\n")
    elif store.crawling:
        session.reply(b"BUSY currently processing crawler request\r\n")
    elif dump:
        session.streaming = metadump(store, classes or None)
    else:
        session.streaming = _silent(store_walk=walk(store))


def _silent(store_walk: Iterator[object]) -> Iterator[bytes]:
    for _ in store_walk:
        yield b""
    yield wire.OK


def watch(session: Session, words: list[bytes]) -> None:
    """``watch``: what these kinds bring is told from now on; no kind is ``fetchers``."""
    if not session.store.settings.watch:
        session.reply(b"CLIENT_ERROR watch commands not allowed\r\n")
    elif session.out:
        session.reply(b"ERROR cannot pipeline other commands before watch\r\n")
    elif not all(word in WATCHES for word in words[1:]):
        session.reply(wire.ERROR)
    else:
        session.reply(wire.OK)
        session.host.watch(session, words[1:] or [b"fetchers"])


def refresh_certs(session: Session, words: list[bytes]) -> None:
    """``refresh_certs``."""
    _noreply(session, words)
    failure = session.host.refresh_certs()
    session.reply(wire.OK if failure is None else failure.encode() + b"\r\n")


OPERATOR_COMMANDS: CommandTable = {
    b"lru": (lru, 2, MANY),
    b"slabs": (slabs, 1, MANY),
    b"lru_crawler": (lru_crawler, 1, MANY),
}
OTHER_COMMANDS: CommandTable = {
    b"watch": (watch, 1, MANY),
    b"refresh_certs": (refresh_certs, 1, MANY),
}
