"""What ``stats`` answers, in memcached's order and wording.

What this server has no counterpart for (reader buffers, log threads, slab pages) is shown
with the value it would have in a memcached that had nothing to tell of it.
"""

from __future__ import annotations

import os
import resource

from cachefleet.engine.memserver import wire
from cachefleet.engine.memserver.host import Host
from cachefleet.engine.memserver.lru import COLD, HOT, TEMP, WARM
from cachefleet.engine.memserver.memory import START_S
from cachefleet.engine.memserver.slabs import CLASSES_MAX, PAGE_BYTES
from cachefleet.engine.memserver.stats import stat_lines
from cachefleet.engine.memserver.store import Store

UPTIME_START_S = START_S - 2
CACHEDUMP_BYTES_MAX = 2 << 20  # memcached's own bound on one dump

Pairs = list[tuple[str, object]]


def stats_reply(store: Store, host: Host, words: list[bytes]) -> bytes:
    """The whole reply to ``stats <words>``."""
    name = words[0] if words else b""
    if name == b"":
        return stat_lines(general(store, host))
    if name == b"reset":
        _reset(store)
        return b"RESET\r\n"
    if name == b"settings":
        return stat_lines(settings_pairs(store, host))
    if name == b"items":
        return stat_lines(items(store))
    if name == b"slabs":
        return stat_lines(slabs(store))
    if name == b"sizes":
        return sizes_reply(store)
    if name in (b"sizes_enable", b"sizes_disable"):
        # Kept on demand here: there is nothing to switch, only something to say.
        store.settings.track_sizes = name == b"sizes_enable"
        return b"STAT sizes_status %bd\r\n" % name[6:]
    if name == b"conns":
        return stat_lines(conns(host))
    if name == b"detail":
        return _detail(store, words[1] if len(words) > 1 else b"")
    if name == b"cachedump":
        return _cachedump(store, words[1:])
    if name == b"extstore":
        return wire.END
    return wire.ERROR


def _reset(store: Store) -> None:
    store.stats.reset()
    store.class_sets = [0] * len(store.class_sets)
    store.class_evicted = [0] * len(store.class_evicted)
    store.hits = [0] * len(store.hits)
    store.by_class.reset()
    store.prefixes.clear()


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


def general(store: Store, host: Host) -> Pairs:
    """``stats``."""
    c, usage = store.stats, resource.getrusage(resource.RUSAGE_SELF)
    return [
        ("pid", os.getpid()),
        ("uptime", store.now - UPTIME_START_S),
        ("time", store.now + store.process_started),
        ("version", store.settings.report_version),
        ("libevent", "2.1.12-stable"),
        ("pointer_size", 64),
        ("rusage_user", f"{usage.ru_utime:.6f}"),
        ("rusage_system", f"{usage.ru_stime:.6f}"),
        ("max_connections", store.settings.connections_max),
        ("curr_connections", host.curr_connections),
        ("total_connections", c.total_connections),
        ("rejected_connections", c.rejected_connections),
        ("connection_structures", host.connection_structures),
        ("response_obj_oom", 0),
        ("response_obj_count", 1),
        ("response_obj_bytes", 16384),
        ("read_buf_count", 2),
        ("read_buf_bytes", 32768),
        ("read_buf_bytes_free", 0),
        ("read_buf_oom", 0),
        ("reserved_fds", 20),
        ("cmd_get", c.cmd_get),
        ("cmd_set", c.cmd_set),
        ("cmd_flush", c.cmd_flush),
        ("cmd_touch", c.cmd_touch),
        ("cmd_meta", c.cmd_meta),
        ("get_hits", c.cmd_get - c.get_misses),
        ("get_misses", c.get_misses),
        ("get_expired", c.get_expired),
        ("get_flushed", c.get_flushed),
        ("delete_misses", c.delete_misses),
        ("delete_hits", c.delete_hits),
        ("incr_misses", c.incr_misses),
        ("incr_hits", c.incr_hits),
        ("decr_misses", c.decr_misses),
        ("decr_hits", c.decr_hits),
        ("cas_misses", c.cas_misses),
        ("cas_hits", c.cas_hits),
        ("cas_badval", c.cas_badval),
        ("touch_hits", c.touch_hits),
        ("touch_misses", c.touch_misses),
        ("store_too_large", c.store_too_large),
        ("store_no_memory", c.store_no_memory),
        ("auth_cmds", c.auth_cmds),
        ("auth_errors", c.auth_errors),
        *([("idle_kicks", c.idle_kicks)] if store.settings.idle_timeout_s else []),
        ("bytes_read", c.bytes_read),
        ("bytes_written", c.bytes_written),
        ("limit_maxbytes", store.settings.memory_bytes),
        ("accepting_conns", int(host.accepting)),
        ("listen_disabled_num", c.listen_disabled_num),
        ("time_in_listen_disabled_us", c.time_in_listen_disabled_us),
        ("threads", store.settings.threads),
        ("conn_yields", c.conn_yields),
        ("hash_power_level", 16),
        ("hash_bytes", 524288),
        ("hash_is_expanding", 0),
        ("slab_reassign_rescues", 0),
        ("slab_reassign_chunk_rescues", 0),
        ("slab_reassign_evictions_nomem", 0),
        ("slab_reassign_inline_reclaim", 0),
        ("slab_reassign_busy_items", 0),
        ("slab_reassign_busy_deletes", 0),
        ("slab_reassign_running", 0),
        ("slabs_moved", 0),
        ("lru_crawler_running", int(store.crawling)),
        ("lru_crawler_starts", c.lru_crawler_starts),
        ("lru_maintainer_juggles", c.lru_maintainer_juggles),
        ("malloc_fails", 0),
        ("log_worker_dropped", 0),
        ("log_worker_written", 0),
        ("log_watcher_skipped", 0),
        ("log_watcher_sent", 0),
        ("log_watchers", 0),
        ("unexpected_napi_ids", 0),
        ("round_robin_fallback", 0),
        ("bytes", store.bytes),
        ("curr_items", len(store.table)),
        ("total_items", c.total_items),
        ("slab_global_page_pool", 0),
        ("expired_unfetched", c.expired_unfetched),
        ("evicted_unfetched", c.evicted_unfetched),
        ("evicted_active", c.evicted_active),
        ("evictions", c.evictions),
        ("reclaimed", c.reclaimed),
        ("crawler_reclaimed", c.crawler_reclaimed),
        ("crawler_items_checked", c.crawler_items_checked),
        ("lrutail_reflocked", 0),
        ("moves_to_cold", c.moves_to_cold),
        ("moves_to_warm", c.moves_to_warm),
        ("moves_within_lru", c.moves_within_lru),
        ("direct_reclaims", c.direct_reclaims),
        ("lru_bumps_dropped", 0),
    ]


def settings_pairs(store: Store, host: Host) -> Pairs:
    """``stats settings``."""
    s = store.settings
    return [
        ("maxbytes", s.memory_bytes),
        ("maxconns", s.connections_max),
        ("tcpport", s.port),
        ("udpport", s.udp_port),
        ("inter", s.listen_text),
        ("verbosity", host.verbosity),
        ("oldest", store.oldest_live),
        ("evictions", "on" if s.evictions else "off"),
        ("domain_socket", s.unix_path or "NULL"),
        ("umask", f"{s.unix_mask:o}"),
        ("shutdown_command", _yes(s.shutdown_command)),
        ("growth_factor", f"{s.growth_factor:.2f}"),
        ("chunk_size", s.chunk_size),
        ("num_threads", s.threads),
        ("num_threads_per_udp", s.threads),
        ("stat_key_prefix", s.prefix_delimiter),
        ("detail_enabled", _yes(s.detail)),
        ("reqs_per_event", s.requests_per_event),
        ("cas_enabled", _yes(s.cas)),
        ("tcp_backlog", s.backlog),
        ("binding_protocol", s.protocol),
        ("auth_enabled_sasl", _yes(s.sasl)),
        ("auth_enabled_ascii", s.auth_file or "no"),
        ("item_size_max", s.item_size_max),
        ("maxconns_fast", _yes(s.maxconns_fast)),
        ("hashpower_init", s.hashpower_init),
        ("slab_reassign", _yes(s.slab_reassign)),
        ("slab_automove", s.slab_automove),
        ("slab_automove_ratio", f"{s.slab_automove_ratio:.2f}"),
        ("slab_automove_window", s.slab_automove_window),
        ("slab_chunk_max", s.slab_chunk_max),
        ("lru_crawler", _yes(s.lru_crawler)),
        ("lru_crawler_sleep", s.lru_crawler_sleep_us),
        ("lru_crawler_tocrawl", s.lru_crawler_tocrawl),
        ("tail_repair_time", s.tail_repair_s),
        ("flush_enabled", _yes(s.flush)),
        ("dump_enabled", _yes(s.dump)),
        ("hash_algorithm", s.hash_algorithm),
        ("lru_maintainer_thread", _yes(s.lru_maintainer)),
        ("lru_segmented", _yes(s.lru_segmented)),
        ("hot_lru_pct", s.hot_lru_pct),
        ("warm_lru_pct", s.warm_lru_pct),
        ("hot_max_factor", f"{s.hot_max_factor:.2f}"),
        ("warm_max_factor", f"{s.warm_max_factor:.2f}"),
        ("temp_lru", _yes(s.temp_lru)),
        ("temporary_ttl", s.temporary_ttl_s),
        ("idle_timeout", s.idle_timeout_s),
        ("watcher_logbuf_size", s.watcher_logbuf_bytes),
        ("worker_logbuf_size", s.worker_logbuf_bytes),
        ("read_buf_mem_limit", s.read_buf_mem_bytes_max),
        ("track_sizes", _yes(s.track_sizes)),
        ("inline_ascii_response", "no"),
        ("ext_item_size", 512),
        ("ext_item_age", 4294967295),
        ("ext_low_ttl", 0),
        ("ext_recache_rate", 2000),
        ("ext_wbuf_size", 4194304),
        ("ext_compact_under", 0),
        ("ext_drop_under", 0),
        ("ext_max_sleep", 1000000),
        ("ext_max_frag", "0.80"),
        ("slab_automove_freeratio", f"{s.slab_automove_freeratio:.3f}"),
        ("ext_drop_unread", "no"),
        ("ssl_enabled", _yes(s.tls)),
        ("ssl_chain_cert", s.ssl_chain_cert or "(null)"),
        ("ssl_key", s.ssl_key or "(null)"),
        ("ssl_verify_mode", s.ssl_verify_mode),
        ("ssl_keyformat", 1),
        ("ssl_ciphers", s.ssl_ciphers or "NULL"),
        ("ssl_ca_cert", s.ssl_ca_cert or "NULL"),
        ("ssl_wbuf_size", 16384),
        ("ssl_session_cache", "no"),
        ("ssl_kernel_tls", "no"),
        ("ssl_min_version", s.ssl_min_version),
        ("num_napi_ids", "(null)"),
        ("memory_file", s.memory_file or "(null)"),
    ]


def _age(store: Store, number: int) -> int:
    oldest = store.segments[number].oldest()
    return 0 if oldest is None else max(store.now - oldest.time, 0)


def items(store: Store) -> Pairs:
    """``stats items``: only classes that hold something, as memcached."""
    pairs: Pairs = []
    c = store.by_class
    for slab in range(1, store.classes.count + 1):
        hot, warm, cold, temp = (store.counts[n << 6 | slab] for n in (HOT, WARM, COLD, TEMP))
        if not hot + warm + cold + temp:
            continue
        rows: Pairs = [
            ("number", hot + warm + cold + temp),
            ("number_hot", hot),
            ("number_warm", warm),
            ("number_cold", cold),
            *([("number_temp", temp)] if store.settings.temp_lru else []),
            ("age_hot", _age(store, HOT) if hot else 0),
            ("age_warm", _age(store, WARM) if warm else 0),
            ("age", _age(store, COLD) if cold else 0),
            ("mem_requested", store.class_bytes(slab)),
            ("evicted", store.class_evicted[slab]),
            ("evicted_nonzero", c.evicted_nonzero[slab]),
            ("evicted_time", c.evicted_time[slab]),
            ("outofmemory", 0),
            ("tailrepairs", 0),
            ("reclaimed", c.reclaimed[slab]),
            ("expired_unfetched", c.expired_unfetched[slab]),
            ("evicted_unfetched", c.evicted_unfetched[slab]),
            ("evicted_active", c.evicted_active[slab]),
            ("crawler_reclaimed", c.crawler_reclaimed[slab]),
            ("crawler_items_checked", c.crawler_items_checked[slab]),
            ("lrutail_reflocked", 0),
            ("moves_to_cold", c.moves_to_cold[slab]),
            ("moves_to_warm", c.moves_to_warm[slab]),
            ("moves_within_lru", c.moves_within_lru[slab]),
            ("direct_reclaims", c.direct_reclaims[slab]),
            ("hits_to_hot", store.hits[HOT << 6 | slab]),
            ("hits_to_warm", store.hits[WARM << 6 | slab]),
            ("hits_to_cold", store.hits[COLD << 6 | slab]),
            ("hits_to_temp", store.hits[TEMP << 6 | slab]),
        ]
        pairs += [(f"items:{slab}:{name}", value) for name, value in rows]
    return pairs


def slabs(store: Store) -> Pairs:
    """``stats slabs``, as if the items lay in memcached's pages."""
    pairs: Pairs = []
    active = pages_total = 0
    c = store.by_class
    for slab in range(1, store.classes.count + 1):
        used = sum(store.counts[n << 6 | slab] for n in (HOT, WARM, COLD, TEMP))
        if not store.class_seen >> slab & 1 and not store.class_sets[slab]:
            continue
        size = store.classes.sizes[slab - 1]
        per_page = max(PAGE_BYTES // size, 1)
        pages = max(-(-used // per_page), 1)
        active += 1
        pages_total += pages
        rows: Pairs = [
            ("chunk_size", size),
            ("chunks_per_page", per_page),
            ("total_pages", pages),
            ("total_chunks", pages * per_page),
            ("used_chunks", used),
            ("free_chunks", pages * per_page - used),
            ("free_chunks_end", 0),
            ("get_hits", sum(store.hits[n << 6 | slab] for n in (HOT, WARM, COLD, TEMP))),
            ("cmd_set", store.class_sets[slab]),
            ("delete_hits", c.delete_hits[slab]),
            ("incr_hits", c.incr_hits[slab]),
            ("decr_hits", c.decr_hits[slab]),
            ("cas_hits", c.cas_hits[slab]),
            ("cas_badval", c.cas_badval[slab]),
            ("touch_hits", c.touch_hits[slab]),
        ]
        pairs += [(f"{slab}:{name}", value) for name, value in rows]
    pairs += [("active_slabs", active), ("total_malloced", pages_total * PAGE_BYTES)]
    return pairs


def sizes_reply(store: Store) -> bytes:
    """``stats sizes``: a histogram, kept only with ``-o track_sizes``."""
    if not store.settings.track_sizes:
        return b"STAT sizes_status disabled\r\nEND\r\n"
    histogram: dict[int, int] = {}
    for key, item in store.table.items():
        bucket = -(-store.size_of(key, item) // 32) * 32
        histogram[bucket] = histogram.get(bucket, 0) + 1
    return stat_lines([(str(size), count) for size, count in sorted(histogram.items())])


def conns(host: Host) -> Pairs:
    """``stats conns``."""
    return [
        (f"{number}:{name}", value) for number, rows in host.connections() for name, value in rows
    ]


def _detail(store: Store, word: bytes) -> bytes:
    if word == b"on":
        store.settings.detail = True
    elif word == b"off":
        store.settings.detail = False
    elif word == b"dump":
        rows = [
            b"PREFIX %b get %d hit %d set %d del %d\r\n"
            % (name, counts[0], counts[1], counts[2], counts[3])
            for name, counts in store.prefixes.items()
        ]
        return b"".join(rows) + wire.END
    else:
        return b"CLIENT_ERROR usage: stats detail on|off|dump\r\n"
    return wire.OK


def _cachedump(store: Store, words: list[bytes]) -> bytes:
    if not store.settings.dump:
        return b"CLIENT_ERROR stats cachedump not allowed\r\n"
    if len(words) < 2:
        return b"CLIENT_ERROR bad command line\r\n"
    slab, limit = wire.parse_u32(words[0]), wire.parse_u32(words[1])
    if slab is None or limit is None:
        return wire.BAD_FORMAT
    if slab >= CLASSES_MAX:
        return b"CLIENT_ERROR Illegal slab id\r\n"
    out: list[bytes] = []
    size = 0
    for key, item in store.table.items():
        if item.slab != slab or b" " in key or b"\n" in key:
            continue
        exp = 0 if item.exp > 1 << 60 else item.exp + store.process_started
        line = b"ITEM %b [%d b; %d s]\r\n" % (key, item.value_len, exp)
        size += len(line)
        if size > CACHEDUMP_BYTES_MAX or (limit and len(out) >= limit):
            break
        out.append(line)
    return b"".join(out) + wire.END
