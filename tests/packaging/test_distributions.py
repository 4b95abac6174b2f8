"""What is handed out: a source distribution, the wheel made of it, and an environment with that.

The wheel is made where there is no Node.js, so the console in it is the one that the source
distribution carries.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import urllib.request
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import boto3
import pytest
import valkey

from tests.support.ports import own_network
from tests.support.server import READY_PREFIX, available_group, clean_environment

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BUILD_TIMEOUT_S = 300
CONSOLE = "cachefleet/_console/index.html"
STOP_TIMEOUT_S = 60


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a copy of what is under version control, with the console as it is built here."""
    if not (ROOT / "src" / CONSOLE).is_file():
        pytest.skip("the console is not built: there is no Node.js")
    copy = tmp_path_factory.mktemp("sources") / "cachefleet"
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("this is no clone")
    for name in filter(None, listed.stdout.split("\0")):
        source, target = ROOT / name, copy / name
        if source.is_symlink() or source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    shutil.copytree(ROOT / "src/cachefleet/_console", copy / "src/cachefleet/_console")
    return copy


@pytest.fixture(scope="module")
def distributions(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Give a source distribution and a wheel, by the ends of their names."""
    made = tmp_path_factory.mktemp("dist")
    _run([sys.executable, "-m", "build", "--outdir", str(made), str(tree)], path=_without_node())
    return {path.suffix: path for path in made.iterdir()}


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


@pytest.fixture(scope="module")
def environment(distributions: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the programs of an environment with nothing but the wheel and what it needs.

    What it needs is taken from where the tests run, so that nothing is fetched a second time.
    """
    folder = tmp_path_factory.mktemp("empty") / "venv"
    venv.create(folder, symlinks=True)
    variables = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", vars=variables))
    target = ["--target", str(site), "--no-deps", str(distributions[".whl"])]
    _run([sys.executable, "-m", "pip", "install", "--quiet", *target])
    # Its own packages come first: this cachefleet is the wheel's, not the one under test.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


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


def _run(words: Sequence[str], *, path: str | None = None) -> None:
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
        stdin=subprocess.DEVNULL,
        env=clean_environment(**({} if path is None else {"PATH": path})),
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def _without_node() -> str:
    folders = os.environ["PATH"].split(os.pathsep)
    return os.pathsep.join(one for one in folders if not (Path(one) / "node").exists())
