"""Keeps the results of questions until something that they were read from changes.

A page of groups costs a few milliseconds to read and nothing to know: waiters and consoles ask the
same again and again. A result is good for as long as no table that it was read from has changed in
its scope, which every write notes (:meth:`Store.revisions`). What depends on the time of asking is
never kept. The text that a result was written as is kept with it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cachefleet.api.registry import Params, Result
from cachefleet.provisioner.state.revisions import Revisions
from cachefleet.provisioner.state.scope import Scope

KEPT_MAX = 256  # a page of 100 groups is some 200 kB
QUESTIONS = ("Describe", "List")
# Those that depend on more than their scope's records: on the time, or on other regions.
TIME_DEPENDENT = frozenset(
    {
        "DescribeEvents",
        "DescribeGlobalReplicationGroups",
        "DescribeReservedCacheNodes",
        "DescribeServiceUpdates",
        "DescribeUpdateActions",
    }
)

Key = tuple[str, Scope, Hashable]


@dataclass(slots=True)
class _Kept:
    revision: int
    tables: frozenset[str]
    result: Result
    text: bytes | None = None


class AnswerCache:
    """Results by operation, scope and parameters; the ones asked for longest ago go first."""

    def __init__(self, *, kept_max: int = KEPT_MAX) -> None:
        self._kept_max = kept_max
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        # By operation and identity: two operations may answer one and the same object.
        self._by_result: dict[tuple[str, int], _Kept] = {}

    def key(self, operation: str, scope: Scope, params: Params) -> Key | None:
        """Return what the result is kept under, or None where it must not be kept."""
        if not operation.startswith(QUESTIONS) or operation in TIME_DEPENDENT:
            return None
        return (operation, scope, _frozen(params))

    def find(self, key: Key, revisions: Revisions) -> tuple[bool, Result]:
        """Return whether there is a result that still stands, and the result."""
        kept = self._kept.get(key)
        if kept is None or not revisions.stand_since(kept.revision, kept.tables):
            return False, None
        kept.revision = revisions.newest  # what did not change until now need not be asked again
        self._kept.move_to_end(key)
        return True, kept.result

    def keep(self, key: Key, revision: int, tables: Iterable[str], result: Result) -> None:
        """Keep a result that was read from *tables* at *revision* or later."""
        former = self._kept.pop(key, None)
        if former is not None:
            self._by_result.pop((key[0], id(former.result)), None)
        self._kept[key] = self._by_result[key[0], id(result)] = _Kept(
            revision, frozenset(tables), result
        )
        while len(self._kept) > self._kept_max:
            (operation, *_), oldest = self._kept.popitem(last=False)
            self._by_result.pop((operation, id(oldest.result)), None)

    def text_of(self, operation: str, result: Result, write: Callable[[], bytes]) -> bytes:
        """Return *result* as *write* writes it; for one that is kept, it is asked only once."""
        kept = self._by_result.get((operation, id(result)))
        if kept is None:
            return write()
        if kept.text is None:
            kept.text = write()
        return kept.text


def _frozen(value: Any) -> Hashable:
    if isinstance(value, Mapping):
        return tuple(sorted((name, _frozen(item)) for name, item in value.items()))
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    assert isinstance(value, Hashable), type(value)
    return value
