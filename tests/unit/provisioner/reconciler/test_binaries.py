"""Which binary can read what another wrote."""

from __future__ import annotations

import pytest

from cachefleet.engine.discovery import Inventory
from cachefleet.engine.types import Engine, EngineBinary
from cachefleet.provisioner.reconciler.binaries import dump_format, parse_dump_format, reader_of


def binary(kind: Engine, *version: int) -> EngineBinary:
    name = f"{kind.value}-{'.'.join(map(str, version))}"
    return EngineBinary(
        kind=kind, argv=(name,), version=version, tls=False, source="path", detail=name
    )


VALKEY_9, VALKEY_8 = binary(Engine.VALKEY, 9, 1, 2), binary(Engine.VALKEY, 8, 0, 1)
REDIS_7, REDIS_74 = binary(Engine.REDIS, 7, 0, 15), binary(Engine.REDIS, 7, 4, 0)
MEMCACHED = binary(Engine.MEMCACHED, 1, 6, 22)
EVERYTHING = Inventory(binaries=(VALKEY_9, REDIS_7, REDIS_74, MEMCACHED))


@pytest.mark.parametrize(
    ("header", "number"),
    [
        (b"VALKEY080", 80),
        (b"REDIS0011", 11),
        (b"REDIS0006", 6),
        (b"", 0),
        (b"REDIS", 0),
        (b"<html>000", 0),
    ],
)
def test_reads_the_format_of_a_dump(header: bytes, number: int) -> None:
    assert parse_dump_format(header) == number


@pytest.mark.parametrize(
    ("one", "number"),
    [(VALKEY_9, 80), (VALKEY_8, 11), (REDIS_74, 12), (REDIS_7, 10), (MEMCACHED, 0)],
    ids=lambda value: value.detail if isinstance(value, EngineBinary) else None,
)
def test_knows_what_each_engine_writes(one: EngineBinary, number: int) -> None:
    assert dump_format(one) == number


@pytest.mark.parametrize(
    ("held", "wanted", "chosen"),
    [
        pytest.param(0, REDIS_7, REDIS_7, id="no-data-yet"),
        pytest.param(10, REDIS_7, REDIS_7, id="its-own-data"),
        pytest.param(80, REDIS_7, VALKEY_9, id="data-of-valkey"),
        pytest.param(11, REDIS_74, REDIS_74, id="older-data"),
        pytest.param(99, REDIS_7, REDIS_7, id="nobody-reads-it"),
    ],
)
def test_takes_what_can_read_the_data(
    held: int, wanted: EngineBinary, chosen: EngineBinary
) -> None:
    assert reader_of(held, wanted, EVERYTHING) is chosen
