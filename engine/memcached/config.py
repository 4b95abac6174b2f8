"""Writes the command line of one memcached node, bundled or stock.

Pure, but for the system's file limit. memcached has no configuration file: its parameters are
options, so every one of them needs a restart. Refuses values that could not be options.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from cachefleet.engine.errors import BadConfiguration
from cachefleet.engine.types import Engine, EngineBinary

BUNDLED = "bundled"
KIB = 1024
MEMORY_MB_MIN = 1
CONNECTIONS_DEFAULT = 1024  # memcached's own

# Parameters without an option. The two config_* limits are the bundled server's own constants;
# num_threads and max_cache_memory come with the node type; the overhead is taken off the memory;
# servers of 1.6 no longer know the expirezero switch.
WITHOUT_OPTION = frozenset(
    {
        "config_max",
        "config_size_max",
        "expirezero_does_not_evict",
        "max_cache_memory",
        "memcached_connections_overhead",
        "num_threads",
    }
)
# Parameter to option with a value.
_VALUED = {
    "backlog_queue_limit": "-b",
    "binding_protocol": "-B",
    "chunk_size": "-n",
    "chunk_size_growth_factor": "-f",
    "max_item_size": "-I",
    "max_simultaneous_connections": "-c",
    "requests_per_event": "-R",
}
# Parameter to option that is there or not.
_FLAGS = {
    "cas_disabled": "-C",
    "disable_flush_all": "-F",
    "error_on_memory_exhausted": "-M",
    "large_memory_pages": "-L",
    "lock_down_paged_memory": "-k",
    "maximize_core_file_limit": "-r",
}
# Parameter to name under -o with a value, in the unit of the parameter.
_EXTENDED_VALUED = {
    "hash_algorithm": "hash_algorithm",
    "hashpower_init": "hashpower",
    "idle_timeout": "idle_timeout",
    "slab_automove": "slab_automove",
    "watcher_logbuf_size": "watcher_logbuf_size",
    "worker_logbuf_size": "worker_logbuf_size",
}
# Parameter to the names under -o for on and off; None where absence is off.
_EXTENDED_FLAGS: Mapping[str, tuple[str, str | None]] = {
    "inline_ascii_resp": ("inline_ascii_resp", "no_inline_ascii_resp"),
    "lru_crawler": ("lru_crawler", "no_lru_crawler"),
    "lru_maintainer": ("lru_maintainer", "no_lru_maintainer"),
    "maxconns_fast": ("maxconns_fast", "no_maxconns_fast"),
    "slab_reassign": ("slab_reassign", "no_slab_reassign"),
    "track_sizes": ("track_sizes", None),
}


def open_files_limit() -> int:
    """How many files a process may open here at the most."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


@dataclass(frozen=True, kw_only=True, slots=True)
class Logins:
    """How clients of a stock memcached log in; it knows one way at a time.

    *auth_file* has the names and passwords of the text protocol, the control plane's among them.
    With *sasl* clients speak the binary protocol and SASL PLAIN, and only the control plane, at
    the plain port, the other one.
    """

    auth_file: str
    sasl: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class MemcachedConfig:
    """Everything that one node's command line is made from.

    *max_cache_memory_mb* is the node type's, before the connections' overhead is taken off.
    *plain_port* takes connections without TLS where the port has it.
    The control socket, the two files and *report_version* are the bundled server's alone.
    A stock memcached does not start with more connections than *open_files_max*.
    """

    binary: EngineBinary
    binds: tuple[str, ...]
    port: int
    max_cache_memory_mb: int
    num_threads: int
    parameters: Mapping[str, str] = field(default_factory=dict)
    control_socket: str | None = None
    cluster_config_file: str | None = None
    memory_file: str | None = None
    report_version: str | None = None
    tls_cert_file: str | None = None
    tls_key_file: str | None = None
    plain_port: int | None = None  # for the control plane, and the gateway beside TLS
    logins: Logins | None = None
    logins_file: str | None = None  # the bundled server's alone: it is read again while it runs
    open_files_max: int = field(default_factory=open_files_limit)


def render_argv(config: MemcachedConfig) -> list[str]:
    """The whole command line, the program first."""
    if config.binary.kind is not Engine.MEMCACHED:
        raise BadConfiguration(f"a {config.binary.kind} binary cannot run a memcached node")
    if not config.binds:
        raise BadConfiguration("a node needs an address to listen on")
    argv = [*config.binary.argv, "-l", ",".join(_listeners(config)), "-p", str(config.port)]
    argv += ["-U", "0"]
    argv += ["-m", str(memory_mb(config)), "-t", str(config.num_threads)]
    extended = _extended(config.parameters)
    for parameter, option in _VALUED.items():
        if parameter == "max_simultaneous_connections" and config.binary.source != BUNDLED:
            wanted = _number(config.parameters, parameter, CONNECTIONS_DEFAULT)
            argv += [option, str(min(wanted, config.open_files_max))]
        elif parameter == "binding_protocol" and config.logins is not None:
            continue  # each listener has its own
        elif parameter in config.parameters:
            argv += [option, _plain(parameter, config.parameters[parameter])]
    for parameter, option in _FLAGS.items():
        if _is_on(config.parameters, parameter):
            argv.append(option)
    if config.logins is not None:
        argv += ["-Y", config.logins.auth_file, *(["-S"] if config.logins.sasl else [])]
    if config.tls_cert_file is not None:
        if config.tls_key_file is None:
            raise BadConfiguration("TLS needs a key file beside the certificate")
        argv.append("-Z")
        extended += [f"ssl_chain_cert={config.tls_cert_file}", f"ssl_key={config.tls_key_file}"]
    if extended:
        argv += ["-o", ",".join(extended)]
    if config.binary.source == BUNDLED:
        argv += _bundled_options(config)
    return argv


def _listeners(config: MemcachedConfig) -> list[str]:
    plain = () if config.plain_port is None else config.binds
    if config.logins is None:
        own = "" if config.tls_cert_file is None else "notls:"
        return [*config.binds, *(f"{own}{host}:{config.plain_port}" for host in plain)]
    words = "proto[binary]" if config.logins.sasl else "proto[ascii]"
    clients = [f"{words}:{host}:{config.port}" for host in config.binds]
    own = "proto[ascii]" if config.tls_cert_file is None else "notls:proto[ascii]"
    return [*clients, *(f"{own}:{host}:{config.plain_port}" for host in plain)]


def memory_mb(config: MemcachedConfig) -> int:
    """Megabytes for items: the node type's memory less the connections' overhead."""
    overhead = _number(config.parameters, "memcached_connections_overhead", 0)
    return max(config.max_cache_memory_mb - overhead, MEMORY_MB_MIN)


def unknown_parameters(parameters: Mapping[str, str]) -> tuple[str, ...]:
    """Parameters that no option and no rule here stands for."""
    known = {
        *WITHOUT_OPTION,
        *_VALUED,
        *_FLAGS,
        *_EXTENDED_VALUED,
        *_EXTENDED_FLAGS,
        "modern",
        "no_modern",
        "slab_chunk_max",
    }
    return tuple(sorted(set(parameters) - known))


def _extended(parameters: Mapping[str, str]) -> list[str]:
    words: list[str] = []
    # First, since they reset what the others then set.
    words += [name for name in ("modern", "no_modern") if _is_on(parameters, name)]
    for parameter, name in _EXTENDED_VALUED.items():
        if parameter in parameters:
            words.append(f"{name}={_plain(parameter, parameters[parameter])}")
    for parameter, (on, off) in _EXTENDED_FLAGS.items():
        if parameter in parameters:
            word = on if _is_on(parameters, parameter) else off
            words += [word] if word else []
    chunk_bytes = _number(parameters, "slab_chunk_max", 0)
    if chunk_bytes:
        # The parameter is in bytes, the option in kilobytes.
        words.append(f"slab_chunk_max={max(chunk_bytes // KIB, 1)}")
    return words


def _bundled_options(config: MemcachedConfig) -> list[str]:
    options = ["--no-admin-commands"]
    for option, value in (
        ("--control", config.control_socket),
        ("--cluster-config-file", config.cluster_config_file),
        ("--memory-file", config.memory_file),
        ("--report-version", config.report_version),
        ("--logins-file", config.logins_file),
    ):
        if value is not None:
            options += [option, value]
    return options


def _is_on(parameters: Mapping[str, str], name: str) -> bool:
    value = parameters.get(name, "0")
    if value not in ("0", "1"):
        raise BadConfiguration(f"{name} is {value!r}, neither 0 nor 1")
    return value == "1"


def _number(parameters: Mapping[str, str], name: str, default: int) -> int:
    value = parameters.get(name, str(default))
    if not value.isdecimal():
        raise BadConfiguration(f"{name} is {value!r}, not a number")
    return int(value)


def _plain(name: str, value: str) -> str:
    # A comma would begin another -o option, a dash another option altogether.
    if not value or value.startswith("-") or not all(c.isalnum() or c == "." for c in value):
        raise BadConfiguration(f"{name} is {value!r}, which cannot be an option's value")
    return value
