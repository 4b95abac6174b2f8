"""Sorting keys into files by slot: every key once, in the file of its shard, as it was."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from cachefleet.engine.rdb import split as splitting
from cachefleet.engine.rdb.reader import Entry, NotAnRdb, walk
from cachefleet.engine.rdb.split import Target, key_slot, split
from cachefleet.engine.valkey.cluster import even_slots
from tests.unit.engine.rdb.files import pair, rdb, with_keys


def targets(directory: Path, count: int) -> list[Target]:
    return [
        Target(directory / f"out-{number}.rdb", str(piece))
        for number, piece in enumerate(even_slots(count))
    ]


def keys_of(path: Path) -> list[bytes]:
    return [record.key for record in walk(path.read_bytes()) if isinstance(record, Entry)]


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        # Of the cluster specification, and of an engine asked with CLUSTER KEYSLOT.
        (b"123456789", 12739),
        (b"foo", 12182),
        (b"{user1000}.following", 3443),
        (b"{user1000}.followers", 3443),
        (b"foo{}{bar}", 8363),
        (b"foo{{bar}}zap", 4015),
        (b"", 0),
    ],
)
def test_slots(key: bytes, slot: int) -> None:
    assert key_slot(key) == slot


@pytest.mark.parametrize(("sources", "shards"), [(1, 3), (3, 5), (3, 1), (2, 2)])
def test_every_key_goes_to_its_shard_once(tmp_path: Path, sources: int, shards: int) -> None:
    dice = random.Random(sources * 10 + shards)
    keys = [f"key:{dice.randrange(10**9)}".encode() for _ in range(300)]
    paths = []
    for number in range(sources):
        paths.append(tmp_path / f"in-{number}.rdb")
        paths[-1].write_bytes(with_keys(keys[number::sources]))
    outs = targets(tmp_path, shards)
    read: list[int] = []
    counts = split(paths, outs, on_progress=read.append)
    found = [keys_of(out.path) for out in outs]
    assert sorted(key for part in found for key in part) == sorted(keys)
    assert counts == [len(part) for part in found]
    for piece, part in zip(even_slots(shards), found, strict=True):
        assert all(piece.first <= key_slot(key) <= piece.last for key in part)
    assert read[-1] == sum(path.stat().st_size for path in paths)


@pytest.mark.parametrize("shards", [1, 3])
def test_a_key_of_several_sources_is_what_the_last_of_them_has(tmp_path: Path, shards: int) -> None:
    paths = []
    for number in range(3):
        own = [pair(b"own:%d:%d" % (number, n), b"%d" % number) for n in range(50)]
        shared = [pair(b"key:%d" % n, b"%d" % number) for n in range(number, 40)]
        paths.append(tmp_path / f"in-{number}.rdb")
        paths[-1].write_bytes(rdb(*own, *shared))
    outs = targets(tmp_path, shards)
    split(paths, outs, on_progress=lambda count: None)
    found: dict[bytes, bytes] = {}
    for out in outs:
        data = out.path.read_bytes()
        for record in walk(data):
            if isinstance(record, Entry):
                assert record.key not in found, "once"
                found[record.key] = data[record.start : record.end]
    wanted = {b"own:%d:%d" % (s, n): s for s in range(3) for n in range(50)}
    wanted |= {b"key:%d" % n: min(n, 2) for n in range(40)}
    assert found == {key: pair(key, b"%d" % source) for key, source in wanted.items()}


def test_functions_go_to_every_shard_once_and_stream_positions_to_none(tmp_path: Path) -> None:
    function = b"\xf5\x05hello"
    paths = [tmp_path / "a.rdb", tmp_path / "b.rdb"]
    for path in paths:
        path.write_bytes(rdb(b"\xf5\x05hello", pair(path.name.encode())))
    outs = targets(tmp_path, 3)
    split(paths, outs, on_progress=lambda count: None)
    for out in outs:
        assert out.path.read_bytes().count(function) == 1
        assert b"repl-id" not in out.path.read_bytes()
        assert b"redis-ver" in out.path.read_bytes()


def test_refuses_keys_outside_database_zero(tmp_path: Path) -> None:
    source = tmp_path / "in.rdb"
    source.write_bytes(rdb(pair(b"a"), database=1))
    with pytest.raises(NotAnRdb, match="database 1"):
        split([source], targets(tmp_path, 2), on_progress=lambda count: None)


def test_the_newest_header_is_that_of_the_result(tmp_path: Path) -> None:
    old, new = tmp_path / "old.rdb", tmp_path / "new.rdb"
    old.write_bytes(rdb(pair(b"a"), header=b"REDIS0009"))
    new.write_bytes(rdb(pair(b"b"), header=b"VALKEY080"))
    outs = targets(tmp_path, 1)
    split([old, new], outs, on_progress=lambda count: None)
    assert outs[0].path.read_bytes().startswith(b"VALKEY080")


def test_the_command_says_what_came_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, plan = tmp_path / "in.rdb", tmp_path / "plan.json"
    source.write_bytes(with_keys([b"a", b"b"]))
    target = {"path": str(tmp_path / "out.rdb"), "slots": "0-16383"}
    plan.write_text(json.dumps({"sources": [str(source)], "targets": [target]}))
    assert splitting.main([str(plan)]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"keys": [2]}
    source.write_bytes(source.read_bytes()[:-12])
    assert splitting.main([str(plan)]) == 1
    assert "cut short" in json.loads(capsys.readouterr().out.splitlines()[-1])["refused"]
