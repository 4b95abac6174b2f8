"""What is handed out, made once for all who look at it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.packaging.places import CONSOLE, ROOT, run, without_node


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def distributions(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Give a source distribution and a wheel, by the ends of their names."""
    made = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--outdir", str(made), str(tree)], path=without_node())
    return {path.suffix: path for path in made.iterdir()}


@pytest.fixture(scope="session")
def environment(distributions: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the programs of an environment with nothing but the wheel and what it needs.

    What it needs is taken from where the tests run, so that nothing is fetched a second time.
    """
    folder = tmp_path_factory.mktemp("empty") / "venv"
    venv.create(folder, symlinks=True)
    variables = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", vars=variables))
    wheel = ["--no-deps", str(distributions[".whl"])]
    run([sys.executable, "-m", "pip", "--python", str(folder), "install", "--quiet", *wheel])
    # Its own packages come first: this cachefleet is the wheel's, not the one under test.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"
