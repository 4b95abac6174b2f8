"""A process that has imported all that a server needs, and of which servers are forks.

Importing takes more than a second of processor time, and the tests start hundreds of servers. What
a fork runs is the command of a user all the same, in a process, a session and a folder of its own.

    python -m tests.support.template DESCRIPTOR

takes a request a message from the socket with that descriptor: what Python is to run, where, and
in which environment, with the descriptors of its standard output, its standard error, and of the
pipe into which its end is told. When the socket closes, or when we are killed along with the tests,
what still runs is told to end, and ends the engines that it runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import runpy
import signal
import socket
import sys
import threading
from typing import Any

MESSAGE_BYTES_MAX = 1 << 18
MODULE_OPTION = "-m"
SET_PARENT_DEATH_SIGNAL = 1  # prctl(2)


def main() -> None:
    """Fork as requested, until nobody can request anything any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the test process says when it is over
    _import_everything()
    requests = socket.socket(fileno=int(sys.argv[1]))
    running: set[int] = set()
    lock = threading.Lock()
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, MESSAGE_BYTES_MAX, 3)
        if not message:
            break
        with lock:
            pid = os.fork()
            if pid == 0:
                requests.close()
                _become(json.loads(message), *descriptors)
            running.add(pid)
        os.close(descriptors[0])
        os.close(descriptors[1])
        requests.sendall(pid.to_bytes(8, "big"))
        threading.Thread(
            target=_tell_end, args=(pid, descriptors[2], running, lock), daemon=True
        ).start()
    with lock:
        for pid in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


def _import_everything() -> None:
    import alembic.command
    import cryptography.x509
    import sqlalchemy.orm
    import uvicorn.protocols.http.httptools_impl
    import uvloop

    import cachefleet.cli
    import cachefleet.control_plane
    import cachefleet.credentials
    import cachefleet.doctor
    import cachefleet.migrations
    import cachefleet.snapshot_report
    import cachefleet.status
    from cachefleet.api.openapi_file import document
    from cachefleet.engine.catalog import Catalog

    del alembic, cryptography, uvicorn, uvloop, cachefleet
    sqlalchemy.orm.configure_mappers()
    Catalog.load()
    document()  # of an application that is thrown away; what it was made of stays in caches
    gc.collect()
    gc.freeze()  # a collection in a fork would copy what all of them share


def _become(request: dict[str, Any], out: int, err: int, end: int) -> None:
    """Be the process that was asked for, to its end. Never returns."""
    os.setsid()
    ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(out, 1)
    os.dup2(err, 2)
    for descriptor in (out, err, end):
        os.close(descriptor)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    status = 1
    try:
        _run(request["words"])
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _run(words: list[str]) -> None:
    if words[0] == MODULE_OPTION:
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


def _tell_end(pid: int, end: int, running: set[int], lock: threading.Lock) -> None:
    _, status = os.waitpid(pid, 0)
    with lock:
        running.discard(pid)
    with contextlib.suppress(BrokenPipeError):
        os.write(end, os.waitstatus_to_exitcode(status).to_bytes(8, "big", signed=True))
    os.close(end)


if __name__ == "__main__":
    main()
