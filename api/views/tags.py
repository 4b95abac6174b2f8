"""Tags as the service shows them."""

from __future__ import annotations

from collections.abc import Mapping


def tag_list_view(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return a ``TagList`` in the order of *tags*; a tag without value has an empty one."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]
