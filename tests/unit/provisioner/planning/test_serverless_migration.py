"""Which source a serverless cache takes, and the shards that it has to have for it."""

from __future__ import annotations

import itertools
import random

import pytest

from cachefleet.engine.types import Endpoint, Engine
from cachefleet.engine.valkey.cluster import SLOT_COUNT, parse_slots
from cachefleet.engine.valkey.source import SourceShard
from cachefleet.provisioner.planning.serverless_migration import (
    Reshape,
    pair_with,
    plan_reshape,
    refuse_shards,
    refuse_version,
)
from cachefleet.provisioner.reconciler.migration_sources import SourceRefused
from cachefleet.provisioner.reconciler.serverless_sources import parse_login


def shards(*slots: str) -> list[SourceShard]:
    return [
        SourceShard(endpoint=Endpoint("10.0.0.1", 7000 + number), slots=parse_slots(text))
        for number, text in enumerate(slots)
    ]


@pytest.mark.parametrize(
    ("engine", "version", "fits"),
    [
        (Engine.VALKEY, (7, 2, 4), True),
        (Engine.VALKEY, (8, 1, 9), True),
        (Engine.VALKEY, (9, 0, 0), False),
        (Engine.REDIS, (4, 0, 14), True),
        (Engine.REDIS, (7, 2, 5), True),
        (Engine.REDIS, (3, 2, 0), False),
        (Engine.REDIS, (7, 4, 0), False),
    ],
)
def test_versions(engine: Engine, version: tuple[int, ...], fits: bool) -> None:
    refusal = refuse_version(engine, version, target=(8, 1))
    assert (refusal is None) == fits
    assert fits or engine.value in str(refusal)


def test_a_source_has_every_slot_and_not_too_many_shards() -> None:
    assert refuse_shards(shards("0-16383"), shards_max=1) is None
    assert "slots" in str(refuse_shards(shards("0-16382"), shards_max=1))
    assert "2 shards" in str(refuse_shards(shards("0-99", "100-16383"), shards_max=1))


@pytest.mark.parametrize(
    ("found", "present", "plan"),
    [
        (("0-99", "100-16383"), {"0001": "100-16383", "0002": "0-99"}, None),
        (("0-16383",), {"0001": "0-16383"}, None),
        (("100-16383", "0-99"), {"0001": "0-16383"},
         Reshape(added=1, layout=("0-99", "100-16383"))),
        (("0-16383",), {"0001": "0-8191", "0004": "8192-16383"},
         Reshape(removed=("0004",), layout=("0-16383",))),
        (("0-99,200-16383", "100-199"), {"0001": "0-8191", "0002": "8192-16383"},
         Reshape(layout=("0-99,200-16383", "100-199"))),
    ],
)  # fmt: skip
def test_shards_become_those_of_the_source(
    found: tuple[str, ...], present: dict[str, str], plan: Reshape | None
) -> None:
    assert plan_reshape(shards(*found), present) == plan


@pytest.mark.parametrize("seed", range(20))
def test_whatever_there_is_ends_with_a_feed_for_each_shard(seed: int) -> None:
    dice = random.Random(seed)

    def cut(count: int) -> list[str]:
        ends = [0, *sorted(dice.sample(range(1, SLOT_COUNT), count - 1)), SLOT_COUNT]
        return [f"{a}-{b - 1}" for a, b in itertools.pairwise(ends)]

    found = shards(*dice.sample(whole := cut(dice.randint(1, 16)), len(whole)))
    present = {f"{n:04}": slots for n, slots in enumerate(cut(dice.randint(1, 16)), 1)}
    plan = plan_reshape(found, present)
    if plan is not None:
        kept = [one for one in sorted(present) if one not in plan.removed]
        added = [f"9{n:03}" for n in range(plan.added)]
        present = dict(zip([*kept, *added], plan.layout, strict=True))
    assert plan_reshape(found, present) is None
    pairs = pair_with(found, present)
    assert set(pairs.values()) == {shard.endpoint for shard in found}
    assert len(pairs) == len(found)


@pytest.mark.parametrize(
    ("text", "login"),
    [
        ('{"username": "me", "password": "secret"}', ("me", "secret")),
        ('{"password": "secret"}', ("", "secret")),
        ("secret", ("", "secret")),
        ("", None),
        ("{", None),
        ('{"username": "me"}', None),
        ('{"username": 1, "password": "x"}', None),
        ("x" * 5_000, None),
    ],
)
def test_logins(text: str, login: tuple[str, str] | None) -> None:
    if login is not None:
        assert parse_login(text) == login
        return
    with pytest.raises(SourceRefused):
        parse_login(text)
