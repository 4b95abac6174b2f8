"""Which commands a person may type at a node, decided from the node's own table of commands.

Pure. What blocks, changes the node itself, runs scripts or leaves the connection in another state
is always refused; what writes is refused unless it was asked for. What a command is, the node says
(``COMMAND INFO``), so that an engine's new commands are judged like its old ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

WORDS_MAX = 64
COMMAND_BYTES_MAX = 64 * 1024
SCAN_COUNT_MAX = 1000  # keys that one step looks at: well under a millisecond of the engine's time

# Commands that the engine counts as dangerous, for operators; these only tell something.
HARMLESS: Final = frozenset(
    {
        "info",
        "role",
        "lastsave",
        "slowlog|get",
        "slowlog|len",
        "latency|latest",
        "latency|history",
        "client|list",
        "cluster|info",
        "cluster|nodes",
        "cluster|shards",
        "cluster|slots",
        "cluster|myid",
        "cluster|keyslot",
        "cluster|countkeysinslot",
        "cluster|getkeysinslot",
        "cluster|slot-stats",
        "memory|usage",
        "memory|stats",
        "memory|doctor",
        "ping",
        "echo",
        "command|count",
        "command|docs",
        "command|info",
        "acl|whoami",
        "acl|cat",
        "object|encoding",
        "object|idletime",
        "object|freq",
    }
)
# In no category that would give them away.
NEVER: Final = frozenset(
    {"keys", "debug", "monitor", "wait", "waitaof", "select", "move", "object"}
)
_NEVER_FLAGS: Final = frozenset({"admin", "pubsub", "blocking"})
_NEVER_CATEGORIES: Final = frozenset(
    {"@dangerous", "@admin", "@blocking", "@pubsub", "@scripting", "@connection", "@transaction"}
)


@dataclass(frozen=True, slots=True)
class CommandFacts:
    """What the node says of one command; *name* has the subcommand behind a bar."""

    name: str
    flags: frozenset[str]
    categories: frozenset[str]

    @property
    def writes(self) -> bool:
        return "write" in self.flags or "@write" in self.categories


def parse_facts(row: Any, words: Sequence[str]) -> CommandFacts | None:
    """Return what a row of ``COMMAND INFO`` says of *words*; None where there is no such command.

    A row is name, arity, flags, three positions, categories, tips, key specifications and
    subcommands, which are rows themselves; older engines send fewer fields.
    """
    if not isinstance(row, list) or len(row) < 7:
        return None
    facts = CommandFacts(_text(row[0]).lower(), _words(row[2]), _words(row[6]))
    subcommands = row[9] if len(row) > 9 and isinstance(row[9], list) else []
    if not subcommands:
        # Engines before 7.0 know of no subcommands: the first argument is taken for one where
        # the list of harmless ones does.
        named = f"{facts.name}|{words[1].lower()}" if len(words) > 1 else ""
        return CommandFacts(named, facts.flags, facts.categories) if named in HARMLESS else facts
    if len(words) < 2:
        return None
    wanted = f"{facts.name}|{words[1].lower()}"
    for sub in subcommands:
        found = parse_facts(sub, words[:1])
        if found is not None and found.name == wanted:
            return found
    return None


def refusal(words: Sequence[str], facts: CommandFacts | None, *, writes: bool) -> str | None:
    """Return why the command is not sent, in a sentence; None where it may be."""
    if facts is None:
        return f"This node has no command {' '.join(words[:2])[:80]!r}."
    name = facts.name.replace("|", " ").upper()
    if facts.name in HARMLESS:
        return None
    bad = facts.flags & _NEVER_FLAGS or {
        category.removeprefix("@") for category in facts.categories & _NEVER_CATEGORIES
    }
    if bad or facts.name.partition("|")[0] in NEVER:
        why = f" ({', '.join(sorted(bad))})" if bad else ""
        return f"{name} is not run from here{why}."
    if "BLOCK" in (word.upper() for word in words[1:]) and facts.name.startswith("xread"):
        return f"{name} with BLOCK is not run from here (blocking)."
    if facts.writes and not writes:
        return f"{name} writes. The command line is read-only until writing is allowed."
    return _scan_refusal(name, facts.name, words)


def _scan_refusal(shown: str, name: str, words: Sequence[str]) -> str | None:
    if not name.endswith("scan"):
        return None
    upper = [word.upper() for word in words]
    if "COUNT" in upper[1:]:
        at = upper.index("COUNT", 1) + 1
        count = words[at] if at < len(words) else ""
        if count.isascii() and count.isdigit() and int(count[:10]) > SCAN_COUNT_MAX:
            return f"{shown} takes a COUNT of at most {SCAN_COUNT_MAX} here."
    return None


def _words(value: Any) -> frozenset[str]:
    return (
        frozenset(_text(item).lower() for item in value) if isinstance(value, list) else frozenset()
    )


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
