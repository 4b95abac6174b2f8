"""Which commands a person may type at a memcached node, and how they go over the wire. Pure.

memcached has no table of its own commands, so this is a list. What is not on it is refused: what
changes the node itself (``flush_all``, ``slabs``, ``shutdown``), what never ends (``watch``) and
what answers nothing (``noreply``). What writes is refused unless it was asked for. Values are typed
as one word, the last; their length is counted here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

KEY_BYTES_MAX: Final = 250

_READS: Final = frozenset({"get", "gets", "mg", "me", "mn", "version", "stats"})
_WRITES: Final = frozenset({"delete", "incr", "decr", "touch", "gat", "gats", "md", "ma"})
# How many words stand before the value: name, key, flags, lifetime; and the number of a cas.
_STORES: Final = {"set": 4, "add": 4, "replace": 4, "append": 4, "prepend": 4, "cas": 5}
_WORDS_MIN: Final = {
    **dict.fromkeys(("get", "gets", "mg", "me", "md", "ma", "delete"), 2),
    **dict.fromkeys(("incr", "decr", "touch", "gat", "gats"), 3),
}
_STATS: Final = frozenset(
    {"", "settings", "items", "slabs", "sizes", "conns", "threads", "proxy", "extstore"}
)
# Flags of mg that change the item: autovivify, take for recaching, a new lifetime.
_MG_WRITES: Final = frozenset("NRT")
_META: Final = frozenset({"mg", "md", "ma", "ms"})
_QUIET: Final = "q"
_WORD = re.compile(r"[^\x00-\x20\x7f]+")


class NotRunHere(ValueError):
    """Why a command is not sent, in a sentence."""


@dataclass(frozen=True, slots=True)
class Request:
    """One command as it is sent: its line, and the value behind it where it stores one."""

    line: str
    body: bytes | None = None


def request(words: Sequence[str], *, writes: bool) -> Request:
    """Return what is sent for *words*.

    Raises:
        NotRunHere: it is not run from here, or is none.
    """
    name = words[0].lower()
    writing = name in _WRITES or name in _STORES or name == "ms" or _mg_writes(name, words)
    if not writing and name not in _READS and not _reads_config(words):
        raise NotRunHere(f"{name[:40]} is not run from here.")
    if writing and not writes:
        raise NotRunHere(f"{name} writes. The command line is read-only until writing is allowed.")
    if name in _STORES or name == "ms":
        return _storing(name, words)
    if len(words) < _WORDS_MIN.get(name, 1):
        raise NotRunHere(f"{name} needs at least {_WORDS_MIN[name]} words.")
    if name == "stats" and " ".join(words[1:]).lower() not in _STATS:
        raise NotRunHere(f"stats {words[1][:40]} is not run from here.")
    _require_words(words[1:])
    if words[-1] == "noreply" or (name in _META and _is_quiet(words[2:])):
        raise NotRunHere("A command that is not answered is not run from here.")
    return Request(" ".join([name, *words[1:]]))


def _mg_writes(name: str, words: Sequence[str]) -> bool:
    return name == "mg" and any(word[:1] in _MG_WRITES for word in words[2:])


def _reads_config(words: Sequence[str]) -> bool:
    return [word.lower() for word in words] == ["config", "get", "cluster"]


def _is_quiet(flags: Sequence[str]) -> bool:
    return any(flag.startswith(_QUIET) for flag in flags)


def _storing(name: str, words: Sequence[str]) -> Request:
    if name == "ms":
        if len(words) < 3:
            raise NotRunHere("Write ms KEY [FLAGS...] VALUE.")
        head, value = [words[1]], words[-1].encode()
        flags = list(words[2:-1])
        if _is_quiet(flags):
            raise NotRunHere("A command that is not answered is not run from here.")
        _require_words([*head, *flags])
        return Request(" ".join([name, words[1], str(len(value)), *flags]), value)
    before = _STORES[name]
    if len(words) != before + 1:
        unique = " UNIQUE" if name == "cas" else ""
        raise NotRunHere(f'Write {name} KEY FLAGS LIFETIME{unique} "VALUE".')
    value = words[-1].encode()
    parts = [words[1], words[2], words[3], str(len(value)), *words[4:before]]
    _require_words(parts)
    return Request(" ".join([name, *parts]), value)


def _require_words(words: Sequence[str]) -> None:
    for word in words:
        # A line end in a word would begin a command that nobody has judged.
        if not _WORD.fullmatch(word) or len(word.encode()) > KEY_BYTES_MAX:
            raise NotRunHere(
                f"A key or argument has 1 to {KEY_BYTES_MAX} bytes and no spaces: {word[:40]!r}."
            )
