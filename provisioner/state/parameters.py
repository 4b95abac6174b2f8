"""What a parameter may be set to, and what a change of a group's values amounts to. Pure.

Changes are checked as a whole: the first one that breaks a rule refuses them all. The refusals are
the service's: an unknown name, a value that is fixed, a value outside the allowed ones.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from cachefleet.engine.catalog import Parameter, ParameterFamily
from cachefleet.provisioner.state.errors import InvalidValue

CHANGES_PER_CALL_MAX = 20  # the service's limit, for changing as for resetting
VALUE_CHARS_MAX = 4096  # a rename of every command fits; nothing else comes near
NUMBER_LIMIT = 2.0**63  # what an engine can hold
# What it holds in 32 bits: a node that is told more does not start.
SHORT_NUMBER_LIMIT = 2.0**31
SHORT_NUMBERS = frozenset(
    {
        "client-output-buffer-limit-normal-soft-seconds",
        "client-output-buffer-limit-pubsub-soft-seconds",
        "lfu-decay-time",
        "lfu-log-factor",
        "list-compress-depth",
        "maxmemory-samples",
        "min-replicas-max-lag",
        "min-replicas-to-write",
        "min-slaves-max-lag",
        "min-slaves-to-write",
        "repl-timeout",
        "tcp-keepalive",
        "timeout",
    }
)

IN_SYNC = "in-sync"
APPLYING = "applying"
PENDING_REBOOT = "pending-reboot"
REQUIRES_REBOOT = "requires-reboot"

KEYSPACE_EVENTS = "notify-keyspace-events"
RENAME_COMMANDS = "rename-commands"
BLOCKED = "blocked"  # the new name of a command that is to be gone

# Which letters an engine takes, by the first version that knows them.
_KEYSPACE_LETTERS: Sequence[tuple[int, str]] = ((0, "KEg$lshzxeA"), (5, "t"), (6, "md"), (7, "n"))

NUMBERS = frozenset({"boolean", "float", "integer"})
_INTEGER = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_FLOAT = re.compile(r"-?[0-9]{1,19}(\.[0-9]{1,19})?", re.ASCII)
_MAJOR = re.compile(r"[0-9]+", re.ASCII)


def check_changes(
    family: ParameterFamily, wanted: Sequence[tuple[str, str]], *, attached: bool
) -> dict[str, str]:
    """Return ``{name: value}`` of the changes *wanted* in a custom group of *family*.

    *attached* says whether a cache uses the group, which fixes the values that a cache is created
    with.

    Raises:
        InvalidValue: for the first change that breaks a rule, or for none or too many changes.
    """
    check_names(family, [name for name, _ in wanted])
    for name, value in wanted:
        parameter = family.parameter(name)
        if parameter is None or not is_modifiable(family, parameter, attached=attached):
            raise InvalidValue(f"The parameter {name} cannot be modified.")
        if not is_allowed(parameter, value, family=family.name):
            raise InvalidValue(
                f"invalid parameter value, allowed values are:{_allowed_text(parameter, family)}"
            )
    return dict(wanted)


def check_names(family: ParameterFamily, names: Sequence[str]) -> None:
    """Refuse names that *family* lacks, that come twice, or that are none or too many.

    Raises:
        InvalidValue: for the first of these.
    """
    if not 1 <= len(names) <= CHANGES_PER_CALL_MAX:
        raise InvalidValue(
            f"The parameter ParameterNameValues must have 1 to {CHANGES_PER_CALL_MAX} items."
        )
    known = {one.name for one in family.parameters}
    known |= {one.name for one in family.node_type_parameters}
    seen: set[str] = set()
    for name in names:
        if name not in known:
            raise InvalidValue(f"Parameter {name} doesn't exist")
        if name in seen:
            raise InvalidValue(f"The parameter {name} is given more than once.")
        seen.add(name)


def is_modifiable(family: ParameterFamily, parameter: Parameter, *, attached: bool) -> bool:
    """Say whether a custom group may change *parameter*."""
    if parameter.name in family.creation_time_parameters:
        return not attached
    return parameter.is_modifiable


def is_allowed(parameter: Parameter, value: str, *, family: str) -> bool:
    """Say whether *value* can be given to *parameter* in *family* (``redis6.x``).

    The catalogue says what the service allows. What is refused beyond that would pass for a value
    and not be one: other characters than printable ASCII, numbers that no engine can hold, event
    letters from a later version, two commands under one name.
    """
    if len(value) > VALUE_CHARS_MAX or not (value.isascii() and value.isprintable()):
        return False
    if parameter.data_type in NUMBERS and not _fits(value, parameter):
        return False
    if parameter.name == KEYSPACE_EVENTS:
        return set(value) <= set(keyspace_letters(family))
    if parameter.name == RENAME_COMMANDS and not _keeps_names_apart(value):
        return False
    return parameter.allows(value)


def _fits(value: str, parameter: Parameter) -> bool:
    digits = _FLOAT if parameter.data_type == "float" else _INTEGER
    limit = SHORT_NUMBER_LIMIT if parameter.name in SHORT_NUMBERS else NUMBER_LIMIT
    return digits.fullmatch(value) is not None and abs(float(value)) < limit


def _keeps_names_apart(renames: str) -> bool:
    new_names = [new.lower() for new in renames.split()[1::2] if new.lower() != BLOCKED]
    return len(new_names) == len(set(new_names))


def keyspace_letters(family: str) -> str:
    """Return the letters that ``notify-keyspace-events`` may have in *family* (``redis6.x``)."""
    found = _MAJOR.search(family)
    major = int(found.group()) if found else 0
    return "".join(letters for since, letters in _KEYSPACE_LETTERS if major >= since)


def _allowed_text(parameter: Parameter, family: ParameterFamily) -> str:
    if parameter.name == KEYSPACE_EVENTS:
        return f"any of {keyspace_letters(family.name)}"
    return parameter.allowed_values


def changed_names(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return the names whose value is not the same in both, in order."""
    return sorted(name for name in {*before, *after} if before.get(name, "") != after.get(name, ""))


def node_status(current: str, changed: Iterable[Parameter]) -> str:
    """Return a node's ``ParameterGroupStatus`` once *changed* have been recorded.

    A node that waits for a reboot goes on waiting, whatever else is applied meanwhile.
    """
    kinds = {parameter.change_type for parameter in changed}
    if not kinds or current == PENDING_REBOOT:
        return current
    return PENDING_REBOOT if REQUIRES_REBOOT in kinds else APPLYING


def different_fixed_value(
    current: Mapping[str, str], requested: Mapping[str, str], fixed: Collection[str]
) -> str | None:
    """Return the first of the *fixed* parameters whose value differs between two groups.

    These values last as long as the cache does, so it may not change to a group with others.
    """
    return next((name for name in sorted(fixed) if current.get(name) != requested.get(name)), None)


def memcached_size_conflict(values: Mapping[str, str], *, cache_memory_mb: int) -> str | None:
    """Return why memcached cannot run with *values* (all of a group) on a node of this size.

    Applies from 1.4.33 on.
    """
    item_bytes, chunk_bytes = int(values["max_item_size"]), int(values["slab_chunk_max"])
    overhead_mb = int(values["memcached_connections_overhead"])
    if chunk_bytes > item_bytes:
        return "slab_chunk_max must not be greater than max_item_size."
    if item_bytes % chunk_bytes:
        return "max_item_size must be a multiple of slab_chunk_max."
    if item_bytes * 4 > (cache_memory_mb - overhead_mb) * 1024 * 1024:
        return (
            "max_item_size must not be greater than a quarter of max_cache_memory less "
            "memcached_connections_overhead."
        )
    return None
