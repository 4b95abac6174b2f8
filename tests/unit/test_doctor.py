"""doctor and status: what is decided without looking at the machine."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cachefleet.doctor import Problem, Report, Wanted, show, wanted_engines
from cachefleet.engine.catalog import Catalog
from cachefleet.engine.discovery import Inventory
from cachefleet.engine.types import Engine, EngineBinary
from cachefleet.progress import SAVING, ProgressLine
from cachefleet.provisioner.drivers.local import telling_line
from cachefleet.status import CacheStatus, FleetStatus, NodeStatus, amount, render


def binary(kind: Engine, version: tuple[int, ...], *, tls: bool = False) -> EngineBinary:
    return EngineBinary(
        kind=kind, argv=("/bin/engine",), version=version, tls=tls, source="path", detail=""
    )


VALKEY = binary(Engine.VALKEY, (9, 1, 2))
REDIS = binary(Engine.REDIS, (7, 0, 15), tls=True)


def wanted(engine: Engine, version: str, *binaries: EngineBinary) -> Wanted:
    rows = wanted_engines(Inventory(binaries=binaries), Catalog.load())
    (row,) = [row for row in rows if row.engine is engine and version in row.versions]
    return row


def test_each_major_version_has_the_binary_that_customers_get() -> None:
    assert wanted(Engine.REDIS, "7.1", VALKEY, REDIS).runs == REDIS
    assert wanted(Engine.REDIS, "6.2", VALKEY, REDIS).runs == VALKEY
    assert wanted(Engine.REDIS, "6.2", VALKEY, REDIS).runs_with_tls == REDIS
    assert wanted(Engine.VALKEY, "8.0", VALKEY, REDIS).runs_with_tls is None
    assert wanted(Engine.VALKEY, "8.0", REDIS).runs is None


def test_versions_past_their_life_are_not_wanted() -> None:
    rows = wanted_engines(Inventory(binaries=(VALKEY,)), Catalog.load())
    shown = {(row.engine, version) for row in rows for version in row.versions}
    ended = {(v.engine, v.version) for v in Catalog.load().engine_versions() if not v.creatable}
    assert not shown & ended


def said(report: Report) -> str:
    out = io.StringIO()
    show(report, Console(file=out, width=160))
    return out.getvalue()


@pytest.mark.parametrize("prevents", [True, False])
def test_only_what_prevents_serving_says_so(prevents: bool) -> None:
    report = Report(
        inventory=Inventory(binaries=(VALKEY,)),
        wanted=(),
        facts=(("Data directory", "/[odd]/name"),),
        problems=(Problem("it is broken", "mend it", prevents_serving=prevents),),
    )
    assert report.can_serve is not prevents
    text = said(report)
    assert ("problem: it is broken" in text) is prevents
    assert ("note: it is broken" in text) is not prevents
    assert ("can serve here" in text) is not prevents
    assert "/[odd]/name" in text  # square brackets are no markup
    assert "-> mend it" in text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (402653184, "384.0 MiB"),
        (1 << 50, "1024.0 TiB"),
    ],
)
def test_sizes_as_people_read_them(size_bytes: int, text: str) -> None:
    assert amount(size_bytes) == text


def test_a_silent_node_is_marked() -> None:
    node = NodeStatus(
        cluster="c",
        node="0001",
        shard=None,
        role=None,
        status="available",
        zone="z",
        address="127.0.0.1:1",
        answers=False,
    )
    cache = CacheStatus(
        kind="cache cluster",
        name="c",
        account="0",
        region="r",
        engine="redis",
        engine_version="7.1",
        node_type="t",
        status="available",
        endpoints={},
        nodes=(node,),
    )
    out = io.StringIO()
    Console(file=out, width=160).print(
        render(FleetStatus(running=False, data_dir="/d", caches=(cache,)))
    )
    assert "available, silent" in out.getvalue()
    assert "not running" in out.getvalue()


def test_progress_is_drawn_at_a_terminal_alone() -> None:
    for terminal in (True, False):
        out = io.StringIO()
        with ProgressLine(Console(file=out, force_terminal=terminal)) as report:
            report(SAVING, 0, 2)
            report(SAVING, 2, 2)
        assert (SAVING in out.getvalue()) is terminal


def test_the_reason_in_an_engines_log_is_told_without_pid_and_time() -> None:
    lines = [
        "1:M 22 Nov 2026 22:03:00.698 # Could not listen on 127.0.0.1:1: Address already in use",
        "1:M 22 Nov 2026 22:03:00.698 # Failed listening on port 1 (tcp), aborting.",
    ]
    assert telling_line(lines) == "Could not listen on 127.0.0.1:1: Address already in use"
    assert telling_line(lines[1:]) == "Failed listening on port 1 (tcp), aborting."
    assert telling_line(["all is well"]) == "all is well"
    assert telling_line([]) == "it said nothing"
