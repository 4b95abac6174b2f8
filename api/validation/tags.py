"""Tags in a request: how many, which keys, which values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cachefleet.api.faults import Fault
from cachefleet.api.validation.refusals import wrong_value

TAGS_MAX = 50
KEY_CHARS_MAX = 128
VALUE_CHARS_MAX = 256
RESERVED_PREFIX = "aws:"


def check_tags(tags: Sequence[Mapping[str, Any]] | None) -> dict[str, str]:
    """Return the tags of a request as key to value; a tag without a value has an empty one.

    Raises:
        Fault: ``InvalidParameterValue`` for a bad or repeated key or a long value,
            ``TagQuotaPerResourceExceeded`` for too many.
    """
    found: dict[str, str] = {}
    for tag in tags or ():
        key = tag.get("Key") or ""
        value = tag.get("Value") or ""
        if not 1 <= len(key) <= KEY_CHARS_MAX:
            raise wrong_value(f"A tag's key must have 1 to {KEY_CHARS_MAX} characters.")
        if key.lower().startswith(RESERVED_PREFIX):
            raise wrong_value(f"A tag's key must not begin with {RESERVED_PREFIX}")
        if len(value) > VALUE_CHARS_MAX:
            raise wrong_value(f"A tag's value must have at most {VALUE_CHARS_MAX} characters.")
        if key in found:
            raise wrong_value(f"The tag key {key} is given twice.")
        found[key] = value
    if len(found) > TAGS_MAX:
        raise Fault("TagQuotaPerResourceExceeded", f"A resource can have at most {TAGS_MAX} tags.")
    return found
