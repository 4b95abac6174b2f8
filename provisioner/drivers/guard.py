"""Ends an ephemeral fleet when its control plane is gone, however it went.

Run as a script with the fleet's directory and its socket directory. Its standard input is a pipe
that the control plane holds: end of file means that the control plane has ended. Then every
process that holds the lock of a node's directory is killed and the directories are removed.
Imports the standard library only, because it stays resident.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import sys
import time

ROUNDS_MAX = 50
ROUND_S = 0.05


def main() -> None:
    """Wait for the control plane's end, then clear up."""
    root, sockets = sys.argv[1:3]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while os.read(0, 64):
        pass
    nodes = os.path.join(root, "nodes")
    for _ in range(ROUNDS_MAX):
        held = [path for name in _names(nodes) if _is_held(path := os.path.join(nodes, name))]
        if not held:
            break
        for directory in held:
            _end(directory)
        time.sleep(ROUND_S)
    for name in _names(nodes):
        directory = os.path.join(nodes, name)
        if os.path.islink(directory):  # a node that lives in memory
            target = os.path.realpath(directory)
            shutil.rmtree(target, ignore_errors=True)
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(target))
    shutil.rmtree(root, ignore_errors=True)
    shutil.rmtree(sockets, ignore_errors=True)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _is_held(directory: str) -> bool:
    """Tell whether somebody holds the directory's lock."""
    with contextlib.suppress(OSError):
        descriptor = os.open(os.path.join(directory, "lock"), os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False


def _end(directory: str) -> None:
    """Kill the process that was noted, and whoever else has the lock: a start cut short."""
    with contextlib.suppress(OSError, ValueError), open(os.path.join(directory, "pid")) as note:
        os.killpg(int(note.read().split()[0]), signal.SIGKILL)
    where = os.path.realpath(directory)
    for name in _names("/proc"):
        if name.isdigit() and _works_in(f"/proc/{name}", where):
            with contextlib.suppress(OSError):
                os.kill(int(name), signal.SIGKILL)


def _works_in(process: str, directory: str) -> bool:
    """Tell whether *process* (a folder of /proc) works in *directory* and has its lock open."""
    try:
        if os.readlink(f"{process}/cwd") != directory:
            return False
        files = [os.readlink(f"{process}/fd/{name}") for name in _names(f"{process}/fd")]
    except OSError:
        return False
    return f"{directory}/lock" in files


if __name__ == "__main__":
    main()
