"""ACL lines: who may do what on a node.

Pure. Writes the ``user ...`` lines of a configuration file and takes them apart again for
``ACL SETUSER``. Passwords appear here only as SHA-256; a clear password is turned into one
at the edge and forgotten. What a rule means is the engine's business, so access strings pass
through as written, but nothing that could end the line or the user's name does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from cachefleet.engine.errors import BadConfiguration

ADMIN_RULES = ("~*", "&*", "+@all")
OPEN_RULES = ("~*", "&*", "+@all")

# What the service keeps to itself, apart from the commands that are renamed away. Replicas and
# the cluster bus need these names, so they cannot be renamed; customers must not have them.
CLOSED_RULES = (
    "-psync",
    "-sync",
    "-replconf",
    "-acl|setuser",
    "-acl|deluser",
    "-acl|load",
    "-acl|save",
)
CLOSED_CLUSTER_RULES = tuple(
    f"-cluster|{name}"
    for name in (
        "addslots",
        "addslotsrange",
        "bumpepoch",
        "delslots",
        "delslotsrange",
        "failover",
        "flushslots",
        "forget",
        "links",
        "meet",
        "replicate",
        "reset",
        "saveconfig",
        "set-config-epoch",
        "setslot",
    )
)
# Of a cache that another region leads.
READ_ONLY_RULES = ("-@write",)
# What tells of other users' passwords, if only their hashes; the service shows none.
CLOSED_LISTINGS = ("-acl|list", "-acl|getuser")
# Commands that came with atomic slot migration in Valkey 9.
CLOSED_MIGRATION_RULES = (
    "-cluster|migrateslots",
    "-cluster|cancelslotmigrations",
    "-cluster|getslotmigrations",
    "-cluster|syncslots",
)


def password_sha256(password: str) -> str:
    """The form in which the engine keeps a password: lower-case hex SHA-256."""
    return hashlib.sha256(password.encode()).hexdigest()


def closed_rules(*, directives: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """Rules to put behind a customer's own, so that ``+@all`` never grants what is the service's.

    *directives* are those the binary knows (:attr:`EngineBinary.directives`); they tell whether
    it has the commands of atomic slot migration, which an older engine would refuse to name.
    """
    rules = CLOSED_RULES + CLOSED_CLUSTER_RULES
    if "cluster-slot-migration-log-max-len" in directives:
        rules += CLOSED_MIGRATION_RULES
    return rules


def user_line(
    name: str,
    *,
    enabled: bool = True,
    password_sha256s: Iterable[str] = (),
    no_password: bool = False,
    rules: Iterable[str] = OPEN_RULES,
) -> str:
    """One ``user`` line; *rules* are ACL words, applied left to right after a clean start."""
    hashes = tuple(password_sha256s)
    if no_password and hashes:
        raise BadConfiguration(f"user {name} cannot have passwords and need none")
    for digest in hashes:
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise BadConfiguration(f"a password of user {name} is not a SHA-256 in hex")
    words = ["user", name, "on" if enabled else "off", "sanitize-payload"]
    words += ["nopass"] if no_password else [f"#{digest}" for digest in hashes]
    words += [word for rule in rules for word in rule.split(" ") if word]
    _require_plain(name, words)
    return " ".join(words)


def admin_line(name: str, sha256: str) -> str:
    """The control plane's own user, which also replicates."""
    return user_line(name, password_sha256s=[sha256], rules=ADMIN_RULES)


def default_line(*, rules: Iterable[str] = OPEN_RULES, password_sha256s: Iterable[str] = ()) -> str:
    """The ``default`` user: open to everybody, or to whoever has one of the AUTH tokens."""
    hashes = tuple(password_sha256s)
    return user_line("default", password_sha256s=hashes, no_password=not hashes, rules=rules)


def split_line(line: str) -> tuple[str, tuple[str, ...]]:
    """Take a ``user`` line apart into the name and its rules."""
    words = line.split()
    if len(words) < 2 or words[0].lower() != "user":
        raise BadConfiguration(f"{words[:1]} does not begin a user line")
    return words[1], _join_selectors(words[2:])


def _join_selectors(words: list[str]) -> tuple[str, ...]:
    """A selector in parentheses is one argument to ``ACL SETUSER``, blanks included."""
    rules: list[str] = []
    for word in words:
        if rules and rules[-1].startswith("(") and not rules[-1].endswith(")"):
            rules[-1] += f" {word}"
        else:
            rules.append(word)
    return tuple(rules)


def _require_plain(name: str, words: list[str]) -> None:
    for word in words:
        if not word or not word.isprintable() or any(c.isspace() for c in word):
            raise BadConfiguration(f"user {name!r} has a word that cannot stand in an ACL line")
        if '"' in word or "'" in word or "\\" in word:
            raise BadConfiguration(f"user {name!r} has a quote in an ACL word")
