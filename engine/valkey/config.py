"""Writes the configuration file of one Valkey or Redis OSS node.

Pure. A file is always whole: what the service promises (parameters, users, memory), what makes
a node one of many on a host (its own address for everything it binds or announces), and what
keeps it small and quick. Nothing is ever written by the node itself on its own account: no
save points, no append only file, full syncs without a file. Values that cannot stand in a
configuration file are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cachefleet.engine.errors import BadConfiguration
from cachefleet.engine.types import Endpoint, Engine, EngineBinary
from cachefleet.engine.valkey.acl import admin_line, default_line
from cachefleet.engine.valkey.nodes_conf import (
    PLACEHOLDER_TIMEOUT_MS,
    ClusterSeat,
    render_nodes_conf,
)
from cachefleet.engine.valkey.parameters import (
    BUFFER_DIRECTIVE,
    NEVER,
    RENAME_PARAMETER,
    Name,
    ParameterPlan,
    config_set_for,
    customer_renames,
    directive_for,
    effective_maxmemory_bytes,
    reads_back,
)

__all__ = [
    "CLUSTER_CONFIG_FILE",
    "CLUSTER_NODE_TIMEOUT_MS",
    "DUMP_FILE",
    "HZ_IDLE",
    "PLACEHOLDER_TIMEOUT_MS",
    "ClusterSeat",
    "Listening",
    "ParameterPlan",
    "TlsFiles",
    "ValkeyConfig",
    "config_set_for",
    "directive_for",
    "effective_maxmemory_bytes",
    "hidden_renames",
    "listening_directives",
    "parameter_plan",
    "reads_back",
    "renames_of",
    "render_config",
    "render_nodes_conf",
]

DUMP_FILE = "dump.rdb"
CLUSTER_CONFIG_FILE = "nodes.conf"
UNIX_SOCKET_PERM = "700"
CLUSTER_NODE_TIMEOUT_MS = 2000
# Of a replica of which clients are not told yet: it speaks to every other node twice in this time.
# What it makes of a late answer counts for nothing, as no replica has a voice.
EAGER_NODE_TIMEOUT_MS = 200
HZ_IDLE = 10  # rounds a second; 100 cost 1 % of a core
WILDCARDS = frozenset({"*", "0.0.0.0", "::", "-::*", "::*"})

# Commands that a customer must never see, not even by their refusal: renaming them gives the
# service's own "unknown command" answer. Those that replicas and gossip use by name, and single
# subcommands, are closed by ACL instead (:mod:`cachefleet.engine.valkey.acl`), and a module makes
# the refusal read the same (:mod:`cachefleet.engine.valkey.guard`). SYNC is how replicas began
# before Redis 2.8. MIGRATE is needed by the slot movement
# of older engines, which know it under its new name as well.
HIDDEN_COMMANDS = (
    "BGREWRITEAOF",
    "BGSAVE",
    "CONFIG",
    "DEBUG",
    "FAILOVER",
    "MIGRATE",
    "MODULE",
    "REPLICAOF",
    "SAVE",
    "SHUTDOWN",
    "SLAVEOF",
    "SYNC",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsFiles:
    """PEM files of one node; with *ca_file* None the system's authorities are not consulted."""

    cert_file: str
    key_file: str
    ca_file: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Listening:
    """The ports of a node: 0 and None are no port.

    *client_port* is the one that clients know, where it is not the engine's own: the gateway has
    it. With *tls_replication* nodes reach each other at the TLS port.
    """

    port: int
    tls_port: int | None = None
    tls: TlsFiles | None = None
    tls_replication: bool = False
    client_port: int | None = None

    @property
    def known_port(self) -> int:
        """Return the port that clients know, whoever has it."""
        return self.client_port or self.tls_port or self.port


@dataclass(frozen=True, kw_only=True, slots=True)
class ValkeyConfig:
    """Everything that one node's configuration file is made from.

    *maxmemory_bytes* is the node type's memory, before ``reserved-memory-percent`` is taken off
    (0: no limit). *port* 0 means no plain-text port. *renamed_commands* maps upper-case names
    to the secret ones. *acl_lines*, when given, stand in place of the open ``default`` user.
    """

    directory: str
    binds: tuple[str, ...]
    port: int
    unix_socket: str
    admin_user: str
    admin_password_sha256: str
    binary: EngineBinary
    announce_host: str | None = None
    primary_credentials: tuple[str, str] | None = None
    maxmemory_bytes: int = 0
    parameters: Mapping[str, str] = field(default_factory=dict)
    cluster_enabled: bool = False
    cluster_bus_port: int | None = None
    cluster_node_timeout_ms: int = CLUSTER_NODE_TIMEOUT_MS
    replica_of: Endpoint | None = None
    availability_zone: str | None = None
    logfile: str = ""
    announce_hostname: str | None = None
    tls_port: int | None = None
    tls: TlsFiles | None = None
    tls_replication: bool = False
    client_port: int | None = None
    hz: int = HZ_IDLE
    import_mode: bool = False  # nothing expires but what whoever brings the data removes
    acl_lines: tuple[str, ...] = ()
    renamed_commands: Mapping[str, str] = field(default_factory=dict)
    secret_prefix: str = ""
    replication_user: str = ""

    @property
    def listening(self) -> Listening:
        """Return the ports of the node."""
        return Listening(
            port=self.port,
            tls_port=self.tls_port,
            tls=self.tls,
            tls_replication=self.tls_replication,
            client_port=self.client_port,
        )


def render_config(config: ValkeyConfig) -> str:
    """The whole file. The node's users, memory and parameters are in it; its data is not."""
    _require_sound(config)
    lines = _Lines(config.binary)
    _place(lines, config)
    _small_and_quiet(lines, config)
    _replication(lines, config)
    if config.cluster_enabled:
        _cluster(lines, config)
    _parameters(lines, config)
    for old, new in sorted(renames_of(config).items()):
        lines.add("rename-command", old, new)
    if config.binary.guard is not None:
        own = [name for name in (config.admin_user, config.replication_user) if name]
        lines.add("loadmodule", config.binary.guard, *own)
    lines.raw(admin_line(config.admin_user, config.admin_password_sha256))
    for line in config.acl_lines or (default_line(),):
        lines.raw(line)
    return lines.text()


def listening_directives(
    listening: Listening, binary: EngineBinary, *, cluster_enabled: bool
) -> dict[str, str]:
    """Where a node listens, beside its addresses, and what it tells of it.

    A running engine can be set to any of these; what it then answers is compared word by word.
    """
    told = str(listening.client_port or 0)
    wanted = {"port": str(listening.port), "replica-announce-port": told}
    if binary.tls:
        wanted |= _tls_directives(listening, cluster_enabled=cluster_enabled)
    if cluster_enabled:
        apart = Name("cluster-announce-client-port", redis=(10**6,), valkey=(9, 1))
        if apart.known_to(binary.kind, binary.version, binary.directives):
            # Told whoever has it, so that it never changes: a port and what is told in its place
            # reach the other nodes by different messages, and clients ask in between.
            known = str(listening.known_port)
            wanted |= {apart.text: known, "cluster-announce-client-tls-port": known}
        elif listening.client_port is not None and not listening.tls_replication:
            # What clients are told is where the other nodes would connect to.
            raise BadConfiguration(
                f"{binary.detail} cannot be behind the gateway in cluster mode without TLS"
            )
        else:
            wanted["cluster-announce-port"] = told
            if binary.tls:
                # With it the other one is what clients in plain are told, and those alone.
                apart_tls = listening.client_port is not None and listening.tls_replication
                wanted["cluster-announce-tls-port"] = str(listening.tls_port if apart_tls else 0)
    return wanted


def _tls_directives(listening: Listening, *, cluster_enabled: bool) -> dict[str, str]:
    inside = "yes" if listening.tls_replication else "no"
    wanted = {"tls-port": str(listening.tls_port or 0)}
    if listening.tls is not None:
        wanted |= {
            "tls-cert-file": listening.tls.cert_file,
            "tls-key-file": listening.tls.key_file,
            "tls-ca-cert-file": listening.tls.ca_file or "",
            # Customers authenticate by password or token, as with the service: never by
            # certificate.
            "tls-auth-clients": "no",
            "tls-protocols": "TLSv1.2 TLSv1.3",
        }
    wanted["tls-replication"] = inside
    if cluster_enabled:
        wanted["tls-cluster"] = inside
    return wanted


def parameter_plan(config: ValkeyConfig) -> ParameterPlan:
    """What of the parameters reaches the engine, and what is left out."""
    plan = _parameter_plan(config)
    binary, known = config.binary, Name("import-mode", redis=NEVER, valkey=(8, 1))
    if not config.cluster_enabled or not known.known_to(
        binary.kind, binary.version, binary.directives
    ):
        return plan
    wanted = "yes" if config.import_mode else "no"
    return replace(plan, directives={**plan.directives, known.text: wanted})


def _parameter_plan(config: ValkeyConfig) -> ParameterPlan:
    return config_set_for(
        config.parameters,
        config.binary,
        maxmemory_bytes=config.maxmemory_bytes,
        hostnames=config.tls_port is not None and config.announce_hostname is not None,
    )


def renames_of(config: ValkeyConfig) -> dict[str, str]:
    """Every command that has another name on this node: the adapter must be told all of them."""
    asked = config.parameters.get(RENAME_PARAMETER, "")
    theirs = customer_renames(asked, secret_prefix=config.secret_prefix) if asked else {}
    return {**theirs, **config.renamed_commands}


def hidden_renames(secret_prefix: str) -> dict[str, str]:
    """Names under which the control plane alone finds the commands of ``HIDDEN_COMMANDS``."""
    if not secret_prefix.isalnum():
        raise BadConfiguration("a secret prefix is letters and digits")
    return {command: f"{secret_prefix}{command}" for command in HIDDEN_COMMANDS}


class _Lines:
    """Collects directives, and leaves out those the binary does not know."""

    def __init__(self, binary: EngineBinary) -> None:
        self._binary = binary
        self._lines: list[str] = []

    def add(self, directive: str, *values: str | int) -> None:
        self._lines.append(" ".join([directive, *(_quoted(str(value)) for value in values)]))

    def add_known(self, value: str | int, *names: Name) -> None:
        """Write the first of *names* that the binary knows; none of them, no line."""
        kind, version, listed = self._binary.kind, self._binary.version, self._binary.directives
        for name in names:
            if name.known_to(kind, version, listed):
                self.add(name.text, value)
                return

    def raw(self, line: str) -> None:
        if "\n" in line or "\r" in line:
            raise BadConfiguration("a configuration line cannot hold a line end")
        self._lines.append(line)

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"


def _place(lines: _Lines, config: ValkeyConfig) -> None:
    lines.add("dir", config.directory)
    lines.add("bind", *config.binds)
    listening = listening_directives(
        config.listening, config.binary, cluster_enabled=config.cluster_enabled
    )
    for directive, value in listening.items():
        lines.add(directive, value)
    lines.add("unixsocket", config.unix_socket)
    lines.add("unixsocketperm", UNIX_SOCKET_PERM)
    # Protected mode would take only 127.0.0.1 for loopback, and each node has its own address.
    lines.add("protected-mode", "no")
    source = _own_address(config)
    if source is not None:
        # Otherwise peers see 127.0.0.1 as the node's address, and gossip never converges.
        lines.add_known(source, Name("bind-source-addr", redis=(7, 0)))
    lines.add("daemonize", "no")
    lines.add("pidfile", "")
    # The command line must keep the path of this file: that is how a node is found again.
    lines.add_known("no", Name("set-proc-title", redis=(6, 2)))
    lines.add("loglevel", "notice")
    lines.add("logfile", config.logfile)
    lines.add("always-show-logo", "no")
    lines.add("dbfilename", DUMP_FILE)
    if config.availability_zone is not None:
        lines.add_known(
            config.availability_zone, Name("availability-zone", redis=(10**6,), valkey=(8, 1))
        )


def _small_and_quiet(lines: _Lines, config: ValkeyConfig) -> None:
    lines.add("save", "")
    lines.add("appendonly", "no")
    lines.add("io-threads", 1)
    lines.add("hz", config.hz)
    # Many nodes share a host: none of them may change how the kernel treats the others.
    lines.add_known("no", Name("oom-score-adj", redis=(6, 0)))
    lines.add_known("yes", Name("disable-thp", redis=(6, 2)))
    lines.add("stop-writes-on-bgsave-error", "no")
    lines.add_known("no", Name("crash-memcheck-enabled", redis=(6, 2)))
    # An orderly stop is the provisioner's decision, made with SHUTDOWN SAVE or NOSAVE; a bare
    # signal must never write data, nor wait for replicas.
    lines.add_known("nosave", Name("shutdown-on-sigterm", redis=(7, 0)))
    lines.add_known("nosave", Name("shutdown-on-sigint", redis=(7, 0)))
    lines.add_known(0, Name("shutdown-timeout", redis=(7, 0)))


def _replication(lines: _Lines, config: ValkeyConfig) -> None:
    lines.add("repl-diskless-sync", "yes")
    # The delay waits for more replicas to come; here each one is sent when the last has synced.
    lines.add("repl-diskless-sync-delay", 0)
    lines.add("repl-diskless-load", "swapdb")
    lines.add("repl-disable-tcp-nodelay", "no")
    # Copies and dumps would take the engine two to three times the processor time.
    lines.add("rdbcompression", "no")
    if config.announce_host is not None:
        lines.add("replica-announce-ip", config.announce_host)
    if config.primary_credentials is not None:
        user, password = config.primary_credentials
        lines.add_known(
            user, Name("primaryuser", redis=(10**6,), valkey=(8, 0)), Name("masteruser")
        )
        lines.add_known(
            password, Name("primaryauth", redis=(10**6,), valkey=(8, 0)), Name("masterauth")
        )
    if config.replica_of is not None:
        lines.add("replicaof", config.replica_of.host, config.replica_of.port)


def _cluster(lines: _Lines, config: ValkeyConfig) -> None:
    lines.add("cluster-enabled", "yes")
    lines.add("cluster-config-file", CLUSTER_CONFIG_FILE)
    lines.add("cluster-node-timeout", config.cluster_node_timeout_ms)
    if config.cluster_bus_port is not None:
        lines.add_known(config.cluster_bus_port, Name("cluster-port", redis=(7, 0)))
    if config.announce_host is not None:
        lines.add("cluster-announce-ip", config.announce_host)
    if config.announce_hostname is not None:
        lines.add_known(config.announce_hostname, Name("cluster-announce-hostname", redis=(7, 0)))
    # Who is primary of what is the control plane's decision, not the oldest replica's.
    lines.add_known("no", Name("cluster-allow-replica-migration", redis=(7, 0)))
    lines.add_known("yes", Name("cluster-slot-stats-enabled", redis=(10**6,), valkey=(8, 0)))


def _parameters(lines: _Lines, config: ValkeyConfig) -> None:
    plan = parameter_plan(config)
    for directive, value in {**plan.directives, **plan.at_start}.items():
        if directive == BUFFER_DIRECTIVE:
            words = value.split()
            for start in range(0, len(words), 4):
                lines.add(directive, *words[start : start + 4])
        elif directive != "cluster-enabled":  # the config's own field decides, and wrote it
            lines.add(directive, value)


def _own_address(config: ValkeyConfig) -> str | None:
    if config.announce_host is not None and config.announce_host in config.binds:
        return config.announce_host
    first = config.binds[0].lstrip("-") if config.binds else None
    return None if first is None or first in WILDCARDS else first


def _require_sound(config: ValkeyConfig) -> None:
    if config.binary.kind is Engine.MEMCACHED:
        raise BadConfiguration("a memcached binary cannot run a Valkey node")
    if not config.binds:
        raise BadConfiguration("a node needs an address to listen on")
    if config.cluster_enabled and config.replica_of is not None:
        raise BadConfiguration("in cluster mode nodes.conf says who follows whom")
    if config.tls_port is not None and (config.tls is None or not config.binary.tls):
        raise BadConfiguration("a TLS port needs certificate files and a binary with TLS")
    if config.tls_replication and config.tls_port is None:
        raise BadConfiguration("replication over TLS needs a TLS port")


def _quoted(value: str) -> str:
    """Write a value as the engine's file reader takes it: bare, or in escaped double quotes."""
    if value and all(c.isalnum() or c in "-_./:+*,%@=<>~^!?&" for c in value):
        return value
    return '"' + "".join(_escaped(c) for c in value) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable():
        return char
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))
