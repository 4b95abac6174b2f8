"""The command ``cachefleet-memcached``: memcached's options, and a few of its own."""

from __future__ import annotations

import gc
import os
import sys

from cachefleet.engine.memserver.listener import CannotListen
from cachefleet.engine.memserver.options import OPTIONS, BadOption, parse
from cachefleet.engine.memserver.server import Server
from cachefleet.engine.memserver.settings import Settings

EXIT_USAGE = 64
EXIT_SOCKET = 71
OTHER_DESCRIPTORS = 64  # listeners, the control plane, files


def usage() -> str:
    """One line an option."""
    lines = ["cachefleet-memcached: memcached with auto discovery", ""]
    for letter, name, takes, _ in [*OPTIONS, ("o", "extended", True, None)]:
        both = ", ".join(filter(None, (letter and f"-{letter}", name and f"--{name}")))
        lines.append(f"{both}{'=<value>' if takes and name else ''}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the server until it is told to stop; the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    if any(word in ("-h", "--help", "-i", "--license") for word in words):
        print(usage())
        return 0
    try:
        settings = parse([word for word in words if word not in ("-V", "--version")])
    except BadOption as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    if "-V" in words or "--version" in words:
        print(f"memcached {settings.report_version}")
        return 0
    return serve(settings)


def serve(settings: Settings) -> int:
    """Bind, load, answer. Readiness is that the control socket answers."""
    # Nothing here makes reference cycles, and a collection over a million items takes
    # half a second.
    gc.disable()
    _allow_descriptors(settings.connections_max + OTHER_DESCRIPTORS)
    if settings.daemon:
        _daemonize()
    server = Server(settings)
    server.catch_signals()
    try:
        server.load_cluster_config()
        server.load()
        server.open()
    except CannotListen as error:
        print(f"failed to listen on {error}", file=sys.stderr)
        return EXIT_SOCKET
    if settings.pidfile is not None:
        with open(settings.pidfile, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
    if settings.user is not None and os.geteuid() == 0:
        _become(settings.user)
    server.run()
    if settings.pidfile is not None and os.path.exists(settings.pidfile):
        os.unlink(settings.pidfile)
    return 0


def _allow_descriptors(wanted: int) -> None:
    """Raise the limit of open files as far as it may be, up to *wanted*."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        top = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (top, hard))


def _become(user: str) -> None:
    import pwd

    entry = pwd.getpwnam(user)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def _daemonize() -> None:
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
