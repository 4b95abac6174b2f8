"""What is handed out: a source distribution, the wheel made of it, and an environment with that.

The wheel is made where there is no Node.js, so the console in it is the one that the source
distribution carries.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
import urllib.request
import zipfile
from pathlib import Path

import boto3
import pytest
import valkey

from tests.packaging.places import CONSOLE
from tests.support.ports import own_network
from tests.support.server import READY_PREFIX, available_group, clean_environment

pytestmark = pytest.mark.slow

STOP_TIMEOUT_S = 60


def test_the_source_distribution_carries_the_console_and_its_sources(
    distributions: dict[str, Path],
) -> None:
    with tarfile.open(distributions[".gz"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/{CONSOLE}", "dashboard/package.json", "dashboard/src/main.tsx"} <= names
    assert {"engine/valkey/_guard.c", "engine/memserver/_quick.c", "LICENSE"} <= names
    assert not [name for name in names if "node_modules" in name]


def test_the_wheel_has_the_console_though_nobody_could_build_it(
    distributions: dict[str, Path],
) -> None:
    with zipfile.ZipFile(distributions[".whl"]) as wheel:
        names = set(wheel.namelist())
    assert CONSOLE in names
    assert [name for name in names if name.startswith("cachefleet/_console/assets/")]
    assert "cachefleet/engine/catalog/data/node_types.json" in names
    assert not [name for name in names if name.startswith(("tests/", "bench/", "dashboard/"))]


@pytest.mark.engine
def test_what_is_installed_serves_the_console_and_real_nodes(
    environment: Path, tmp_path: Path
) -> None:
    python = environment / "python"
    found = subprocess.run(
        [python, "-c", "import cachefleet; print(cachefleet.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert found.stdout.startswith(str(environment.parent)), found.stdout
    process = subprocess.Popen(
        [python, "-m", "cachefleet", "serve", "--port", "0", "--ephemeral"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=clean_environment(CACHEFLEET_ENDPOINT_NETWORK=own_network()),
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().removeprefix(READY_PREFIX).strip()
        with urllib.request.urlopen(f"{url}/console/", timeout=STOP_TIMEOUT_S) as page:
            assert b"<title>" in page.read()
        with urllib.request.urlopen(f"{url}/openapi.json", timeout=STOP_TIMEOUT_S) as page:
            assert json.load(page)["info"]["title"] == "cachefleet"
        client = boto3.client(
            "elasticache",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="000000000000",
            aws_secret_access_key="any",
        )
        client.create_replication_group(
            ReplicationGroupId="one",
            ReplicationGroupDescription="of the wheel's engine",
            Engine="valkey",
            CacheNodeType="cache.t3.micro",
            NumCacheClusters=1,
        )
        endpoint = available_group(client, "one")["NodeGroups"][0]["PrimaryEndpoint"]
        with valkey.Valkey(host=endpoint["Address"], port=endpoint["Port"]) as connection:
            assert connection.set("key", "value")
    finally:
        process.terminate()
        process.wait(STOP_TIMEOUT_S)
        process.stdout.close()
