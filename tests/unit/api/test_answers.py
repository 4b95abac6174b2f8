"""AnswerCache: an answer is good until its scope changes, and never for another question."""

from __future__ import annotations

from cachefleet.api.answers import AnswerCache
from cachefleet.provisioner.state.revisions import EVERYTHING, Revisions
from cachefleet.provisioner.state.scope import Scope

HERE, THERE = Scope("111111111111", "us-east-1"), Scope("111111111111", "eu-west-1")
OPERATION = "DescribeCacheClusters"
TABLES = frozenset({"cache_clusters"})


def at(revision: int) -> Revisions:
    """Return the revisions of a scope whose clusters have just changed."""
    return Revisions(revision, {"cache_clusters": revision})


def test_keeps_a_result_until_the_revision_changes() -> None:
    cache = AnswerCache()
    key = cache.key(OPERATION, HERE, {"MaxRecords": 20})
    assert key is not None
    cache.keep(key, 7, TABLES, {"CacheClusters": []})
    assert cache.find(key, at(7)) == (True, {"CacheClusters": []})
    assert cache.find(key, at(8)) == (False, None)


def test_a_result_outlives_changes_of_what_it_was_not_read_from() -> None:
    cache = AnswerCache()
    key = cache.key(OPERATION, HERE, {})
    assert key is not None
    cache.keep(key, 7, {"cache_clusters", "cache_nodes"}, {"CacheClusters": []})
    assert cache.find(key, Revisions(8, {"users": 8, "cache_nodes": 7}))[0]
    assert cache.find(key, Revisions(9, {"users": 9, "cache_nodes": 7}))[0]
    assert not cache.find(key, Revisions(10, {"users": 9, "cache_nodes": 10}))[0]
    cache.keep(key, 10, {"cache_clusters"}, {"CacheClusters": []})
    assert not cache.find(key, Revisions(11, {EVERYTHING: 11}))[0]


def test_keeps_questions_apart() -> None:
    cache = AnswerCache()
    keys = {
        cache.key(OPERATION, HERE, {}),
        cache.key(OPERATION, THERE, {}),
        cache.key(OPERATION, HERE, {"CacheClusterId": "a"}),
        cache.key("DescribeReplicationGroups", HERE, {}),
        cache.key(OPERATION, HERE, {"Filters": [{"Name": "a", "Values": ["b"]}]}),
        cache.key(OPERATION, HERE, {"Filters": [{"Name": "a", "Values": ["c"]}]}),
    }
    assert len(keys) == 6
    assert None not in keys


def test_never_keeps_what_changes_something_or_depends_on_the_hour() -> None:
    cache = AnswerCache()
    for operation in ("CreateCacheCluster", "DeleteReplicationGroup", "DescribeEvents"):
        assert cache.key(operation, HERE, {}) is None


def test_forgets_what_was_asked_for_longest_ago() -> None:
    cache = AnswerCache(kept_max=2)
    first, second, third = (cache.key(OPERATION, HERE, {"Marker": m}) for m in "abc")
    assert first is not None
    assert second is not None
    assert third is not None
    cache.keep(first, 1, TABLES, {})
    cache.keep(second, 1, TABLES, {})
    cache.find(first, at(1))
    cache.keep(third, 1, TABLES, {})
    assert cache.find(first, at(1))[0]
    assert not cache.find(second, at(1))[0]


def test_writes_a_kept_result_once_and_what_it_forgot_anew() -> None:
    cache = AnswerCache(kept_max=1)
    written: list[object] = []

    def text_of(operation: str, result: dict[str, str]) -> bytes:
        def write() -> bytes:
            written.append(result)
            return f"{operation}{len(written)}".encode()

        return cache.text_of(operation, result, write)

    kept, other = {"Name": "kept"}, {"Name": "kept"}
    key = cache.key(OPERATION, HERE, {})
    assert key is not None
    cache.keep(key, 1, TABLES, kept)
    assert [text_of(OPERATION, kept), text_of(OPERATION, kept)] == [f"{OPERATION}1".encode()] * 2
    assert text_of("DescribeUsers", kept) == b"DescribeUsers2"  # the same object, another document
    assert text_of(OPERATION, other) == f"{OPERATION}3".encode()
    cache.keep(key, 2, TABLES, other)
    assert text_of(OPERATION, other) == f"{OPERATION}4".encode()
    assert text_of(OPERATION, kept) == f"{OPERATION}5".encode()
