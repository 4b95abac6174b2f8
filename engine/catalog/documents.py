"""Reads the data files; the only module that knows where they are."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any, TypeAlias

Document: TypeAlias = dict[str, Any]

_DATA = resources.files(__package__) / "data"


@functools.cache
def document(name: str) -> Document:
    """One data file by its name without ``.json``; read once, and not to be changed."""
    loaded: Document = json.loads((_DATA / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def rows(table: Document, *, rows_key: str = "rows") -> list[dict[str, Any]]:
    """A table's rows as mappings from its column names."""
    return [dict(zip(table["columns"], row, strict=True)) for row in table[rows_key]]
