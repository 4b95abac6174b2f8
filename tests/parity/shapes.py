"""Random values by botocore's shapes. The failing seed is the whole bug report."""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel

DEPTH_LISTS_MAX = 3
TEXTS = (
    "demo",
    "a b+c&d=e%f",
    '<tag attr="x">&amp;\'',
    "ünïcode ☃ 𝄞",
    " leading and trailing ",
    "line\nline\ttab\r\nend",
    "%zz",
    "0",
)

# A generator for each pattern of the model; a new pattern fails here until it has one.
PATTERNS: dict[str, Callable[[random.Random], str]] = {
    r"[a-zA-Z][a-zA-Z0-9\-]*": lambda dice: (
        dice.choice(string.ascii_letters)
        + "".join(dice.choices(string.ascii_letters + string.digits + "-", k=dice.randrange(9)))
    ),
    r"\d+": lambda dice: str(dice.randrange(1, 10_000)),
    r"[a-zA-Z]*": lambda dice: "".join(dice.choices(string.ascii_letters, k=dice.randrange(1, 9))),
    r".*\S.*": lambda dice: dice.choice(["on ~* +@all", "x", " a & b "]),
}


def service_model() -> ServiceModel:
    loader = Loader()
    return ServiceModel(loader.load_service_model("elasticache", "service-2"), "elasticache")


class Generator:
    """Makes values that botocore sends, or that a handler may answer with."""

    def __init__(self, seed: int, *, chance: float, is_input: bool) -> None:
        self._dice = random.Random(seed)
        self._chance = chance
        self._is_input = is_input

    def value(self, shape: Any, *, required: bool = False, precision_s: bool = False) -> Any:
        match shape.type_name:
            case "structure":
                return self._structure(shape)
            case "list":
                return self._list(shape, required)
            case "string":
                return self._string(shape, required)
            case "boolean":
                return self._dice.random() < 0.5
            case "integer":
                return self._dice.choice([0, 1, -1, 2**31 - 1, -(2**31), 6379])
            case "double":
                return self._dice.choice([0.0, 123.0, -1.5, 0.1, 1e16, 1e-7])
            case "timestamp":
                return self._timestamp(precision_s)
        raise AssertionError(shape.type_name)

    def _structure(self, shape: Any) -> dict[str, Any]:
        names = [
            name
            for name in shape.members
            if name in shape.required_members or self._dice.random() < self._chance
        ]
        # botocore sends nothing at all for a structure without members.
        if not names and self._is_input and shape.members:
            names = [self._dice.choice(list(shape.members))]
        return {
            name: self.value(
                shape.members[name],
                required=name in shape.required_members,
                precision_s=(shape.name, name) == ("NodeSnapshot", "SnapshotCreateTime"),
            )
            for name in names
        }

    def _list(self, shape: Any, required: bool) -> list[Any]:
        low = max(shape.metadata.get("min", 0), 1 if required else 0)
        high = min(shape.metadata.get("max", DEPTH_LISTS_MAX), DEPTH_LISTS_MAX)
        return [self.value(shape.member) for _ in range(self._dice.randint(low, max(low, high)))]

    def _string(self, shape: Any, required: bool) -> str:
        if shape.enum:
            return str(self._dice.choice(shape.enum))
        pattern = shape.metadata.get("pattern")
        if pattern is not None:
            return PATTERNS[pattern](self._dice)
        may_be_empty = not required and not shape.metadata.get("min")
        return self._dice.choice(TEXTS + (("",) if may_be_empty else ()))

    def _timestamp(self, precision_s: bool) -> datetime:
        moment = datetime(1999, 12, 31, 23, 59, 58, tzinfo=UTC) + timedelta(
            seconds=self._dice.randrange(10**9)
        )
        if precision_s:
            return moment
        # Requests carry microseconds, answers milliseconds.
        step_us = 1 if self._is_input else 1000
        return moment.replace(microsecond=self._dice.randrange(10**6 // step_us) * step_us)
