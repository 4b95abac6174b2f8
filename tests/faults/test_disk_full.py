"""The disk is full: engines serve on, a lost primary is replaced, and records follow when they can.

Needs a file system that can be filled: a small tmpfs, where mounting is allowed.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.faults.caches import (
    create_group,
    kill_node,
    primary_address,
    primary_of,
    write_again,
)
from tests.support.audit import require_agreement
from tests.support.durable import DurableValues
from tests.support.server import Server
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.engine, pytest.mark.slow]

DISK_BYTES = 24 * 1024 * 1024
BLOCK_BYTES = 4096


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(where)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)


def fill(file: Path) -> None:
    """Take every block that is left."""
    with file.open("wb", buffering=0) as rest:
        for size in (1024 * 1024, BLOCK_BYTES):
            with contextlib.suppress(OSError):
                while True:
                    rest.write(b"\0" * size)


def test_a_primary_that_is_lost_while_the_disk_is_full_is_replaced(disk: Path) -> None:
    with Server(disk / "data") as server:
        client = server.client()
        create_group(client, "g")
        values = DurableValues(primary_address(client, "g"))
        before = primary_of(client, "g")
        with values.under_load():
            fill(disk / "rest")
            refused: list[str] = []

            def create() -> bool:
                try:
                    client.create_cache_parameter_group(
                        CacheParameterGroupName=f"p{len(refused)}x{len(refused)}",
                        CacheParameterGroupFamily="valkey8",
                        Description="d" * 200,
                    )
                except ClientError as error:
                    refused.append(error.response["Error"]["Code"])
                return len(refused) > 2

            fill(disk / "more")
            kill_node(server, before)
            write_again(primary_address(client, "g"))
            assert wait_until(create, what="nothing new is taken on")
            assert set(refused) <= {"InternalFailure", "ServiceUnavailable"}
            for name in ("rest", "more"):
                (disk / name).unlink()
            require_agreement(server)
        assert values.audit() == []
        assert primary_of(client, "g") != before
