"""What each ElastiCache parameter means to the engine: one table, and the ways to apply it.

Pure. A parameter is written as one directive, is one of three numbers of a composed directive,
feeds the memory limit, or has no counterpart in the engine (``AWS_ONLY``: the service itself
must bring it about). A directive that the binary at hand does not know is reported and left
out: a parameter group must never keep a node from starting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cachefleet.engine.errors import BadConfiguration
from cachefleet.engine.types import Engine, EngineBinary

NEVER = (10**6,)
ALWAYS = (0,)


@dataclass(frozen=True, slots=True)
class Name:
    """A directive's name, and the first version of each engine that knows it."""

    text: str
    redis: tuple[int, ...] = ALWAYS
    valkey: tuple[int, ...] = ALWAYS

    def known_to(self, kind: Engine, version: tuple[int, ...], listed: frozenset[str]) -> bool:
        # What the binary itself listed beats what a table says about its version.
        if listed:
            return self.text in listed
        return version >= (self.valkey if kind is Engine.VALKEY else self.redis)


@dataclass(frozen=True, slots=True)
class Rule:
    """How one parameter is applied; names are tried from the newest to the oldest."""

    names: tuple[Name, ...] = ()
    at_start_only: bool = False


AWS_ONLY = Rule()
MEMORY_PARAMETERS = frozenset({"maxmemory", "reserved-memory", "reserved-memory-percent"})
RENAME_PARAMETER = "rename-commands"
BUFFER_DIRECTIVE = "client-output-buffer-limit"
BUFFER_PREFIX = BUFFER_DIRECTIVE + "-"
VALKEY_SAMPLES_MAX = 64
BUFFER_FIELDS = ("hard-limit", "soft-limit", "soft-seconds")
# The engine's own limits, for the numbers of a class that nobody gave.
BUFFER_DEFAULTS: Mapping[str, tuple[str, str, str]] = {
    "normal": ("0", "0", "0"),
    "replica": ("268435456", "67108864", "60"),
    "pubsub": ("33554432", "8388608", "60"),
}


def _same(*names: str) -> dict[str, Rule]:
    return {name: Rule((Name(name),)) for name in names}


def _renamed(new: str, since: tuple[int, ...], *old: str) -> dict[str, Rule]:
    rule = Rule((Name(new, redis=since), *(Name(name) for name in old)))
    return dict.fromkeys((new, *old), rule)


def _valkey_since(version: tuple[int, ...], *names: str) -> dict[str, Rule]:
    return {name: Rule((Name(name, redis=NEVER, valkey=version),)) for name in names}


RULES: Mapping[str, Rule] = {
    **_same(
        "active-defrag-cycle-max",
        "active-defrag-cycle-min",
        "active-defrag-ignore-bytes",
        "active-defrag-max-scan-fields",
        "active-defrag-threshold-lower",
        "active-defrag-threshold-upper",
        "activedefrag",
        "activerehashing",
        "appendfsync",
        "client-query-buffer-limit",
        "cluster-require-full-coverage",
        "hll-sparse-max-bytes",
        "latency-tracking",
        "lazyfree-lazy-eviction",
        "lazyfree-lazy-expire",
        "lazyfree-lazy-server-del",
        "lfu-decay-time",
        "lfu-log-factor",
        "list-compress-depth",
        "lua-time-limit",
        "maxmemory-policy",
        "maxmemory-samples",
        "notify-keyspace-events",
        "proto-max-bulk-len",
        "repl-backlog-size",
        "repl-backlog-ttl",
        "repl-timeout",
        "set-max-intset-entries",
        "slowlog-log-slower-than",
        "slowlog-max-len",
        "stream-node-max-bytes",
        "stream-node-max-entries",
        "tcp-keepalive",
        "timeout",
    ),
    "latency-tracking": Rule((Name("latency-tracking", redis=(7, 0)),)),
    "acl-pubsub-default": Rule((Name("acl-pubsub-default", redis=(6, 2)),)),
    "acllog-max-len": Rule((Name("acllog-max-len", redis=(6, 0)),)),
    "active-expire-effort": Rule((Name("active-expire-effort", redis=(6, 0)),)),
    "cluster-allow-reads-when-down": Rule((Name("cluster-allow-reads-when-down", redis=(6, 0)),)),
    "cluster-allow-pubsubshard-when-down": Rule(
        (Name("cluster-allow-pubsubshard-when-down", redis=(7, 0)),)
    ),
    "cluster-preferred-endpoint-type": Rule(
        (Name("cluster-preferred-endpoint-type", redis=(7, 0)),)
    ),
    "lazyfree-lazy-user-del": Rule((Name("lazyfree-lazy-user-del", redis=(6, 0)),)),
    "tracking-table-max-keys": Rule((Name("tracking-table-max-keys", redis=(6, 0)),)),
    **_renamed("hash-max-listpack-entries", (7, 0), "hash-max-ziplist-entries"),
    **_renamed("hash-max-listpack-value", (7, 0), "hash-max-ziplist-value"),
    **_renamed("zset-max-listpack-entries", (7, 0), "zset-max-ziplist-entries"),
    **_renamed("zset-max-listpack-value", (7, 0), "zset-max-ziplist-value"),
    **_renamed("list-max-listpack-size", (7, 0), "list-max-ziplist-size"),
    **_renamed("min-replicas-to-write", (5, 0), "min-slaves-to-write"),
    **_renamed("min-replicas-max-lag", (5, 0), "min-slaves-max-lag"),
    **_renamed("replica-lazy-flush", (5, 0), "slave-lazy-flush"),
    **_renamed("replica-ignore-maxmemory", (5, 0), "slave-ignore-maxmemory"),
    **_valkey_since(
        (8, 1),
        "commandlog-large-reply-max-len",
        "commandlog-large-request-max-len",
        "commandlog-reply-larger-than",
        "commandlog-request-larger-than",
    ),
    **_valkey_since((8, 0), "extended-redis-compatibility"),
    # Running, the engine refuses what the system's file limit does not allow; at its start it
    # takes as many as there are.
    "maxclients": Rule((Name("maxclients"),), at_start_only=True),
    "databases": Rule((Name("databases"),), at_start_only=True),
    "cluster-enabled": Rule((Name("cluster-enabled"),), at_start_only=True),
    "cluster-databases": Rule(
        (Name("cluster-databases", redis=NEVER, valkey=(9, 0)),), at_start_only=True
    ),
    # The service's own behaviour, or a module's: the engine has no such directive. The append
    # only file is accepted and never written, as the service does from 2.8.22 on. The two list
    # sizes and Lua's replication mode went away before the oldest engine that runs here.
    **dict.fromkeys(
        (
            "appendonly",
            "close-on-replica-write",
            "close-on-slave-write",
            "list-max-ziplist-entries",
            "list-max-ziplist-value",
            "lua-replicate-commands",
            "replica-allow-chaining",
            "search-default-timeout-ms",
            "search-enable-partial-results",
            "search-fanout-target-mode",
            "slave-allow-chaining",
        ),
        AWS_ONLY,
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterPlan:
    """A set of parameters in the engine's terms.

    *directives* are in the table's order. *at_start* holds those that only a restart applies.
    *unknown* are parameters whose directive this binary lacks, or that no table row names;
    *aws_only* those the engine takes no part in.
    """

    directives: Mapping[str, str]
    at_start: Mapping[str, str]
    unknown: tuple[str, ...]
    aws_only: tuple[str, ...]


def plan_parameters(
    parameters: Mapping[str, str],
    *,
    kind: Engine,
    version: tuple[int, ...],
    listed: frozenset[str] = frozenset(),
    maxmemory_bytes: int | None = None,
    hostnames: bool = False,
) -> ParameterPlan:
    """Translate parameters; *maxmemory_bytes* is the node type's, before the reserve is taken."""
    directives: dict[str, str] = {}
    at_start: dict[str, str] = {}
    unknown: list[str] = []
    aws_only: list[str] = []
    for parameter in sorted(parameters):
        if parameter.startswith(BUFFER_PREFIX) or parameter in MEMORY_PARAMETERS:
            continue
        rule = RULES.get(parameter)
        if parameter == RENAME_PARAMETER or rule is AWS_ONLY:
            aws_only.append(parameter)
            continue
        name = _known_name(rule, kind, version, listed) if rule else None
        if rule is None or name is None:
            # A switch that the engine has not is off.
            if rule is None or parameters[parameter] != "no":
                unknown.append(parameter)
            continue
        target = at_start if rule.at_start_only else directives
        target[name] = _engine_value(
            parameter, parameters[parameter], kind=kind, hostnames=hostnames
        )
    if any(parameter.startswith(BUFFER_PREFIX) for parameter in parameters):
        directives[BUFFER_DIRECTIVE] = " ".join(buffer_limits(parameters))
    limit = maxmemory_bytes if maxmemory_bytes is not None else _maxmemory_of(parameters)
    if limit is not None:
        directives["maxmemory"] = str(effective_maxmemory_bytes(limit, parameters))
    return ParameterPlan(
        directives=directives, at_start=at_start, unknown=tuple(unknown), aws_only=tuple(aws_only)
    )


def directive_for(
    parameter: str,
    value: str,
    version: tuple[int, ...],
    *,
    kind: Engine = Engine.VALKEY,
    others: Mapping[str, str] | None = None,
) -> list[tuple[str, str]] | None:
    """The directives that one parameter sets, or None where the engine has none for it.

    *others* are the group's other values: a buffer limit and the memory reserve mean nothing
    without their neighbours.
    """
    wanted = {**(others or {}), parameter: value}
    if parameter.startswith(BUFFER_PREFIX):
        return [(BUFFER_DIRECTIVE, " ".join(buffer_limits(wanted)))]
    if parameter in MEMORY_PARAMETERS:
        limit = _maxmemory_of(wanted)
        if limit is None:
            return None
        return [("maxmemory", str(effective_maxmemory_bytes(limit, wanted)))]
    plan = plan_parameters({parameter: value}, kind=kind, version=version)
    return [*plan.directives.items(), *plan.at_start.items()] or None


def config_set_for(
    parameters: Mapping[str, str],
    binary: EngineBinary,
    *,
    maxmemory_bytes: int | None = None,
    hostnames: bool = False,
) -> ParameterPlan:
    """What to send a running node: *directives* by ``CONFIG SET``, *at_start* by a restart."""
    return plan_parameters(
        parameters,
        kind=binary.kind,
        version=binary.version,
        listed=binary.directives,
        maxmemory_bytes=maxmemory_bytes,
        hostnames=hostnames,
    )


def effective_maxmemory_bytes(maxmemory_bytes: int, parameters: Mapping[str, str]) -> int:
    """The engine's limit: the node type's memory less what the group reserves."""
    percent = _number(parameters, "reserved-memory-percent", 0)
    if not 0 <= percent <= 100:
        raise BadConfiguration(f"reserved-memory-percent is {percent}, not a percentage")
    # Families before percentages existed reserve bytes; both were never in force together.
    left = maxmemory_bytes * (100 - percent) // 100
    left -= _number(parameters, "reserved-memory", 0)
    # Zero would mean "no limit" to the engine: all memory reserved must mean none for data.
    return max(left, 1) if maxmemory_bytes else 0


def buffer_limits(parameters: Mapping[str, str]) -> list[str]:
    """Words of ``client-output-buffer-limit`` for all three classes, four words a class."""
    words: list[str] = []
    for name, defaults in BUFFER_DEFAULTS.items():
        words.append(name)
        for field, default in zip(BUFFER_FIELDS, defaults, strict=True):
            given = parameters.get(f"{BUFFER_PREFIX}{name}-{field}")
            if given is None and name == "replica":
                given = parameters.get(f"{BUFFER_PREFIX}slave-{field}")
            if given is not None and not given.isdecimal():
                raise BadConfiguration(f"{BUFFER_PREFIX}{name}-{field} is {given!r}, not a number")
            words.append(default if given is None else given)
    return words


# The engine itself names these on the way to its replicas, where a new name means nothing: a
# renamed PING or SELECT ends replication.
NEVER_RENAMED = frozenset({"PING", "SELECT", "MULTI", "EXEC", "DEL", "UNLINK", "PUBLISH"})
BLOCKED = "blocked"


def customer_renames(value: str, *, secret_prefix: str) -> dict[str, str]:
    """Read ``rename-commands`` (``old new old new``) as upper-case old name to new name.

    A blocked command gets a secret name in place of none, so that the control plane keeps it.
    """
    words = value.split()
    if len(words) % 2:
        raise BadConfiguration("rename-commands needs pairs of a command and its new name")
    renames: dict[str, str] = {}
    for old, new in zip(words[::2], words[1::2], strict=True):
        command = old.upper()
        if command in NEVER_RENAMED:
            raise BadConfiguration(f"{command} cannot be renamed: replication needs its name")
        renames[command] = f"{secret_prefix}{command}" if new.lower() == BLOCKED else new
    return renames


def reads_back(directive: str, wanted: str, got: str) -> bool:
    """Whether ``CONFIG GET`` shows what was set, which the engine may write another way."""
    if directive == BUFFER_DIRECTIVE:
        return wanted.replace("slave", "replica").split() == got.replace("slave", "replica").split()
    if directive == "notify-keyspace-events":
        return _event_classes(wanted) == _event_classes(got)
    return wanted == got


def _event_classes(flags: str) -> set[str]:
    # "A" stands for these; the engine writes it whenever all of them are on.
    return set(flags.replace("A", "g$lshzxetd"))


def _known_name(
    rule: Rule, kind: Engine, version: tuple[int, ...], listed: frozenset[str]
) -> str | None:
    known = (name.text for name in rule.names if name.known_to(kind, version, listed))
    return next(known, None)


def _engine_value(parameter: str, value: str, *, kind: Engine, hostnames: bool) -> str:
    if parameter == "maxmemory-samples" and kind is Engine.VALKEY and value.isdecimal():
        # Redis takes any number; Valkey, which runs older families too, no more than these.
        return str(min(int(value), VALKEY_SAMPLES_MAX))
    if parameter == "cluster-preferred-endpoint-type":
        return "hostname" if value == "tls-dynamic" and hostnames else "ip"
    if parameter == "cluster-databases":
        # The catalogue's 0 means "not used"; the engine counts from one.
        return str(max(_number({parameter: value}, parameter, 0), 1))
    return value


def _maxmemory_of(parameters: Mapping[str, str]) -> int | None:
    return _number(parameters, "maxmemory", 0) if "maxmemory" in parameters else None


def _number(parameters: Mapping[str, str], name: str, default: int) -> int:
    value = parameters.get(name)
    if value is None:
        return default
    if not value.isdecimal():
        raise BadConfiguration(f"{name} is {value!r}, not a number")
    return int(value)
