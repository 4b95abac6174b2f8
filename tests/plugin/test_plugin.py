"""The fixtures in somebody else's project: one that has an ``api`` package of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.runner import ROOT, blocks_of
from tests.support.server import clean_environment

pytestmark = [pytest.mark.engine, pytest.mark.slow]
TIMEOUT_S = 300.0

CONFTEST = ""
OWN_API = 'def whose() -> str:\n    return "mine"\n'
TESTS = """
import redis
from pymemcache.client.base import Client

import api
from api import service


def test_own_package_is_ours():
    assert service.whose() == "mine"


def test_first(elasticache):
    elasticache.create_cache_subnet_group(
        CacheSubnetGroupName="left", CacheSubnetGroupDescription="d", SubnetIds=["subnet-1"]
    )


def test_second_sees_nothing_of_the_first(elasticache):
    groups = elasticache.describe_cache_subnet_groups()["CacheSubnetGroups"]
    assert [group["CacheSubnetGroupName"] for group in groups] == ["default"]


def test_valkey(valkey_cluster):
    with redis.Redis.from_url(valkey_cluster.url) as client:
        client.set("a", "b")
        assert client.get("a") == b"b"


def test_memcached(memcached_cluster):
    client = Client((memcached_cluster.host, memcached_cluster.port))
    client.set("a", "b")
    assert client.get("a") == b"b"
    client.close()


def test_reset_leaves_no_process(elasticache, cachefleet_server):
    assert elasticache.describe_replication_groups()["ReplicationGroups"] == []
"""


def project(folder: Path, tests: str) -> Path:
    """Make a project with a package ``api`` and one test module."""
    (folder / "api").mkdir()
    (folder / "api/__init__.py").write_text("")
    (folder / "api/service.py").write_text(OWN_API)
    (folder / "test_ours.py").write_text(tests)
    (folder / "pytest.ini").write_text("[pytest]\npythonpath = .\nfilterwarnings = error\n")
    return folder


def run(folder: Path, *options: str) -> str:
    """Run a project's tests as its people do."""
    outcome = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env=clean_environment(PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout


def test_in_a_project_with_its_own_api_package_on_two_workers(tmp_path: Path) -> None:
    assert "6 passed" in run(project(tmp_path, TESTS), "-n", "2")


def test_what_the_guide_shows_is_run(tmp_path: Path) -> None:
    shown = [
        block.text for block in blocks_of(ROOT / "docs/guides/pytest.md") if block.note == "test"
    ]
    assert shown
    output = run(project(tmp_path, "\n\n".join(shown)))
    assert "passed" in output
    assert os.environ.get("CACHEFLEET_URL") is None
