"""Counters, in the names under which ``stats`` shows them. Plain integers, nothing else."""

from __future__ import annotations

CLASS_NUMBERS = 65  # classes are numbered from 1 to 64


class Counters:
    """Everything that ``stats`` counts and ``stats reset`` clears."""

    __slots__ = (
        "auth_cmds",
        "auth_errors",
        "bytes_read",
        "bytes_written",
        "cas_badval",
        "cas_hits",
        "cas_misses",
        "cmd_flush",
        "cmd_get",
        "cmd_meta",
        "cmd_set",
        "cmd_touch",
        "conn_yields",
        "crawler_items_checked",
        "crawler_reclaimed",
        "decr_hits",
        "decr_misses",
        "delete_hits",
        "delete_misses",
        "direct_reclaims",
        "evicted_active",
        "evicted_unfetched",
        "evictions",
        "expired_unfetched",
        "get_expired",
        "get_flushed",
        "get_misses",
        "idle_kicks",
        "incr_hits",
        "incr_misses",
        "listen_disabled_num",
        "lru_crawler_starts",
        "lru_maintainer_juggles",
        "moves_to_cold",
        "moves_to_warm",
        "moves_within_lru",
        "reclaimed",
        "rejected_connections",
        "store_no_memory",
        "store_too_large",
        "time_in_listen_disabled_us",
        "total_connections",
        "total_items",
        "touch_hits",
        "touch_misses",
    )

    # Declared one by one: setattr in a loop is invisible to a type checker.
    auth_cmds: int
    auth_errors: int
    bytes_read: int
    bytes_written: int
    cas_badval: int
    cas_hits: int
    cas_misses: int
    cmd_flush: int
    cmd_get: int
    cmd_meta: int
    cmd_set: int
    cmd_touch: int
    conn_yields: int
    crawler_items_checked: int
    crawler_reclaimed: int
    decr_hits: int
    decr_misses: int
    delete_hits: int
    delete_misses: int
    direct_reclaims: int
    evicted_active: int
    evicted_unfetched: int
    evictions: int
    expired_unfetched: int
    get_expired: int
    get_flushed: int
    get_misses: int
    idle_kicks: int
    incr_hits: int
    incr_misses: int
    listen_disabled_num: int
    lru_crawler_starts: int
    lru_maintainer_juggles: int
    moves_to_cold: int
    moves_to_warm: int
    moves_within_lru: int
    reclaimed: int
    rejected_connections: int
    store_no_memory: int
    store_too_large: int
    time_in_listen_disabled_us: int
    total_connections: int
    total_items: int
    touch_hits: int
    touch_misses: int

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Back to zero, as ``stats reset`` does."""
        for name in self.__slots__:
            setattr(self, name, 0)


class ClassCounters:
    """What ``stats slabs`` and ``stats items`` count of each slab class, by its number."""

    __slots__ = (
        "cas_badval",
        "cas_hits",
        "crawler_items_checked",
        "crawler_reclaimed",
        "decr_hits",
        "delete_hits",
        "direct_reclaims",
        "evicted_active",
        "evicted_nonzero",
        "evicted_time",
        "evicted_unfetched",
        "expired_unfetched",
        "incr_hits",
        "moves_to_cold",
        "moves_to_warm",
        "moves_within_lru",
        "reclaimed",
        "touch_hits",
    )

    cas_badval: list[int]
    cas_hits: list[int]
    crawler_items_checked: list[int]
    crawler_reclaimed: list[int]
    decr_hits: list[int]
    delete_hits: list[int]
    direct_reclaims: list[int]
    evicted_active: list[int]
    evicted_nonzero: list[int]
    evicted_time: list[int]  # how long ago the last one to go had been read
    evicted_unfetched: list[int]
    expired_unfetched: list[int]
    incr_hits: list[int]
    moves_to_cold: list[int]
    moves_to_warm: list[int]
    moves_within_lru: list[int]
    reclaimed: list[int]
    touch_hits: list[int]

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Back to zero, as ``stats reset`` does."""
        for name in self.__slots__:
            setattr(self, name, [0] * CLASS_NUMBERS)


def stat_lines(pairs: list[tuple[str, object]]) -> bytes:
    """``STAT name value`` lines and the closing ``END``."""
    return "".join([f"STAT {name} {value}\r\n" for name, value in pairs]).encode() + b"END\r\n"
