"""memcached's command line."""

from __future__ import annotations

import pytest

from cachefleet.engine.memserver.options import BadOption, parse

GOOD = [
    (["-p", "1234"], "port", 1234),
    (["-p1234"], "port", 1234),
    (["--port=1234"], "port", 1234),
    (["--port", "1234"], "port", 1234),
    (["-m", "100"], "memory_bytes", 100 << 20),
    (["-I", "2m"], "item_size_max", 2 << 20),
    (["-I", "100k"], "item_size_max", 100 << 10),
    (["-I", "4096"], "item_size_max", 4096),
    (["-c", "9"], "connections_max", 9),
    (["-l", "127.0.0.1,127.0.0.2", "-l", "::1"], "listen", ["127.0.0.1", "127.0.0.2", "::1"]),
    (["-vv"], "verbosity", 2),
    (["-MFXC"], "evictions", False),
    (["-MFXC"], "cas", False),
    (["-B", "ascii"], "protocol", "ascii"),
    (["-S"], "protocol", "binary"),
    (["-Y", "file"], "protocol", "ascii"),
    (["-o", "idle_timeout=30,temporary_ttl=5"], "idle_timeout_s", 30),
    (["-o", "idle_timeout=30,temporary_ttl=5"], "temp_lru", True),
    (["-o", "no_maxconns_fast", "-o", "slab_chunk_max=64"], "slab_chunk_max", 65536),
    (["-o", "no_modern"], "lru_crawler", False),
    (["-Z", "-o", "ssl_chain_cert=a,ssl_key=b"], "ssl_key", "b"),
    (["-a", "770"], "unix_mask", 0o770),
    (["-e", "file"], "memory_file", "file"),
    (["--control", "sock", "--report-version=1.6.6"], "report_version", "1.6.6"),
    (["--no-admin-commands"], "admin_commands", False),
]


@pytest.mark.parametrize(("arguments", "name", "value"), GOOD)
def test_reads(arguments: list[str], name: str, value: object) -> None:
    assert getattr(parse(arguments), name) == value


@pytest.mark.parametrize(
    "arguments",
    [
        ["-p", "x"],
        ["-p", "70000"],
        ["-p"],
        ["--port"],
        ["--nosuch"],
        ["-G"],
        ["word"],
        ["-I", "100"],
        ["-I", "2048m"],
        ["-I", "40m"],
        ["-f", "1.0"],
        ["-f", "x"],
        ["-B", "http"],
        ["-o", "nosuch"],
        ["-o", "hot_lru_pct=50,warm_lru_pct=50"],
        ["-o", "ssl_min_version=9"],
        ["-Z"],
        ["-S", "-B", "ascii"],
        ["-Y", "file", "-B", "binary"],
        ["-a", "9"],
    ],
    ids=" ".join,
)
def test_refuses(arguments: list[str]) -> None:
    with pytest.raises(BadOption):
        parse(arguments)
