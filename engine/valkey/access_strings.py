"""Access strings: what a customer may write of a user's rights, and what a node is told. Pure.

``parse_access_string`` refuses what the service refuses (credentials, commands it keeps to itself,
names and syntax that no engine knows, rules that an engine would refuse behind others) and gives
the string in its stored form. ``compile_rules`` turns the stored form into the rules of one node:
channels by the cache's own default, commands that this engine lacks left out, and what belongs to
the service taken away last, from every selector too.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cachefleet.engine.catalog.documents import document
from cachefleet.engine.valkey.acl import closed_rules
from cachefleet.engine.valkey.config import HIDDEN_COMMANDS

ACCESS_STRING_CHARS_MAX = 16_384
WORDS_MAX = 2_000
SELECTORS_MAX = 100
CLOSED_OF_NEWER = frozenset({"cluster-slot-migration-log-max-len"})  # so that all are named

VERSION_PLAIN = (6, 0)
VERSION_CHANNELS = (6, 2)
VERSION_SELECTORS = (7, 0)

_KEYS = re.compile(r"%(R|W|RW|WR)~", re.IGNORECASE)
_CREDENTIALS = ("nopass", "resetpass", "reset", "sanitize-payload", "skip-sanitize-payload")
_UNSAFE = re.compile(r"[\"'\\\x00-\x1f\x7f]")


class IllegalAccessString(ValueError):
    """The access string is refused; ``args[0]`` says why, for the customer."""


@dataclass(frozen=True, slots=True)
class AccessString:
    """An access string in its stored form, and the oldest engine that understands it."""

    text: str
    engine_version: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Names:
    """What access strings may name."""

    commands: frozenset[str]
    containers: frozenset[str]  # commands that have subcommands
    categories: frozenset[str]
    module_prefixes: tuple[str, ...]
    module_categories: frozenset[str]


@functools.cache
def names() -> Names:
    """Return the names of the catalogue."""
    table = document("access_commands")
    commands = frozenset(table["commands"])
    return Names(
        commands=commands,
        containers=frozenset(name.partition("|")[0] for name in commands if "|" in name),
        categories=frozenset(table["categories"]),
        module_prefixes=tuple(table["module_prefixes"]),
        module_categories=frozenset(table["module_categories"]),
    )


@functools.cache
def restricted() -> frozenset[str]:
    """Return the commands that no access string can grant."""
    closed = (rule.removeprefix("-") for rule in closed_rules(directives=CLOSED_OF_NEWER))
    return frozenset(name.lower() for name in HIDDEN_COMMANDS) | frozenset(closed)


def parse_access_string(text: str) -> AccessString:
    """Return *text* in its stored form.

    Raises:
        IllegalAccessString: no user can have it.
    """
    if len(text) > ACCESS_STRING_CHARS_MAX:
        raise IllegalAccessString(
            f"The access string is longer than {ACCESS_STRING_CHARS_MAX} characters."
        )
    if _UNSAFE.search(text):
        raise IllegalAccessString("The access string has a character that is not allowed.")
    words = split_words(text)
    if len(words) > WORDS_MAX:
        raise IllegalAccessString(f"The access string has more than {WORDS_MAX} rules.")
    if sum(word.startswith("(") for word in words) > SELECTORS_MAX:
        raise IllegalAccessString(f"The access string has more than {SELECTORS_MAX} selectors.")
    version = _Checker(selector=False).check_all(words)
    lowered = [word.lower() for word in words]
    if not {"on", "off"} & set(lowered):
        words.insert(0, "off")
    if not any(_is_command_rule(word) for word in lowered):
        words.append("-@all")
    return AccessString(" ".join(words), version)


def split_words(text: str) -> list[str]:
    """Return the rules of an access string; a selector, blanks included, is one.

    Raises:
        IllegalAccessString: its parentheses do not match.
    """
    words: list[str] = []
    is_open = False
    for word in text.split():
        if is_open:
            words[-1] += f" {word}"
        else:
            words.append(word)
        starts = not is_open and word.startswith("(")
        inner = word[1:] if starts else word
        is_open = (is_open or starts) and not inner.endswith(")")
        if (is_open or starts) and "(" in inner:
            raise IllegalAccessString("A selector cannot be inside another.")
    if is_open:
        raise IllegalAccessString("The access string has a selector without an end.")
    return words


class _Checker:
    """Goes through the rules of a user, or of one selector, as an engine does."""

    def __init__(self, *, selector: bool) -> None:
        self._selector = selector
        self._all_keys = self._all_channels = False
        self._version = VERSION_PLAIN

    def check_all(self, words: Sequence[str]) -> tuple[int, int]:
        """Return the oldest version that takes all of *words*."""
        for word in words:
            self._check(word, word.lower())
        return self._version

    def _check(self, word: str, lowered: str) -> None:
        if lowered in ("on", "off") and not self._selector:
            return
        if word[0] in "><#!" or lowered in _CREDENTIALS:
            raise IllegalAccessString(
                "The access string must not hold credentials or the rules nopass, resetpass, "
                "reset and sanitize-payload."
            )
        if word.startswith("(") or lowered == "clearselectors":
            self._check_selector(word)
        elif lowered in ("allkeys", "resetkeys") or word[0] in "~%":
            self._check_keys(word, lowered)
        elif lowered in ("allchannels", "resetchannels") or word[0] == "&":
            self._check_channels(word, lowered)
        elif lowered not in ("allcommands", "nocommands"):
            self._check_command(word, lowered)

    def _check_selector(self, word: str) -> None:
        if self._selector:
            raise IllegalAccessString("A selector cannot be inside another.")
        self._need(VERSION_SELECTORS)
        if word.startswith("("):
            if ")" in word[1:-1]:
                raise _syntax(word)
            _Checker(selector=True).check_all(word[1:-1].split())

    def _check_keys(self, word: str, lowered: str) -> None:
        if lowered == "resetkeys":
            self._all_keys = False
            return
        if lowered in ("allkeys", "~*"):
            self._all_keys = True
            return
        if word[0] == "%":
            if not _KEYS.match(word):
                raise _syntax(word)
            self._need(VERSION_SELECTORS)
        if self._all_keys:
            raise IllegalAccessString(f"The key pattern {word} behind all keys has no effect.")

    def _check_channels(self, word: str, lowered: str) -> None:
        self._need(VERSION_CHANNELS)
        if lowered == "resetchannels":
            self._all_channels = False
        elif lowered in ("allchannels", "&*"):
            self._all_channels = True
        elif self._all_channels:
            raise IllegalAccessString(
                f"The channel pattern {word} behind all channels has no effect."
            )

    def _check_command(self, word: str, lowered: str) -> None:
        sign, name = lowered[0], lowered[1:]
        if sign not in "+-" or not name:
            raise _syntax(word)
        known = names()
        if name.startswith("@"):
            if name[1:] not in known.categories | known.module_categories:
                raise _unknown(word)
            return
        if sign == "+" and name in restricted():
            raise IllegalAccessString(f"The command {name} is restricted and cannot be granted.")
        container, bar, argument = name.partition("|")
        if bar:
            if sign == "-":
                self._need(VERSION_SELECTORS)
            elif container in restricted():
                raise IllegalAccessString(f"The command {container} is restricted.")
            is_first_argument = (
                sign == "+"
                and argument != ""
                and "|" not in argument
                and container in known.commands - known.containers
            )
            if name not in known.commands and not is_first_argument:
                raise _unknown(word)
        elif name not in known.commands and not name.startswith(known.module_prefixes):
            raise _unknown(word)

    def _need(self, version: tuple[int, int]) -> None:
        self._version = max(self._version, version)


def compile_rules(
    access_string: str,
    *,
    closed: Sequence[str],
    channels_default: str,
    known_commands: Collection[str] = (),
) -> tuple[str, ...]:
    """Return the rules of a node for a stored access string, without credentials.

    *closed* are taken away last; *channels_default* is ``allchannels`` or ``resetchannels``;
    *known_commands* are what the engine has, empty where that is not known. To grant or to take
    away what an engine does not have changes nothing, so such rules are left out.
    """
    words = split_words(access_string)
    return _compile(words, closed, channels_default, frozenset(known_commands))


def _compile(
    words: Sequence[str], closed: Sequence[str], channels_default: str, known: frozenset[str]
) -> tuple[str, ...]:
    rules = ["resetchannels" if any(_is_channel_rule(word) for word in words) else channels_default]
    for word in words:
        if word.startswith("("):
            inner = _compile(word[1:-1].split(), closed, channels_default, known)
            rules.append(f"({' '.join(inner)})")
        elif _has_effect(word.lower(), known):
            rules.append(word)
    return (*rules, *closed)


def _has_effect(word: str, known: frozenset[str]) -> bool:
    if word[0] not in "+-":
        return True
    name = word[1:]
    if name.startswith("@"):
        return name[1:] in names().categories
    if not known or name in known:
        return not name.startswith(names().module_prefixes)
    return "|" in name and name.partition("|")[0] in known - names().containers


def _is_command_rule(word: str) -> bool:
    return word[0] in "+-" or word in ("allcommands", "nocommands")


def _is_channel_rule(word: str) -> bool:
    return word[0] == "&" or word.lower() in ("allchannels", "resetchannels")


def _unknown(word: str) -> IllegalAccessString:
    return IllegalAccessString(f"Unknown command or category name in access string: {word}")


def _syntax(word: str) -> IllegalAccessString:
    return IllegalAccessString(f"Syntax error in access string: {word}")
