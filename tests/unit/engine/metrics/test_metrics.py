"""Metrics from what engines say: each rule once, restarts, and groups of commands."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cachefleet.engine.metrics.definitions import Kind, metrics_of
from cachefleet.engine.metrics.memcached import memcached_metrics
from cachefleet.engine.metrics.samples import CommandCount, HostSample, Sample
from cachefleet.engine.metrics.valkey import CommandGroups, parse_command_stats, valkey_metrics
from cachefleet.engine.types import Engine

HOST = HostSample(cpu_percent=12.5, memory_available_bytes=1000, swap_used_bytes=10)
GROUPS = CommandGroups(
    {
        "string": frozenset({"get", "set"}),
        "hash": frozenset({"hset"}),
        "keyspace": frozenset({"del", "expire"}),
        "read": frozenset({"get"}),
        "write": frozenset({"set", "hset", "del"}),
    }
)


def sample(
    at_s: float = 0.0, *, engine: Engine = Engine.VALKEY, pid: int = 1, **fields: Any
) -> Sample:
    texts = {name: str(value) for name, value in fields.items()}
    return Sample(
        engine=engine,
        at_s=at_s,
        pid=pid,
        fields=texts,
        host=HOST,
        commands=parse_command_stats(texts),
    )


def changed(before: dict[str, Any], after: dict[str, Any], **options: Any) -> dict[str, float]:
    return valkey_metrics(sample(**before), sample(15.0, **after, **options), GROUPS)


def test_every_metric_of_the_catalogue_that_engines_can_tell_is_defined() -> None:
    valkey, memcached = metrics_of(Engine.VALKEY), metrics_of(Engine.MEMCACHED)
    assert {"CacheHits", "CurrItems", "ReplicationLag", "StringBasedCmds"} <= set(valkey)
    assert {"CmdGet", "UnusedMemory", "Evictions", "FreeableMemory"} <= set(memcached)
    assert not {"DurabilityLag", "JsonBasedCmds", "CPUCreditBalance"} & set(valkey)
    assert valkey["CacheHits"].kind is Kind.DELTA
    assert valkey["CacheHits"].statistic == "Sum"
    assert valkey["MemoryFragmentationRatio"].statistic == "Average"
    assert all(metric.unit for metric in (*valkey.values(), *memcached.values()))


def test_counters_are_what_was_added() -> None:
    found = changed(
        {"keyspace_hits": 10, "keyspace_misses": 5, "evicted_keys": 1},
        {"keyspace_hits": 40, "keyspace_misses": 15, "evicted_keys": 1},
    )
    assert (found["CacheHits"], found["CacheMisses"], found["Evictions"]) == (30, 10, 0)
    assert found["CacheHitRate"] == pytest.approx(75.0)


def test_first_sample_has_no_counters() -> None:
    found = valkey_metrics(None, sample(keyspace_hits=10, used_memory=5), GROUPS)
    assert "CacheHits" not in found
    assert "CacheHitRate" not in found
    assert found["BytesUsedForCache"] == 5


def test_counters_begin_anew_with_a_new_process_and_after_a_reset() -> None:
    fields: dict[str, Any] = {"keyspace_hits": 10}
    restarted = valkey_metrics(
        sample(keyspace_hits=100, pid=1), sample(15.0, pid=2, **fields), GROUPS
    )
    reset = changed({"keyspace_hits": 100}, fields)
    assert restarted["CacheHits"] == reset["CacheHits"] == 10


def test_no_hit_rate_without_a_read() -> None:
    same = {"keyspace_hits": 10, "keyspace_misses": 5}
    assert "CacheHitRate" not in changed(same, same)


def test_memory_in_percent_of_the_limit() -> None:
    found = valkey_metrics(
        None, sample(used_memory=60, maxmemory=200, mem_not_counted_for_evict=20), GROUPS
    )
    assert found["DatabaseMemoryUsagePercentage"] == pytest.approx(30.0)
    assert found["DatabaseMemoryUsageCountedForEvictPercentage"] == pytest.approx(20.0)
    unlimited = valkey_metrics(None, sample(used_memory=60, maxmemory=0), GROUPS)
    assert "DatabaseMemoryUsagePercentage" not in unlimited


def test_items_over_all_databases() -> None:
    found = valkey_metrics(
        None,
        sample(role="master", db0="keys=3,expires=1,avg_ttl=250", db7="keys=4,expires=0,avg_ttl=9"),
        GROUPS,
    )
    assert (found["CurrItems"], found["CurrVolatileItems"]) == (7, 1)
    assert found["DB0AverageTTL"] == 250
    assert valkey_metrics(None, sample(), GROUPS)["CurrItems"] == 0


def test_roles_and_links() -> None:
    primary = valkey_metrics(None, sample(role="master"), GROUPS)
    replica = valkey_metrics(None, sample(role="slave", master_link_status="down"), GROUPS)
    assert (primary["IsMaster"], primary["MasterLinkHealthStatus"]) == (1, 1)
    assert (replica["IsMaster"], replica["MasterLinkHealthStatus"]) == (0, 0)
    assert "DB0AverageTTL" not in replica


def test_processor_time_of_the_main_thread_by_the_clock() -> None:
    found = changed(
        {"used_cpu_user_main_thread": 1.0, "used_cpu_sys_main_thread": 1.0, "used_cpu_user": 50},
        {"used_cpu_user_main_thread": 4.0, "used_cpu_sys_main_thread": 5.5, "used_cpu_user": 99},
    )
    assert found["EngineCPUUtilization"] == pytest.approx(50.0)
    older = changed(
        {"used_cpu_user": 1, "used_cpu_sys": 0}, {"used_cpu_user": 4, "used_cpu_sys": 0}
    )
    assert older["EngineCPUUtilization"] == pytest.approx(20.0)


def test_commands_count_in_their_groups() -> None:
    found = changed(
        {"cmdstat_get": "calls=5,usec=10,usec_per_call=2.00"},
        {
            "cmdstat_get": "calls=15,usec=40,usec_per_call=2.00",
            "cmdstat_set": "calls=2,usec=8,usec_per_call=4.00",
            "cmdstat_del": "calls=1,usec=1,usec_per_call=1.00",
            "cmdstat_ping": "calls=7,usec=7,usec_per_call=1.00",
            "cmdstat_cluster|slots": "calls=3,usec=9,usec_per_call=3.00",
            "cmdstat_eval": "calls=1,usec=100,usec_per_call=100.00",
        },
    )
    assert found["StringBasedCmds"] == 12
    assert found["StringBasedCmdsLatency"] == pytest.approx(38 / 12)
    assert (found["GetTypeCmds"], found["SetTypeCmds"]) == (10, 3)
    assert found["SuccessfulReadRequestLatency"] == pytest.approx(3.0)
    assert (found["KeyBasedCmds"], found["NonKeyTypeCmds"]) == (1, 7)
    assert (found["ClusterBasedCmds"], found["EvalBasedCmds"]) == (3, 1)
    assert found["HashBasedCmds"] == 0
    assert "HashBasedCmdsLatency" not in found


def test_command_of_a_type_is_not_also_of_keys() -> None:
    groups = CommandGroups({"string": frozenset({"getdel"}), "keyspace": frozenset({"getdel"})})
    assert groups.groups_of("getdel") == {"StringBased"}


@pytest.mark.parametrize("text", ["", "calls=x,usec=1", "nonsense"])
def test_unreadable_counts_are_left_out(text: str) -> None:
    assert parse_command_stats({"cmdstat_get": text, "other": "calls=1,usec=1"}) == {}
    assert parse_command_stats({"cmdstat_get": "calls=1,usec=2"}) == {"get": CommandCount(1, 2)}


def test_memcached() -> None:
    before = sample(
        engine=Engine.MEMCACHED, cmd_get=1, bytes_read=10, rusage_user=1.0, rusage_system=0.0
    )
    after = sample(
        15.0,
        engine=Engine.MEMCACHED,
        cmd_get=11,
        bytes_read=110,
        rusage_user=2.0,
        rusage_system=0.5,
        limit_maxbytes=1000,
        bytes=400,
        curr_items=7,
        total_connections=3,
    )
    found = memcached_metrics(before, after)
    assert (found["CmdGet"], found["NetworkBytesIn"], found["CurrItems"]) == (10, 100, 7)
    assert found["UnusedMemory"] == 600
    assert found["EngineCPUUtilization"] == pytest.approx(10.0)
    assert "CmdGet" not in memcached_metrics(None, after)
    assert found.keys() <= metrics_of(Engine.MEMCACHED).keys()


def test_all_that_is_worked_out_is_defined_and_finite() -> None:
    fields = {metric.source: 5 for metric in metrics_of(Engine.VALKEY).values() if metric.source}
    found = changed(fields, {**fields, "cmdstat_get": "calls=1,usec=2"})
    assert found.keys() <= metrics_of(Engine.VALKEY).keys()
    assert all(math.isfinite(value) for value in found.values())
