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
        alive = [pid for name in _names(nodes) if (pid := _running(os.path.join(nodes, name)))]
        if not alive:
            break
        for pid in alive:
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
        time.sleep(ROUND_S)
    shutil.rmtree(root, ignore_errors=True)
    shutil.rmtree(sockets, ignore_errors=True)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _running(directory: str) -> int:
    """Return the noted pid where somebody holds the directory's lock, else 0."""
    with contextlib.suppress(OSError, ValueError):
        with open(os.path.join(directory, "pid")) as note:
            pid = int(note.read().split()[0])
        descriptor = os.open(os.path.join(directory, "lock"), os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return pid
        finally:
            os.close(descriptor)
    return 0


if __name__ == "__main__":
    main()
