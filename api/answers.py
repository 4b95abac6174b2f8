"""Keeps the results of questions until something in their scope changes.

A page of groups costs a few milliseconds to read and nothing to know: waiters and consoles ask the
same again and again. A result is good for as long as the scope's revision stands, which every
write raises (:meth:`Store.revision`). What depends on the time of asking is never kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Any

from cachefleet.api.registry import Params, Result
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


class AnswerCache:
    """Results by operation, scope and parameters; the ones asked for longest ago go first."""

    def __init__(self, *, kept_max: int = KEPT_MAX) -> None:
        self._kept_max = kept_max
        self._kept: OrderedDict[Key, tuple[int, Result]] = OrderedDict()

    def key(self, operation: str, scope: Scope, params: Params) -> Key | None:
        """Return what the result is kept under, or None where it must not be kept."""
        if not operation.startswith(QUESTIONS) or operation in TIME_DEPENDENT:
            return None
        return (operation, scope, _frozen(params))

    def find(self, key: Key, revision: int) -> tuple[bool, Result]:
        """Return whether there is a result of this revision, and the result."""
        kept = self._kept.get(key)
        if kept is None or kept[0] != revision:
            return False, None
        self._kept.move_to_end(key)
        return True, kept[1]

    def keep(self, key: Key, revision: int, result: Result) -> None:
        """Keep a result that was read at *revision* or later."""
        self._kept[key] = (revision, result)
        self._kept.move_to_end(key)
        while len(self._kept) > self._kept_max:
            self._kept.popitem(last=False)


def _frozen(value: Any) -> Hashable:
    if isinstance(value, Mapping):
        return tuple(sorted((name, _frozen(item)) for name, item in value.items()))
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    assert isinstance(value, Hashable), type(value)
    return value
