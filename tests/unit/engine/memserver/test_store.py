"""The store: expiry on a given clock, a memory limit that holds, queues that keep their order."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachefleet.engine.memserver.crawler import metadump, walk
from cachefleet.engine.memserver.discovery import LEGACY_KEY, SHADOW_S_MAX
from cachefleet.engine.memserver.lru import COLD, HOT, NEVER, TEMP, WARM, Item
from cachefleet.engine.memserver.memory import ITEM_COST_BYTES
from cachefleet.engine.memserver.settings import MIB
from cachefleet.engine.memserver.store import (
    ADD,
    CAS,
    EXISTS,
    NO_MEMORY,
    NOT_FOUND,
    NOT_STORED,
    SET,
    STORED,
    Store,
)
from tests.unit.engine.memserver.sessions import STARTED_AT, ask, later, store


def put(some: Store, key: bytes, value: bytes = b"v", exptime: int = 0) -> Item:
    item = some.put(key, 0, some.expiry(exptime), value + b"\r\n")
    assert item is not None
    return item


def check(some: Store) -> None:
    """Every sum the store keeps is what adding it up again gives."""
    table = some.table
    assert some.used == sum(len(i.blob) + len(k) + ITEM_COST_BYTES for k, i in table.items())
    assert some.bytes == sum(some.size_of(key, item) for key, item in table.items())
    counts = [0] * len(some.counts)
    for key, item in table.items():
        assert item.key == key
        counts[(item.bits & 3) << 6 | item.slab] += 1
    assert counts == some.counts
    queued = [item for part in some.segments for half in (part.front, part.back) for item in half]
    assert sum(1 for item in queued if item.blob) == len(table)
    assert sum(1 for item in queued if not item.blob) == some.dead
    assert len({id(item) for item in queued}) == len(queued)


@pytest.mark.parametrize(
    ("exptime", "lives_s"),
    [
        pytest.param(10, 9, id="relative"),
        pytest.param(60 * 60 * 24 * 30, 60 * 60 * 24 * 30 - 1, id="longest-relative"),
        pytest.param(STARTED_AT + 50, 49, id="a-date"),
    ],
)
def test_an_item_lives_until_its_second(exptime: int, lives_s: int) -> None:
    some = store()
    put(some, b"k", exptime=exptime)
    later(some, lives_s)
    assert some.find(b"k") is not None
    later(some, 1)
    assert some.find(b"k") is None
    assert some.stats.get_expired == 1
    check(some)


@pytest.mark.parametrize("exptime", [-1, 60 * 60 * 24 * 30 + 1, STARTED_AT - 5])
def test_what_is_past_is_stored_and_gone(exptime: int) -> None:
    some = store()
    put(some, b"k", exptime=exptime)
    assert some.find(b"k") is None


def test_the_clock_never_runs_backwards() -> None:
    some = store()
    put(some, b"k", exptime=10)
    later(some, 11)
    some.tick(STARTED_AT)
    assert some.find(b"k") is None


def test_a_delayed_flush_spares_what_comes_after_it() -> None:
    some = store()
    put(some, b"old")
    some.flush(10)
    later(some, 9)
    put(some, b"before")
    assert some.find(b"old") is not None
    later(some, 1)
    put(some, b"after")
    assert some.find(b"old") is None
    assert some.find(b"before") is None
    assert some.find(b"after") is not None
    check(some)


def test_flushed_items_are_freed_bit_by_bit() -> None:
    some = store()
    for number in range(3000):
        put(some, b"key%d" % number)
    some.flush(0)
    assert not some.table
    assert some.bytes == 0
    steps = 0
    while some.free_trash():
        steps += 1
        assert steps < 100
    assert steps > 5


def test_trash_counts_until_it_is_freed() -> None:
    some = store(memory_bytes=MIB, item_size_max=MIB // 4)
    for number in range(2000):
        put(some, b"key%d" % number, b"x" * 200)
    some.flush(0)
    for number in range(2000):
        put(some, b"new%d" % number, b"x" * 200)
    assert some.used <= MIB


def test_cas_numbers_are_never_given_twice() -> None:
    some = store()
    seen = [put(some, b"a").cas, put(some, b"b").cas, put(some, b"a").cas]
    outcome, _, item = some.add_delta(b"a", 1, incr=True)
    assert item is None
    assert outcome != STORED
    put(some, b"n", b"5")
    seen.append(some.table[b"n"].cas)
    some.add_delta(b"n", 1, incr=True)
    seen.append(some.table[b"n"].cas)
    assert seen == sorted(set(seen))


def test_without_cas_every_number_is_zero() -> None:
    some = store(cas=False)
    assert put(some, b"a").cas == 0
    assert put(some, b"a").cas == 0


def test_cas_compares() -> None:
    some = store()
    number = put(some, b"k").cas
    assert some.update(CAS, b"k", 0, NEVER, b"x\r\n", cas=number + 9) == EXISTS
    assert some.update(CAS, b"none", 0, NEVER, b"x\r\n", cas=number) == NOT_FOUND
    assert some.update(CAS, b"k", 0, NEVER, b"x\r\n", cas=number) == STORED
    assert some.table[b"k"].value == b"x"


def test_the_limit_holds_and_the_oldest_go_first() -> None:
    some = store(memory_bytes=MIB, item_size_max=MIB // 4)
    for number in range(5000):
        put(some, b"key%05d" % number, b"x" * 300)
        assert some.used <= MIB
    kept = sorted(some.table)
    assert kept == [b"key%05d" % n for n in range(5000 - len(kept), 5000)]
    assert some.stats.evictions == 5000 - len(kept)
    check(some)


def test_what_is_read_twice_survives() -> None:
    some = store(memory_bytes=MIB, item_size_max=MIB // 4)
    for number in range(500):
        put(some, b"hot%d" % number, b"x" * 300)
    for number in range(5000):
        put(some, b"key%d" % number, b"x" * 300)
        ask(some, b"get hot%d\r\n" % (number % 500))
        ask(some, b"get hot%d\r\n" % (number % 500))
    assert sum(1 for number in range(500) if b"hot%d" % number in some.table) > 450
    assert some.stats.moves_to_warm > 0
    check(some)


def test_an_item_larger_than_what_is_left_pushes_others_out() -> None:
    some = store(memory_bytes=MIB, item_size_max=MIB // 2)
    for number in range(2000):
        put(some, b"key%d" % number, b"x" * 300)
    put(some, b"big", b"x" * (MIB // 2 - 1000))
    assert some.used <= MIB
    assert b"big" in some.table
    check(some)


def test_without_evictions_memory_runs_out() -> None:
    some = store(memory_bytes=MIB, item_size_max=MIB // 4, evictions=False)
    outcomes = {some.update(SET, b"key%d" % n, 0, NEVER, b"x" * 900 + b"\r\n") for n in range(2000)}
    assert outcomes == {STORED, NO_MEMORY}
    assert some.stats.evictions == 0
    assert some.used <= MIB
    # What is there can still be replaced by as much.
    assert some.update(SET, b"key0", 0, NEVER, b"y" * 900 + b"\r\n") == STORED
    check(some)


def test_without_evictions_what_expired_makes_room() -> None:
    some = store(memory_bytes=MIB, item_size_max=MIB // 4, evictions=False)
    for number in range(2000):
        some.update(SET, b"key%d" % number, 0, some.expiry(5), b"x" * 900 + b"\r\n")
    assert some.update(SET, b"more", 0, NEVER, b"x" * 900 + b"\r\n") == NO_MEMORY
    later(some, 6)
    assert some.update(SET, b"more", 0, NEVER, b"x" * 900 + b"\r\n") == STORED


def test_a_lowered_limit_is_reached_in_steps() -> None:
    some = store(memory_bytes=4 * MIB)
    for number in range(5000):
        put(some, b"key%d" % number, b"x" * 300)
    some.set_limit(MIB)
    steps = 0
    while not some.shed(64):
        steps += 1
    assert steps > 5
    assert some.used <= MIB
    check(some)


def test_balance_keeps_hot_and_warm_within_their_shares() -> None:
    some = store()
    for number in range(1000):
        put(some, b"key%d" % number)
    while not some.balance(10):
        pass
    assert len(some.segments[HOT]) <= 200
    assert len(some.segments[COLD]) >= 800
    assert len(some.segments[WARM]) == 0
    check(some)


def test_short_lived_items_have_a_segment_of_their_own_if_asked() -> None:
    some = store(temp_lru=True)
    put(some, b"short", exptime=30)
    put(some, b"long", exptime=300)
    put(some, b"forever")
    assert len(some.segments[TEMP]) == 1
    assert len(some.segments[HOT]) == 2


def test_a_flat_lru_has_one_segment() -> None:
    some = store(lru_segmented=False)
    put(some, b"k")
    assert len(some.segments[COLD]) == 1


def test_a_walk_shows_all_drops_the_dead_and_keeps_the_order() -> None:
    some = store()
    for number in range(1000):
        put(some, b"key%04d" % number, exptime=5 if number % 10 == 0 else 0)
    some.unlink(b"key0001", some.table[b"key0001"])
    later(some, 6)
    seen = [item.key for items in walk(some) for item in items]
    wanted = [b"key%04d" % n for n in range(1000) if n % 10 and n != 1]
    assert seen == wanted
    assert some.dead == 0
    assert some.stats.crawler_reclaimed == 100
    assert [item.key for item in some.segments[HOT].back] == wanted
    check(some)


def test_what_comes_during_a_walk_stays_the_youngest() -> None:
    some = store()
    for number in range(500):
        put(some, b"key%04d" % number)
    steps = walk(some)
    next(steps)
    put(some, b"new")
    evicted = some.segments[HOT].pop_oldest()
    assert evicted.key == b"key0000"
    some.segments[HOT].front.appendleft(evicted)
    for _ in steps:
        pass
    order = [item.key for item in some.segments[HOT].back]
    assert order == [b"key%04d" % n for n in range(500)] + [b"new"]


def test_an_abandoned_walk_leaves_everything_in_place() -> None:
    some = store()
    for number in range(500):
        put(some, b"key%04d" % number)
    steps = walk(some)
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert not some.crawling
    assert [i.key for i in some.segments[HOT].back] == [b"key%04d" % n for n in range(500)]


def test_metadump_encodes_keys_and_ends() -> None:
    some = store()
    put(some, b"a/b c")
    lines = b"".join(metadump(some, None)).split(b"\n")
    assert lines[0].startswith(b"key=a%2Fb%20c exp=-1 la=")
    assert lines[1] == b"END\r"


def test_the_legacy_discovery_key_comes_back_when_overwritten() -> None:
    some = store()
    some.config.set(b"cluster", 0, b"1\nh||11211\n")
    assert ask(some, b"set %b 0 0 4\r\nmine\r\n" % LEGACY_KEY) == b"STORED\r\n"
    assert b"mine" in ask(some, b"get %b\r\n" % LEGACY_KEY)
    for _ in range(SHADOW_S_MAX):
        later(some, 1)
    assert b"h||11211" in ask(some, b"get %b\r\n" % LEGACY_KEY)
    assert len(some.table) == 0


def test_adding_what_is_there_is_refused() -> None:
    some = store()
    assert some.update(ADD, b"k", 0, NEVER, b"1\r\n") == STORED
    assert some.update(ADD, b"k", 0, NEVER, b"2\r\n") == NOT_STORED
    assert some.table[b"k"].value == b"1"


@given(st.randoms(use_true_random=False), st.booleans())
def test_sums_stay_right_whatever_happens(dice: random.Random, evictions: bool) -> None:
    some = store(memory_bytes=64 << 10, item_size_max=16 << 10, evictions=evictions)
    keys = [b"a", b"bb", b"with space", b"line\nend", b"k" * 250, *(b"n%d" % n for n in range(40))]
    for _ in range(120):
        key, what = dice.choice(keys), dice.randrange(12)
        value = (
            b"%d" % dice.randrange(10**6) if dice.random() < 0.5 else b"v" * dice.randrange(9000)
        )
        match what:
            case 0:
                some.flush(0)
            case 1:
                later(some, dice.randrange(4))
            case 2:
                for _ in walk(some):
                    pass
            case 3:
                item = some.find(key)
                if item is not None:
                    some.unlink(key, item)
            case 4:
                some.add_delta(key, dice.randrange(10**9), incr=True)
            case 5:
                item = some.fetch(key)
                if item is not None:
                    some.bump(item)
            case 6:
                some.balance(5)
            case 7:
                some.free_trash()
            case _:
                mode = dice.randrange(6)
                exp = some.expiry(dice.choice([0, 0, 2, -1]))
                some.update(mode, key, dice.choice([0, 9]), exp, value + b"\r\n", cas=some.cas_id)
        assert some.used <= some.limit
    check(some)


def test_other_flags_of_the_same_length_are_counted_anew() -> None:
    some, fresh = store(), store()
    ask(some, b"set a 0 0 3\r\nabc\r\n")
    assert ask(some, b"set a 7 0 3\r\nabc\r\n") == b"STORED\r\n"
    ask(fresh, b"set a 7 0 3\r\nabc\r\n")
    assert (some.bytes, some.class_mem) == (fresh.bytes, fresh.class_mem)
    assert ask(some, b"get a\r\n") == b"VALUE a 7 3\r\nabc\r\nEND\r\n"
