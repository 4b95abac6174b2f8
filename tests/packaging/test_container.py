"""The image without Docker: its rules, and what its last stage would run, run here.

What is installed is the wheel; the environment is what the Dockerfile sets and nothing else, with
its folders and ports moved to where a test may have them. As root, we give our rights up for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
import valkey
import yaml

from cachefleet.api.settings import ApiSettings
from cachefleet.settings import Settings
from tests.packaging.dockerfile import Stage, ignored, read
from tests.packaging.places import ROOT
from tests.support.length import at_length
from tests.support.ports import own_port
from tests.support.server import READY_PREFIX, available_group
from tests.support.waiting import wait_until

STAGES = read(ROOT / "Dockerfile")
LAST = STAGES[-1]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["cachefleet"]
PORT = LAST.environment["CACHEFLEET_PORT"]
UID = 10_001
TIMEOUT_S = 60.0
STEP_TIMEOUT_S = 600.0


def test_lints() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint is not installed here")
    done = subprocess.run(
        [hadolint, "--no-color", str(ROOT / "Dockerfile")],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout


RULES: dict[str, Callable[[Stage], object]] = {
    "the base is pinned to a version": lambda stage: re.fullmatch(
        r"[a-z]+:[0-9]+(\.[0-9]+)?-[a-z-]+", stage.base
    ),
    "nothing is fetched by ADD": lambda stage: not stage.all("ADD"),
    "apt takes nothing along, and leaves nothing behind": lambda stage: all(
        "--no-install-recommends" in one.text and "rm -rf /var/lib/apt/lists/*" in one.text
        for one in stage.all("RUN")
        if "apt-get install" in one.text
    ),
    "pip keeps no cache": lambda stage: all(
        one.text.count("pip install") == one.text.count("--no-cache-dir")
        for one in stage.all("RUN")
    ),
    "folders are absolute": lambda stage: all(
        one.text.startswith("/") for one in stage.all("WORKDIR")
    ),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("stage", STAGES, ids=[stage.name or "last" for stage in STAGES])
def test_each_stage_keeps_the_rules(stage: Stage, rule: str) -> None:
    assert RULES[rule](stage)


def test_what_runs_has_no_rights_and_no_tools() -> None:
    assert int(LAST.last("USER").text) == UID
    assert f"--uid {UID}" in LAST.all("RUN")[-1].text
    installed = " ".join(one.text for one in LAST.all("RUN"))
    assert not re.search(r"\b(gcc|nodejs|npm|curl|sudo|pip)\b", installed)
    copied = [one.words for one in LAST.all("COPY")]
    assert copied == [["--from=build", "/opt/cachefleet", "/opt/cachefleet"]]


def test_settings_of_the_image_are_settings() -> None:
    known = {
        f"CACHEFLEET_{name.upper()}" for name in (*Settings.model_fields, *ApiSettings.model_fields)
    }
    told = {name for name in LAST.environment if name.startswith("CACHEFLEET_")}
    assert told
    assert told <= known


def test_what_is_exposed_is_what_is_listened_on() -> None:
    ports = LAST.environment["CACHEFLEET_PORT_RANGE"]
    assert LAST.last("EXPOSE").words == [PORT, ports]
    assert f":{PORT}/readyz" in LAST.healthcheck[1][-1]
    assert LAST.last("STOPSIGNAL").text == "SIGTERM"
    assert LAST.last("ENTRYPOINT").is_exec
    assert "exec cachefleet" in LAST.last("ENTRYPOINT").text
    data = LAST.environment["CACHEFLEET_DATA_DIR"]
    assert data.startswith(LAST.last("VOLUME").text + "/")


def test_the_context_has_what_is_copied_from_it() -> None:
    kept_out = ignored(ROOT / ".dockerignore")
    for stage in STAGES:
        for instruction in stage.all("COPY"):
            *sources, _ = [word for word in instruction.words if not word.startswith("--")]
            if "--from" not in instruction.text:
                for source in sources:
                    assert (ROOT / source).exists(), source
                    assert not any(one.fullmatch(source.rstrip("/")) for one in kept_out), source
    for secret in (".git", ".venv", "dashboard/node_modules", "src/cachefleet/_console"):
        assert any(one.fullmatch(secret) for one in kept_out), secret


def test_the_example_gives_it_time_memory_and_loopback() -> None:
    assert COMPOSE["build"] == "."
    assert COMPOSE["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    assert COMPOSE["volumes"] == [f"data:{LAST.last('VOLUME').text}"]
    assert COMPOSE["init"] is True
    assert int(COMPOSE["stop_grace_period"].removesuffix("s")) >= 60
    assert COMPOSE["shm_size"]


@dataclass
class Container:
    """What the image's last stage would start, on this machine."""

    folder: Path
    environment: dict[str, str]
    prefix: list[str]  # gives up our rights, where we have any
    port: int
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def is_healthy(self) -> bool:
        """Run the health check."""
        words = [word.replace(f":{PORT}/", f":{self.port}/") for word in LAST.healthcheck[1]]
        assert words != LAST.healthcheck[1]
        done = subprocess.run(
            [*self.prefix, *words],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return done.returncode == 0

    def node_pids(self) -> list[int]:
        """Return the processes that work in the data directory."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.cwd().startswith(f"{self.folder}{os.sep}"):
                    found.append(process.pid)
            except (psutil.Error, OSError):
                continue
        return found


def _without_rights(python: Path) -> list[str]:
    """Return what runs a command as the image's user; nothing where we may not, or it may not."""
    setpriv = shutil.which("setpriv")
    if os.getuid() != 0 or setpriv is None:
        return []
    words = [setpriv, f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--no-new-privs"]
    try_it = [*words, str(python), "-c", "import cachefleet.cli"]
    tried = subprocess.run(try_it, capture_output=True, cwd="/", timeout=TIMEOUT_S, check=False)
    return words if tried.returncode == 0 else []


@contextlib.contextmanager
def started(environment: Path) -> Iterator[Container]:
    """Start what the image would, from the programs of *environment*."""
    folder = Path(tempfile.mkdtemp(prefix="cachefleet-container-"))
    prefix = _without_rights(environment / "python")
    if prefix:
        os.chown(folder, UID, UID)
    port, first = own_port(), 20_000 + os.getpid() % 100 * 100
    moved = {
        "PATH": f"{environment}:{os.defpath}",
        "CACHEFLEET_HOST": "127.0.0.1",
        "CACHEFLEET_PORT": str(port),
        "CACHEFLEET_DATA_DIR": str(folder / "data"),
        "CACHEFLEET_PORT_RANGE": f"{first}-{first + 99}",
        "CACHEFLEET_ENDPOINT_HOST": "127.0.0.1",
        "HOME": str(folder),
    }
    variables = {**LAST.environment, **moved}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*prefix, *LAST.last("ENTRYPOINT").words, *LAST.last("CMD").words],
            env=variables,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    one = Container(folder, variables, prefix, port, process)
    try:
        yield one
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(TIMEOUT_S)
        if process.stdout is not None:
            process.stdout.close()
        for pid in one.node_pids():
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder)


@pytest.mark.engine
@pytest.mark.slow
def test_what_the_image_runs_serves_is_healthy_and_stops_in_order(environment: Path) -> None:
    with started(environment) as container:
        serves_and_stops(container)


def serves_and_stops(container: Container) -> None:
    """Use it as its users and its runtime do."""
    process = container.process
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith(READY_PREFIX), (container.folder / "log").read_text()
    assert container.is_healthy()
    client: Any = boto3.client(
        "elasticache",
        endpoint_url=container.url,
        region_name="us-east-1",
        aws_access_key_id="000000000000",
        aws_secret_access_key="any",
    )
    client.create_replication_group(
        ReplicationGroupId="one",
        ReplicationGroupDescription="in the image",
        Engine="valkey",
        CacheNodeType="cache.t3.micro",
        NumCacheClusters=1,
    )
    endpoint = available_group(client, "one")["NodeGroups"][0]["PrimaryEndpoint"]
    with valkey.Valkey(host=endpoint["Address"], port=endpoint["Port"]) as connection:
        assert connection.set("key", "value")
    if container.prefix:
        assert {psutil.Process(pid).uids().real for pid in container.node_pids()} == {UID}
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT_S) == 0
    assert container.node_pids() == []
    assert not container.is_healthy()
    wait_until(lambda: _refuses(container.port), what="nobody listens any more")
    for text in (container.folder / "log").read_text().splitlines():
        assert json.loads(text)["level"] != "error", text
    assert list((container.folder / "data/nodes").glob("*/saved.*")), "its data was kept"


def _refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


class Steps:
    """Carries a Dockerfile out in folders, one for each stage that is left behind.

    What needs the machine itself (packages of the system, users) is left out.
    """

    OF_THE_MACHINE = re.compile(r"apt-get|/var/lib/apt|useradd")
    PLACES = re.compile(r"(?<![\w./*])/(?=(opt|dist|src|var)\b)")

    def __init__(self, folder: Path, tools: str) -> None:
        self._folder = folder
        self._tools = tools
        self._roots = {"console": folder / "console"}  # the others are built into one another
        self._context = folder / "context"
        listed = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        kept_out = ignored(ROOT / ".dockerignore")
        for name in listed:
            if not any(one.fullmatch(name) for one in kept_out):
                target = self._context / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, target, follow_symlinks=False)

    def root(self, stage: str) -> Path:
        """Return the folder that stands for the root of a stage's files."""
        return self._roots.get(stage, self._folder / "image")

    def run(self, stage: Stage) -> None:
        """Carry out the instructions that make files."""
        root = self.root(stage.name)
        cwd = root
        for one in stage.instructions:
            if one.word == "WORKDIR":
                cwd = root / one.text.lstrip("/")
                cwd.mkdir(parents=True, exist_ok=True)
            elif one.word == "COPY":
                self._copy(one.words, root, cwd)
            elif one.word == "RUN":
                self._shell(one.text, stage, root, cwd)

    def _copy(self, words: list[str], root: Path, cwd: Path) -> None:
        source_root = self._context
        if words[0].startswith("--from="):
            source_root = self.root(words[0].removeprefix("--from="))
            words = words[1:]
        *sources, last = words
        target = root / last.lstrip("/") if last.startswith("/") else cwd / last
        for source in (source_root / word.lstrip("/") for word in sources):
            if source.is_dir() and source != target:
                shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
            elif source != target:
                where = target / source.name if last.endswith("/") else target
                where.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, where)

    def _shell(self, text: str, stage: Stage, root: Path, cwd: Path) -> None:
        commands = [one.strip() for one in text.split("&&")]
        for command in (one for one in commands if not self.OF_THE_MACHINE.search(one)):
            environment = {**os.environ, **stage.environment, "PATH": self._tools}
            done = subprocess.run(
                self.PLACES.sub(f"{root}/", command),
                shell=True,
                cwd=cwd,
                env=environment,
                capture_output=True,
                text=True,
                timeout=STEP_TIMEOUT_S,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


@at_length
@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_step_works_in_a_clean_tree() -> None:
    with tempfile.TemporaryDirectory(prefix="cachefleet-image-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        tools = folder / "tools"
        tools.mkdir()
        # The system's, which is no environment; others than root may run it.
        (tools / "python").symlink_to(shutil.which("python3", path=os.defpath) or sys.executable)
        steps = Steps(folder, f"{tools}:{os.environ['PATH']}")
        for stage in STAGES:
            steps.run(stage)
        image = steps.root("")
        for gone in ("src", "dist", "opt/build"):  # of a stage that is left behind
            shutil.rmtree(image / gone)
        assert (next(image.glob("opt/cachefleet/lib/*/site-packages/cachefleet/_console"))).is_dir()
        with started(image / "opt/cachefleet/bin") as container:
            serves_and_stops(container)
            print(f"rights given up: {bool(container.prefix)}")
