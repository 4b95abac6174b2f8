"""memcached's command line, read into ``Settings``.

argparse takes longer to import than this server takes to start, hence a table of our own.
Options that tune what is not here (slab moves, log buffers, threads) are taken, shown by
``stats settings`` and otherwise without effect.
"""

from __future__ import annotations

from collections.abc import Callable

from cachefleet.engine.memserver.settings import MIB, Settings

ITEM_SIZE_MIN = 1024
ITEM_SIZE_MAX = 1024 * MIB
REQUESTS_PER_EVENT_MIN = 1


class BadOption(Exception):
    """The command line cannot be used; ``args[0]`` says why."""


Setter = Callable[[Settings, str], None]


def _whole(text: str, low: int, high: int) -> int:
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise BadOption(f"{text!r} is not a number between {low} and {high}")
    return int(text)


def _real(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadOption(f"{text!r} is not a number") from None


def _number(name: str, low: int = 0, high: int = (1 << 31) - 1, unit: int = 1) -> Setter:
    def put(settings: Settings, text: str) -> None:
        setattr(settings, name, _whole(text, low, high) * unit)

    return put


def _text(name: str) -> Setter:
    return lambda settings, text: setattr(settings, name, text)


def _fraction(name: str) -> Setter:
    return lambda settings, text: setattr(settings, name, _real(text))


def _flag(name: str, value: object) -> Setter:
    return lambda settings, _: setattr(settings, name, value)


def _ignored(settings: Settings, text: str) -> None:
    """Taken for compatibility."""


def _listen(settings: Settings, text: str) -> None:
    settings.listen += [address for address in text.split(",") if address]


def _item_size(settings: Settings, text: str) -> None:
    unit = {"k": 1024, "m": MIB}.get(text[-1:].lower(), 1)
    size = _whole(text if unit == 1 else text[:-1], 0, ITEM_SIZE_MAX) * unit
    if size < ITEM_SIZE_MIN:
        raise BadOption("Item max size cannot be less than 1024 bytes.")
    if size > ITEM_SIZE_MAX:
        raise BadOption("Cannot set item size limit higher than a gigabyte.")
    settings.item_size_max = size


def _growth(settings: Settings, text: str) -> None:
    settings.growth_factor = _real(text)
    if settings.growth_factor <= 1.0:
        raise BadOption("Factor must be greater than 1")


def _protocol(settings: Settings, text: str) -> None:
    names = {"auto": "auto-negotiate", "ascii": "ascii", "binary": "binary"}
    if text not in names:
        raise BadOption("Invalid value for binding protocol: choose ascii, binary, or auto.")
    settings.protocol = names[text]


def _prefix(settings: Settings, text: str) -> None:
    settings.prefix_delimiter = text[:1]
    settings.detail = True


def _mask(settings: Settings, text: str) -> None:
    try:
        settings.unix_mask = int(text, 8)
    except ValueError:
        raise BadOption(f"{text!r} is not an octal mask") from None


def _verify(settings: Settings, text: str) -> None:
    settings.ssl_verify_mode = _whole(text, 0, 3)


def _tls_version(settings: Settings, text: str) -> None:
    names = {"0": "tlsv1.0", "1": "tlsv1.1", "2": "tlsv1.2", "3": "tlsv1.3"}
    if text not in names:
        raise BadOption("Invalid ssl_min_version. Use help to see valid options.")
    settings.ssl_min_version = names[text]


def _no_modern(settings: Settings, _: str) -> None:
    settings.slab_reassign = False
    settings.slab_automove = 0
    settings.maxconns_fast = False
    settings.lru_segmented = False
    settings.lru_crawler = False
    settings.lru_maintainer = False
    settings.hash_algorithm = "jenkins"


def _temporary_ttl(settings: Settings, text: str) -> None:
    settings.temp_lru = True
    settings.temporary_ttl_s = _whole(text, 0, 1 << 31)


def _automove(settings: Settings, text: str) -> None:
    settings.slab_automove = _whole(text, 0, 2) if text else 1


def _verbose(settings: Settings, _: str) -> None:
    settings.verbosity += 1


# letter, long name, takes a value, what it does
OPTIONS: list[tuple[str, str, bool, Setter]] = [
    ("p", "port", True, _number("port", 0, 65535)),
    ("U", "udp-port", True, _number("udp_port", 0, 65535)),
    ("s", "unix-socket", True, _text("unix_path")),
    ("a", "unix-mask", True, _mask),
    ("A", "enable-shutdown", False, _flag("shutdown_command", True)),
    ("l", "listen", True, _listen),
    ("d", "daemon", False, _flag("daemon", True)),
    ("r", "enable-coredumps", False, _ignored),
    ("u", "user", True, _text("user")),
    ("m", "memory-limit", True, _number("memory_bytes", 1, 1 << 30, MIB)),
    ("M", "disable-evictions", False, _flag("evictions", False)),
    ("c", "conn-limit", True, _number("connections_max", 1)),
    ("k", "lock-memory", False, _ignored),
    ("v", "verbose", False, _verbose),
    ("P", "pidfile", True, _text("pidfile")),
    ("f", "slab-growth-factor", True, _growth),
    ("n", "slab-min-size", True, _number("chunk_size", 1)),
    ("L", "enable-largepages", False, _ignored),
    ("D", "", True, _prefix),
    ("t", "threads", True, _number("threads", 1, 1 << 16)),
    ("R", "max-reqs-per-event", True, _number("requests_per_event", REQUESTS_PER_EVENT_MIN)),
    ("C", "disable-cas", False, _flag("cas", False)),
    ("b", "listen-backlog", True, _number("backlog", 1)),
    ("B", "protocol", True, _protocol),
    ("I", "max-item-size", True, _item_size),
    ("S", "enable-sasl", False, _flag("sasl", True)),
    ("F", "disable-flush-all", False, _flag("flush", False)),
    ("X", "disable-dumping", False, _flag("dump", False)),
    ("W", "disable-watch", False, _flag("watch", False)),
    ("Y", "auth-file", True, _text("auth_file")),
    ("e", "memory-file", True, _text("memory_file")),
    ("Z", "enable-ssl", False, _flag("tls", True)),
    ("N", "napi_ids", True, _ignored),
    ("", "control", True, _text("control_path")),
    ("", "cluster-config-file", True, _text("cluster_config_path")),
    ("", "report-version", True, _text("report_version")),
    ("", "sasl-password-file", True, _text("sasl_password_file")),
    ("", "logins-file", True, _text("logins_file")),
    ("", "no-admin-commands", False, _flag("admin_commands", False)),
]

EXTENDED: dict[str, Setter] = {
    "maxconns_fast": _flag("maxconns_fast", True),
    "no_maxconns_fast": _flag("maxconns_fast", False),
    "hashpower": _number("hashpower_init", 12, 64),
    "tail_repair_time": _number("tail_repair_s", 10),
    "hash_algorithm": _text("hash_algorithm"),
    "lru_crawler": _flag("lru_crawler", True),
    "no_lru_crawler": _flag("lru_crawler", False),
    "lru_crawler_sleep": _number("lru_crawler_sleep_us", 0, 1_000_000),
    "lru_crawler_tocrawl": _number("lru_crawler_tocrawl"),
    "read_buf_mem_limit": _number("read_buf_mem_bytes_max", 0, 1 << 20, MIB),
    "lru_maintainer": _flag("lru_maintainer", True),
    "no_lru_maintainer": _flag("lru_segmented", False),
    "hot_lru_pct": _number("hot_lru_pct", 1, 79),
    "warm_lru_pct": _number("warm_lru_pct", 1, 79),
    "hot_max_factor": _fraction("hot_max_factor"),
    "warm_max_factor": _fraction("warm_max_factor"),
    "temporary_ttl": _temporary_ttl,
    "idle_timeout": _number("idle_timeout_s"),
    "slab_reassign": _flag("slab_reassign", True),
    "no_slab_reassign": _flag("slab_reassign", False),
    "slab_automove": _automove,
    "no_slab_automove": _flag("slab_automove", 0),
    "slab_automove_ratio": _fraction("slab_automove_ratio"),
    "slab_automove_window": _number("slab_automove_window", 3),
    "slab_automove_freeratio": _fraction("slab_automove_freeratio"),
    "slab_chunk_max": _number("slab_chunk_max", 1, 1 << 20, 1024),
    "watcher_logbuf_size": _number("watcher_logbuf_bytes", 1, 1 << 20, 1024),
    "worker_logbuf_size": _number("worker_logbuf_bytes", 1, 1 << 20, 1024),
    "track_sizes": _flag("track_sizes", True),
    "no_hashexpand": _ignored,
    "inline_ascii_resp": _ignored,
    "no_inline_ascii_resp": _ignored,
    "modern": _ignored,
    "no_modern": _no_modern,
    "sock_cookie_id": _ignored,
    "ssl_chain_cert": _text("ssl_chain_cert"),
    "ssl_key": _text("ssl_key"),
    "ssl_keyformat": _ignored,
    "ssl_verify_mode": _verify,
    "ssl_ciphers": _text("ssl_ciphers"),
    "ssl_ca_cert": _text("ssl_ca_cert"),
    "ssl_wbuf_size": _ignored,
    "ssl_session_cache": _ignored,
    "ssl_kernel_tls": _ignored,
    "ssl_min_version": _tls_version,
}


def _extended(settings: Settings, text: str) -> None:
    for option in filter(None, text.split(",")):
        name, _, value = option.partition("=")
        setter = EXTENDED.get(name)
        if setter is None:
            raise BadOption(f'Illegal suboption "{option}"')
        setter(settings, value)


def parse(arguments: list[str]) -> Settings:
    """Settings from *arguments*; raises BadOption. ``-o`` may come more than once."""
    table = [*OPTIONS, ("o", "extended", True, _extended)]
    short = {letter: (takes, setter) for letter, _, takes, setter in table if letter}
    long = {name: (takes, setter) for _, name, takes, setter in table if name}
    settings = Settings()
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            if name not in long:
                raise BadOption(f"unrecognized option '{word}'")
            takes, setter = long[name]
            if takes and not equals:
                if not rest:
                    raise BadOption(f"option '{word}' requires an argument")
                value = rest.pop(0)
            setter(settings, value)
        elif word.startswith("-") and len(word) > 1:
            _short_options(settings, short, word[1:], rest)
        else:
            raise BadOption(f"unexpected argument '{word}'")
    _check(settings)
    return settings


def _short_options(
    settings: Settings, short: dict[str, tuple[bool, Setter]], word: str, rest: list[str]
) -> None:
    while word:
        letter, word = word[0], word[1:]
        if letter not in short:
            raise BadOption(f"invalid option -- '{letter}'")
        takes, setter = short[letter]
        if not takes:
            setter(settings, "")
            continue
        if not word and not rest:
            raise BadOption(f"option requires an argument -- '{letter}'")
        setter(settings, word or rest.pop(0))
        return


def _check(settings: Settings) -> None:
    if settings.hot_lru_pct + settings.warm_lru_pct > 80:
        raise BadOption("hot_lru_pct + warm_lru_pct cannot be more than 80% combined")
    if settings.slab_chunk_max > settings.item_size_max:
        settings.slab_chunk_max = settings.item_size_max
    if settings.tls and not settings.ssl_chain_cert:
        raise BadOption("ssl_chain_cert argument is required.")
    if settings.item_size_max > settings.memory_bytes // 2:
        raise BadOption("Cannot set item size limit higher than 1/2 of memory max.")
    if settings.sasl and settings.protocol == "auto-negotiate":
        settings.protocol = "binary"
    if settings.auth_file and settings.protocol == "auto-negotiate":
        settings.protocol = "ascii"
    if settings.logins_file and (settings.sasl or settings.auth_file):
        raise BadOption("A file of logins stands for both SASL and the authentication file.")
    if settings.sasl and settings.protocol == "ascii":
        raise BadOption("You cannot allow the ASCII protocol with SASL.")
    if settings.auth_file and settings.protocol == "binary":
        raise BadOption("You cannot use the binary protocol with an authentication file.")
